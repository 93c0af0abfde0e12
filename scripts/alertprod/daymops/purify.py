"""From clusters to linkages: cheap rejection, orbit fit, growth over the whole window.

A cluster gives a starting orbit and, on each night, the tracklet nearest to its centre. One
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

from alertprod.core import kepler
from alertprod.daymops import fit
from alertprod.daymops.fit import GM, TIME

ARCSEC = math.pi / 648000.0


@njit(cache=True)
def _nights_with_pairs(dets, count, night, claimed):
    """Nights on which two or more of the unclaimed detections lie, and how many detections."""
    seen = np.zeros(64, dtype=np.int64)
    free = 0
    for k in range(count):
        if not claimed[dets[k]]:
            seen[night[dets[k]]] += 1
            free += 1
    nights = 0
    for k in range(64):
        if seen[k] >= 2:
            nights += 1
    return nights, free


@njit(cache=True)
def _best_per_night(members, trk_start, trk_night, claimed, trk_det, chosen):
    """First (nearest) tracklet of each night whose detections are all free."""
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
    if not fit.solve(normal, right, delta):
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
def _nearest_that_fit(rows, value, group, count, limit, keep, delta, after):
    """Keep the longest run of tracklets, nearest first, that one linear step explains.

    The tracklets of one object lie close together in the cluster even when strangers outnumber
    them. Returns how many tracklets are kept; 0 if not even three.
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
    left = _nearest_that_fit(rows, value, group, count, rules[0], keep, delta, after)
    if left == 0:
        left = _drop_worst(rows, value, group, count, rules[0], keep, delta, after)
    if left == 0:
        return 0
    return _nonlinear_seed(state, epoch, obs, dets, group, keep, left, rules, use)


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
        # from a start under a wrong hypothesis some forty steps may be needed
        chi2, _ = fit.correct(state, epoch, obs, use[:n], 0.0, 60, normal)
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
def predict_error(state, epoch, ob, covariance):
    """Largest one-sigma error [rad] of the predicted direction."""
    moved = np.empty(6)
    partials = np.empty((6, 6))
    x, y, z, delay = fit.place_seen(state, epoch, ob)
    kepler.step_with_partials(state, ob[TIME] - delay - epoch, GM, moved, partials)
    rho2 = x * x + y * y + z * z
    trace = 0.0
    radial = 0.0
    for a in range(3):
        for b in range(3):
            v = 0.0
            for i in range(6):
                for j in range(6):
                    v += partials[a, i] * covariance[i, j] * partials[b, j]
            if a == b:
                trace += v
            pa = x if a == 0 else (y if a == 1 else z)
            pb = x if b == 0 else (y if b == 1 else z)
            radial += v * pa * pb / rho2
    return math.sqrt(max(trace - radial, 0.0) / rho2)


@njit(cache=True)
def collect(state, epoch, obs, covariance, visits, visit_start, by_dec, decs, claimed, gate, use):
    """All free detections that the orbit predicts, the nearest one per visit.

    Parameters
    ----------
    visits : ndarray, shape (v, 4)
        Mean direction and cosine of the radius of each visit.
    visit_start, by_dec, decs : ndarray
        Detections of each visit in order of declination [rad].
    gate : ndarray, shape (2,)
        Number of sigmas; largest gate [rad].

    Returns
    -------
    int
        Number of detections in `use`, in order of time.
    """
    count = 0
    for v in range(len(visits)):
        a, b = visit_start[v], visit_start[v + 1]
        ob = obs[by_dec[a]]
        x, y, z, _ = fit.place_seen(state, epoch, ob)
        rho = math.sqrt(x * x + y * y + z * z)
        dot = (x * visits[v, 0] + y * visits[v, 1] + z * visits[v, 2]) / rho
        if not dot > visits[v, 3]:
            continue
        sigma = predict_error(state, epoch, ob, covariance)
        reach = min(gate[0] * (sigma + 2.0 * max(ob[fit.SE], ob[fit.SN])), gate[1])
        dec = math.asin(z / rho)
        best, found = 1e300, -1
        for k in range(a + np.searchsorted(decs[a:b], dec - reach), b):
            if decs[k] > dec + reach:
                break
            d = by_dec[k]
            if claimed[d]:
                continue
            east, north = fit.residual(state, epoch, obs[d])
            se2 = obs[d, fit.SE] ** 2 + sigma * sigma
            sn2 = obs[d, fit.SN] ** 2 + sigma * sigma
            s = east * east / se2 + north * north / sn2
            if s < best and east * east + north * north < gate[1] ** 2:
                best, found = s, d
        if found >= 0 and best < gate[0] ** 2:
            use[count] = found
            count += 1
    return count


