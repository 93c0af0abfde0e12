"""HelioLinC in three dimensions: tracklets to heliocentric states, clustered at one epoch.

For a hypothesis of heliocentric range r and its rate at the reference epoch, the line of sight of
each detection meets the sphere r(t) in a point (two, when the sphere lies inside the observer's):
a tracklet becomes a position and a velocity. The second derivative of r is not a third dimension
of the grid: it follows from the tracklet's own angular momentum, r'' = h^2/r^3 - GM/r^2. The state
is carried to the reference epoch by Kepler motion, where tracklets of one object coincide.

All states of one hypothesis lie near one sphere. Sorted by place on it and by one component of the
velocity, neighbours are found in linear time also where strangers are many.

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
# sort keys: 18 bits of level, 18 of speed, 27 of azimuth
SPEED_BITS, TURN_BITS, HALF = 18, 27, 131072
TURN_MASK = (1 << TURN_BITS) - 1
FINE = 2.0e7  # steps of azimuth in a radian


@njit(cache=True)
def ends(obs, which):
    """The columns of observation blocks that this module reads, packed: time, station, direction.

    Two more hold what the meeting with a sphere needs: station times direction, station squared.
    """
    out = np.empty((len(which), 9))
    for k in range(len(which)):
        ob = obs[which[k]]
        out[k, 0] = ob[TIME]
        along, square = 0.0, 0.0
        for c in range(3):
            out[k, 1 + c], out[k, 4 + c] = ob[OX + c], ob[UX + c]
            along += ob[OX + c] * ob[UX + c]
            square += ob[OX + c] ** 2
        out[k, 7], out[k, 8] = along, square
    return out


@njit(cache=True)
def _meet(ob, r, outer):
    """Distance from the station to the sphere of radius r along the line of sight; NaN if none."""
    disc = ob[7] * ob[7] - ob[8] + r * r
    if disc < 0.0:
        return math.nan
    root = math.sqrt(disc)
    rho = -ob[7] + root if outer else -ob[7] - root
    return rho if rho > 1e-4 else math.nan


@njit(cache=True)
def _range_at(r, rdot, rddot, dt):
    return r + rdot * dt + 0.5 * rddot * dt * dt


@njit(cache=True)
def _state(a, b, motion, epoch, outer, rounds, out):
    """State at the mean time of the ends of a tracklet; its time. NaN if a sphere is missed."""
    r, rdot, rddot = motion
    lag = 0.0
    lag2 = 0.0
    rho = 0.0
    rho2 = 0.0
    for _ in range(rounds):  # light time: the sphere is met when the light left
        rho = _meet(a, _range_at(r, rdot, rddot, a[0] - lag - epoch), outer)
        rho2 = _meet(b, _range_at(r, rdot, rddot, b[0] - lag2 - epoch), outer)
        lag, lag2 = rho / C, rho2 / C
    dt = b[0] - a[0] - (lag2 - lag)
    for k in range(3):
        p = a[1 + k] + rho * a[4 + k]
        q = b[1 + k] + rho2 * b[4 + k]
        out[k] = 0.5 * (p + q)
        out[k + 3] = (q - p) / dt
    out[6] = 0.5 * (rho + rho2)
    return 0.5 * (a[0] - lag + b[0] - lag2)


@njit(cache=True)
def _excess2(state):
    """Square of the speed at infinity [au^2/day^2]; negative for a bound orbit."""
    radius = math.sqrt(state[0] ** 2 + state[1] ** 2 + state[2] ** 2)
    return state[3] ** 2 + state[4] ** 2 + state[5] ** 2 - 2.0 * GM / radius


@njit(cache=True)
def _carry(state, dt, out):
    """Kepler motion over `dt` days into `out`, by the series of f and g to the fifth power.

    Over half a window and beyond the Earth's orbit it errs by less than 1e-6 au, a thousandth of
    what the clusters are wide.
    """
    r2 = state[0] ** 2 + state[1] ** 2 + state[2] ** 2
    v2 = state[3] ** 2 + state[4] ** 2 + state[5] ** 2
    u = GM / (r2 * math.sqrt(r2))
    p = (state[0] * state[3] + state[1] * state[4] + state[2] * state[5]) / r2
    q = v2 / r2 - u
    fourth = u * (3.0 * q - 15.0 * p * p + u)
    fifth = u * p * (7.0 * p * p - 3.0 * q - u)
    last = u * (9.0 * q - 45.0 * p * p + u)
    t2 = dt * dt
    t3 = t2 * dt
    f = 1.0 - u * t2 / 2 + u * p * t3 / 2 + fourth * t2 * t2 / 24 + fifth * t2 * t3 / 8
    g = dt - u * t3 / 6 + u * p * t2 * t2 / 4 + last * t2 * t3 / 120
    fdot = -u * dt + 1.5 * u * p * t2 + fourth * t3 / 6 + 5.0 * fifth * t2 * t2 / 8
    gdot = 1.0 - u * t2 / 2 + u * p * t3 + last * t2 * t2 / 24
    for c in range(3):
        out[c] = f * state[c] + g * state[c + 3]
        out[c + 3] = fdot * state[c] + gdot * state[c + 3]


@njit(cache=True)
def to_reference(first, last, r, rdot, epoch, limits, out, owner):
    """States of all tracklets at the reference epoch under one hypothesis.

    Parameters
    ----------
    first, last : ndarray, shape (n, 9)
        The `ends` of each tracklet.
    r, rdot : float
        Range [au] and its rate [au/day] at `epoch`.
    epoch : float
        MJD TDB.
    limits : ndarray, shape (2,)
        Largest excess speed at infinity [au/day]; least geocentric distance [au].
    out : ndarray, shape (2 n, 7)
        Receives position, velocity and geocentric distance.
    owner : ndarray of int, shape (2 n,)
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
            _state(first[k], last[k], (r, rdot, 0.0), epoch, outer, 1, state)
            # most pairs are of strangers and far too fast: leave them before the costly part
            if not _excess2(state) <= limits[0] ** 2 + 0.2 * GM / r:
                continue
            # angular momentum of the tracklet gives the curvature of r(t)
            radius2 = state[0] ** 2 + state[1] ** 2 + state[2] ** 2
            radius = math.sqrt(radius2)
            v2 = state[3] ** 2 + state[4] ** 2 + state[5] ** 2
            radial = (state[0] * state[3] + state[1] * state[4] + state[2] * state[5]) / radius
            rddot = (v2 - radial * radial) / radius - GM / radius2
            rddot = min(max(rddot, -GM / radius2), GM / radius2)
            middle = _state(first[k], last[k], (r, rdot, rddot), epoch, outer, 2, state)
            if not _excess2(state) <= limits[0] ** 2 or state[6] < limits[1]:
                continue
            _carry(state, epoch - middle, out[count])
            out[count, 6] = state[6]
            owner[count] = k
            count += 1
    return count


