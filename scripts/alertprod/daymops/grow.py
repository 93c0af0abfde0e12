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
from alertprod.daymops import fit
from alertprod.daymops.fit import GM, MAG, MAG_ERR, SE, SN, TIME

ARCSEC = math.pi / 648000.0
NARROW = 5.0 * ARCSEC
ROUNDS = 8
DOUBT = 3.0  # standard deviations of chi square beyond which a stranger is suspected
HOURS = 0.3  # days, in which nothing moves by more than
FAR = 0.06  # radians
LINEAR = 0.01  # relative error of the distance up to which predictions are linear enough


@njit(cache=True)
def predict_covariance(state, epoch, ob, covariance, place, out):
    """Covariance (3x3, into `out`) of the predicted direction; `place` receives the vector there.

    Along the line of sight it holds the error of the distance, which no direction shows.
    """
    moved = np.empty(6)
    partials = np.empty((6, 6))
    x, y, z, delay = fit.place_seen(state, epoch, ob)
    place[0], place[1], place[2] = x, y, z
    kepler.step_with_partials(state, ob[TIME] - delay - epoch, GM, moved, partials)
    rho2 = x * x + y * y + z * z
    row = np.empty(6)
    for a in range(3):
        for j in range(6):
            total = 0.0
            for i in range(6):
                total += partials[a, i] * covariance[i, j]
            row[j] = total
        for b in range(a + 1):
            total = 0.0
            for j in range(6):
                total += row[j] * partials[b, j]
            out[a, b] = out[b, a] = total / rho2


@njit(cache=True)
def _on_sky(place, p):
    """Variances towards east and north [rad^2] of a predicted direction, and their covariance."""
    rho = math.sqrt(place[0] ** 2 + place[1] ** 2 + place[2] ** 2)
    x, y, z = place[0] / rho, place[1] / rho, place[2] / rho
    c = math.sqrt(max(x * x + y * y, 1e-20))
    ex, ey = -y / c, x / c
    nx, ny, nz = -z * x / c, -z * y / c, c
    ee = ex * ex * p[0, 0] + 2.0 * ex * ey * p[0, 1] + ey * ey * p[1, 1]
    px = nx * p[0, 0] + ny * p[0, 1] + nz * p[0, 2]
    py = nx * p[0, 1] + ny * p[1, 1] + nz * p[1, 2]
    pz = nx * p[0, 2] + ny * p[1, 2] + nz * p[2, 2]
    return ee, nx * px + ny * py + nz * pz, ex * px + ey * py


@njit(cache=True)
def predict_error(state, epoch, ob, covariance):
    """Largest one-sided error [rad] of the predicted direction: one sigma, both axes together."""
    place = np.empty(3)
    p = np.empty((3, 3))
    predict_covariance(state, epoch, ob, covariance, place, p)
    ee, nn, _ = _on_sky(place, p)
    return math.sqrt(max(ee + nn, 0.0))


@njit(cache=True)
def _nearest(state, epoch, obs, place, ellipse, rows, decs, claimed, gate, reach):
    """Free detection of one visit that is nearest in the metric of the error ellipse; -1 if none.

    `rows` and `decs` are the visit's detections in order of declination.
    """
    ee, nn, en = ellipse
    rho = math.sqrt(place[0] ** 2 + place[1] ** 2 + place[2] ** 2)
    dec = math.asin(place[2] / rho)
    best, found = gate[0] ** 2, -1
    for k in range(np.searchsorted(decs, dec - reach), len(decs)):
        if decs[k] > dec + reach:
            break
        d = rows[k]
        if claimed[d]:
            continue
        ob = obs[d]
        # (a magnitude that is not known is NaN, and differs from none)
        if abs(ob[MAG] - gate[3]) - 3.0 * math.hypot(ob[MAG_ERR], gate[4]) > gate[2]:
            continue
        # a glance first: most of this strip of declination is far away along it
        aside = (place[0] * ob[10] + place[1] * ob[11]) / rho
        if abs(aside) > gate[1] + 1e-4:
            continue
        east, north = fit.residual(state, epoch, ob)
        if east * east + north * north > gate[1] ** 2:
            continue
        se2, sn2 = ee + ob[SE] ** 2, nn + ob[SN] ** 2
        s = (east * east * sn2 - 2.0 * east * north * en + north * north * se2) / (
            se2 * sn2 - en * en
        )
        if s < best:
            best, found = s, d
    return found


