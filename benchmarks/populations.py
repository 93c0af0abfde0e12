"""Orbits of simulated asteroids: main belt with Kirkwood gaps, near-Earth and distant ones.

Kepler motion only serves to choose objects that stand in a field at the middle of the window; from
there on `moving_sky` moves them by N-body.
"""

from __future__ import annotations

import numpy as np

MU = 2.9591220828411956e-04
OBLIQUITY = np.deg2rad(84381.448 / 3600)
LIMIT = 24.2  # V to which the steepest absolute magnitudes of `_draw` are meant to reach
CLASSES = ("main", "neo", "trojan", "centaur", "tno", "coorbital", "interstellar")


def _kepler_positions(el, t):
    """Heliocentric ecliptic positions of cometary elements, e < 1 by Newton, e > 1 alike."""
    q, e, inc, node, peri, tp = el.T
    a = q / (1 - e)
    mean = np.sqrt(MU / np.abs(a) ** 3) * (t - tp)
    ell = e < 1
    m = np.where(ell, (mean + np.pi) % (2 * np.pi) - np.pi, mean)
    x = np.where(ell, m + e * np.sin(m), np.arcsinh(m / np.maximum(e, 1.001)))
    for _ in range(60):
        with np.errstate(over="ignore", invalid="ignore"):
            f = np.where(ell, x - e * np.sin(x) - m, e * np.sinh(x) - x - m)
            d = np.where(ell, 1 - e * np.cos(x), e * np.cosh(x) - 1)
        x = x - np.clip(f / d, -0.5, 0.5)
    with np.errstate(over="ignore"):
        along = np.where(ell, a * (np.cos(x) - e), a * (np.cosh(x) - e))
        root = np.sqrt(np.abs(1 - e**2))
        ahead = np.where(ell, a * root * np.sin(x), -a * root * np.sinh(x))
        r = np.where(ell, a * (1 - e * np.cos(x)), a * (1 - e * np.cosh(x)))
        speed = np.sqrt(MU * np.abs(a)) / r
        va = np.where(ell, -speed * np.sin(x), -speed * np.sinh(x))
        vh = np.where(ell, speed * root * np.cos(x), speed * root * np.cosh(x))
    cn, sn, cw, sw, ci, si = (
        np.cos(node), np.sin(node), np.cos(peri), np.sin(peri), np.cos(inc), np.sin(inc),
    )  # fmt: skip
    p = np.stack([cn * cw - sn * sw * ci, sn * cw + cn * sw * ci, sw * si], -1)
    w = np.stack([-cn * sw - sn * cw * ci, -sn * sw + cn * cw * ci, cw * si], -1)
    pos = along[:, None] * p + ahead[:, None] * w
    vel = va[:, None] * p + vh[:, None] * w
    return _equatorial(pos), _equatorial(vel)


def _equatorial(v):
    c, s = np.cos(OBLIQUITY), np.sin(OBLIQUITY)
    return np.stack([v[:, 0], c * v[:, 1] - s * v[:, 2], s * v[:, 1] + c * v[:, 2]], -1)


def _draw(kind, n, t, rng):
    """Elements (q, e, i, node, peri, tp; radians) and H of one class."""
    h_max = {"main": 22.0, "neo": 26.0, "trojan": 17.5, "centaur": 14.5, "tno": 9.5,
             "coorbital": 25.0, "interstellar": 20.0}[kind]  # fmt: skip
    inc = np.deg2rad(rng.rayleigh(7.0, n))
    e = np.minimum(rng.rayleigh(0.11, n), 0.6)
    if kind == "main":
        a = rng.uniform(2.1, 3.35, n)
        for gap in (2.5, 2.82, 2.96, 3.28):
            inside = np.abs(a - gap) < 0.02
            a[inside] += 0.05
        q = a * (1 - e)
    elif kind == "neo":
        a, e = rng.uniform(0.7, 3.2, n), rng.uniform(0.05, 0.85, n)
        q = a * (1 - e)
        q = np.where((q < 1.3) & (q > 0.2) & (a * (1 + e) > 1.0), q, np.nan)
        inc = np.deg2rad(rng.rayleigh(12.0, n))
    elif kind == "trojan":
        e = np.minimum(rng.rayleigh(0.06, n), 0.2)
        q = rng.normal(5.2, 0.05, n) * (1 - e)
    elif kind == "centaur":
        e = rng.uniform(0, 0.5, n)
        q = np.maximum(rng.uniform(6, 25, n) * (1 - e), 5.5)
    elif kind == "tno":
        e = np.minimum(rng.rayleigh(0.1, n), 0.4)
        q = rng.normal(43, 3.5, n) * (1 - e)
    elif kind == "coorbital":
        e = np.minimum(rng.rayleigh(0.1, n), 0.3)
        q = rng.normal(1.0, 0.01, n) * (1 - e)
        inc = np.deg2rad(rng.rayleigh(6.0, n))
    else:
        e = rng.uniform(1.05, 5, n)
        q = rng.uniform(0.5, 3.0, n)
        inc = np.arccos(rng.uniform(-1, 1, n))
    node, peri = rng.uniform(0, 2 * np.pi, (2, n))
    if kind == "interstellar":
        tp = t + rng.uniform(-200, 200, n)
    else:
        tp = t + rng.uniform(-0.5, 0.5, n) * 2 * np.pi * np.sqrt((q / (1 - e)) ** 3 / MU)
    h = h_max + np.log10(rng.uniform(1e-4, 1, n)) / 0.35
    return np.stack([q, e, inc, node, peri, tp], -1), h


def place(counts, t, earth, inside, rng, limit=LIMIT):
    """Objects that stand in a region at time `t` and are brighter than V = `limit`.

    Parameters
    ----------
    counts : dict
        Number of each class.
    t : float
        MJD TDB.
    earth : ndarray, shape (3,)
        Heliocentric place of the observer.
    inside : callable
        Tells of vectors from the observer which ones point into the region.
    rng : Generator
    limit : float
        V without the effect of the phase.

    Returns
    -------
    states : ndarray, shape (n, 6)
        Heliocentric ICRS.
    kinds : ndarray of int
        Index into `CLASSES`.
    h : ndarray
        Absolute magnitudes.
    """
    states, kinds, magnitudes = [], [], []
    for k, name in enumerate(CLASSES):
        have, tries = 0, 0
        while have < counts.get(name, 0) and tries < 4000:
            tries += 1
            el, h = _draw(name, 20000, t, rng)
            good = np.isfinite(el).all(1)
            p, v = _kepler_positions(el[good], t)
            h = h[good] + limit - LIMIT
            d = p - earth
            delta, r = np.linalg.norm(d, axis=1), np.linalg.norm(p, axis=1)
            bright = h + 5 * np.log10(r * delta) < limit
            ok = np.flatnonzero(inside(d) & bright & (delta > 0.05))[: counts[name] - have]
            have += len(ok)
            states.append(np.concatenate([p[ok], v[ok]], axis=1))
            magnitudes.append(h[ok])
            kinds.append(np.full(len(ok), k))
    return np.concatenate(states), np.concatenate(kinds), np.concatenate(magnitudes)