@njit(cache=True)
def purify(clusters, starts, order, seeds, epoch, obs, night, trk_start, trk_det, trk_night, sky,
           rules, claimed, out_state, out_cov, out_stat, out_start, out_det):  # fmt: skip
    """Turn clusters into linkages, the most promising first.

    Parameters
    ----------
    clusters, starts : ndarray
        Members (tracklets, nearest first) of each cluster, compressed.
    order : ndarray of int
        Order in which to try them.
    seeds : ndarray, shape (c, 6)
        Starting state of each at `epoch`.
    obs, night : ndarray
        Observation blocks and night index of each detection.
    trk_start, trk_det, trk_night : ndarray
        Tracklets as compressed lists of detections, and their nights.
    sky : tuple
        visits, visit_start, by_dec, decs (see `collect`).
    rules : ndarray
        0: largest linear residual [rad]; 1: largest reduced chi; 2: least nights; 3: least
        detections; 4: gate in sigmas; 5: largest gate [rad]; 6: reduced chi that makes secure.
    claimed : ndarray of bool
        Detections that secure linkages own; changed in place.
    out_state, out_cov, out_stat, out_start, out_det : ndarray
        Receive the linkages: states, covariances, (chi2, nights, secure), compressed detections.

    Returns
    -------
    linkages, fits : int
    """
    visits, visit_start, by_dec, decs = sky
    chosen = np.empty(64, dtype=np.int64)
    use = np.empty(len(visits) + 4096, dtype=np.int64)
    state = np.empty(6)
    normal = np.empty((6, 6))
    gate = np.array([rules[4], rules[5]])
    links = 0
    fits = 0
    out_start[0] = 0
    for c in order:
        members = clusters[starts[c] : starts[c + 1]]
        count = _best_per_night(members, trk_start, trk_night, claimed, trk_det, chosen)
        if count < rules[2]:
            continue
        fits += 1
        state[:] = seeds[c]
        n = seed_orbit(state, epoch, obs, chosen, count, trk_start, trk_det, rules, use)
        if n == 0:
            continue
        n, chi2 = _grow(state, epoch, obs, visits, visit_start, by_dec, decs, claimed, gate,
                        rules, use, n, normal)  # fmt: skip
        if n < rules[3]:
            continue
        nights, _ = _nights_with_pairs(use, n, night, claimed)
        if nights < rules[2] or chi2 > rules[1] ** 2 * max(2 * n - 6, 4):
            continue
        if links + 1 >= len(out_start) or out_start[links] + n > len(out_det):
            return -1, fits
        out_state[links] = state
        out_cov[links] = fit.invert(normal)
        secure = chi2 < rules[6] ** 2 * (2 * n - 6)
        out_stat[links, 0], out_stat[links, 1], out_stat[links, 2] = chi2, nights, secure
        for k in range(n):
            out_det[out_start[links] + k] = use[k]
            if secure:
                claimed[use[k]] = True
        links += 1
        out_start[links] = out_start[links - 1] + n
    return links, fits


@njit(cache=True)
def _grow(state, epoch, obs, visits, visit_start, by_dec, decs, claimed, gate, rules, use, n,
          normal):  # fmt: skip
    """Fit, collect and fit again until the set of detections stays; at most five rounds."""
    other = np.empty(len(use), dtype=np.int64)
    chi2, _ = fit.correct(state, epoch, obs, use[:n], 0.0, 60, normal)
    for _ in range(5):
        covariance = fit.invert(normal)
        if not math.isfinite(covariance[0, 0]):
            return 0, 1e300
        m = collect(state, epoch, obs, covariance, visits, visit_start, by_dec, decs, claimed,
                    gate, other)  # fmt: skip
        if m < rules[3]:
            return 0, 1e300
        same = m == n
        if same:
            for k in range(m):
                if other[k] != use[k]:
                    same = False
        n = m
        use[:n] = other[:n]
        if same:
            break
        chi2, _ = fit.correct(state, epoch, obs, use[:n], 0.0, 60, normal)
    return n, chi2
