"""Differential correction of two-body orbits, compiled: Levenberg-Marquardt on six components.

Observations are directions with errors; the model is two-body motion with light time, seen from
the station's heliocentric place. Residuals are tangent-plane offsets (east, north) in radians.
Partials are exact (see `alertprod.core.kepler`). Every loop is capped.

References
----------
Levenberg 1944; Marquardt 1963; Milani & Gronchi 2010, Theory of Orbit Determination, ch. 5.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from alertprod.core import kepler, observer
from alertprod.daymops import algebra, parameters

C = observer.C_AU_DAY
GM = kepler.GM_SUN
# columns of the observation block that the kernels read
TIME, OX, SX, UX, EX, NX, SE, SN, MAG, MAG_ERR, WIDTH = 0, 1, 4, 7, 10, 13, 16, 17, 18, 19, 20
BRIEF = 1e-4  # days, in which motion is uniform
# a fit is at its minimum when one more step would lower chi square by less than this
ENOUGH = 1e-3


def observation_block(mjd_tai, ra, dec, ra_err, dec_err, obscode):
    """Pack detections for the kernels.

    Parameters
    ----------
    mjd_tai, ra, dec, ra_err, dec_err : ndarray, shape (n,)
        MJD TAI and degrees; ra_err without cos(dec).
    obscode : str or sequence of str
        MPC station of all, or of each.

    Returns
    -------
    ndarray, shape (n, WIDTH)
        MJD TDB; heliocentric station; velocity of the Sun; direction; east; north; errors [rad];
        V magnitude and its error (NaN here: orbits follow from directions).
    """
    mjd_tai = np.asarray(mjd_tai, float)
    if not isinstance(obscode, str):
        return _mixed_block(mjd_tai, (ra, dec, ra_err, dec_err), np.asarray(obscode))
    block = np.empty((len(mjd_tai), WIDTH))
    if not len(mjd_tai):
        return block
    unique, back = np.unique(mjd_tai, return_inverse=True)
    tdb = observer.tai_to_tdb(unique)
    place, _ = observer.observer_state(obscode, unique)
    sun, sun_speed = observer.sun_state(tdb)
    _stations(np.c_[tdb, place - sun, sun_speed], back, block)
    _directions(*(np.asarray(c, float) for c in (ra, dec, ra_err, dec_err)), block)
    return block


@njit(cache=True)
def _stations(rows, back, block):
    """Fill in time, station and velocity of the Sun: one row of seven for each instant."""
    for k in range(len(block)):
        for c in range(7):
            block[k, c] = rows[back[k], c]


@njit(cache=True)
def _directions(ra, dec, ra_err, dec_err, block):
    """Fill in what follows from places on the sky [deg] and their errors."""
    for k in range(len(block)):
        a, d = math.radians(ra[k]), math.radians(dec[k])
        sin_a, cos_a, sin_d, cos_d = math.sin(a), math.cos(a), math.sin(d), math.cos(d)
        row = block[k]
        row[UX], row[UX + 1], row[UX + 2] = cos_d * cos_a, cos_d * sin_a, sin_d
        row[EX], row[EX + 1], row[EX + 2] = -sin_a, cos_a, 0.0
        row[NX], row[NX + 1], row[NX + 2] = -sin_d * cos_a, -sin_d * sin_a, cos_d
        row[SE], row[SN] = math.radians(ra_err[k]) * cos_d, math.radians(dec_err[k])
        row[MAG] = row[MAG_ERR] = math.nan


def _mixed_block(mjd_tai, columns, codes):
    """Observation block of detections from several stations."""
    block = np.empty((len(mjd_tai), WIDTH))
    columns = [np.asarray(c, float) for c in columns]
    for code in np.unique(codes):
        rows = codes == code
        block[rows] = observation_block(mjd_tai[rows], *(c[rows] for c in columns), str(code))
    return block


@njit(cache=True)
def _first_delay(state, dt, ob):
    """Light time from where uniform motion leads."""
    x = state[0] + dt * state[3] - ob[1]
    y = state[1] + dt * state[4] - ob[2]
    z = state[2] + dt * state[5] - ob[3]
    return math.sqrt(x * x + y * y + z * z) / C


@njit(cache=True)
def _see(there, delay, ob):
    """Vector from the station to the place and velocity `there`, what the light time lacks."""
    x = there[0] - ob[1] - delay * ob[4]
    y = there[1] - ob[2] - delay * ob[5]
    z = there[2] - ob[3] - delay * ob[6]
    vx, vy, vz = there[3] + ob[4], there[4] + ob[5], there[5] + ob[6]
    rho = math.sqrt(x * x + y * y + z * z)
    late = (rho / C - delay) / (1.0 + (x * vx + y * vy + z * vz) / (rho * C))
    return x - late * vx, y - late * vy, z - late * vz, late


@njit(cache=True)
def place_seen(state, epoch, ob):
    """Vector station to object at the observation `ob`, and the light time.

    The light time begins with that of uniform motion and is corrected by Newton's rule, in which
    the object moves uniformly too: what acceleration does within `BRIEF` is below 1e-11 au.
    """
    dt = ob[0] - epoch
    delay = _first_delay(state, dt, ob)
    for _ in range(3):
        there = kepler.step(state[0], state[1], state[2], state[3], state[4], state[5],
                            dt - delay, GM)  # fmt: skip
        x, y, z, late = _see(there, delay, ob)
        delay += late
        if abs(late) < BRIEF:
            break
    return x, y, z, delay


@njit(cache=True)
def place_with_partials(state, epoch, ob, moved, partials):
    """As `place_seen`, with the heliocentric state when the light left and its derivatives.

    These are for a time that is wrong by less than `BRIEF`.
    """
    dt = ob[0] - epoch
    delay = _first_delay(state, dt, ob)
    for _ in range(3):
        kepler.step_with_partials(state, dt - delay, GM, moved, partials)
        x, y, z, late = _see(moved, delay, ob)
        delay += late
        if abs(late) < BRIEF:
            break
    return x, y, z, delay


@njit(cache=True)
def residual(state, epoch, ob):
    """Observed minus computed, east and north [rad]; huge when the object is behind."""
    x, y, z, _ = place_seen(state, epoch, ob)
    depth = x * ob[7] + y * ob[8] + z * ob[9]
    if not depth > 0.0:
        return 3.0, 3.0
    east = -(x * ob[10] + y * ob[11] + z * ob[12]) / depth
    north = -(x * ob[13] + y * ob[14] + z * ob[15]) / depth
    return east, north


@njit(cache=True)
def residuals(state, epoch, obs, use, out):
    """Residuals of the used observations into `out` (n, 2); returns chi square."""
    chi2 = 0.0
    for k in range(len(use)):
        ob = obs[use[k]]
        east, north = residual(state, epoch, ob)
        out[k, 0], out[k, 1] = east, north
        chi2 += (east / ob[16]) ** 2 + (north / ob[17]) ** 2
    return chi2


@njit(cache=True)
def residuals_of_all(states, epoch, obs, use, start, out):
    """Chi square of each state; the k-th has rows `start[k]` to `start[k + 1]` of `use`."""
    chi2 = np.empty(len(states))
    for k in range(len(states)):
        a, b = start[k], start[k + 1]
        chi2[k] = residuals(states[k], epoch, obs, use[a:b], out[a:b])
    return chi2


@njit(cache=True)
def design(state, epoch, ob, moved, partials, east, north):
    """Predicted tangent-plane offsets (east, north) [rad] and their gradients by the state.

    The gradient includes the change of light time: without it Gauss-Newton creeps along the
    direction that a short arc determines badly. Returns NaN when the object is behind.
    """
    x, y, z, delay = place_with_partials(state, epoch, ob, moved, partials)
    depth = x * ob[7] + y * ob[8] + z * ob[9]
    if not depth > 0.0:
        return math.nan, math.nan
    per_depth, rho = 1.0 / depth, delay * C
    pe = (x * ob[10] + y * ob[11] + z * ob[12]) * per_depth
    pn = (x * ob[13] + y * ob[14] + z * ob[15]) * per_depth
    vx, vy, vz = moved[3] + ob[4], moved[4] + ob[5], moved[5] + ob[6]
    slow = 1.0 / (C * rho + x * vx + y * vy + z * vz)
    for j in range(6):
        dx, dy, dz = partials[0, j], partials[1, j], partials[2, j]
        lag = (x * dx + y * dy + z * dz) * slow
        dx -= vx * lag
        dy -= vy * lag
        dz -= vz * lag
        dd = dx * ob[7] + dy * ob[8] + dz * ob[9]
        east[j] = (dx * ob[10] + dy * ob[11] + dz * ob[12] - pe * dd) * per_depth
        north[j] = (dx * ob[13] + dy * ob[14] + dz * ob[15] - pn * dd) * per_depth
    return pe, pn


@njit(cache=True)
def normal_equations(state, epoch, obs, use, normal, right):
    """Normal equations of the linearised problem at `state`.

    Parameters
    ----------
    state, epoch, obs, use
        As for `correct`.
    normal : ndarray, shape (6, 6)
        Receives the normal matrix.
    right : ndarray, shape (6,)
        Receives the right-hand side.

    Returns
    -------
    float
        Chi square; 1e300 when the object is behind the observer.
    """
    normal[:] = 0.0
    right[:] = 0.0
    chi2 = 0.0
    moved = np.empty(6)
    partials = np.empty((6, 6))
    de = np.empty(6)
    dn = np.empty(6)
    for k in range(len(use)):
        ob = obs[use[k]]
        pe, pn = design(state, epoch, ob, moved, partials, de, dn)
        if not math.isfinite(pe):
            return 1e300
        for j in range(6):
            de[j] /= ob[16]
            dn[j] /= ob[17]
        re, rn = -pe / ob[16], -pn / ob[17]
        chi2 += re * re + rn * rn
        for i in range(6):
            right[i] += de[i] * re + dn[i] * rn
            for j in range(i + 1):
                normal[i, j] += de[i] * de[j] + dn[i] * dn[j]
    for i in range(6):
        for j in range(i):
            normal[j, i] = normal[i, j]
    return chi2


@njit(cache=True)
def add_energy_prior(state, weight, normal, right):
    """Pull a badly determined orbit towards a circle; returns the penalty.

    The prior is Gaussian in the radial and the tangential speed, in units of the escape speed,
    about 0 and 1 / sqrt(2), so that the standard deviation of the energy is `1 / sqrt(weight)`.
    Linear in the speeds, it does not make the fit creep as one in the energy itself would. Short
    arcs leave the energy free; this binds it.
    """
    r = math.sqrt(state[0] ** 2 + state[1] ** 2 + state[2] ** 2)
    scale = math.sqrt(0.5 * r / GM)
    square, radial = 0.0, 0.0
    for c in range(3):
        square += state[c + 3] ** 2
        radial += state[c] * state[c + 3] / r
    across = math.sqrt(max(square - radial * radial, 1e-20))
    grad = np.empty((2, 6))
    for c in range(3):
        u, sideways = state[c] / r, state[c + 3] - radial * state[c] / r
        grad[0, c + 3], grad[0, c] = scale * u, scale * (sideways + 0.5 * radial * u) / r
        grad[1, c + 3] = scale * sideways / across
        grad[1, c] = scale * (0.5 * across * u - radial * sideways / across) / r
    penalty = 0.0
    for k in range(2):
        miss = -scale * radial if k == 0 else math.sqrt(0.5) - scale * across
        penalty += 2.0 * weight * miss * miss
        for i in range(6):
            right[i] += 2.0 * weight * grad[k, i] * miss
            for j in range(6):
                normal[i, j] += 2.0 * weight * grad[k, i] * grad[k, j]
    return penalty


@njit(cache=True)
def _cost(state, epoch, obs, use, weight, normal, right):
    """Chi square and chi square with prior; fills the normal equations of the state."""
    chi2 = normal_equations(state, epoch, obs, use, normal, right)
    if not chi2 < 1e300:
        return 1e300, 1e300
    if weight > 0.0:
        return chi2, chi2 + add_energy_prior(state, weight, normal, right)
    return chi2, chi2


@njit(cache=True)
def _dot(a, b):
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@njit(cache=True)
def correct(state, epoch, obs, use, weight, most, normal):
    """Levenberg-Marquardt from `state` (changed in place).

    Parameters
    ----------
    state : ndarray, shape (6,)
    epoch : float
        MJD TDB.
    obs : ndarray, shape (n, WIDTH)
    use : ndarray of int
        Rows of `obs` that count.
    weight : float
        Of the energy prior; 0 for none.
    most : int
        Cap on iterations.
    normal : ndarray, shape (6, 6)
        Receives the normal matrix of the state at the solution (with the prior).

    Returns
    -------
    chi2 : float
        Without the prior; 1e300 when the start is hopeless.
    iterations : int
    """
    right, other, params, trial = np.empty(6), np.empty(6), np.empty(6), np.empty(6)
    delta, moved = np.empty(6), np.empty(6)
    jac, inner, damped, spare = (
        np.empty((6, 6)), np.empty((6, 6)), np.empty((6, 6)), np.empty((6, 6)),
    )  # fmt: skip
    pull = np.empty(6)
    frame = np.empty((4, 3))
    middle = obs[use[len(use) // 2]]
    for c in range(3):
        frame[0, c], frame[1, c] = middle[1 + c], middle[7 + c]
        frame[2, c], frame[3, c] = middle[10 + c], middle[13 + c]
    parameters.to_params(frame, state, params)
    parameters.to_state(frame, params, state)
    chi2, cost = _cost(state, epoch, obs, use, weight, normal, right)
    # nearly undamped: the valleys of short arcs are long and narrow, and most starts are good
    damping = 1e-7
    count = 0
    fresh = True
    while count < most and cost < 1e300:
        if fresh:
            parameters.jacobian(frame, params, state, jac)
            parameters.transform(normal, right, jac, inner, pull)
            fresh = False
            # what an undamped step would gain: a damped one gains little far from the minimum too
            if algebra.solve(inner, pull, delta) and _dot(pull, delta) < ENOUGH:
                break
        count += 1
        for i in range(6):
            for j in range(6):
                damped[i, j] = inner[i, j]
            damped[i, i] *= 1.0 + damping
        if damping > 1e10 or not algebra.solve(damped, pull, delta):
            damping = max(damping * 10.0, 1e-8)
            if damping > 1e10:
                break
            continue
        # the inverse distance at most halves or doubles in one step
        limit = min(1.0, 0.5 * params[2] / max(abs(delta[2]), 1e-300))
        for i in range(6):
            trial[i] = params[i] + limit * delta[i]
        parameters.to_state(frame, trial, moved)
        new, new_cost = _cost(moved, epoch, obs, use, weight, spare, other)
        if new_cost < cost:
            params[:], state[:], normal[:], right[:] = trial, moved, spare, other
            cost, chi2 = new_cost, new
            damping = max(damping * 0.1, 1e-12)
            fresh = True
        elif new_cost - cost < 1e-9 * cost:
            break
        else:
            damping *= 10.0
    return chi2, count
