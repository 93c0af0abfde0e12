"""Asteroids on Keplerian orbits about the Sun, as seen from the ground.

Orbits are unperturbed ellipses; elements are heliocentric, ecliptic and equinox of J2000. The
observer's place is given from outside (`plan`), so that this module is pure geometry. Positions
are astrometric: light time is taken off, aberration is not (it is in nobody's pixels relative to
the stars).
"""

from __future__ import annotations

import numpy as np

GM = 0.01720209895**2  # au^3/d^2
OBLIQUITY = np.deg2rad(84381.448 / 3600)
LIGHT_DAYS_PER_AU = 499.004783836 / 86400
BAND_COLOUR = {"g": 0.28, "r": -0.22}  # magnitude minus V of an S-type asteroid
SLOPE = 0.15
NAMES = ("a", "e", "incl", "node", "argperi", "mean_anomaly")


def to_ecliptic(v: np.ndarray) -> np.ndarray:
    """Turn equatorial vectors (..., 3) to the ecliptic of J2000."""
    c, s = np.cos(OBLIQUITY), np.sin(OBLIQUITY)
    return v @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]]).T


def to_equatorial(v: np.ndarray) -> np.ndarray:
    """Turn ecliptic vectors (..., 3) to the equator of J2000."""
    c, s = np.cos(OBLIQUITY), np.sin(OBLIQUITY)
    return v @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]).T


def positions(orbits: dict, mjd_tdb: np.ndarray) -> np.ndarray:
    """Return heliocentric equatorial positions [au], shape (n, 3), each at its own time."""
    a, e = orbits["a"], orbits["e"]
    mean = np.deg2rad(orbits["mean_anomaly"]) + np.sqrt(GM / a**3) * (mjd_tdb - orbits["epoch"])
    mean = (mean + np.pi) % (2 * np.pi) - np.pi
    anomaly = mean + e * np.sin(mean)
    for _ in range(20):
        step = (anomaly - e * np.sin(anomaly) - mean) / (1 - e * np.cos(anomaly))
        anomaly = anomaly - step
        if np.max(np.abs(step), initial=0.0) < 1e-14:
            break
    x, y = a * (np.cos(anomaly) - e), a * np.sqrt(1 - e * e) * np.sin(anomaly)
    w, o, i = (np.deg2rad(orbits[name]) for name in ("argperi", "node", "incl"))
    u, v = x * np.cos(w) - y * np.sin(w), x * np.sin(w) + y * np.cos(w)
    ecliptic = np.stack(
        [
            u * np.cos(o) - v * np.sin(o) * np.cos(i),
            u * np.sin(o) + v * np.cos(o) * np.cos(i),
            v * np.sin(i),
        ],
        axis=-1,
    )
    return to_equatorial(ecliptic)


def observe(orbits: dict, mjd_tdb: float, observer: np.ndarray) -> dict[str, np.ndarray]:
    """See asteroids from a heliocentric place [au, equatorial].

    Returns
    -------
    dict
        ra, dec [deg], delta, r [au], phase [deg], mag_v.
    """
    number = orbits["a"].size
    delay = np.zeros(number)
    for _ in range(4):
        place = positions(orbits, mjd_tdb - delay)
        line = place - observer
        delta = np.linalg.norm(line, axis=-1)
        delay = delta * LIGHT_DAYS_PER_AU
    r = np.linalg.norm(place, axis=-1)
    cosine = np.sum(place * line, axis=-1) / (r * delta)
    phase = np.arccos(np.clip(cosine, -1, 1))
    return {
        "ra": np.rad2deg(np.arctan2(line[:, 1], line[:, 0])) % 360,
        "dec": np.rad2deg(np.arcsin(line[:, 2] / delta)),
        "delta": delta,
        "r": r,
        "phase": np.rad2deg(phase),
        "mag_v": orbits["H"] + 5 * np.log10(r * delta) + phase_function(phase),
    }


def phase_function(phase: np.ndarray) -> np.ndarray:
    """Return the dimming [mag] at a phase angle [rad] in the H, G system.

    References
    ----------
    Bowell et al. 1989, in Asteroids II, 524.
    """
    half = np.tan(phase / 2)
    phi1, phi2 = np.exp(-3.33 * half**0.63), np.exp(-1.87 * half**1.22)
    return -2.5 * np.log10((1 - SLOPE) * phi1 + SLOPE * phi2)


