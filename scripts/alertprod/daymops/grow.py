"""Growth: an orbit collects every detection of the window that it predicts.

The gate is the error ellipse of the prediction. Growth starts with what lies within seconds of arc
and goes on, with the orbit improved by that, to the nights for which the ellipse was too long. So
the set of detections in the end is a matter of the object, hardly of the tracklets one began with.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from alertprod.core import kepler
from alertprod.daymops import algebra, fit
from alertprod.daymops.collect import collect
from alertprod.daymops.fit import GM

ARCSEC = math.pi / 648000.0
NARROW = 5.0 * ARCSEC
ROUNDS = 8
DOUBT = 3.0  # standard deviations of chi square beyond which a stranger is suspected
LINEAR = 0.01  # relative error of the distance up to which predictions are linear enough


@njit(cache=True)
def _settle(state, epoch, obs, sky, claimed, gate, least, since, use, n, normal):
    """Fit and collect in turn until the set of detections stays; a capped number of rounds."""
    other = np.empty(len(use), dtype=np.int64)
    chi2, _ = fit.correct(state, epoch, obs, use[:n], 0.0, 60, normal)
    cut = False
    for _ in range(ROUNDS):
        covariance = algebra.invert(normal)
        if not math.isfinite(covariance[0, 0]):
            return 0, 1e300, cut
        other[:n] = use[:n]
        m, cut = collect(state, epoch, obs, covariance, sky, claimed, gate, since, other, n)
        if m < least:
            return 0, 1e300, cut
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
    return n, chi2, cut


@njit(cache=True)
def _without_stranger(state, epoch, obs, use, n):
    """Detections without the one that lies farthest off the orbit of the others.

    What chi square falls by is the square of that distance in sigmas.
    """
    normal = np.empty((6, 6))
    others = np.empty(n - 1, dtype=np.int64)
    best, which = 1e300, 0
    for k in range(n):
        others[:k], others[k:] = use[:k], use[k + 1 : n]
        trial = state.copy()
        chi2, _ = fit.correct(trial, epoch, obs, others, 0.0, 60, normal)
        if chi2 < best:
            best, which = chi2, k
    others[:which], others[which:] = use[:which], use[which + 1 : n]
    return others, best


@njit(cache=True)
def grow(state, epoch, obs, sky, claimed, rules, since, use, n, normal):
    """Grow the linkage of the first `n` detections in `use`; state, use, normal in place.

    Parameters
    ----------
    rules : ndarray
        Thresholds as for `purify.purify`.
    since : float
        See `collect`.

    Returns
    -------
    count : int
        Detections in `use`; 0 if the orbit does not hold.
    chi2 : float
    """
    least = int(rules[3])
    gate = np.array([rules[4], min(NARROW, rules[5]), rules[7], math.nan, 0.0])
    n, chi2, cut = _settle(state, epoch, obs, sky, claimed, gate, least, since, use, n, normal)
    if n == 0:
        return n, chi2
    more, moved, spare = np.empty_like(use), state.copy(), normal.copy()
    # a stranger that an early, uncertain orbit took in keeps the object's own detections out
    if n > least and chi2 > 2 * n - 6 + DOUBT * math.sqrt(4.0 * n - 12.0):
        more[: n - 1], fallen = _without_stranger(state, epoch, obs, use, n)
        m, better, _ = _settle(moved, epoch, obs, sky, claimed, gate, least, since, more, n - 1,
                               spare)  # fmt: skip
        if m >= n or (m == n - 1 and fallen < chi2 - gate[0] ** 2):
            state[:], normal[:], use[:m] = moved, spare, more[:m]
            n, chi2 = m, better
    if not cut or rules[5] <= NARROW:
        return n, chi2
    gate[1] = rules[5]
    more[:n], moved[:], spare[:] = use[:n], state, normal
    m, wide, _ = _settle(moved, epoch, obs, sky, claimed, gate, least, since, more, n, spare)
    # a stranger far away along the ellipse must not spoil what was sure
    if m > n and wide < max(rules[6] ** 2 * (2 * m - 6), chi2):
        state[:], normal[:], use[:m] = moved, spare, more[:m]
        return m, wide
    return n, chi2


@njit(cache=True)
def nights_with_pairs(dets, count, night):
    """Nights on which two or more of the detections lie."""
    seen = np.zeros(64, dtype=np.int64)
    nights = 0
    for k in range(count):
        seen[night[dets[k]]] += 1
        if seen[night[dets[k]]] == 2:
            nights += 1
    return nights


@njit(cache=True)
def _distance_error(state, covariance):
    """Relative error of the position."""
    error, r2 = 0.0, 0.0
    for c in range(3):
        error += covariance[c, c]
        r2 += state[c] ** 2
    return math.sqrt(max(error, 0.0) / r2)


@njit(cache=True)
def keep(links, state, covariance, chi2, use, n, night, rules, claimed, held, out):
    """Store a grown linkage as number `links` if it is good enough.

    Detections of a secure one become claimed. Where the distance is badly known the error ellipse
    is no guide far away, and tracklets may find more than growth did: such a linkage is not secure.

    Returns
    -------
    int
        Number of linkages now; negative when there is no room.
    """
    out_state, out_cov, out_stat, out_start, out_det = out
    if n < rules[3] or chi2 > rules[1] ** 2 * max(2 * n - 6, 4):
        return links
    nights = nights_with_pairs(use, n, night)
    if nights < rules[2]:
        return links
    if links + 1 >= len(out_start) or out_start[links] + n > len(out_det):
        return -1
    out_state[links] = state
    out_cov[links] = covariance
    secure = chi2 < rules[6] ** 2 * (2 * n - 6) and _distance_error(state, covariance) < LINEAR
    out_stat[links, 0], out_stat[links, 1] = chi2, nights
    number = held[-1] = held[-1] + 1
    for k in range(n):
        out_det[out_start[links] + k] = use[k]
        held[use[k]] = number
        if secure:
            claimed[use[k]] = True
    out_start[links + 1] = out_start[links] + n
    return links + 1


@njit(cache=True)
def _carry(state, covariance, days, moved, out):
    """State and covariance `days` later, into `moved` and `out`."""
    partials = np.empty((6, 6))
    kepler.step_with_partials(state, days, GM, moved, partials)
    half = np.zeros((6, 6))
    for i in range(6):
        for j in range(6):
            for k in range(6):
                half[i, j] += partials[i, k] * covariance[k, j]
    for i in range(6):
        for j in range(i + 1):
            total = 0.0
            for k in range(6):
                total += half[i, k] * partials[j, k]
            out[i, j] = out[j, i] = total


@njit(cache=True)
def _nudge(state, epoch, obs, covariance, new):
    """Linear update of an orbit by new detections, from which the fit to all is a short way."""
    normal = algebra.invert(covariance)
    if not math.isfinite(normal[0, 0]):
        return
    info, right = np.empty((6, 6)), np.empty(6)
    if fit.normal_equations(state, epoch, obs, new, info, right) < 1e300:
        delta = np.empty(6)
        if algebra.solve(normal + info, right, delta):
            state += delta


@njit(cache=True)
def take_up(earlier, since, starts, members, epoch, obs, night, sky, rules, claimed, held, out):
    """Grow the linkages of an earlier window in this one.

    An orbit that finds nothing in the new visits, however wide the gate, stays what it was; the
    others are fitted and grown again.

    Parameters
    ----------
    earlier : tuple of ndarray
        Of each linkage: state and covariance at its epoch, the epoch [MJD TDB], chi square, number
        of detections, which is more than are left in this window when the first nights drop out.
    since : float
        MJD TDB of the first new visit. What orbits with a known distance hold of earlier visits
        was settled then.
    starts, members : ndarray of int
        Their detections, compressed, in order of time.
    out : tuple
        As for `purify.purify`.

    Returns
    -------
    int
        Number of linkages.
    """
    states, covariances, epochs, chi2s, counts = earlier
    use = np.empty(len(sky[0]) + 4096, dtype=np.int64)
    more = np.empty_like(use)
    state, covariance, normal = np.empty(6), np.empty((6, 6)), np.empty((6, 6))
    gate = np.array([rules[4], min(NARROW, rules[5]), rules[7], math.nan, 0.0])
    widest = np.array([rules[4], rules[5], rules[7], math.nan, 0.0])
    links = 0
    out[3][0] = 0
    for k in range(len(states)):
        n = 0
        for d in members[starts[k] : starts[k + 1]]:
            if not claimed[d]:
                use[n] = d
                n += 1
        if n < rules[3]:
            continue
        _carry(states[k], covariances[k], epoch - epochs[k], state, covariance)
        chi2 = chi2s[k]
        settled = n == counts[k]
        old = n
        if settled:
            more[:n] = use[:n]
            found, cut = collect(state, epoch, obs, covariance, sky, claimed, gate, since, more, n)
            if not cut:
                use[n:found] = more[n:found]
            else:
                found, _ = collect(
                    state, epoch, obs, covariance, sky, claimed, widest, since, more, n
                )
            settled = found == n
            n = n if cut else found
        if not settled:
            begin = since if _distance_error(states[k], covariances[k]) < LINEAR else 0.0
            if begin > 0.0 and n > old:
                fresh = obs[use[:n], fit.TIME] >= since
                _nudge(state, epoch, obs, covariance, use[:n][fresh])
            n, chi2 = grow(state, epoch, obs, sky, claimed, rules, begin, use, n, normal)
            covariance[:] = algebra.invert(normal)
        links = keep(links, state, covariance, chi2, use, n, night, rules, claimed, held, out)
        if links < 0:
            break
    return links
