"""HelioLinC in three dimensions: tracklets to heliocentric states, clustered at one epoch.

For a hypothesis of heliocentric range r and its rate at the reference epoch, the line of sight of
each detection meets the sphere r(t) in a point (two, when the sphere lies inside the observer's):
a tracklet becomes a position and a velocity. The second derivative of r is not a third dimension
of the grid: it follows from the tracklet's own angular momentum, r'' = h^2/r^3 - GM/r^2. The state
is carried to the reference epoch by Kepler motion, where tracklets of one object coincide.

All states of one hypothesis lie near one sphere, so a hash of cells in three dimensions holds few
of them each, and neighbours are found in linear time.

References
----------
Holman, M. J. et al. 2018, AJ 156, 135 (HelioLinC); Heinze, A. et al. 2022, BAAS 54, 8, 504.04
(positions at the sphere, in three dimensions).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from alertprod.core import kepler, observer
from alertprod.daymops.fit import OX, TIME, UX

C = observer.C_AU_DAY
GM = kepler.GM_SUN


@njit(cache=True)
def _meet(ob, r, outer):
    """Distance from the station to the sphere of radius r along the line of sight; NaN if none."""
    b = ob[OX] * ob[UX] + ob[OX + 1] * ob[UX + 1] + ob[OX + 2] * ob[UX + 2]
    c = ob[OX] ** 2 + ob[OX + 1] ** 2 + ob[OX + 2] ** 2 - r * r
    disc = b * b - c
    if disc < 0.0:
        return math.nan
    root = math.sqrt(disc)
    rho = -b + root if outer else -b - root
    return rho if rho > 1e-4 else math.nan


@njit(cache=True)
def _range_at(r, rdot, rddot, dt):
    return r + rdot * dt + 0.5 * rddot * dt * dt


@njit(cache=True)
def _state(a, b, r, rdot, rddot, epoch, outer, out):
    """State at the mean time of a pair of observation blocks; its time, or NaN."""
    lag = 0.0
    lag2 = 0.0
    rho = 0.0
    rho2 = 0.0
    for _ in range(2):  # light time: the sphere is met when the light left
        rho = _meet(a, _range_at(r, rdot, rddot, a[TIME] - lag - epoch), outer)
        rho2 = _meet(b, _range_at(r, rdot, rddot, b[TIME] - lag2 - epoch), outer)
        lag, lag2 = rho / C, rho2 / C
    dt = b[TIME] - a[TIME] - (lag2 - lag)
    for k in range(3):
        p = a[OX + k] + rho * a[UX + k]
        q = b[OX + k] + rho2 * b[UX + k]
        out[k] = 0.5 * (p + q)
        out[k + 3] = (q - p) / dt
    out[6] = 0.5 * (rho + rho2)
    return 0.5 * (a[TIME] - lag + b[TIME] - lag2)


@njit(cache=True)
def _excess2(state):
    """Square of the speed at infinity [au^2/day^2]; negative for a bound orbit."""
    radius = math.sqrt(state[0] ** 2 + state[1] ** 2 + state[2] ** 2)
    return state[3] ** 2 + state[4] ** 2 + state[5] ** 2 - 2.0 * GM / radius


@njit(cache=True)
def to_reference(first, last, r, rdot, epoch, limits, out, owner):
    """States of all tracklets at the reference epoch under one hypothesis.

    Parameters
    ----------
    first, last : ndarray, shape (n, WIDTH)
        Observation blocks of the ends of each tracklet.
    r, rdot : float
        Range [au] and its rate [au/day] at `epoch`.
    epoch : float
        MJD TDB.
    limits : ndarray, shape (2,)
        Largest excess speed at infinity [au/day]; least geocentric distance [au].
    out : ndarray, shape (2 n, 7)
        Receives position, velocity and geocentric distance.
    owner : ndarray of int32, shape (2 n,)
        Receives the tracklet of each state.

    Returns
    -------
    int
        Number of states.
    """
    count = 0
    state = np.empty(7)
    for k in range(len(first)):
        for outer in (True, False):
            if not outer and r > 1.02:
                continue
            middle = _state(first[k], last[k], r, rdot, 0.0, epoch, outer, state)
            if not math.isfinite(state[3]):
                continue
            # most pairs are of strangers and far too fast: leave them before the costly part
            if _excess2(state) > limits[0] ** 2 + 0.2 * GM / r:
                continue
            rddot = 0.0
            for _ in range(2):
                # angular momentum of the tracklet gives the curvature of r(t)
                radius2 = state[0] ** 2 + state[1] ** 2 + state[2] ** 2
                radius = math.sqrt(radius2)
                v2 = state[3] ** 2 + state[4] ** 2 + state[5] ** 2
                radial = (state[0] * state[3] + state[1] * state[4] + state[2] * state[5]) / radius
                rddot = (v2 - radial * radial) / radius - GM / radius2
                rddot = min(max(rddot, -GM / radius2), GM / radius2)
                middle = _state(first[k], last[k], r, rdot, rddot, epoch, outer, state)
                if not math.isfinite(state[3]):
                    break
            if not math.isfinite(state[3]) or state[6] < limits[1]:
                continue
            if _excess2(state) > limits[0] ** 2:
                continue
            h = kepler.step(state[0], state[1], state[2], state[3], state[4], state[5],
                            epoch - middle, GM)  # fmt: skip
            if not math.isfinite(h[0]):
                continue
            for c in range(6):
                out[count, c] = h[c]
            out[count, 6] = state[6]
            owner[count] = k
            count += 1
    return count


@njit(cache=True)
def cell_keys(states, n, size, keys):
    """Integer cell of each position; 21 bits per axis."""
    for k in range(n):
        key = np.int64(0)
        for c in range(3):
            key = (key << 21) + (np.int64(math.floor(states[k, c] / size)) + 1048576)
        keys[k] = key


@njit(cache=True)
def _columns_around(keys, key, lo, hi):
    """Ranges of the sorted keys that hold the 27 cells around `key`, three cells at a time."""
    c = 0
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            base = key + (np.int64(dx) << 42) + (np.int64(dy) << 21)
            lo[c] = np.searchsorted(keys, base - 1)
            hi[c] = np.searchsorted(keys, base + 1, side="right")
            c += 1


@njit(cache=True)
def _distance2(a, b, scale, limit2):
    """Square distance of two states in position and scaled velocity; stops beyond `limit2`."""
    d2 = 0.0
    for x in range(3):
        d2 += (a[x] - b[x]) ** 2
    if d2 > limit2:
        return d2
    for x in range(3, 6):
        d2 += ((a[x] - b[x]) * scale) ** 2
    return d2


@njit(cache=True)
def neighbours(states, owner, order, keys, night, wanted, radius, scale, rules, start, flat,
               centre, spread):  # fmt: skip
    """Clusters: for each state the tracklets near it, if they fill enough nights.

    Parameters
    ----------
    states : ndarray, shape (n, 7)
    owner, order : ndarray of int
        Tracklet of each state; states sorted by cell.
    keys : ndarray of int64, shape (n,)
        Sorted cell keys.
    night, wanted : ndarray
        Index of the night of each tracklet (< 64); whether it may be the centre of a cluster.
    radius : float
        Clustering radius [au] at a geocentric distance of 1 au (it grows in proportion).
    scale : float
        Time [days] that turns velocity differences into distances.
    rules : ndarray of int
        Least number of nights; most members of a cluster.
    start, flat, centre, spread : ndarray
        Receive the clusters, members nearest first, the state at the centre of each, and the mean
        square distance from it over the square of its radius.

    Returns
    -------
    int
        Number of clusters, negative when `flat` was too small.
    """
    n = len(order)
    clusters = 0
    fill = 0
    start[0] = 0
    # the neighbouring columns of cells, three cells along the last axis at a time
    lo = np.zeros(9, dtype=np.int64)
    hi = np.zeros(9, dtype=np.int64)
    last_key = np.int64(-1)
    near = np.empty(4096, dtype=np.int64)
    away = np.empty(4096)
    for s in range(n):
        me = order[s]
        if not wanted[owner[me]]:
            continue
        if keys[s] != last_key:
            last_key = keys[s]
            _columns_around(keys, last_key, lo, hi)
        limit = radius * max(states[me, 6], 0.3)
        limit2 = limit * limit
        mask = np.uint64(0)
        count = 0
        for c in range(9):
            for t in range(lo[c], hi[c]):
                you = order[t]
                d2 = _distance2(states[me], states[you], scale, limit2)
                if d2 > limit2:
                    continue
                mask |= np.uint64(1) << np.uint64(night[owner[you]])
                if count < 4096:
                    near[count] = owner[you]
                    away[count] = d2
                    count += 1
        if count < rules[0] or count > rules[1]:
            continue
        nights = 0
        while mask:
            mask &= mask - np.uint64(1)
            nights += 1
        if nights < rules[0]:
            continue
        if fill + count > len(flat) or clusters + 1 >= len(start):
            return -clusters - 1
        ranked = np.argsort(away[:count], kind="mergesort")
        for k in range(count):
            flat[fill + k] = near[ranked[k]]
        centre[clusters] = me
        # relative to the nearest of each night the size would not depend on intruders, but a mean
        # over all members is enough to tell a good hypothesis from a bad one
        spread[clusters] = np.mean(away[:count]) / limit2
        fill += count
        clusters += 1
        start[clusters] = fill
    return clusters


@njit(cache=True)
def signatures(start, flat, clusters, salt):
    """A 64-bit fingerprint of each cluster's set of tracklets (order does not matter)."""
    out = np.empty(clusters, dtype=np.uint64)
    for c in range(clusters):
        total = np.uint64(0)
        for k in range(start[c], start[c + 1]):
            total += salt[flat[k]]
        out[c] = total
    return out
