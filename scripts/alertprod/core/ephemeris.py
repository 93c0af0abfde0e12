"""Topocentric astrometric positions, rates and magnitudes of solar-system objects.

Conventions: *astrometric* = geometric direction from the observer at the time of observation to
the object at the time the light left it. Stellar aberration and refraction are not applied: they
are common to stars and asteroids and vanish in the plate solution. Light bending (at most 0.01"
beyond 30 degrees from the Sun, and shared by the stars) is left out.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from alertprod.core import kepler, observer, orbits

_C = observer.C_AU_DAY
_GM = kepler.GM_SUN


@njit(cache=True)
def _topocentric(states, epochs, time, where, sun):
    """See `topocentric`; `where` and `sun` are (6,) barycentric states, times MJD TDB."""
    n = states.shape[0]
    helio = np.empty((n, 6))
    topo = np.empty((n, 6))
    for k in range(n):
        s = states[k]
        delay = 0.0
        for _ in range(4):
            h = kepler.step(s[0], s[1], s[2], s[3], s[4], s[5], time - delay - epochs[k], _GM)
            x = h[0] + sun[0] - delay * sun[3] - where[0]
            y = h[1] + sun[1] - delay * sun[4] - where[1]
            z = h[2] + sun[2] - delay * sun[5] - where[2]
            distance = math.sqrt(x * x + y * y + z * z)
            new = distance / _C
            done = abs(new - delay) < 1e-11
            delay = new
            if done:
                break
        vx, vy, vz = h[3] + sun[3], h[4] + sun[4], h[5] + sun[5]
        # The light leaves at t - delay(t): the object's velocity counts by 1 - d(delay)/dt.
        outward = (x * vx + y * vy + z * vz) / distance
        inward = (x * where[3] + y * where[4] + z * where[5]) / distance
        factor = 1.0 - (outward - inward) / (_C + outward)
        helio[k] = h
        topo[k, 0], topo[k, 1], topo[k, 2] = x, y, z
        topo[k, 3] = vx * factor - where[3]
        topo[k, 4] = vy * factor - where[4]
        topo[k, 5] = vz * factor - where[5]
    return helio, topo


def topocentric(states, epochs, mjd_tai, obscode):
    """Objects as seen at one instant from one station, two-body motion from their epochs.

    Parameters
    ----------
    states : ndarray, shape (n, 6)
        Heliocentric ICRS, au, au/day.
    epochs : ndarray, shape (n,)
        MJD TDB of the states.
    mjd_tai : float
        Time of observation.
    obscode : str
        MPC station code.

    Returns
    -------
    helio : ndarray, shape (n, 6)
        Heliocentric state at the time the light left.
    topo : ndarray, shape (n, 6)
        Vector observer to object and its rate of change as observed.
    """
    position, velocity = observer.observer_state(obscode, mjd_tai)
    time = float(observer.tai_to_tdb(mjd_tai))
    sun_position, sun_velocity = observer.sun_state(time)
    where = np.concatenate([position[0], velocity[0]])
    sun = np.concatenate([sun_position[0], sun_velocity[0]])
    states = np.ascontiguousarray(states, dtype=float)
    return _topocentric(states, np.ascontiguousarray(epochs, dtype=float), time, where, sun)


def rates(topo):
    """Motion on the sky [deg/day]: towards east (with cos dec) and towards north.

    Parameters
    ----------
    topo : ndarray, shape (n, 6)
        Topocentric vectors and their rates.
    """
    x, y, z, vx, vy, vz = topo.T
    flat2 = x * x + y * y
    flat = np.sqrt(flat2)
    r2 = flat2 + z * z
    east = (x * vy - y * vx) / flat / np.sqrt(r2)
    north = (vz * flat2 - z * (x * vx + y * vy)) / (r2 * flat)
    return np.rad2deg(east), np.rad2deg(north)


def phase_angle(helio, topo):
    """Angle Sun - object - observer [deg]."""
    return _angle(helio[:, :3], topo[:, :3])


def elongation(helio, topo):
    """Angle Sun - observer - object [deg]; the Sun stands at topo - helio."""
    return _angle(topo[:, :3] - helio[:, :3], topo[:, :3])


def _angle(a, b):
    cross = np.linalg.norm(np.cross(a, b), axis=1)
    return np.rad2deg(np.arctan2(cross, np.sum(a * b, axis=1)))


def magnitude_hg(h, g, helio_range, topo_range, phase):
    """Apparent V magnitude in the H, G system.

    References
    ----------
    Bowell, E. et al. 1989, in Asteroids II, 524 (equations A4 and A5).
    """
    half = np.deg2rad(np.clip(phase, 0.0, 179.0)) / 2.0
    sine = np.sin(2.0 * half)
    with np.errstate(divide="ignore"):
        blend = np.exp(-90.56 * np.tan(half) ** 2)
    phi = []
    for a, b, c in ((3.332, 0.631, 0.986), (1.862, 1.218, 0.238)):
        small = 1.0 - c * sine / (0.119 + 1.341 * sine - 0.754 * sine**2)
        large = np.exp(-a * np.tan(half) ** b)
        phi.append(blend * small + (1.0 - blend) * large)
    g = np.asarray(g, float)
    total = np.maximum((1.0 - g) * phi[0] + g * phi[1], 1e-12)
    return h + 5.0 * np.log10(helio_range * topo_range) - 2.5 * np.log10(total)


# Knots of the phase functions: angle [deg], value, derivative by the angle [1/rad].
_PHI1 = np.array(
    [[7.5, 0.75, -1.9098593], [30.0, 0.33486016, -0.55463432], [60.0, 0.13410560, -0.24404599],
     [90.0, 0.051104756, -0.094980438], [120.0, 0.021465687, -0.021411424],
     [150.0, 0.0036396989, -0.091328612]]
)  # fmt: skip
_PHI2 = np.array(
    [[7.5, 0.925, -0.57295780], [30.0, 0.62884169, -0.76705367], [60.0, 0.31755495, -0.45665789],
     [90.0, 0.12716367, -0.28071809], [120.0, 0.022373903, -0.11173257],
     [150.0, 0.00016505689, -8.6573138e-8]]
)  # fmt: skip
_PHI3 = np.array(
    [[0.0, 1.0, -0.10630097], [0.3, 0.83381185, -41.180439], [1.0, 0.57735424, -10.366915],
     [2.0, 0.42144772, -7.5784615], [4.0, 0.23174230, -3.6960950], [8.0, 0.10348178, -0.78605652],
     [12.0, 0.061733473, -0.46527012], [20.0, 0.016107006, -0.20459545], [30.0, 0.0, 0.0]]
)  # fmt: skip


def _through(knots, angle):
    """Cubic of given values and derivatives at the knots [angle in deg]."""
    k = np.clip(np.searchsorted(knots[:, 0], angle, side="right") - 1, 0, len(knots) - 2)
    (x0, y0, d0), (x1, y1, d1) = knots[k].T, knots[k + 1].T
    width = np.deg2rad(x1 - x0)
    t = (angle - x0) / (x1 - x0)
    a, b = d0 * width - (y1 - y0), (y1 - y0) - d1 * width
    return (1.0 - t) * y0 + t * y1 + t * (1.0 - t) * ((1.0 - t) * a + t * b)


def phase_functions(phase):
    """Basis functions of the H,G1,G2 system at phase angles [deg].

    Returns
    -------
    ndarray, shape (3, n)
        Linear parts of dark and bright surfaces, and the opposition effect; 1 at opposition.
        Beyond 150 degrees, where nothing was measured, the values there are held.

    References
    ----------
    Muinonen, K. et al. 2010, Icarus 209, 542 (tables 2 to 4).
    """
    angle = np.clip(np.atleast_1d(np.asarray(phase, float)), 0.0, 150.0)
    linear = angle < 7.5
    radians = np.deg2rad(angle)
    return np.stack(
        [
            np.where(linear, 1.0 - 6.0 * radians / np.pi, _through(_PHI1, np.maximum(angle, 7.5))),
            np.where(linear, 1.0 - 1.8 * radians / np.pi, _through(_PHI2, np.maximum(angle, 7.5))),
            np.where(angle < 30.0, _through(_PHI3, np.minimum(angle, 30.0)), 0.0),
        ]
    )


def g1_g2(g12):
    """Return G1 and G2 of the one-parameter system H,G12.

    References
    ----------
    Muinonen, K. et al. 2010, Icarus 209, 542 (equation 28).
    """
    g12 = np.asarray(g12, float)
    low = g12 < 0.2
    g1 = np.where(low, 0.7527 * g12 + 0.06164, 0.9529 * g12 + 0.02162)
    return g1, np.where(low, -0.9612 * g12 + 0.6270, -0.6125 * g12 + 0.5572)


def magnitude_hg12(h, g12, helio_range, topo_range, phase):
    """Apparent V magnitude in the H,G12 system.

    Parameters
    ----------
    h, g12 : float or ndarray
    helio_range, topo_range : float or ndarray
        Distances from Sun and observer [au].
    phase : float or ndarray
        Angle Sun - object - observer [deg].

    References
    ----------
    Muinonen, K. et al. 2010, Icarus 209, 542.
    """
    g1, g2 = g1_g2(g12)
    phi1, phi2, phi3 = phase_functions(phase)
    total = np.maximum(g1 * phi1 + g2 * phi2 + (1.0 - g1 - g2) * phi3, 1e-12)
    return h + 5.0 * np.log10(helio_range * topo_range) - 2.5 * np.log10(total)


def tangent_offsets(ra, dec, topo):
    """East and north offsets [arcsec] of vectors `topo` (n, 3+) from directions ra, dec [deg]."""
    ra, dec = np.deg2rad(ra), np.deg2rad(dec)
    cr, sr, cd, sd = np.cos(ra), np.sin(ra), np.cos(dec), np.sin(dec)
    x, y, z = topo[:, 0], topo[:, 1], topo[:, 2]
    depth = cd * (cr * x + sr * y) + sd * z
    scale = 180.0 * 3600.0 / np.pi
    return scale * (cr * y - sr * x) / depth, scale * (cd * z - sd * (cr * x + sr * y)) / depth


def sky_covariance(states, epochs, covariances, mjd_tai, obscode):
    """Covariance of the predicted position on the sky.

    Parameters
    ----------
    covariances : ndarray, shape (n, 6, 6)
        Of the heliocentric states [au, au/day].

    Returns
    -------
    ndarray, shape (n, 2, 2)
        East (with cos dec) and north, arcsec^2; NaN where the covariance is NaN.
    """
    _, topo = topocentric(states, epochs, mjd_tai, obscode)
    partial = _position_partials(
        np.ascontiguousarray(states, dtype=float),
        float(observer.tai_to_tdb(mjd_tai)) - np.asarray(epochs, float)
        - np.linalg.norm(topo[:, :3], axis=1) / _C,
    )  # fmt: skip
    ra, dec = orbits.directions(topo)
    cr, sr = np.cos(np.deg2rad(ra)), np.sin(np.deg2rad(ra))
    cd, sd = np.cos(np.deg2rad(dec)), np.sin(np.deg2rad(dec))
    zero = np.zeros_like(cr)
    axes = np.stack([np.stack([-sr, cr, zero], -1), np.stack([-sd * cr, -sd * sr, cd], -1)], 1)
    scale = 648000.0 / np.pi / np.linalg.norm(topo[:, :3], axis=1)
    design = scale[:, None, None] * (axes @ partial)
    return design @ covariances @ np.swapaxes(design, 1, 2)


@njit(cache=True)
def _position_partials(states, dt):
    n = states.shape[0]
    out = np.empty((n, 3, 6))
    state = np.empty(6)
    partials = np.empty((6, 6))
    for k in range(n):
        kepler.step_with_partials(states[k], dt[k], _GM, state, partials)
        out[k] = partials[:3]
    return out
