"""What a night was like."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from alertprod.core.errors import Rejected
from alertprod.core.stage import stage
from alertprod.core.tables import read_table
from alertprod.quality.visit import MEDIANS, SUMS, median, total

#: Quantities by which an image may stand out, with the scatter [same unit] that is always granted.
OUTLIERS = {
    "seeing": 0.05,
    "zeroPoint": 0.02,
    "skyLevel": 5.0,
    "wcsRmsMas": 2.0,
    "limitingMag": 0.05,
    "residualChi2": 0.05,
    "numDiaSources": 5.0,
}
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@stage("quality", outputs=("summary",))
def summarize_night(
    metrics: list[str],
    tracklets: str | list,
    linkages: str | list,
    orbits: str | list,
    *,
    night: str,
    config: dict,
) -> dict[str, Any]:
    """Summarise a night from the metrics of its visits and what DayMOPS found.

    Parameters
    ----------
    metrics : list of paths
        ``metrics.json`` of the visits.
    tracklets, linkages, orbits : path, or empty
        Products of DayMOPS; empty where it is switched off.
    night : str
        day_obs.
    config : dict
        Section ``quality``.

    Returns
    -------
    dict
        JSON-ready: counts, ``rejections`` by reason, ``bands`` with medians, ``sum``,
        ``movingObjects``, ``outliers`` (images that stand out) and ``visits``.
    """
    visits = [json.loads(Path(path).read_text(encoding="utf-8")) for path in metrics]
    visits.sort(key=lambda visit: (visit["midpointMjdTai"], visit["visit"]))
    images = [
        {**entry, "visit": visit["visit"], "band": visit["band"]}
        for visit in visits
        for entry in visit["detectors"]
    ]
    return {
        "night": int(night),
        "nVisits": len(visits),
        "nImages": len(images),
        "nRejected": sum(image["status"] == "REJECTED" for image in images),
        "rejections": rejections(images),
        "bands": by_band(visits, images),
        "sum": {name: total(images, name) for name in SUMS},
        "numTotalSolarSystemObjects": total(visits, "numTotalSolarSystemObjects"),
        "movingObjects": moving_objects(tracklets, linkages, orbits),
        "outliers": outliers(images, config["outlier_sigma"])[: config["outliers_shown"]],
        "visits": [{k: v for k, v in visit.items() if k != "detectors"} for visit in visits],
    }


def rejections(images: list[dict]) -> list[dict[str, Any]]:
    """Count rejected images by reason; reasons that differ in their numbers alone are one.

    Returns
    -------
    list of dict
        ``product``, ``reason`` (with its numbers where they agree, else N), ``count``,
        ``images`` (visit/detector); the most frequent first.
    """
    groups: dict[tuple[str, str], list[dict]] = {}
    for image in images:
        if image["status"] == "REJECTED":
            key = image["product"], NUMBER.sub("N", image["reason"])
            groups.setdefault(key, []).append(image)
    result = []
    for (product, general), members in groups.items():
        reasons = sorted({member["reason"] for member in members})
        result.append(
            {
                "product": product,
                "reason": reasons[0] if len(reasons) == 1 else general,
                "example": reasons[0],
                "count": len(members),
                "images": sorted(f"{m['visit']}/{m['detector']:03d}" for m in members),
            }
        )
    return sorted(result, key=lambda g: (-g["count"], g["product"], g["reason"]))


def by_band(visits: list[dict], images: list[dict]) -> dict[str, dict[str, Any]]:
    """Return counts and medians over the images of each band."""
    result: dict[str, dict[str, Any]] = {}
    for band in sorted({visit["band"] for visit in visits}, key="ugrizy".find):
        mine = [image for image in images if image["band"] == band]
        result[band] = {
            "nVisits": sum(visit["band"] == band for visit in visits),
            "nImages": len(mine),
            "nRejected": sum(image["status"] == "REJECTED" for image in mine),
            **{name: median(mine, name) for name in MEDIANS},
        }
    return result


def outliers(images: Iterable[dict], n_sigma: float) -> list[dict[str, Any]]:
    """Find the images that differ most from the others of their band.

    The scatter is 1.4826 times the median absolute deviation, and at least that of `OUTLIERS`;
    bands with fewer than five images have no others to differ from.

    Returns
    -------
    list of dict
        ``visit``, ``detector``, ``quantity``, ``value``, ``median``, ``sigma``: each image with
        the quantity in which it stands out most, the worst image first.
    """
    worst: dict[tuple[int, int], dict[str, Any]] = {}
    for band, name in sorted({(i["band"], n) for i in images for n in OUTLIERS}):
        mine = [i for i in images if i["band"] == band and i.get(name) is not None]
        if len(mine) < 5:
            continue
        values = np.array([i[name] for i in mine], dtype=np.float64)
        middle = float(np.median(values))
        scatter = max(1.4826 * float(np.median(np.abs(values - middle))), OUTLIERS[name])
        for image, value in zip(mine, values.tolist(), strict=True):
            sigma = (value - middle) / scatter
            key = image["visit"], image["detector"]
            if abs(sigma) < max(n_sigma, abs(worst.get(key, {"sigma": 0.0})["sigma"])):
                continue
            worst[key] = {
                "visit": key[0],
                "detector": key[1],
                "band": band,
                "quantity": name,
                "value": value,
                "median": middle,
                "sigma": sigma,
            }
    return sorted(worst.values(), key=lambda w: (-abs(w["sigma"]), w["visit"], w["detector"]))


def moving_objects(tracklets, linkages, orbits) -> dict[str, int]:
    """Count tracklets, linkages and orbits."""
    status = _column(orbits, "status")
    return {
        "numTracklets": len(np.unique(_column(tracklets, "trackletId"))),
        "numLinkages": len(np.unique(_column(linkages, "linkageId"))),
        "numOrbits": len(status),
        "numNewOrbits": int((status == "new").sum()),
        "numUpdatedOrbits": int((status == "updated").sum()),
    }


def _column(path, name: str) -> np.ndarray:
    if not path:
        return np.empty(0, dtype=object)
    try:
        return read_table(str(path), [name])[name]
    except Rejected:
        return np.empty(0, dtype=object)