@njit(cache=True)
def cells(states, n, size, scale, keys):
    """Sort keys: cell in z, cell in the velocity along z, azimuth.

    Azimuth and z place a state on the sphere of its hypothesis; strangers in the same place differ
    in velocity.
    """
    for k in range(n):
        level = np.int64(math.floor(states[k, 2] / size)) + HALF
        speed = np.int64(math.floor(states[k, 5] * scale / size)) + HALF
        turn = np.int64((math.atan2(states[k, 1], states[k, 0]) + math.pi) * FINE)
        keys[k] = ((level << SPEED_BITS) + speed << TURN_BITS) + turn


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
def _reach(state, radius):
    """Largest distance [au] of a neighbour: in proportion to the distance, down to a floor."""
    return radius[0] * max(state[6], radius[1])


@njit(cache=True)
def _around(s, states, keys, limit, size, scale, finger, near, away):
    """Neighbours of state `s` (all in order of `keys`) within `limit`, up to the room in `near`.

    `finger` remembers where in the nine columns of cells the last search began: centres come in
    the same order, so the next one begins nearby.
    """
    me = states[s]
    turn = keys[s] & TURN_MASK
    across = math.sqrt(me[0] * me[0] + me[1] * me[1])
    width = TURN_MASK if limit > 0.5 * across else np.int64(1.05 * limit / across * FINE) + 1
    low, high = max(turn - width, 0), min(turn + width, TURN_MASK)
    # the azimuth closes at both ends of the scale: there, whole columns are looked through
    if turn - width < 0 or turn + width > int(2.0 * math.pi * FINE):
        low, high = 0, TURN_MASK
    level, speed = me[2] / size, me[5] * scale / size
    part_z, part_v, slack = level - math.floor(level), speed - math.floor(speed), limit / size
    limit2 = limit * limit
    count = 0
    for dz in range(-1, 2):
        if (dz < 0 and part_z > slack) or (dz > 0 and 1.0 - part_z > slack):
            continue
        for dv in range(-1, 2):
            if (dv < 0 and part_v > slack) or (dv > 0 and 1.0 - part_v > slack):
                continue
            base = ((keys[s] >> TURN_BITS) + (dz << SPEED_BITS) + dv) << TURN_BITS
            c = 3 * dz + dv + 4
            t = finger[c]
            while t > 0 and keys[t - 1] >= base + low:
                t -= 1
            while t < len(keys) and keys[t] < base + low:
                t += 1
            finger[c] = t
            while t < len(keys) and keys[t] <= base + high:
                d2 = _distance2(me, states[t], scale, limit2)
                if d2 <= limit2 and count < len(near):
                    near[count] = t
                    away[count] = d2
                    count += 1
                t += 1
    return count


