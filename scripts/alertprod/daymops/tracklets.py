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
from alertprod.daymops.linkages import segments
from alertprod.daymops.singles import NEEDED, select_detections

log = logging.getLogger(__name__)


@stage("daymops", outputs=("tracklets",))
def make_tracklets(singles, *, config) -> dict:
    """Build the tracklets of one night.

    Parameters
    ----------
    singles : table, or list of tables or paths
        Detections of the night (product ``singles``), in one table or several.
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
    det = select_detections([singles] if isinstance(singles, dict) else read_all(singles), options)
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
    visits = _visits(det, unit)
    first, second = find_pairs(det, unit, visits, options)
    starts, members, rms = merge_pairs(
        unit, det["midpointMjdTai"], first, second,
        options["max_rms_arcsec"] * np.pi / 648000.0,
    )  # fmt: skip
    if len(visits[0]) >= options["dense_visits"]:
        starts, members, rms = _without_chance_pairs(unit, visits, (starts, members, rms), options)
    log.info(
        "%d detections, %d pairs, %d tracklets (%d of three or more)",
        len(unit), len(first), len(starts) - 1, int(np.sum(np.diff(starts) > 2)),
    )  # fmt: skip
    return _table(det, unit, starts, members, rms, int(nights[0]))


def _visits(det, unit):
    """Detections of each visit, its time, mean direction, and reach round that (a chord)."""
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
    return groups, time, centre, reach


def _without_chance_pairs(unit, visits, tracklets, options):
    """Drop pairs where a place was visited so often that pairs of strangers outnumber all.

    An object that was there for so many visits has a longer tracklet.
    """
    _, _, centre, reach = visits
    starts, members, rms = tracklets
    head = members[starts[:-1]]
    seen = np.zeros(len(head), dtype=np.int64)
    for place, size in zip(centre, reach, strict=True):
        seen += np.sum((unit[head] - place) ** 2, axis=1) <= size**2
    keep = np.flatnonzero((np.diff(starts) > 2) | (seen < options["dense_visits"]))
    return _reorder(starts, members, rms, keep)


def find_pairs(det, unit, visits, options):
    """Index pairs (earlier, later) of detections that may be one object.

    Returns
    -------
    first, second : ndarray of int
        Sorted by first, then second.
    """
    groups, time, centre, reach = visits
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
    """Arc, rate, brightness and trail cuts on candidate pairs."""
    step = unit[second] - unit[first]
    arc = np.rad2deg(np.linalg.norm(step, axis=1))
    rate = arc / (det["midpointMjdTai"][second] - det["midpointMjdTai"][first])
    keep = arc * 3600.0 >= options["min_arc_arcsec"]
    keep &= ~(_brightness_gap(det, first, second) > options["max_mag_difference"])
    ra, dec = np.deg2rad(det["ra"][first]), np.deg2rad(det["dec"][first])
    east = -np.sin(ra) * step[:, 0] + np.cos(ra) * step[:, 1]
    north = -np.sin(dec) * (np.cos(ra) * step[:, 0] + np.sin(ra) * step[:, 1])
    north += np.cos(dec) * step[:, 2]
    angle = np.rad2deg(np.arctan2(east, north))
    agreed = np.zeros(len(arc), dtype=bool)
    trailed = det["trailLength"] >= options["min_trail_arcsec"]
    for side in (first, second):
        has = np.flatnonzero(trailed[side])
        told = det["trailLength"][side[has]] / 3600.0 * 86400.0 / options["exposure_s"]
        # the angle of a trail has no sign; trailAngle is measured from north through east
        turn = np.abs((det["trailAngle"][side[has]] - angle[has] + 90.0) % 180.0 - 90.0)
        good = np.abs(told - rate[has]) <= options["trail_tolerance"] * np.maximum(told, rate[has])
        good &= ~(turn > options["trail_angle_deg"])
        keep[has] &= good
        agreed[has] |= good
    return keep & ((rate <= options["max_rate_deg_day"]) | agreed)


def _brightness_gap(det, first, second):
    """Difference in V of pairs beyond what their errors explain [mag]; NaN where one is unknown."""
    if "mag" not in det:
        return np.full(len(first), np.nan)
    v = np.asarray(det["mag"], float) + orbits.v_minus(det["band"])
    error = np.nan_to_num(np.asarray(det["magErr"], float))
    return np.abs(v[first] - v[second]) - 3.0 * np.hypot(error[first], error[second])


def _limit(first, second, unit, most):
    """Keep the `most` slowest pairs of a detection: clumps of artefacts would make thousands."""
    if not len(first):
        return first, second
    arc = np.sum((unit[second] - unit[first]) ** 2, axis=1)
    keep = np.ones(len(first), dtype=bool)
    for column in (first, second):
        many = np.flatnonzero((np.bincount(column) > most)[column])
        order = many[np.lexsort((second[many], first[many], arc[many], column[many]))]
        ordered = column[order]
        begin = np.r_[0, np.flatnonzero(np.diff(ordered)) + 1]
        rank = np.arange(len(order)) - np.repeat(begin, np.diff(np.r_[begin, len(order)]))
        keep[order[rank >= most]] = False
    return first[keep], second[keep]


MANY = 512  # most detections of a tracklet: a deep field is visited a hundred times in a night
PLAIN = 8  # a longer tracklet is not sought again from each of its pairs


@njit(cache=True)
def _add(sums, unit, origin, t, k):
    """Add detection `k` at time `t` from the first to the sums of a straight line."""
    sums[0] += 1.0
    sums[1] += t
    sums[2] += t * t
    for c in range(3):
        d = unit[k, c] - unit[origin, c]
        sums[3 + c] += d
        sums[6 + c] += d * t
        sums[9] += d * d


@njit(cache=True)
def _deviation(sums):
    """Rms distance [rad] of detections from constant motion on a great circle, small arcs."""
    n = sums[0]
    den = sums[2] - sums[1] * sums[1] / n
    total = sums[9]
    for c in range(3):
        slope = (sums[6 + c] - sums[3 + c] * sums[1] / n) / den
        total -= sums[3 + c] * sums[3 + c] / n + slope * slope * den
    return np.sqrt(max(total, 0.0) / n)


@njit(cache=True)
def _try(k, unit, time, members, count, tolerance, sums):
    """Take detection `k` into a group that it moves with; the number of members then."""
    i, j = members[0], members[1]
    scale = (time[k] - time[i]) / (time[j] - time[i])
    miss = 0.0
    for c in range(3):
        d = unit[i, c] + scale * (unit[j, c] - unit[i, c]) - unit[k, c]
        miss += d * d
    # errors of the pair are stretched by the extrapolation
    if miss > (3.0 * tolerance * (1.0 + scale)) ** 2 or count >= MANY:
        return count
    for m in range(count):
        if time[members[m]] == time[k]:
            return count
    more = sums.copy()
    _add(more, unit, i, time[k] - time[i], k)
    if _deviation(more) > tolerance:
        return count
    sums[:] = more
    members[count] = k
    return count + 1


@njit(cache=True)
def _grow(unit, time, start, partner, back, earlier, tolerance):
    """For each pair, the largest set of the first one's partners that share its motion.

    `start`/`partner` is the adjacency of earlier to later detections, `back`/`earlier` the reverse:
    partners of the last member are taken, too, which are too near in time to the first one. Returns
    flat groups of at least three detections, with their rms.
    """
    members = np.empty(MANY, dtype=np.int64)
    flat = [np.int64(0)]
    flat.pop()
    begin = [np.int64(0)]
    quality = [0.0]
    quality.pop()
    done = np.full(len(unit), -1)
    sums = np.empty(10)
    for i in range(len(start) - 1):
        for p in range(start[i], start[i + 1]):
            if done[partner[p]] == i:
                continue
            members[0], members[1] = i, partner[p]
            sums[:] = 0.0
            _add(sums, unit, i, 0.0, i)
            _add(sums, unit, i, time[partner[p]] - time[i], partner[p])
            count = 2
            for q in range(p + 1, start[i + 1]):
                if time[partner[q]] > time[partner[p]]:
                    count = _try(partner[q], unit, time, members, count, tolerance, sums)
            last = members[count - 1]
            for q in range(back[last], back[last + 1]):
                if count > 2 and time[earlier[q]] > time[i]:
                    count = _try(earlier[q], unit, time, members, count, tolerance, sums)
            if count > 2:
                group = members[:count][np.argsort(time[members[:count]])]
                flat.extend(group)
                begin.append(np.int64(len(flat)))
                quality.append(_deviation(sums))
                if count > PLAIN:
                    done[group] = i
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
    forth = np.r_[0, np.cumsum(np.bincount(first, minlength=n))]
    back = np.r_[0, np.cumsum(np.bincount(second, minlength=n))]
    earlier = first[np.lexsort((first, second))]
    flat, begin, quality = _grow(unit, time, forth, second, back, earlier, tolerance)
    groups = [flat[a:b] for a, b in pairwise(begin)]
    order = sorted(
        range(len(groups)), key=lambda k: (-len(groups[k]), quality[k], tuple(groups[k]))
    )
    label = np.full(n, -1)
    accepted = []
    for k in order:
        group = groups[k]
        # A detection belongs to one long tracklet; what remains of a broken group are its pairs.
        if (label[group] >= 0).any():
            continue
        label[group] = len(accepted)
        accepted.append(([int(m) for m in group], float(quality[k])))
    inside = (label[first] >= 0) & (label[first] == label[second])
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
    new, index = segments(starts, order)
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
    for name in (*NEEDED, "mag", "magErr", "band"):
        table[name] = det[name][members]
    return tables.conform(table, "tracklets")
