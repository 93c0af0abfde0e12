"""The figures of one detector-visit, from the headers and tables of its products.

Names follow Rubin's ``analysis_tools`` and ``ap_verify`` where they have one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from alertprod.core.errors import Rejected
from alertprod.core.fits import read_meta
from alertprod.core.tables import Table, n_rows, read_table

#: Figure -> header keyword of the calibrated exposure.
CALEXP = {
    "band": "BAND",
    "midpointMjdTai": "MJDMID",
    "exposureTime": "EXPTIME",
    "airmass": "AIRMASS",
    "seeingPx": "SEEING",
    "zeroPoint": "ZEROPNT",
    "skyLevel": "SKYLEVEL",
    "skySigma": "SKYSIG",
    "wcsRmsMas": "WCSRMS",
    "limitingMag": "LIMMAG",
    "nPsfStars": "NPSFSTAR",
    "nWcsStars": "NWCSSTAR",
    "nPhotometryStars": "NPHOSTAR",
}
#: Figure -> header keyword of the difference image.
DIFFERENCE = {
    "kernelSum": "KSUM",
    "kernelCondition": "KCOND",
    "kernelStars": "NKSTAR",
    "residualChi2": "KCHI2",
    "templateCoverage": "TMPLCOV",
    "differencePull": "DIFFSTD",
    "convolved": "CONVOLVD",
}
STARS = ["psfFlux", "snr", "refFlux", "isPhotometryStar"]
SOURCES = ["isNegative", "isDipole", "reliability", "trailLength", "pixelFlags"]
ORDER = ("calexp", "stars", "template", "difference", "dia_sources")


def measure_detector(paths: dict[str, str], pixel_scale: float, config: dict) -> dict[str, Any]:
    """Gather the figures of a detector-visit.

    Parameters
    ----------
    paths : dict
        Product name (``calexp``, ``stars``, ``template``, ``difference``, ``dia_sources``) ->
        file; rejected products are welcome, and so are missing names.
    pixel_scale : float
        [arcsec/px]
    config : dict
        Section ``quality``.

    Returns
    -------
    dict
        ``status`` (OK or REJECTED), ``product`` (the first that was rejected) and ``reason``,
        then the figures of all products that there are.
    """
    readers: dict[str, Callable[[str], dict[str, Any]]] = {
        "calexp": lambda path: _of_calexp(path, pixel_scale),
        "stars": _of_stars,
        "template": lambda path: read_meta(path) and {},
        "difference": _of_difference,
        "dia_sources": lambda path: count_sources(_read_sources(path), config),
    }
    entry: dict[str, Any] = {"status": "OK", "product": "", "reason": ""}
    for name in ORDER:
        if name not in paths:
            continue
        try:
            entry |= readers[name](paths[name])
        except Rejected as rejection:
            if entry["status"] == "OK":
                entry |= {"status": "REJECTED", "product": name, "reason": str(rejection)}
    return entry


def _of_calexp(path: str, pixel_scale: float) -> dict[str, Any]:
    meta = read_meta(path)
    figures = {name: meta[key] for name, key in CALEXP.items() if key in meta}
    if "seeingPx" in figures:
        figures["seeing"] = figures["seeingPx"] * pixel_scale
    return figures


def _of_difference(path: str) -> dict[str, Any]:
    meta = read_meta(path)
    return {name: meta[key] for name, key in DIFFERENCE.items() if key in meta}


def _of_stars(path: str) -> dict[str, Any]:
    stars = read_table(path, STARS)
    return {"nStars": n_rows(stars), "zeroPointScatter": photometric_scatter(stars)}


def photometric_scatter(stars: Table) -> float | None:
    """Return the robust scatter of the calibration stars about the reference [mag].

    1.4826 times the median absolute deviation; None with fewer than three stars.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitudes = -2.5 * np.log10(stars["psfFlux"] / stars["refFlux"])
    used = stars["isPhotometryStar"].astype(bool) & np.isfinite(magnitudes)
    if used.sum() < 3:
        return None
    chosen = magnitudes[used]
    return float(1.4826 * np.median(np.abs(chosen - np.median(chosen))))


def _read_sources(path: str) -> Table:
    import pyarrow.parquet as pq

    flags = [n for n in pq.read_schema(path).names if n.startswith("pixelFlags_")]
    return read_table(path, [*SOURCES, *flags])


def count_sources(sources: Table, config: dict) -> dict[str, Any]:
    """Count the detections of a difference image by kind.

    Parameters
    ----------
    sources : dict of arrays
        Table ``dia_sources``.
    config : dict
        ``high_reliability``, ``low_reliability``, ``reliability_bins``, ``good_flags``.
    """
    negative = sources["isNegative"].astype(bool)
    dipole = sources["isDipole"].astype(bool)
    flagged = np.zeros(n_rows(sources), dtype=bool)
    for name in config["good_flags"]:
        flagged |= sources[name].astype(bool)
    score = sources["reliability"].astype(np.float64)
    known = np.isfinite(score)
    bins, _ = np.histogram(score[known], bins=int(config["reliability_bins"]), range=(0.0, 1.0))
    return {
        "numDiaSources": n_rows(sources),
        "numDiaSourcesGood": int((~flagged).sum()),
        "numFlagged": int(flagged.sum()),
        "numPositive": int((~negative).sum()),
        "numNegative": int(negative.sum()),
        "numDipoles": int(dipole.sum()),
        "numTrailedDiaSrc": int(np.isfinite(sources["trailLength"]).sum()),
        "numDiaSourcesHighReliability": int((score > config["high_reliability"]).sum()),
        "numDiaSourcesLowReliability": int((score < config["low_reliability"]).sum()),
        "numDiaSourcesNanReliability": int((~known).sum()),
        "reliabilityHistogram": bins.tolist(),
    }


def by_detector(**products) -> dict[int, dict[str, str]]:
    """Sort lists of files by the detector whose directory holds them.

    Parameters
    ----------
    **products : list of paths
        Product name -> its files, one per detector.
    """
    found: dict[int, dict[str, str]] = {}
    for name, paths in products.items():
        for path in paths:
            found.setdefault(int(Path(path).parent.name), {})[name] = str(path)
    return dict(sorted(found.items()))
