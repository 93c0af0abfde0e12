"""What all benchmarks share: running a command and weighing it, and showing tables."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOGS = ROOT / "benchmark_logs"


def measured(command: list[str], cwd: Path | str = ROOT, **environment: str) -> dict:
    """Run a command to its end and weigh it.

    Returns
    -------
    dict
        ``wall_s``, ``cpu_s`` (with its children), ``peak_mb`` (of the largest process), ``code``
        and ``text`` (standard output and error).
    """
    start = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "wall_s": time.perf_counter() - start,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "code": process.returncode,
        "text": text,
    }


def python(code: str, cwd: Path | str = ROOT) -> dict:
    """Run Python code in a fresh interpreter that finds the library, and weigh it."""
    return measured([sys.executable, "-c", code], cwd, PYTHONPATH=str(ROOT / "scripts"))


def succeeded(result: dict, what: str) -> dict:
    """Insist that a command went well."""
    if result["code"]:
        sys.exit(f"{what} failed with code {result['code']}:\n{result['text'][-3000:]}")
    return result


def table(title: str, rows: list[dict]) -> str:
    """Return rows as a Markdown table."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names)]
    lines += [[_cell(row.get(name)) for name in names] for row in rows]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"\n### {title}\n\n{body}\n"


def _cell(value) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return "" if value is None else str(value)


def publish(name: str, tables: dict[str, list[dict]], verdicts: dict[str, bool]) -> int:
    """Print the tables, write them to a JSON file, and say which limits hold.

    Returns
    -------
    int
        Exit code: 1 if a limit is broken.
    """
    for title, rows in tables.items():
        print(table(title, rows))
    for sentence, holds in verdicts.items():
        print(f"{'ok    ' if holds else 'BROKEN'} {sentence}")
    LOGS.mkdir(exist_ok=True)
    machine = {"processors": os.cpu_count(), "machine": platform.machine()}
    content = {"machine": machine, "tables": tables, "verdicts": verdicts}
    (LOGS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(not all(verdicts.values()))
