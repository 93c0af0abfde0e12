"""Tracklets: two or more detections of one night that may be one moving object.

Every pair of detections from two visits that are neither too near nor too far in time, and apart by
no more than the rate limit allows, is a tracklet. Pairs that share a detection and a motion are
merged when all their detections lie on one great circle traversed at a constant rate; the pairs
inside a merged tracklet are dropped, all others stay, since which of them is real only the linking
over nights can tell.

References
----------
Kubica, J. et al. 2007, Icarus 189, 151; Heinze, A. et al. 2022, BAAS 54, 8, 504.04.
"""

from __future__ import annotations

import logging
from datetime import date
from itertools import pairwise

import numpy as np
from numba import njit
from scipy.spatial import cKDTree

from alertprod.core import ids, orbits, tables
from alertprod.core.defaults import complete
from alertprod.core.errors import BadInput
from alertprod.core.stage import stage
from alertprod.daymops.inputs import read_all

log = logging.getLogger(__name__)

_NEEDED = ("diaSourceId", "visit", "detector", "midpointMjdTai", "ra", "dec", "raErr", "decErr")
_TRAIL = ("trailLength", "trailAngle")


@stage("daymops", outputs=("tracklets",))
def make_tracklets(associations, *, config) -> dict:
    """Build the tracklets of one night.

    Parameters
    ----------
    associations : list of tables or paths
        DIASources of the night's visits (product ``association``). Rows with a solar-system
        object, a negative flux or a DIAObject of many sources are left out; so are rejected
        visits.
    config : dict
        Section ``daymops``.

    Returns
    -------
    table
        Product ``tracklets``: rows sorted by trackletId and time. No rows for a night without
        pairs, which is legal.

    Raises
    ------
    BadInput
        If a table lacks a needed column, or visits of several nights are mixed.
    """
    options = complete(config, "daymops")
    det = select_detections(read_all(associations), options)
    if len(det["diaSourceId"]) < 2:
        log.info("%d detections: no tracklets", len(det["diaSourceId"]))
        return tables.empty("tracklets")
    nights = np.unique(det["visit"] // 100_000)
    if len(nights) != 1:
        raise BadInput(
            f"tracklets are made of one night, but the visits belong to nights {nights.tolist()};"
            " pass the associations of a single night"
        )
    unit = orbits.unit_vectors(det["ra"], det["dec"])
    first, second = find_pairs(det, unit, options)
    starts, members, rms = merge_pairs(
        unit, det["midpointMjdTai"], first, second,
        options["max_rms_arcsec"] * np.pi / 648000.0,
    )  # fmt: skip
    log.info(
        "%d detections, %d pairs, %d tracklets (%d of three or more)",
        len(unit), len(first), len(starts) - 1, int(np.sum(np.diff(starts) > 2)),
    )  # fmt: skip
    return _table(det, unit, starts, members, rms, int(nights[0]))


def select_detections(associations, options) -> dict:
    """Single, positive, unattributed detections of all tables, sorted by time and identifier."""
    parts = []
    for table in associations:
        if not tables.n_rows(table):
            continue
        missing = [name for name in _NEEDED if name not in table]
        if missing:
            raise BadInput(
                f"an association table lacks the columns {missing}; make it again with this version"
            )
        keep = np.isfinite(table["ra"]) & np.isfinite(table["dec"])
        keep &= np.isfinite(table["midpointMjdTai"])
        if "ssObjectId" in table:
            keep &= table["ssObjectId"] == 0
        if "isNegative" in table:
            keep &= ~np.asarray(table["isNegative"], dtype=bool)
        for name in ("nDiaSources", "diaObject_nDiaSources"):
            if name in table:
                keep &= table[name] <= options["max_detections"]
        parts.append(_columns(table, np.flatnonzero(keep)))
    if not parts:
        return {name: np.zeros(0) for name in (*_NEEDED, "mag", "magErr", *_TRAIL)}
    det = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    _, unique = np.unique(det["diaSourceId"], return_index=True)  # a detection counts once
    det = {key: value[unique] for key, value in det.items()}
    return tables.sort_by(det, "midpointMjdTai", "diaSourceId")


def _columns(table, rows):
    out = {name: np.asarray(table[name])[rows] for name in _NEEDED}
    n = len(rows)
    blank = np.full(n, np.nan)
    # an unknown error is not a zero error
    for name in ("raErr", "decErr"):
        error = np.asarray(out[name], float)
        out[name] = np.where(np.isfinite(error) & (error > 0.0), error, 0.1 / 3600.0)
    for name in _TRAIL:
        out[name] = np.asarray(table[name], float)[rows] if name in table else blank
    if "band" in table:
        out["band"] = np.asarray(table["band"], dtype=object)[rows]
    else:
        out["band"] = np.full(n, "", dtype=object)
    flux, error = blank, blank
    for name in ("scienceFlux", "psfFlux"):  # the difference flux is the moving object's own
        if name in table:
            flux = np.asarray(table[name], float)[rows]
            error = np.asarray(table.get(name + "Err", np.full(len(flux), np.nan)), float)
            error = error[rows] if len(error) != n else error
    with np.errstate(invalid="ignore", divide="ignore"):
        good = flux > 0.0
        out["mag"] = np.where(good, 31.4 - 2.5 * np.log10(np.where(good, flux, 1.0)), np.nan)
        out["magErr"] = np.where(good, 1.0857 * error / flux, np.nan)
    return out


def find_pairs(det, unit, options):
    """Index pairs (earlier, later) of detections that may be one object.

    Returns
    -------
    first, second : ndarray of int
        Sorted by first, then second.
    """
    visits, start = np.unique(det["visit"], return_index=True)
    order = np.argsort(start, kind="stable")
    visits, start = visits[order], start[order]
    groups = np.split(np.arange(len(unit)), start[1:])
    # Detections are sorted by time, but two telescopes or equal times could interleave visits.
    if any(len(np.unique(det["visit"][g])) > 1 for g in groups):
        groups = [np.flatnonzero(det["visit"] == v) for v in visits]
    time = np.array([np.median(det["midpointMjdTai"][g]) for g in groups])
    centre = np.array([unit[g].mean(axis=0) for g in groups])
    reach = np.array(
        [
            np.sqrt(np.max(np.sum((unit[g] - c) ** 2, axis=1)))
            for g, c in zip(groups, centre, strict=True)
        ]
    )
    trees: dict[int, cKDTree] = {}
    found = []
    low, high = options["min_interval_minutes"] / 1440.0, options["max_interval_minutes"] / 1440.0
    slow = np.deg2rad(options["max_rate_deg_day"])
    fast = np.deg2rad(options["max_trailed_rate_deg_day"])
    trailed = det["trailLength"] >= options["min_trail_arcsec"]
    for i in range(len(groups)):
        dt = time - time[i]
        gap = np.linalg.norm(centre - centre[i], axis=1) - reach - reach[i]
        any_trail = bool(trailed[groups[i]].any())
        limit = (fast if any_trail else slow) * dt
        for j in np.flatnonzero((dt >= low) & (dt <= high) & (gap <= limit)):
            for k in (i, j):
                if k not in trees:
                    trees[k] = cKDTree(unit[groups[k]])
            pairs = trees[i].sparse_distance_matrix(trees[j], limit[j], output_type="ndarray")
            found.append((groups[i][pairs["i"]], groups[j][pairs["j"]]))
    if not found:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    first = np.concatenate([f for f, _ in found])
    second = np.concatenate([s for _, s in found])
    keep = _plausible(det, unit, first, second, options)
    first, second = first[keep], second[keep]
    order = np.lexsort((second, first))
    return _limit(first[order], second[order], unit, options["max_pairs_per_detection"])


def _plausible(det, unit, first, second, options):
    """Arc, rate and trail cuts on candidate pairs."""
    step = unit[second] - unit[first]
    arc = np.rad2deg(np.linalg.norm(step, axis=1))
    rate = arc / (det["midpointMjdTai"][second] - det["midpointMjdTai"][first])
    keep = arc * 3600.0 >= options["min_arc_arcsec"]
    ra, dec = np.deg2rad(det["ra"][first]), np.deg2rad(det["dec"][first])
    east = -np.sin(ra) * step[:, 0] + np.cos(ra) * step[:, 1]
    north = -np.sin(dec) * (np.cos(ra) * step[:, 0] + np.sin(ra) * step[:, 1])
    north += np.cos(dec) * step[:, 2]
    angle = np.rad2deg(np.arctan2(east, north))
    agreed = np.zeros(len(arc), dtype=bool)
    for side in (first, second):
        length = det["trailLength"][side]
        has = length >= options["min_trail_arcsec"]
        told = length / 3600.0 * 86400.0 / options["exposure_s"]
        # the angle of a trail has no sign; trailAngle is measured from north through east
        turn = np.abs((det["trailAngle"][side] - angle + 90.0) % 180.0 - 90.0)
        good = np.abs(told - rate) <= options["trail_tolerance"] * np.maximum(told, rate)
        good &= ~(turn > options["trail_angle_deg"])
        keep &= ~has | good
        agreed |= has & good
    return keep & ((rate <= options["max_rate_deg_day"]) | agreed)


def _limit(first, second, unit, most):
    """Keep the `most` slowest pairs of a detection: clumps of artefacts would make thousands."""
    if not len(first):
        return first, second
    arc = np.sum((unit[second] - unit[first]) ** 2, axis=1)
    keep = np.ones(len(first), dtype=bool)
    for column in (first, second):
        order = np.lexsort((second, first, arc, column))
        ordered = column[order]
        begin = np.r_[0, np.flatnonzero(np.diff(ordered)) + 1]
        rank = np.arange(len(order)) - np.repeat(begin, np.diff(np.r_[begin, len(order)]))
        keep[order[rank >= most]] = False
    return first[keep], second[keep]


@njit(cache=True)
def _deviation(unit, time, members, n):
    """Rms distance [rad] of detections from constant motion on a great circle, small arcs."""
    o = unit[members[0]]
    t0 = time[members[0]]
    st = 0.0
    stt = 0.0
    sx = np.zeros(3)
    sxt = np.zeros(3)
    sxx = 0.0
    for k in range(n):
        t = time[members[k]] - t0
        st += t
        stt += t * t
        for c in range(3):
            d = unit[members[k], c] - o[c]
            sx[c] += d
            sxt[c] += d * t
            sxx += d * d
    den = stt - st * st / n
    total = sxx
    for c in range(3):
        slope = (sxt[c] - sx[c] * st / n) / den
        total -= sx[c] * sx[c] / n + slope * slope * den
    return np.sqrt(max(total, 0.0) / n)


@njit(cache=True)
def _grow(unit, time, start, partner, tolerance):
    """For each pair, the largest set of the first one's partners that share its motion.

    `start`/`partner` is the adjacency of earlier to later detections. Returns flat groups of at
    least three detections, with their rms.
    """
    n = len(start) - 1
    members = np.empty(64, dtype=np.int64)
    flat = [np.int64(0)]
    flat.pop()
    begin = [np.int64(0)]
    quality = [0.0]
    quality.pop()
    for i in range(n):
        lo, hi = start[i], start[i + 1]
        for p in range(lo, hi):
            j = partner[p]
            dt = time[j] - time[i]
            members[0] = i
            members[1] = j
            count = 2
            for q in range(lo, hi):
                k = partner[q]
                if q == p or count >= 64 or time[k] <= time[j]:
                    continue
                scale = (time[k] - time[i]) / dt
                miss = 0.0
                for c in range(3):
                    d = unit[i, c] + scale * (unit[j, c] - unit[i, c]) - unit[k, c]
                    miss += d * d
                # errors of the pair are stretched by the extrapolation
                if miss > (3.0 * tolerance * (1.0 + scale)) ** 2:
                    continue
                same_time = False
                for m in range(1, count):
                    if time[members[m]] == time[k]:
                        same_time = True
                if same_time:
                    continue
                members[count] = k
                if _deviation(unit, time, members, count + 1) <= tolerance:
                    count += 1
            if count > 2:
                flat.extend(members[:count])
                begin.append(np.int64(len(flat)))
                quality.append(_deviation(unit, time, members, count))
    return np.array(flat), np.array(begin), np.array(quality)


def merge_pairs(unit, time, first, second, tolerance):
    """Merge collinear pairs into longer tracklets.

    Returns
    -------
    starts : ndarray of int, shape (n + 1,)
    members : ndarray of int
        Detections of tracklet k: ``members[starts[k]:starts[k + 1]]``, in order of time.
    rms : ndarray, shape (n,)
        Deviation from a great circle [rad].
    """
    n = len(unit)
    adjacency = np.zeros(n + 1, dtype=np.int64)
    np.add.at(adjacency, first + 1, 1)
    flat, begin, quality = _grow(
        unit, time, np.cumsum(adjacency), second.astype(np.int64), tolerance
    )
    groups = [flat[a:b] for a, b in pairwise(begin)]
    order = sorted(
        range(len(groups)), key=lambda k: (-len(groups[k]), quality[k], tuple(groups[k]))
    )
    used = np.zeros(n, dtype=bool)
    swallowed: set[tuple[int, int]] = set()
    accepted = []
    for k in order:
        group = groups[k]
        # A detection belongs to one long tracklet; what remains of a broken group are its pairs.
        if used[group].any():
            continue
        used[group] = True
        members = [int(m) for m in group]
        accepted.append((members, float(quality[k])))
        swallowed.update((a, b) for x, a in enumerate(members) for b in members[x + 1 :])
    if swallowed:
        pairs = zip(first.tolist(), second.tolist(), strict=True)
        inside = np.array([pair in swallowed for pair in pairs])
        first, second = first[~inside], second[~inside]
    head = np.concatenate([[m[0] for m, _ in accepted], first]).astype(np.int64)
    next_ = np.concatenate([[m[1] for m, _ in accepted], second]).astype(np.int64)
    lengths = np.concatenate([[len(m) for m, _ in accepted], np.full(len(first), 2)]).astype(int)
    rms = np.concatenate([[q for _, q in accepted], np.zeros(len(first))])
    lists = [np.array(m) for m, _ in accepted]
    members = np.concatenate([*lists, np.stack([first, second], axis=1).ravel()]).astype(np.int64)
    starts = np.r_[0, np.cumsum(lengths)]
    return _reorder(starts, members, rms, np.lexsort((-lengths, next_, head)))


def _reorder(starts, members, rms, order):
    lengths = np.diff(starts)[order]
    new = np.r_[0, np.cumsum(lengths)]
    index = np.arange(new[-1]) - np.repeat(new[:-1] - starts[:-1][order], lengths)
    return new, members[index], rms[order]


def _table(det, unit, starts, members, rms, night):
    """Long table, one row per tracklet and detection."""
    lengths = np.diff(starts)
    first, last = members[starts[:-1]], members[starts[1:] - 1]
    dt = det["midpointMjdTai"][last] - det["midpointMjdTai"][first]
    step = unit[last] - unit[first]
    ra, dec = np.deg2rad(det["ra"][first]), np.deg2rad(det["dec"][first])
    east = -np.sin(ra) * step[:, 0] + np.cos(ra) * step[:, 1]
    north = -np.sin(dec) * (np.cos(ra) * step[:, 0] + np.sin(ra) * step[:, 1])
    north += np.cos(dec) * step[:, 2]
    day = date(night // 10_000, night // 100 % 100, night % 100) - ids.FIRST_DAY
    number = (day.days << 32) + np.arange(len(lengths), dtype=np.int64)

    def spread(values):
        return np.repeat(values, lengths)

    table = {
        "trackletId": spread(number),
        "nDet": spread(lengths),
        "rateRa": spread(np.rad2deg(east) / dt),
        "rateDec": spread(np.rad2deg(north) / dt),
        "gcrRms": spread(np.rad2deg(rms) * 3600.0),
    }
    for name in (*_NEEDED, "mag", "magErr", "band"):
        table[name] = det[name][members]
    return tables.conform(table, "tracklets")