@njit(cache=True)
def _apart(x, y, z, visit):
    """Distance of a direction from the edge of a visit, as chords; negative inside."""
    square = (x - visit[0]) ** 2 + (y - visit[1]) ** 2 + (z - visit[2]) ** 2
    return math.sqrt(square) - visit[3]


@njit(cache=True)
def _brightness(obs, members, time):
    """V magnitude and error of the member nearest in time on another night; NaN if unknown."""
    mag, error, best = math.nan, 0.0, 1e300
    for d in members:
        apart = abs(obs[d, TIME] - time)
        if 0.5 < apart < best and math.isfinite(obs[d, MAG]):
            mag, error, best = obs[d, MAG], obs[d, MAG_ERR], apart
    return mag, error


@njit(cache=True)
def collect(state, epoch, obs, covariance, sky, claimed, gate, since, use, n):
    """All free detections that the orbit predicts, the nearest one per visit.

    Parameters
    ----------
    sky : tuple
        visits, shape (v, 4): mean direction and radius (as a chord) of each visit, in order of
        time; visit_start, by_dec, decs: detections of each visit in order of declination [rad].
    gate : ndarray, shape (5,)
        Number of sigmas; largest gate [rad]; largest difference in V from what other nights saw;
        the last two are for use in here.
    since : float
        MJD TDB; of earlier visits the detections in `use` are kept, none are sought.
    use, n : ndarray of int, int
        Detections so far in order of time, and their number; receives the new ones.

    Returns
    -------
    count : int
    cut : bool
        Whether anywhere the ellipse was longer than the largest gate.
    """
    visits, visit_start, by_dec, decs = sky
    before = use[:n].copy()
    count = 0
    while count < n and obs[use[count], TIME] < since:
        count += 1
    cut = False
    place = np.empty(3)
    p = np.empty((3, 3))
    ux, uy, uz, time = 0.0, 0.0, 0.0, -1e9
    for v in range(len(visits)):
        a, b = visit_start[v], visit_start[v + 1]
        ob = obs[by_dec[a]]
        if ob[TIME] < since:
            continue
        # most visits are far off: the place of up to a few hours ago tells
        if ob[TIME] - time < HOURS and _apart(ux, uy, uz, visits[v]) > FAR:
            continue
        x, y, z, _ = fit.place_seen(state, epoch, ob)
        rho = math.sqrt(x * x + y * y + z * z)
        ux, uy, uz, time = x / rho, y / rho, z / rho, ob[TIME]
        if not _apart(ux, uy, uz, visits[v]) < 0.0:
            continue
        predict_covariance(state, epoch, ob, covariance, place, p)
        ellipse = _on_sky(place, p)
        own = 2.0 * max(ob[SE], ob[SN])
        cut |= gate[0] * (math.sqrt(max(ellipse[0], ellipse[1], 0.0)) + own) > gate[1]
        reach = min(gate[0] * (math.sqrt(max(ellipse[1], 0.0)) + own), gate[1])
        gate[3], gate[4] = _brightness(obs, before, ob[TIME])
        found = _nearest(state, epoch, obs, place, ellipse, by_dec[a:b], decs[a:b], claimed,
                         gate, reach)  # fmt: skip
        if found >= 0:
            use[count] = found
            count += 1
    return count, cut


@njit(cache=True)
def _settle(state, epoch, obs, sky, claimed, gate, least, since, use, n, normal):
    """Fit and collect in turn until the set of detections stays; a capped number of rounds."""
    other = np.empty(len(use), dtype=np.int64)
    chi2, _ = fit.correct(state, epoch, obs, use[:n], 0.0, 60, normal)
    cut = False
    for _ in range(ROUNDS):
        covariance = fit.invert(normal)
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
    more, moved, spare = use.copy(), state.copy(), normal.copy()
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
    out_stat[links, 0], out_stat[links, 1], out_stat[links, 2] = chi2, nights, secure
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
            n, chi2 = grow(state, epoch, obs, sky, claimed, rules, begin, use, n, normal)
            covariance[:] = fit.invert(normal)
        links = keep(links, state, covariance, chi2, use, n, night, rules, claimed, held, out)
        if links < 0:
            break
    return links