def elements(place: np.ndarray, velocity: np.ndarray, epoch: float) -> dict[str, np.ndarray]:
    """Return elements of bound orbits from equatorial states [au, au/d], shape (n, 3)."""
    p, v = to_ecliptic(place), to_ecliptic(velocity)
    r = np.linalg.norm(p, axis=-1)
    h = np.cross(p, v)
    size = np.linalg.norm(h, axis=-1)
    node = np.arctan2(h[:, 0], -h[:, 1])
    incl = np.arccos(h[:, 2] / size)
    a = 1 / (2 / r - np.sum(v * v, axis=-1) / GM)
    vector = np.cross(v, h) / GM - p / r[:, None]
    e = np.linalg.norm(vector, axis=-1)
    # Angles in the orbit's plane are counted from the ascending node.
    along = np.stack([np.cos(node), np.sin(node), 0 * node], axis=-1)
    across = np.cross(h, along) / size[:, None]
    peri = np.arctan2(np.sum(vector * across, axis=-1), np.sum(vector * along, axis=-1))
    u = np.arctan2(np.sum(p * across, axis=-1), np.sum(p * along, axis=-1))
    true = u - peri
    anomaly = 2 * np.arctan2(
        np.sqrt(np.maximum(1 - e, 0)) * np.sin(true / 2), np.sqrt(1 + e) * np.cos(true / 2)
    )
    mean = anomaly - e * np.sin(anomaly)
    values = (a, e, incl, node, peri, mean)
    out = {name: np.asarray(value) for name, value in zip(NAMES, values, strict=True)}
    for name in NAMES[2:]:
        out[name] = np.rad2deg(out[name]) % 360
    out["epoch"] = np.full(r.size, epoch)
    return out


def draw_orbits(rng, number: int, kind: str, target: dict, epoch: float, observer) -> dict:
    """Draw orbits of asteroids that stand in a field at an epoch.

    Parameters
    ----------
    kind : str
        ``main_belt`` or ``near_earth``.
    target : dict
        ``{ra, dec, radius}`` of the field [deg].
    epoch : float
        MJD TDB.
    observer : ndarray, shape (3,)
        Heliocentric, equatorial [au].
    """
    from alertprod.simulate.sky import in_disc

    ra, dec = (np.deg2rad(v) for v in in_disc(rng, number, target))
    line = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    if kind == "main_belt":
        a, e = rng.uniform(2.2, 3.3, number), rng.rayleigh(0.12, number).clip(0, 0.33)
        # The share of the orbit spent at each distance, near enough.
        r = a * (1 - e * np.cos(rng.uniform(0, 2 * np.pi, number)))
        tilt = np.deg2rad(rng.normal(0, 7, number))
        toward = line @ observer
        delta = -toward + np.sqrt(np.maximum(toward**2 - observer @ observer + r**2, 0))
    else:
        a, e = rng.uniform(1.1, 2.6, number), rng.uniform(0.1, 0.6, number)
        tilt = np.deg2rad(rng.normal(0, 12, number))
        delta = rng.uniform(0.03, 0.15, number)
    place = observer + delta[:, None] * line
    r = np.linalg.norm(place, axis=-1)
    speed2 = GM * (2 / r - 1 / a)
    transverse = np.sqrt(GM * a * (1 - e * e)) / r
    radial2 = speed2 - transverse**2
    possible = radial2 >= 0
    radial = np.sqrt(np.maximum(radial2, 0)) * rng.choice([-1.0, 1.0], number)
    out = place / r[:, None]
    pole = to_equatorial(np.array([0.0, 0.0, 1.0]))
    east = np.cross(pole, out)
    east /= np.linalg.norm(east, axis=-1)[:, None]
    north = np.cross(out, east)
    sideways = np.cos(tilt)[:, None] * east + np.sin(tilt)[:, None] * north
    velocity = radial[:, None] * out + transverse[:, None] * sideways
    orbits = elements(place, velocity, epoch)
    return {name: value[possible] for name, value in orbits.items()}
