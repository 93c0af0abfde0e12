"""Orbits: elements and states, topocentric astrometric positions, brightness.

Elements are heliocentric, referred to the ecliptic and equinox of J2000 (IAU 1976 obliquity, as
the Minor Planet Center's): perihelion distance q [au], eccentricity, inclination, node, argument
of perihelion [deg] and time of perihelion [MJD TDB] describe every conic without a singularity.
States are heliocentric, ICRS axes, au and au/day.
"""

from __future__ import annotations

import numpy as np

from alertprod.core import kepler

#: Columns of tables with orbits: the state, the upper triangle of its covariance, the elements.
STATE = ("x", "y", "z", "vx", "vy", "vz")
UPPER = tuple(zip(*np.triu_indices(6), strict=True))
COVARIANCE = tuple(f"cov{i}{j}" for i, j in UPPER)
ELEMENTS = ("q", "e", "incl", "node", "argperi", "periTimeMjdTdb")
OBLIQUITY = np.deg2rad(84381.448 / 3600.0)
DEG = np.pi / 180.0
# galactic north pole and node (Hipparcos Catalogue, ESA SP-1200, vol. 1, eq. 1.5.10)
_GALACTIC = np.array(
    [
        [-0.0548755604, -0.8734370902, -0.4838350155],
        [+0.4941094279, -0.4448296300, +0.7469822445],
        [-0.8676661490, -0.1980763734, +0.4559837762],
    ]
)
# Mean colours V-band of C and S asteroids in the Rubin bands (Grav et al. 2011, PASP 123, 423).
V_MINUS_BAND = {"u": -1.77, "g": -0.35, "r": 0.21, "i": 0.37, "z": 0.35, "y": 0.35}


def v_minus(band) -> np.ndarray:
    """Colours V-band of mean asteroids in bands (n,); 0 where the band is not known."""
    colours = map(V_MINUS_BAND.get, np.asarray(band).tolist())
    return np.nan_to_num(np.array(list(colours), dtype=float))


def state_vectors(table) -> np.ndarray:
    """States of a table of orbits, shape (n, 6)."""
    return np.stack([table[name] for name in STATE], axis=-1)


def covariance_matrices(table) -> np.ndarray:
    """Covariances of the states of a table of orbits, shape (n, 6, 6)."""
    return full_matrices(np.stack([table[name] for name in COVARIANCE], axis=-1))


def full_matrices(upper) -> np.ndarray:
    """Symmetric matrices (n, 6, 6) of their upper triangles (n, 21) in the order of `UPPER`."""
    full = np.zeros((len(upper), 6, 6))
    for k, (i, j) in enumerate(UPPER):
        full[:, i, j] = full[:, j, i] = upper[:, k]
    return full


def ecliptic_to_equatorial(vector):
    """Rotate (..., 3) vectors from the ecliptic of J2000 to ICRS axes."""
    vector = np.asarray(vector, float)
    c, s = np.cos(OBLIQUITY), np.sin(OBLIQUITY)
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    return np.stack([x, c * y - s * z, s * y + c * z], axis=-1)


def equatorial_to_ecliptic(vector):
    """Inverse of `ecliptic_to_equatorial`."""
    vector = np.asarray(vector, float)
    c, s = np.cos(OBLIQUITY), np.sin(OBLIQUITY)
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    return np.stack([x, c * y + s * z, -s * y + c * z], axis=-1)


def unit_vectors(ra, dec):
    """Unit vectors (n, 3) of directions in degrees."""
    ra, dec = np.deg2rad(np.asarray(ra, float)), np.deg2rad(np.asarray(dec, float))
    c = np.cos(dec)
    return np.stack([c * np.cos(ra), c * np.sin(ra), np.sin(dec)], axis=-1)


def directions(vector):
    """Right ascension in [0, 360) and declination [deg] of (n, 3) vectors."""
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    return np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def ecliptic_and_galactic(ra, dec):
    """Ecliptic longitude and latitude, galactic longitude and latitude [deg] of ICRS positions."""
    unit = unit_vectors(ra, dec)
    return (*directions(equatorial_to_ecliptic(unit)), *directions(unit @ _GALACTIC.T))


def perihelion_time(a, e, mean_anomaly, epoch):
    """Time of the perihelion nearest to `epoch` [MJD] of ellipses with `mean_anomaly` [deg]."""
    motion = np.sqrt(kepler.GM_SUN / np.asarray(a, float) ** 3)
    anomaly = (np.deg2rad(mean_anomaly) + np.pi) % (2.0 * np.pi) - np.pi
    return epoch - anomaly / motion