@njit(cache=True)
def crowding(states, keys, radius, size, scale):
    """Mean number of states within reach of one, from a sample of them."""
    finger = np.zeros(9, dtype=np.int64)
    near, away = np.empty(4096, dtype=np.int64), np.empty(4096)
    total, sample = 0, 0
    for s in range(0, len(states), max(1, len(states) // 2000)):
        limit = _reach(states[s], radius)
        total += _around(s, states, keys, limit, size, scale, finger, near, away)
        sample += 1
    return total / sample


@njit(cache=True)
def _centres(states, owner, keys, wanted, radius, size, scale):
    """States round which to look for clusters: the wanted ones and those that reach a wanted one.

    So every cluster that holds a wanted tracklet is found, also if its centre is another.
    """
    n = len(states)
    out = np.zeros(n, dtype=np.bool_)
    if wanted.all():
        out[:] = True
        return out
    finger = np.zeros(9, dtype=np.int64)
    near, away = np.empty(4096, dtype=np.int64), np.empty(4096)
    for s in range(n):
        if not wanted[owner[s]]:
            continue
        out[s] = True
        limit = min(2.0 * _reach(states[s], radius), size)
        count = _around(s, states, keys, limit, size, scale, finger, near, away)
        for k in range(count):
            out[near[k]] |= away[k] <= _reach(states[near[k]], radius) ** 2
    return out


@njit(cache=True)
def neighbours(states, owner, keys, night, wanted, radius, size, scale, rules, start, flat,
               centre, spread):  # fmt: skip
    """Clusters: for each state the tracklets near it, if they fill enough nights.

    Parameters
    ----------
    states : ndarray, shape (n, 7)
        In order of `keys`.
    owner : ndarray of int
        Tracklet of each state.
    keys : ndarray of int64, shape (n,)
        Sorted; see `cells`.
    night, wanted : ndarray
        Index of the night of each tracklet (< 64); whether its clusters are of interest.
    radius : ndarray, shape (2,)
        Clustering radius [au] at a geocentric distance of 1 au, in proportion to which it grows;
        distance below which it does not shrink.
    size : float
        Width [au] of the cells; no radius is larger.
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
    clusters = 0
    fill = 0
    start[0] = 0
    finger = np.zeros(9, dtype=np.int64)
    near, away = np.empty(4096, dtype=np.int64), np.empty(4096)
    centres = _centres(states, owner, keys, wanted, radius, size, scale)
    for s in range(len(states)):
        if not centres[s]:
            continue
        limit = _reach(states[s], radius)
        count = _around(s, states, keys, limit, size, scale, finger, near, away)
        if count < rules[0] or count > rules[1]:
            continue
        mask = np.uint64(0)
        for k in range(count):
            mask |= np.uint64(1) << np.uint64(night[owner[near[k]]])
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
            flat[fill + k] = owner[near[ranked[k]]]
        centre[clusters] = s
        # relative to the nearest of each night the size would not depend on intruders, but a mean
        # over all members is enough to tell a good hypothesis from a bad one
        spread[clusters] = np.mean(away[:count]) / (limit * limit)
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
