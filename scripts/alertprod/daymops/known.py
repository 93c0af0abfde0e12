"""Known objects that association missed: sources that move as predicted, but beside the place.

An orbit that has not been observed for years misses its object by more than its quoted error, yet
its motion over a night is right. Sources of two visits or more that lie off the predicted places of
one object by the same small vector are that object; strangers would have to copy place and motion.
"""

from __future__ import annotations

import logging

import numpy as np
from scipy.spatial import cKDTree

from alertprod.core import orbits, tables
from alertprod.daymops.inputs import read_all

log = logging.getLogger(__name__)

DRIFT = 0.03  # of the offset, by which it may change in a night: a stale orbit's rate is off, too


def identify(singles, predictions, options) -> tuple[np.ndarray, np.ndarray]:
    """Say which single sources are known objects beside their predicted places.

    Parameters
    ----------
    singles : table
        Product ``singles`` of a night.
    predictions : list of tables or paths
        Product ``predicted`` of its visits.
    options : dict
        Section ``daymops``, complete.

    Returns
    -------
    ssObjectId : ndarray of int64, shape (n,)
        0 for sources that remain single.
    designation : ndarray of object, shape (n,)
    """
    count = tables.n_rows(singles)
    owner, name = np.zeros(count, dtype=np.int64), np.full(count, "", dtype=object)
    parts = [part for part in read_all(predictions) if tables.n_rows(part)]
    if not count or not parts:
        return owner, name
    predicted = tables.stack(parts)
    row, which, offset = _near(singles, predicted, options)
    groups = _groups(singles, predicted, (row, which, offset), options["same_arcsec"] / 2.0)
    for _, thing, rows in groups:
        if (owner[rows] != 0).any():
            continue
        owner[rows] = predicted["ssObjectId"][thing]
        name[rows] = predicted["designation"][thing]
    log.info("%d known objects beside their predicted places", len(np.unique(owner[owner != 0])))
    return owner, name


def _near(singles, predicted, options):
    """Pairs of source and prediction of one visit: rows, rows, offsets (n, 2) [arcsec].

    Only pairs near in place and, where both are known, in brightness.
    """
    reach = np.deg2rad(options["known_arcsec"] / 3600.0)
    places = orbits.unit_vectors(predicted["ra"], predicted["dec"])
    seen = orbits.unit_vectors(singles["ra"], singles["dec"])
    rows, others = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)]
    for visit in np.unique(singles["visit"]):
        mine = np.flatnonzero(singles["visit"] == visit)
        theirs = np.flatnonzero(predicted["visit"] == visit)
        if not len(theirs):
            continue
        near = cKDTree(places[theirs]).query_ball_point(seen[mine], reach)
        rows.append(np.repeat(mine, [len(n) for n in near]))
        others.append(theirs[np.array([k for n in near for k in sorted(n)], dtype=int)])
    row, which = np.concatenate(rows), np.concatenate(others)
    differs = np.abs(singles["mag"][row] - predicted["mag"][which]) > options["precovery_mag"]
    row, which = row[~differs], which[~differs]
    turn = (singles["ra"][row] - predicted["ra"][which] + 180.0) % 360.0 - 180.0
    east = turn * np.cos(np.deg2rad(predicted["dec"][which]))
    north = singles["dec"][row] - predicted["dec"][which]
    return row, which, 3600.0 * np.stack([east, north], axis=1)


def _groups(singles, predicted, pairs, tolerance):
    """Sources with one offset from one object: (size of the offset, prediction, rows), sorted."""
    row, which, offset = pairs
    things = predicted["ssObjectId"][which]
    order = np.lexsort((row, things))
    cuts = np.flatnonzero(np.diff(things[order])) + 1
    found = []
    for use in np.split(order, cuts):
        if len(np.unique(singles["visit"][row[use]])) < 2:
            continue
        rows, centre = _common(singles["visit"][row[use]], offset[use], tolerance)
        if len(rows):
            found.append((float(np.hypot(*centre)), int(which[use[0]]), row[use][rows]))
    return sorted(found, key=lambda group: (group[0], group[1]))


def _common(visits, offsets, tolerance):
    """The most, and among equals the closest, offsets of different visits that agree.

    Returns
    -------
    rows : ndarray of int
        One row per visit; none when no two visits agree.
    centre : ndarray, shape (2,)
        Mean offset.
    """
    best: tuple = (0, np.inf, np.zeros(0, dtype=int))
    for k in range(len(offsets)):
        apart = np.hypot(*(offsets - offsets[k]).T)
        near = np.flatnonzero(apart <= tolerance + DRIFT * np.hypot(*offsets[k]))
        near = near[np.lexsort((apart[near], visits[near]))]
        _, first = np.unique(visits[near], return_index=True)
        rows = near[first]
        spread = float(apart[rows].sum())
        if len(rows) >= 2 and (-len(rows), spread) < (-best[0], best[1]):
            best = (len(rows), spread, rows)
    rows = np.sort(best[2])
    return rows, offsets[rows].mean(axis=0) if len(rows) else np.zeros(2)
