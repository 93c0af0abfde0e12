"""Which sources belong to which solar-system object, and how each came to it."""

from __future__ import annotations

import logging

import numpy as np

from alertprod.core import ephemeris, tables
from alertprod.core.designations import ss_object_id
from alertprod.daymops.precovery import Orbits
from alertprod.daymops.window import DETECTION

log = logging.getLogger(__name__)

LINKED, PRECOVERED, RECOVERED = "linked", "precovered", "recovered"
PREDICTED, IDENTIFIED = "predicted", "identified"


def attributed(objects, rows, names, seen, given) -> dict:
    """Table ``attributed``: detections of solar-system objects that no earlier night gave.

    Parameters
    ----------
    objects : table
        Product ``orbits`` of the night.
    rows : table or None
        Detections of the linkages with those that `precovery.search` added (``linkageId``; those
        of the linkage itself have a ``trackletId``).
    names : dict
        linkageId -> designation of linkages that are objects of the catalogue.
    seen : table
        Product ``sightings`` of the window. Those of found objects count, and those of known
        objects that association missed.
    given : ndarray of int
        Sources that earlier nights gave away.

    Returns
    -------
    table
        Residuals are still missing; see `with_residuals`.
    """
    parts = []
    if rows is not None and tables.n_rows(rows):
        parts = [_of_linkages(objects, rows), _of_catalogued(names, rows)]
    out = tables.stack([*parts, _of_sightings(objects, seen)])
    # the last entry of a source counts: a sighting is a sighting, even if a linkage took it up
    _, place = np.unique(out["diaSourceId"][::-1], return_index=True)
    last = np.sort(len(out["diaSourceId"]) - 1 - place)
    fresh = last[~np.isin(out["diaSourceId"][last], given)]
    if not len(fresh):
        return tables.empty("attributed")
    out = tables.take(out, fresh)
    out = tables.sort_by(out, "designation", "midpointMjdTai", "diaSourceId")
    kinds, counts = np.unique(out["how"].astype(str), return_counts=True)
    log.info(
        "detections of found objects: %s", dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    )
    return tables.conform(out, "attributed")


def _of_linkages(objects, rows) -> dict:
    owner = tables.match(objects["linkageId"], rows["linkageId"])
    use = owner >= 0
    part = _claim(tables.take(rows, use), _how(rows)[use])
    part["ssObjectId"] = objects["ssObjectId"][owner[use]]
    part["designation"] = objects["designation"][owner[use]]
    return part


def _of_catalogued(names, rows) -> dict:
    name = np.array([names.get(int(i), "") for i in rows["linkageId"]], dtype=object)
    use = name != ""
    part = _claim(tables.take(rows, use), np.full(use.sum(), IDENTIFIED, dtype=object))
    part["designation"] = name[use]
    part["ssObjectId"] = np.array([ss_object_id(n) for n in name[use]], dtype=np.int64)
    return part


def _of_sightings(objects, seen) -> dict:
    owner = tables.match(objects["ssObjectId"], seen["ssObjectId"])
    use = (owner >= 0) | seen["isIdentified"]
    how = np.where(seen["isIdentified"], IDENTIFIED, PREDICTED).astype(object)
    part = _claim(tables.take(seen, use), how[use])
    part["ssObjectId"] = seen["ssObjectId"][use]
    part["designation"] = seen["designation"][use].copy()
    found = owner[use] >= 0
    part["designation"][found] = objects["designation"][owner[use][found]]
    return part


def _claim(table, how) -> dict:
    none = np.zeros(tables.n_rows(table), dtype=np.int64)
    copied = {name: table[name] for name in DETECTION}
    return {**copied, "diaObjectId": table.get("diaObjectId", none), "how": how}


def _how(rows) -> np.ndarray:
    """Say how each detection came to its object."""
    own = rows["trackletId"] != 0
    first: dict[int, float] = {}
    for link, time in zip(rows["linkageId"][own], rows["midpointMjdTai"][own], strict=True):
        first[int(link)] = min(first.get(int(link), np.inf), float(time))
    before = [
        time < first[int(link)]
        for link, time in zip(rows["linkageId"], rows["midpointMjdTai"], strict=True)
    ]
    return np.where(own, LINKED, np.where(before, PRECOVERED, RECOVERED)).astype(object)


def with_residuals(objects, rows, options) -> dict:
    """Fill in observed minus computed by the objects' orbits; NaN for objects without one."""
    owner = tables.match(objects["ssObjectId"], rows["ssObjectId"])
    east, north = _residuals(objects, rows, owner, options["obscode"])
    return tables.conform({**rows, "resRa": east, "resDec": north}, "attributed")


def _residuals(objects, rows, owner, obscode):
    """Observed minus computed, east and north [arcsec]; `owner` is the row of the orbit or -1."""
    east, north = np.full(len(owner), np.nan), np.full(len(owner), np.nan)
    mine = np.flatnonzero(owner >= 0)
    if not len(mine):
        return east, north
    used = np.unique(owner[mine])
    orbit = Orbits(tables.take(objects, used))
    nights = rows["visit"] // 100_000
    for night in np.unique(nights[mine]):
        inside = mine[nights[mine] == night]
        orbit.move(float(np.median(rows["midpointMjdTai"][inside])))
        for time in np.unique(rows["midpointMjdTai"][inside]):
            now = inside[rows["midpointMjdTai"][inside] == time]
            which = np.searchsorted(used, owner[now])
            _, topo = ephemeris.topocentric(
                orbit.states[which], orbit.time[which], float(time), obscode
            )
            for k, vector in zip(now, topo, strict=True):
                e, n = ephemeris.tangent_offsets(rows["ra"][k], rows["dec"][k], vector[None])
                east[k], north[k] = -e[0], -n[0]
    return east, north
