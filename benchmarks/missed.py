"""What linking missed or mixed on a simulated sky, object by object, to learn what it needs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).resolve().parent))

import moving_sky
from populations import CLASSES

CROWD = 60.0  # arcsec


def objects(sky, linkages, tracklets, missing):
    """Describe objects that were not found.

    Parameters
    ----------
    sky : moving_sky.Sky
    linkages : table
        Product ``linkages``.
    tracklets : list of tables
        Product ``tracklets`` of each night.
    missing : iterable of int

    Returns
    -------
    list of dict
        Class; detections, nights, nights with a pair that tracklets allow, arc [days]; for each
        such night minutes and arcsec between first and last detection; distance from the Sun and
        from the Earth [au]; most other detections of a visit within `CROWD`; tracklets that hold
        nothing else; how many of its detections the fullest linkage of them has, among how many.
    """
    det = sky.detections
    unit = moving_sky.directions(det["ra"], det["dec"])
    pure = _pure_tracklets(sky, tracklets)
    held = dict(zip(linkages["diaSourceId"].tolist(), linkages["linkageId"].tolist(), strict=True))
    size = dict(zip(*np.unique(linkages["linkageId"], return_counts=True), strict=True))
    site, sun, _ = moving_sky._observers(np.array([np.median(det["midpointMjdTai"])]))
    out = []
    for owner in sorted(missing):
        mine = np.flatnonzero(sky.truth == owner)
        mine = mine[np.argsort(det["midpointMjdTai"][mine])]
        nights = _nights(det, unit, mine)
        links = [held[i] for i in det["diaSourceId"][mine].tolist() if i in held]
        fullest = max(set(links), key=links.count) if links else None
        place = sky.states[owner, :3]
        out.append({
            "object": int(owner), "class": CLASSES[sky.kind[owner]], "detections": len(mine),
            "nights": len(np.unique(det["visit"][mine] // 100_000)), "pair_nights": len(nights),
            "arc": round(float(np.ptp(det["midpointMjdTai"][mine])), 2), "pairs": nights,
            "sun_au": round(float(np.linalg.norm(place)), 2),
            "earth_au": round(float(np.linalg.norm(place - (site - sun)[0])), 3),
            "crowd": max(_neighbours(det, unit, k) for k in mine),
            "tracklets": pure.get(owner, 0),
            "linked": (links.count(fullest), int(size[fullest])) if links else None,
        })  # fmt: skip
    return out


def _nights(det, unit, mine):
    """(detections, minutes, arcsec) of each night that has a pair apart by five minutes or more."""
    out = []
    day = det["visit"][mine] // 100_000
    for night in np.unique(day):
        k = mine[day == night]
        minutes = float(np.ptp(det["midpointMjdTai"][k])) * 1440
        moved = float(np.rad2deg(np.linalg.norm(unit[k[-1]] - unit[k[0]]))) * 3600
        if minutes >= 5.0:
            out.append((len(k), round(minutes, 1), round(moved, 2)))
    return out


def _neighbours(det, unit, k):
    same = np.flatnonzero(det["visit"] == det["visit"][k])
    near = cKDTree(unit[same]).query_ball_point(unit[k], np.deg2rad(CROWD / 3600))
    return len(near) - 1


def _pure_tracklets(sky, tracklets):
    """Number of tracklets of each object that hold nothing else."""
    owner = dict(zip(sky.detections["diaSourceId"].tolist(), sky.truth.tolist(), strict=True))
    count: dict[int, int] = {}
    for table in tracklets:
        groups: dict[int, set] = {}
        for name, source in zip(
            table["trackletId"].tolist(), table["diaSourceId"].tolist(), strict=True
        ):
            groups.setdefault(name, set()).add(owner[source])
        for owners in groups.values():
            if len(owners) == 1:
                (one,) = owners
                count[one] = count.get(one, 0) + 1
    return count


def mixed(sky, linkages):
    """Describe linkages that hold more than one object or false detections.

    Returns
    -------
    list of dict
        Detections, nights, reduced rms, detections of the object that has most, its class, false
        ones by kind, those of other objects.
    """
    owner = dict(zip(sky.detections["diaSourceId"].tolist(), range(len(sky.truth)), strict=True))
    out = []
    for name in np.unique(linkages["linkageId"]):
        rows = linkages["linkageId"] == name
        index = np.array([owner[i] for i in linkages["diaSourceId"][rows].tolist()])
        truth = sky.truth[index]
        real, count = np.unique(truth[truth >= 0], return_counts=True)
        if len(real) == 1 and len(truth) == count[0]:
            continue
        most = int(real[np.argmax(count)]) if len(real) else -1
        out.append({
            "linkage": int(name), "detections": len(truth),
            "nights": int(linkages["nNights"][rows][0]), "rms": float(linkages["rms"][rows][0]),
            "most": int(count.max()) if len(real) else 0,
            "class": CLASSES[sky.kind[most]] if most >= 0 else None,
            "others": int(count.sum() - count.max()) if len(real) else 0,
            "false": {
                kind: int(np.sum(sky.origin[index] == k))
                for k, kind in enumerate(moving_sky.FALSE) if np.any(sky.origin[index] == k)
            },
        })  # fmt: skip
    return out
