"""What the jobs of a night cost, from Snakemake's ``benchmark:`` files."""

import csv
from pathlib import Path
from typing import Any

import numpy as np


def read_durations(folder: str | Path) -> list[dict[str, Any]]:
    """Read the benchmark files under a folder, by rule.

    Parameters
    ----------
    folder : path
        ``<benchmarks>/{night}``; need not exist.

    Returns
    -------
    list of dict
        ``rule``, ``jobs``, ``median_s``, ``total_s`` and ``peak_mb``; the rule with the most time
        first. A memory that was not taken (very short jobs) counts zero. The CPU time in these
        files is that of the last of a few samples, so it is not quoted.
    """
    groups: dict[str, list[dict[str, float]]] = {}
    for path in sorted(Path(folder).rglob("*.tsv")):
        with open(path, newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle, delimiter="\t"):
                figures = {name: _number(row.get(name)) for name in ("s", "max_rss")}
                groups.setdefault(path.stem, []).append(figures)
    rows = [
        {
            "rule": rule,
            "jobs": len(jobs),
            "median_s": float(np.median([job["s"] for job in jobs])),
            "total_s": sum(job["s"] for job in jobs),
            "peak_mb": max(job["max_rss"] for job in jobs),
        }
        for rule, jobs in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row["total_s"], row["rule"]))


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:  # "-" or "NA"
        return 0.0
