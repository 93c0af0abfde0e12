"""What a visit was like."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from alertprod.core.errors import Rejected
from alertprod.core.stage import stage
from alertprod.core.tables import n_rows, read_metadata, read_table
from alertprod.quality.detector import by_detector, measure_detector

log = logging.getLogger(__name__)
#: Figures whose median over the detectors stands for the visit.
MEDIANS = (
    "seeing",
    "zeroPoint",
    "zeroPointScatter",
    "skyLevel",
    "skySigma",
    "wcsRmsMas",
    "limitingMag",
    "nPsfStars",
    "kernelSum",
    "kernelCondition",
    "residualChi2",
    "templateCoverage",
    "differencePull",
)
#: Counts that add up over the detectors.
SUMS = (
    "nStars",
    "numDiaSources",
    "numDiaSourcesGood",
    "numFlagged",
    "numPositive",
    "numNegative",
    "numDipoles",
    "numTrailedDiaSrc",
    "numDiaSourcesHighReliability",
    "numDiaSourcesLowReliability",
    "numDiaSourcesNanReliability",
    "numNewDiaObjects",
    "numUpdatedDiaObjects",
    "numAssociatedSsObjects",
    "numDropped",
    "numForced",
    "numAlerts",
)
#: Names of the counts in the ledger of association and of packaging, and ours for them.
LEDGER = {
    "kept": "numKept",
    "new": "numNewDiaObjects",
    "matched": "numUpdatedDiaObjects",
    "sso": "numAssociatedSsObjects",
    "dropped": "numDropped",
    "forced": "numForced",
}


@stage("quality", outputs=("metrics",))
def measure_visit(
    calexp: list[str],
    stars: list[str],
    template: list[str],
    difference: list[str],
    dia_sources: list[str],
    predicted: str | list,
    association: str,
    forced: str,
    alerts: str,
    camera,
    *,
    visit: dict,
    config: dict,
) -> dict[str, Any]:
    """Gather the figures of one visit from its products.

    Parameters
    ----------
    calexp, stars, template, difference, dia_sources : list of paths
        Products of the detectors, rejected ones among them.
    predicted : path, or empty
        Predicted solar-system objects.
    association, forced : path
        Products of the fold, with their ledgers.
    alerts : path
        Directory with an Avro container per detector.
    camera : Camera
    visit : dict
        Row of the sheet: ``visit``, ``night``, ``band``, ``midpoint_mjd_tai``, ...
    config : dict
        Section ``quality``.

    Returns
    -------
    dict
        JSON-ready: circumstances, ``status`` counts, medians and sums over the detectors, and
        ``detectors``, a list with one entry each.
    """
    files = by_detector(
        calexp=calexp,
        stars=stars,
        template=template,
        difference=difference,
        dia_sources=dia_sources,
    )
    ledgers = [_ledger(association, "association"), _ledger(forced, "forced")]
    entries = []
    for number, paths in files.items():
        entry = {"detector": number, **measure_detector(paths, camera.pixel_scale, config)}
        for ledger in ledgers:
            _add_ledger(entry, ledger.get(number))
        entry["numAlerts"] = count_alerts(Path(alerts) / f"{number:03d}.avro")
        entries.append(entry)
    metrics = {
        "visit": int(visit["visit"]),
        "night": int(visit["night"]),
        "band": visit["band"],
        "midpointMjdTai": float(visit["midpoint_mjd_tai"]),
        "nDetectors": len(entries),
        "nRejected": sum(entry["status"] == "REJECTED" for entry in entries),
        "numTotalSolarSystemObjects": _count_rows(predicted),
        "median": {name: median(entries, name) for name in MEDIANS},
        "sum": {name: total(entries, name) for name in SUMS},
        "detectors": entries,
    }
    log.info(
        "visit %s: %d of %d detectors rejected, %d DIASources, %d alerts",
        visit["visit"],
        metrics["nRejected"],
        metrics["nDetectors"],
        metrics["sum"]["numDiaSources"],
        metrics["sum"]["numAlerts"],
    )
    return metrics


def median(entries: list[dict], name: str) -> float | None:
    """Return the median of a figure over those entries that have it."""
    values = [entry[name] for entry in entries if entry.get(name) is not None]
    return float(np.median(values)) if values else None


def total(entries: list[dict], name: str) -> int:
    """Return the sum of a count over those entries that have it."""
    return int(sum(entry.get(name) or 0 for entry in entries))


def _ledger(path: str, product: str) -> dict[int, dict]:
    """Read the ledger of a step of the fold: detector -> status, reason, counts."""
    facts = read_metadata(path)
    return {int(e["detector"]): {**e, "product": product} for e in facts.get("ledger", [])}


def _add_ledger(entry: dict, line: dict | None) -> None:
    """Add what a step of the fold says of a detector."""
    if line is None:
        return
    entry |= {LEDGER[name]: n for name, n in line["counts"].items() if name in LEDGER}
    if line["status"] == "REJECTED" and entry["status"] == "OK":
        entry |= {"status": "REJECTED", "product": line["product"], "reason": line["reason"]}


def _count_rows(path) -> int:
    if not path:
        return 0
    try:
        return n_rows(read_table(str(path), ["ssObjectId"]))
    except Rejected:
        return 0


def count_alerts(path: Path) -> int:
    """Count the records of an Avro container without decoding them; 0 if there is none."""
    import fastavro

    if not path.is_file():
        return 0
    with open(path, "rb") as handle:
        return sum(block.num_records for block in fastavro.block_reader(handle))
