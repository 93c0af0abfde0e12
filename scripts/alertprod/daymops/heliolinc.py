"""HelioLinC in three dimensions: tracklets to heliocentric states, clustered at one epoch.

Under the hypothesis of its heliocentric range and range rate the tracklets of one object coincide
at the reference epoch (`alertprod.daymops.spheres` gives the states). All states of one hypothesis
lie near one sphere. Sorted by place on it and by one component of the
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

# sort keys: 18 bits of level, 18 of speed, 27 of azimuth
SPEED_BITS, TURN_BITS, HALF = 18, 27, 131072
TURN_MASK = (1 << TURN_BITS) - 1
FINE = 2.0e7  # steps of azimuth in a radian
SIEVE_BITS = 21  # of the sieve of `near_wanted`


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
def settle_ties(keys, order):
    """Put equal keys into the order of their places; both arrays are sorted by key already.

    Which of equals comes first a quick sort leaves to the width of the processor's vectors, and a
    stable one takes several times as long.
    """
    for k in range(1, len(keys)):
        j = k
        while j > 0 and keys[j] == keys[j - 1] and order[j] < order[j - 1]:
            order[j], order[j - 1] = order[j - 1], order[j]
            j -= 1


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
def crowding(states, owner, keys, wanted, radius, size, scale):
    """Mean number of states within reach of a wanted one, from a sample of them."""
    finger = np.zeros(9, dtype=np.int64)
    near, away = np.empty(4096, dtype=np.int64), np.empty(4096)
    mine = np.flatnonzero(wanted[owner])
    total, sample = 0, 0
    for s in mine[:: max(1, len(mine) // 700)]:
        limit = _reach(states[s], radius)
        total += _around(s, states, keys, limit, size, scale, finger, near, away)
        sample += 1
    return total / max(sample, 1)


@njit(cache=True, error_model="numpy")
def _slots(state, size, scale, axis, slots):
    """Places in the sieve of the cell of a state, first, and of the 15 that `size` reaches.

    Cells are two sizes wide, in z, in one direction across, and in the velocities along both. A
    place belongs to many cells.
    """
    half = 0.5 / size
    slots[:] = 0
    for c in range(4):
        x = state[2 if c == 0 else axis if c == 1 else 5 if c == 2 else axis + 3]
        x *= half if c < 2 else half * scale
        cell = math.floor(x)
        other = cell - 1.0 if x - cell < 0.5 else cell + 1.0
        for k in range(16):
            slots[k] = slots[k] * 1000003 + np.int64(other if k >> c & 1 else cell)
    for k in range(16):
        slots[k] = (slots[k] ^ slots[k] >> 21) & ((1 << SIEVE_BITS) - 1)


@njit(cache=True, error_model="numpy")
def _slot(state, size, scale, axis):
    """The first of `_slots`."""
    half = 0.5 / size
    slot = np.int64(math.floor(state[2] * half))
    slot = slot * 1000003 + np.int64(math.floor(state[axis] * half))
    slot = slot * 1000003 + np.int64(math.floor(state[5] * (half * scale)))
    slot = slot * 1000003 + np.int64(math.floor(state[axis + 3] * (half * scale)))
    return (slot ^ slot >> 21) & ((1 << SIEVE_BITS) - 1)


@njit(cache=True)
def near_wanted(states, owner, n, wanted, size, scale):
    """States that may lie in a cluster with a wanted one; they and owners move to the front.

    Such a cluster has its centre within `size` of the wanted state, and its members lie within
    `size` of the centre: cells near the wanted ones are marked, then those near what is in them.

    Returns
    -------
    int
        Number of states kept.
    """
    across = 0.0
    for k in range(n):
        across += abs(states[k, 0]) - abs(states[k, 1])
    axis = 1 if across > 0.0 else 0
    kept, seen = np.empty(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    place, slots = np.empty(n, dtype=np.int64), np.empty(16, dtype=np.int64)
    for k in range(n):
        kept[k] = wanted[owner[k]]
        place[k] = _slot(states[k], size, scale, axis)
    sieve = np.zeros(1 << SIEVE_BITS - 6, dtype=np.uint64)
    for _ in range(2):
        for k in range(n):
            if kept[k] and not seen[k]:
                seen[k] = True
                _slots(states[k], size, scale, axis, slots)
                for slot in slots:
                    sieve[slot >> 6] |= np.uint64(1) << np.uint64(slot & 63)
        for k in range(n):
            kept[k] |= (sieve[place[k] >> 6] >> np.uint64(place[k] & 63)) & np.uint64(1) > 0
    count = 0
    for k in range(n):
        if kept[k]:
            states[count], owner[count] = states[k], owner[k]
            count += 1
    return count


@njit(cache=True)
def _centres(states, owner, keys, wanted, least, radius, size, scale):
    """States round which to look for clusters: the wanted ones and those that reach a wanted one.

    So every cluster that holds a wanted tracklet is found, also if its centre is another.
    """
    n = len(states)
    out = np.zeros(n, dtype=np.bool_)
    finger = np.zeros(9, dtype=np.int64)
    near, away = np.empty(4096, dtype=np.int64), np.empty(4096)
    for s in range(n):
        if not wanted[owner[s]]:
            continue
        limit = min(2.0 * _reach(states[s], radius), size)
        count = _around(s, states, keys, limit, size, scale, finger, near, away)
        # the search was as wide as the one round this centre will be, or wider
        out[s] |= count >= least
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
        Least number of nights; most members of a cluster; 1 if all tracklets are wanted.
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
    if rules[2]:
        centres = np.ones(len(states), dtype=np.bool_)
    else:
        centres = _centres(states, owner, keys, wanted, rules[0], radius, size, scale)
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
