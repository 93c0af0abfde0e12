"""What an orbit predicts: the error ellipse at a visit, and the detections that lie within it."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from alertprod.daymops import fit
from alertprod.daymops.fit import MAG, MAG_ERR, SE, SN, TIME

HOURS = 0.3  # days, in which nothing moves by more than
FAR = 0.06  # radians


@njit(cache=True)
def predict_covariance(state, epoch, ob, covariance, place, out):
    """Covariance (3x3, into `out`) of the predicted direction; `place` receives the vector there.

    Along the line of sight it holds the error of the distance, which no direction shows.
    """
    moved = np.empty(6)
    partials = np.empty((6, 6))
    x, y, z, _ = fit.place_with_partials(state, epoch, ob, moved, partials)
    place[0], place[1], place[2] = x, y, z
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