def elements_to_states(elements, epoch):
    """Heliocentric states from cometary elements.

    Parameters
    ----------
    elements : ndarray, shape (n, 6)
        q [au], e, inclination, node, argument of perihelion [deg], time of perihelion [MJD TDB].
    epoch : float or ndarray, shape (n,)
        MJD TDB at which the state is wanted.

    Returns
    -------
    ndarray, shape (n, 6)
    """
    q, e = elements[:, 0], elements[:, 1]
    incl, node, peri = (np.deg2rad(elements[:, k]) for k in (2, 3, 4))
    speed = np.sqrt(kepler.GM_SUN * (1.0 + e) / q)
    cn, sn, cw, sw, ci, si = (
        np.cos(node), np.sin(node), np.cos(peri), np.sin(peri), np.cos(incl), np.sin(incl),
    )  # fmt: skip
    along = np.stack([cn * cw - sn * sw * ci, sn * cw + cn * sw * ci, sw * si], axis=-1)
    ahead = np.stack([-cn * sw - sn * cw * ci, -sn * sw + cn * cw * ci, cw * si], axis=-1)
    states = np.empty((len(q), 6))
    states[:, :3] = ecliptic_to_equatorial(q[:, None] * along)
    states[:, 3:] = ecliptic_to_equatorial(speed[:, None] * ahead)
    dt = np.ascontiguousarray(np.broadcast_to(epoch, q.shape) - elements[:, 5])
    return kepler.propagate(states, dt)


def states_to_elements(states, epoch):
    """Cometary elements of heliocentric states; inverse of `elements_to_states`.

    The node is 0 for an orbit in the ecliptic, the argument of perihelion 0 for a circle.
    """
    states = np.atleast_2d(np.asarray(states, float))
    position, velocity = (equatorial_to_ecliptic(states[:, k : k + 3]) for k in (0, 3))
    mu = kepler.GM_SUN
    r = np.linalg.norm(position, axis=1)
    momentum = np.cross(position, velocity)
    h = np.linalg.norm(momentum, axis=1)
    lenz = np.cross(velocity, momentum) / mu - position / r[:, None]
    e = np.linalg.norm(lenz, axis=1)
    q = h**2 / (mu * (1.0 + e))
    incl = np.arctan2(np.hypot(momentum[:, 0], momentum[:, 1]), momentum[:, 2])
    flat = np.hypot(momentum[:, 0], momentum[:, 1]) < 1e-12 * h
    node = np.where(flat, 0.0, np.arctan2(momentum[:, 0], -momentum[:, 1]))
    toward = np.stack([np.cos(node), np.sin(node), np.zeros_like(node)], axis=-1)
    ahead = np.cross(momentum / h[:, None], toward)
    round_ = e < 1e-12
    pointer = np.where(round_[:, None], toward, lenz)
    peri = np.arctan2(np.sum(pointer * ahead, axis=1), np.sum(pointer * toward, axis=1))
    nu = _true_anomaly(position, pointer, momentum / h[:, None])
    time = _time_from_perihelion(q, e, nu)
    out = np.stack([q, e, np.rad2deg(incl), np.rad2deg(node) % 360.0, np.rad2deg(peri) % 360.0,
                    np.asarray(epoch, float) - time], axis=-1)  # fmt: skip
    return out


def _true_anomaly(position, pointer, pole):
    along = np.sum(position * pointer, axis=1)
    ahead = np.sum(np.cross(pole, pointer) * position, axis=1)
    return np.arctan2(ahead, along)


def _time_from_perihelion(q, e, nu):
    """Days since perihelion at true anomaly `nu` [rad] for every conic."""
    mu = kepler.GM_SUN
    half = np.tan(0.5 * nu)
    # With w = tan(nu/2), beta = (1-e)/(1+e): dt = 2 sqrt(q^3/(mu(1+e))) (1+w^2)/(1+beta w^2)^2 dw.
    # Near perihelion and near the parabola its power series loses nothing; elsewhere Kepler's.
    beta = (1.0 - e) / (1.0 + e)
    near = np.abs(beta * half**2) < 1e-3
    with np.errstate(all="ignore"):
        a = q / (1.0 - e)
        big_e = 2.0 * np.arctan(np.sqrt(np.maximum(beta, 0.0)) * half)
        ellipse = np.sqrt(np.abs(a) ** 3 / mu) * (big_e - e * np.sin(big_e))
        big_f = 2.0 * np.arctanh(np.sqrt(np.maximum(-beta, 0.0)) * half)
        hyperbola = np.sqrt(np.abs(a) ** 3 / mu) * (e * np.sinh(big_f) - big_f)
        series = np.zeros_like(half)
        for k in range(8):
            power = (k + 1.0) * (-beta) ** k
            series += power * half ** (2 * k + 1) * (1 / (2 * k + 1) + half**2 / (2 * k + 3))
        series *= 2.0 * np.sqrt(q**3 / (mu * (1.0 + e)))
    return np.where(near, series, np.where(e < 1.0, ellipse, hyperbola))
