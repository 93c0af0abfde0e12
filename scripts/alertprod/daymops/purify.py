"""From clusters to linkages: cheap rejection, orbit fit, then growth over the whole window.

A cluster gives a starting orbit and, on each night, the tracklet that agrees best with it. One
linearised step tells most false clusters apart (their residuals stay at the size of the clustering
radius, minutes of arc); the rest are fitted, losing their worst tracklet while the residuals are
too large for the astrometric errors. A good orbit then collects every detection of the window that
it predicts. Detections of a secure linkage are not offered again, which ends the long tail of
near-copies of the same cluster.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from alertprod.daymops import algebra, fit
from alertprod.daymops.grow import grow, keep

SEEDS = 7  # nights from which a first orbit is made; growth adds the others
PATIENCE = 8  # steps


@njit(cache=True)
def _best_per_night(members, trk_start, trk_night, claimed, trk_det, chosen):
    """First (best) tracklet of each night whose detections are all free."""
    taken = np.uint64(0)
    count = 0
    for m in members:
        bit = np.uint64(1) << np.uint64(trk_night[m])
        if taken & bit:
            continue
        free = True
        for d in range(trk_start[m], trk_start[m + 1]):
            if claimed[trk_det[d]]:
                free = False
        if free and count < len(chosen):
            taken |= bit
            chosen[count] = m
            count += 1
    return count


@njit(cache=True)
def _known(chosen, trk_start, trk_det, held):
    """Whether the chosen tracklets, but for one at most, are in one linkage already.

    Three of them and its orbit would be fitted again, and it collects what belongs to it.
    """
    for c in range(2):
        which = held[trk_det[trk_start[chosen[c]]]]
        if which < 0:
            continue
        others = 0
        for m in chosen:
            for d in range(trk_start[m], trk_start[m + 1]):
                if held[trk_det[d]] != which:
                    others += 1
                    break
        if others == 0 or (others == 1 and len(chosen) > 3):
            return True
    return False


@njit(cache=True)
def _linear_rows(state, epoch, obs, dets, rows, value):
    """Design rows and residuals [rad] of detections at `state`; False if it fails."""
    moved = np.empty(6)
    partials = np.empty((6, 6))
    for k in range(len(dets)):
        pe, pn = fit.design(
            state, epoch, obs[dets[k]], moved, partials, rows[2 * k], rows[2 * k + 1]
        )
        if not math.isfinite(pe):
            return False
        value[2 * k], value[2 * k + 1] = -pe, -pn
    return True


@njit(cache=True)
def _linear_fit(rows, value, keep, delta, after):
    """One linearised step with the kept rows: mean square residual left over."""
    normal = np.zeros((6, 6))
    right = np.zeros(6)
    n = 0
    for k in range(len(value)):
        if keep[k]:
            n += 1
            for i in range(6):
                right[i] += rows[k, i] * value[k]
                for j in range(i + 1):
                    normal[i, j] += rows[k, i] * rows[k, j]
    for i in range(6):
        for j in range(i):
            normal[j, i] = normal[i, j]
        normal[i, i] *= 1.0 + 1e-10
    if not algebra.solve(normal, right, delta):
        return 1e300
    total = 0.0
    for k in range(len(value)):
        v = value[k]
        for j in range(6):
            v -= rows[k, j] * delta[j]
        after[k] = v
        if keep[k]:
            total += v * v
    return total / n


@njit(cache=True)
def _best_that_fit(rows, value, group, count, limit, keep, delta, after):
    """Keep the longest run of tracklets, best first, that one linear step explains.

    The tracklets of one object agree with each other even when strangers outnumber them. Returns
    how many tracklets are kept; 0 if not even three.
    """
    best = 0
    for m in range(3, count + 1):
        for k in range(len(group)):
            keep[2 * k] = keep[2 * k + 1] = group[k] < m
        if _linear_fit(rows, value, keep, delta, after) < limit * limit:
            best = m
        elif m > best + 2:
            break
    for k in range(len(group)):
        keep[2 * k] = keep[2 * k + 1] = group[k] < best or best == 0
    return best


@njit(cache=True)
def _drop_worst(rows, value, group, count, limit, keep, delta, after):
    """Drop the tracklet with the largest residuals until one linear step explains the rest."""
    left = count
    while True:
        if _linear_fit(rows, value, keep, delta, after) < limit * limit:
            return left
        if left <= 3:
            return 0
        worst, which = -1.0, -1
        for c in range(count):
            s, m = 0.0, 0
            for k in range(len(group)):
                if group[k] == c and keep[2 * k]:
                    s += after[2 * k] ** 2 + after[2 * k + 1] ** 2
                    m += 1
            if m and s / m > worst:
                worst, which = s / m, c
        for k in range(len(group)):
            if group[k] == which:
                keep[2 * k] = keep[2 * k + 1] = False
        left -= 1


@njit(cache=True)
def seed_orbit(state, epoch, obs, chosen, count, trk_start, trk_det, rules, use):
    """Fit the chosen tracklets, dropping the worst ones; state is changed in place.

    Returns
    -------
    int
        Number of detections in `use`; 0 if no orbit fits three nights.
    """
    total = 0
    for c in range(count):
        total += trk_start[chosen[c] + 1] - trk_start[chosen[c]]
    dets = np.empty(total, dtype=np.int64)
    group = np.empty(total, dtype=np.int64)
    k = 0
    for c in range(count):
        for d in range(trk_start[chosen[c]], trk_start[chosen[c] + 1]):
            dets[k], group[k] = trk_det[d], c
            k += 1
    rows = np.empty((2 * total, 6))
    value = np.empty(2 * total)
    after = np.empty(2 * total)
    keep = np.ones(2 * total, dtype=np.bool_)
    delta = np.empty(6)
    if not _linear_rows(state, epoch, obs, dets, rows, value):
        return 0
    left = _best_that_fit(rows, value, group, count, rules[0], keep, delta, after)
    if left == 0 and count > 3:
        left = _drop_worst(rows, value, group, count, rules[0], keep, delta, after)
    if left == 0:
        return 0
    return _nonlinear_seed(state, epoch, obs, dets, group, keep, left, rules, use)


@njit(cache=True)
def _converge(state, epoch, obs, use, limit, normal, res):
    """Fit; chi square, huge where nothing is in sight after `PATIENCE` steps.

    From a start that is far off some forty steps may be needed, but strangers, which
    never come closer than what a linear step left over, would take all of them.
    """
    chi2, _ = fit.correct(state, epoch, obs, use, 0.0, PATIENCE, normal)
    fit.residuals(state, epoch, obs, use, res)
    if np.sum(res[: len(use)] ** 2) > 2 * len(use) * limit * limit:
        return 1e300
    chi2, _ = fit.correct(state, epoch, obs, use, 0.0, 60 - PATIENCE, normal)
    return chi2


@njit(cache=True)
def _nonlinear_seed(state, epoch, obs, dets, group, keep, left, rules, use):
    normal = np.empty((6, 6))
    start = state.copy()
    res = np.empty((len(dets), 2))
    while True:
        n = 0
        for k in range(len(dets)):
            if keep[2 * k]:
                use[n] = dets[k]
                n += 1
        if n < 6 or left < 3:
            return 0
        state[:] = start
        chi2 = _converge(state, epoch, obs, use[:n], rules[0], normal, res)
        if chi2 < rules[1] ** 2 * max(2 * n - 6, 4):
            return n
        if left <= 3:
            return 0
        fit.residuals(state, epoch, obs, use[:n], res)
        worst, which = -1.0, -1
        m = 0
        for k in range(len(dets)):
            if keep[2 * k]:
                s = res[m, 0] ** 2 + res[m, 1] ** 2
                m += 1
                if s > worst:
                    worst, which = s, group[k]
        for k in range(len(dets)):
            if group[k] == which:
                keep[2 * k] = False
                keep[2 * k + 1] = False
        left -= 1


@njit(cache=True)
def purify(clusters, starts, order, seeds, epoch, obs, night, trk_start, trk_det, trk_night, sky,
           rules, claimed, held, out):  # fmt: skip
    """Turn clusters into linkages, the most promising first.

    Parameters
    ----------
    clusters, starts : ndarray
        Members (tracklets, those that agree best first) of each cluster, compressed.
    order : ndarray of int
        Order in which to try them.
    seeds : ndarray, shape (c, 6)
        Starting state of each at `epoch`.
    obs, night : ndarray
        Observation blocks and night index of each detection.
    trk_start, trk_det, trk_night : ndarray
        Tracklets as compressed lists of detections, and their nights.
    sky : tuple
        See `collect.collect`.
    rules : ndarray
        0: largest linear residual [rad]; 1: largest reduced chi; 2: least nights; 3: least
        detections; 4: gate in sigmas; 5: largest gate [rad]; 6: reduced chi that makes secure;
        7: largest difference in V [mag].
    claimed : ndarray of bool
        Detections that secure linkages own; changed in place.
    held : ndarray of int
        Number of the last linkage, secure or not, that holds each detection, -1 for none; one more
        element counts the linkages. Changed in place.
    out : tuple of ndarray
        Receives the linkages; see `linkages.room`.

    Returns
    -------
    linkages : int
        Negative if there was no room for all.
    fits : int
    """
    chosen = np.empty(SEEDS, dtype=np.int64)
    use = np.empty(len(sky[0]) + 4096, dtype=np.int64)
    state = np.empty(6)
    normal = np.empty((6, 6))
    links = 0
    fits = 0
    out[3][0] = 0
    for c in order:
        members = clusters[starts[c] : starts[c + 1]]
        count = _best_per_night(members, trk_start, trk_night, claimed, trk_det, chosen)
        if count < rules[2] or _known(chosen[:count], trk_start, trk_det, held):
            continue
        fits += 1
        state[:] = seeds[c]
        n = seed_orbit(state, epoch, obs, chosen, count, trk_start, trk_det, rules, use)
        if n == 0:
            continue
        n, chi2 = grow(state, epoch, obs, sky, claimed, rules, 0.0, use, n, normal)
        if n == 0:
            continue
        covariance = algebra.invert(normal)
        links = keep(links, state, covariance, chi2, use, n, night, rules, claimed, held, out)
        if links < 0:
            break
    return links, fits
