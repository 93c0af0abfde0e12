"""Two-body motion in universal variables, compiled, with exact partial derivatives.

One formulation serves ellipses, parabolas and hyperbolas and has no singular angle. The universal
functions U0..U5 of (chi, alpha), alpha = 1/a, satisfy sqrt(mu) t = r0 U1 + sigma0 U2 + U3.
Distances are au, times days; `mu` defaults to the Sun's of DE440. Every loop is capped.

References
----------
Battin, R. H. 1999, An Introduction to the Mathematics and Methods of Astrodynamics, ch. 4.5-4.6.
Conway, B. A. 1986, Celest. Mech. 39, 199 (Laguerre's method for Kepler's equation).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

GM_SUN = 132712440041.279419 * 86400.0**2 / 149597870.7**3
_MAX_ITERATIONS = 60
# ratios of the terms of the series of the Stumpff functions c4 and c5
TERMS = 10
FALL_4 = tuple(1.0 / ((2 * k + 5) * (2 * k + 6)) for k in range(TERMS))
FALL_5 = tuple(1.0 / ((2 * k + 6) * (2 * k + 7)) for k in range(TERMS))


@njit(cache=True, inline="always")
def _stumpff(z):
    """Stumpff functions c0..c5 of z."""
    if abs(z) < 1.0:
        # series of c4 and c5, from the last term on; all terms reach 1e-18 for |z| < 1,
        # five of them do for |z| < 0.05
        c4 = c5 = 1.0
        for k in range(TERMS - 1 if abs(z) > 0.05 else 3, -1, -1):
            c4 = 1.0 - z * FALL_4[k] * c4
            c5 = 1.0 - z * FALL_5[k] * c5
        c4 /= 24.0
        c5 /= 120.0
        c2 = 0.5 - z * c4
        c3 = 1.0 / 6.0 - z * c5
        return 1.0 - z * c2, 1.0 - z * c3, c2, c3, c4, c5
    if z > 0.0:
        s = math.sqrt(z)
        c0 = math.cos(s)
        c1 = math.sin(s) / s
    else:
        s = math.sqrt(min(-z, 4.9e5))  # cosh(700) is the largest that float64 holds
        c0 = math.cosh(s)
        c1 = math.sinh(s) / s
    c2 = (1.0 - c0) / z
    c3 = (1.0 - c1) / z
    return c0, c1, c2, c3, (0.5 - c2) / z, (1.0 / 6.0 - c3) / z


@njit(cache=True)
def _first_guess(r0, sigma, alpha, tau):
    """Starting value of chi for tau = sqrt(mu) dt."""
    x = tau / r0
    b, c = 0.5 * sigma / r0, (1.0 / r0 - alpha) / 6.0
    if abs(b * x) < 0.1 and abs(c * x * x) < 0.01:
        # a short way: the equation is a power series, here inverted
        d = -alpha * b / 12.0
        return x - x * x * (b - x * (2.0 * b * b - c - x * (5.0 * b * (b * b - c) + d)))
    if alpha > 1e-9:
        return tau * alpha
    if alpha < -1e-9:
        # Kepler's hyperbolic equation e sinh F - F = M, with M / e as first sine.
        root = math.sqrt(-alpha)
        sine = sigma * root
        e = math.sqrt(max((1.0 - r0 * alpha) ** 2 - sine * sine, 1.0))
        f1 = math.asinh(sine / e)
        mean = sine - f1 - tau * alpha * root
        f2 = math.asinh(mean / e)
        return (math.asinh((mean + f2) / e) - f1) / root
    return x


@njit(cache=True)
def solve_chi(r0, sigma, alpha, tau):
    """Root chi of r0 U1 + sigma U2 + U3 = tau by Laguerre-Conway, kept inside a bracket."""
    x = _first_guess(r0, sigma, alpha, tau)
    low = -1e300
    high = 1e300
    for _ in range(_MAX_ITERATIONS):
        z = alpha * x * x
        c0, c1, c2, c3, _, _ = _stumpff(z)
        u1 = x * c1
        u2 = x * x * c2
        f = r0 * u1 + sigma * u2 + x * x * x * c3 - tau
        r = r0 * c0 + sigma * u1 + u2
        if f > 0.0:
            high = min(high, x)
        else:
            low = max(low, x)
        drdx = sigma * c0 + (1.0 - alpha * r0) * u1
        root = math.sqrt(abs(16.0 * r * r - 20.0 * f * drdx))
        step = 5.0 * f / (r + (root if r >= 0.0 else -root))
        new = x - step
        if not (low <= new <= high):
            if low > -1e299 and high < 1e299:
                new = 0.5 * (low + high)
            elif not math.isfinite(new):
                return math.nan
        # the error goes with the third power from one step to the next
        if abs(new - x) <= 1e-6 * abs(new) or f == 0.0:
            return new
        x = new
    return x


@njit(cache=True)
def step(x, y, z, vx, vy, vz, dt, mu):
    """State after `dt` days; six floats in, six floats out."""
    root = math.sqrt(mu)
    r0 = math.sqrt(x * x + y * y + z * z)
    sigma = (x * vx + y * vy + z * vz) / root
    alpha = 2.0 / r0 - (vx * vx + vy * vy + vz * vz) / mu
    tau = root * dt
    if alpha > 1e-9:
        turns = tau * alpha * math.sqrt(alpha) / (2.0 * math.pi)
        if abs(turns) > 0.5:
            tau -= tau * np.rint(turns) / turns
    chi = solve_chi(r0, sigma, alpha, tau)
    c0, c1, c2, _, _, _ = _stumpff(alpha * chi * chi)
    u1 = chi * c1
    u2 = chi * chi * c2
    r = r0 * c0 + sigma * u1 + u2
    f = 1.0 - u2 / r0
    g = (r0 * u1 + sigma * u2) / root
    fdot = -root * u1 / (r * r0)
    gdot = 1.0 - u2 / r
    return (
        f * x + g * vx, f * y + g * vy, f * z + g * vz,
        fdot * x + gdot * vx, fdot * y + gdot * vy, fdot * z + gdot * vz,
    )  # fmt: skip


@njit(cache=True)
def propagate(states, dt, mu=GM_SUN):
    """Propagate each state by its own time step.

    Parameters
    ----------
    states : ndarray, shape (n, 6)
        Heliocentric position [au] and velocity [au/day].
    dt : ndarray, shape (n,)
        Days.

    Returns
    -------
    ndarray, shape (n, 6)
        NaN where the input is not finite.
    """
    out = np.empty_like(states)
    for k in range(states.shape[0]):
        s = states[k]
        out[k] = step(s[0], s[1], s[2], s[3], s[4], s[5], dt[k], mu)
    return out


@njit(cache=True)
def propagate_one(state, dt, mu=GM_SUN):
    """Propagate one state (6,) to many times (m,): an array (m, 6)."""
    out = np.empty((dt.shape[0], 6))
    for k in range(dt.shape[0]):
        out[k] = step(state[0], state[1], state[2], state[3], state[4], state[5], dt[k], mu)
    return out


@njit(cache=True)
def step_with_partials(state, dt, mu, out, partials):
    """State after `dt` (into `out`, 6) and its derivatives by the first state (`partials`, 6x6).

    Differentiates Kepler's universal equation implicitly, with
    dU_n/dalpha = (n U_{n+2} - chi U_{n+1}) / 2, which is regular for every conic.
    The time is not reduced by whole periods here: derivatives grow with time, secularly.
    """
    root = math.sqrt(mu)
    r0 = math.sqrt(state[0] ** 2 + state[1] ** 2 + state[2] ** 2)
    v2 = state[3] ** 2 + state[4] ** 2 + state[5] ** 2
    sigma = (state[0] * state[3] + state[1] * state[4] + state[2] * state[5]) / root
    alpha = 2.0 / r0 - v2 / mu
    x = solve_chi(r0, sigma, alpha, root * dt)
    c0, c1, c2, c3, c4, c5 = _stumpff(alpha * x * x)
    x2 = x * x
    u0, u1, u2, u3, u4, u5 = c0, x * c1, x2 * c2, x2 * x * c3, x2 * x2 * c4, x2 * x2 * x * c5
    d0 = -0.5 * x * u1
    d1 = 0.5 * (u3 - x * u2)
    d2 = 0.5 * (2.0 * u4 - x * u3)
    d3 = 0.5 * (3.0 * u5 - x * u4)
    r = r0 * u0 + sigma * u1 + u2
    f = 1.0 - u2 / r0
    g = (r0 * u1 + sigma * u2) / root
    fdot = -root * u1 / (r * r0)
    gdot = 1.0 - u2 / r
    for k in range(3):
        out[k] = f * state[k] + g * state[k + 3]
        out[k + 3] = fdot * state[k] + gdot * state[k + 3]
    per_r, per_r0, per_root = 1.0 / r, 1.0 / r0, 1.0 / root
    dchi = (r0 * d1 + sigma * d2 + d3) * per_r
    for j in range(6):
        if j < 3:
            dr0 = state[j] * per_r0
            dsigma = state[j + 3] * per_root
            dalpha = -2.0 * dr0 * per_r0 * per_r0
        else:
            dr0 = 0.0
            dsigma = state[j - 3] * per_root
            dalpha = -2.0 * state[j] * per_root * per_root
        dx = -(dr0 * u1 + dsigma * u2) * per_r - dchi * dalpha
        du0 = d0 * dalpha - alpha * u1 * dx
        du1 = d1 * dalpha + u0 * dx
        du2 = d2 * dalpha + u1 * dx
        dr = dr0 * u0 + r0 * du0 + dsigma * u1 + sigma * du1 + du2
        df = (u2 * dr0 * per_r0 - du2) * per_r0
        dg = (dr0 * u1 + r0 * du1 + dsigma * u2 + sigma * du2) * per_root
        dfdot = -root * (du1 - u1 * (dr * per_r + dr0 * per_r0)) * per_r * per_r0
        dgdot = (u2 * dr * per_r - du2) * per_r
        for k in range(3):
            partials[k, j] = df * state[k] + dg * state[k + 3]
            partials[k + 3, j] = dfdot * state[k] + dgdot * state[k + 3]
        if j < 3:
            partials[j, j] += f
            partials[j + 3, j] += fdot
        else:
            partials[j - 3, j] += g
            partials[j, j] += gdot
