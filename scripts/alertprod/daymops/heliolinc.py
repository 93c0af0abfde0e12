"""HelioLinC in three dimensions: tracklets to heliocentric states, clustered at one epoch.

Under the hypothesis of its heliocentric range and range rate the tracklets of one object coincide
at the reference epoch (`alertprod.daymops.spheres` gives the states). All states of one hypothesis
lie near one sphere. Sorted by place on it and by one component of the velocity, each pair of
neighbours is found once, from the one that comes first: its own column of cells is searched
upwards, and of the eight columns round it the four that come later.

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
# columns of cells: steps in z and in velocity; the first five are a state's own and later ones
COLUMNS = ((0, 0), (0, 1), (1, -1), (1, 0), (1, 1), (0, -1), (-1, 1), (-1, 0), (-1, -1))


@njit(cache=True)
def cells(states, size, keys):
    """Sort keys: cell in z, cell in the velocity along z, azimuth.

    Azimuth and z place a state on the sphere of its hypothesis; strangers in the same place differ
    in velocity.
    """
    inverse = 1.0 / size
    for k in range(len(states)):
        level = np.int64(math.floor(states[k, 2] * inverse)) + HALF
        speed = np.int64(math.floor(states[k, 5] * inverse)) + HALF
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
def arrange(given, order, tracklets, radius, out):
    """Put states in order, and beside them what the search reads.

    Parameters
    ----------
    given : tuple of ndarray
        States (n, 7) and their tracklets, as `spheres.to_reference` gives them.
    order : ndarray of int
    tracklets : tuple of ndarray
        Night of each tracklet; whether it is wanted.
    radius : ndarray, shape (2,)
        Reach [au] of a state at 1 au, in proportion to which it grows; distance [au] below which it
        does not shrink.
    out : tuple of ndarray
        Receive states, tracklets, nights, whether wanted, reach, and the velocity sideways: along
        the azimuth. It tells most strangers apart that are near in what the states are sorted by.
    """
    states, owner, night, wanted, reach, across = out
    for k in range(len(order)):
        me, trk = given[0][order[k]], given[1][order[k]]
        for c in range(7):
            states[k, c] = me[c]
        owner[k], night[k], wanted[k] = trk, tracklets[0][trk], tracklets[1][trk]
        reach[k] = radius[0] * max(me[6], radius[1])
        x, y = np.float64(me[0]), np.float64(me[1])
        across[k] = (x * me[4] - y * me[3]) / max(math.sqrt(x * x + y * y), 1e-12)


@njit(cache=True)
def _distance2(a, b, limit2):
    """Square distance of two states; stops beyond `limit2`."""
    d2 = 0.0
    for c in range(3, 6):
        d2 += (np.float64(a[c]) - b[c]) ** 2
    if d2 > limit2:
        return d2
    for c in range(3):
        d2 += (np.float64(a[c]) - b[c]) ** 2
    return d2


@njit(cache=True)
def _scan(s, low, high, states, across, limit, reach, wanted, found, count):
    """Partners of state `s` among those from `low` to `high`.

    Among wanted ones, if there are others, a pair is found from both sides, and taken once.
    """
    mine = across[s]
    for t in range(low, high):
        if abs(across[t] - mine) <= limit:
            d2 = _distance2(states[s], states[t], reach[s] * reach[s])
            if d2 <= min(reach[s], reach[t]) ** 2 and count < found.shape[1]:
                if len(wanted) and wanted[t] and t <= s:
                    continue
                found[0, count], found[1, count] = s, t
                count += 1
    return count


@njit(cache=True)
def _seek(keys, t, key):
    """First place from which keys are not below `key`, sought from place `t` on."""
    while t > 0 and keys[t - 1] >= key:
        t -= 1
    while t < len(keys) and keys[t] < key:
        t += 1
    return t


@njit(cache=True)
def pairs(states, keys, across, reach, wanted, size, step, found):
    """Pairs of states no farther apart than the reach of either.

    Parameters
    ----------
    states, reach, across : ndarray
        In order of `keys`; see `arrange`.
    keys : ndarray of int64, shape (n,)
        Sorted; see `cells`.
    wanted : ndarray of bool, shape (n,) or (0,)
        If not empty: which states have to be one of the pair.
    size : float
        Width [au] of the cells; no reach is larger.
    step : int
        1: the pairs of all states; else only those from every `step`-th one on.
    found : ndarray of int, shape (2, m)
        Receives the two states.

    Returns
    -------
    int
        Number of pairs; as many as there is room for, if there were more.
    """
    count = 0
    columns = 9 if len(wanted) else 5
    # where in each column the last search began and ended: the next one does nearby
    begin, end = np.zeros(9, dtype=np.int64), np.zeros(9, dtype=np.int64)
    fastest = 0.0
    for me in states:
        fastest = max(fastest, me[3] ** 2 + me[4] ** 2 + me[5] ** 2)
    fastest, inverse = math.sqrt(fastest), 1.0 / size
    for s in range(0, len(states), step):
        if len(wanted) and not wanted[s]:
            continue
        me, limit = states[s], reach[s]
        turn = keys[s] & TURN_MASK
        angle = limit / math.sqrt(np.float64(me[0]) ** 2 + np.float64(me[1]) ** 2)
        width = np.int64(1.05 * angle * FINE) + 1 if angle < 0.5 else TURN_MASK
        # the direction sideways turns by the azimuth between the two
        wide = limit + 1.2 * angle * fastest if angle < 0.5 else 4.0
        low, high = max(turn - width, 0), min(turn + width, TURN_MASK)
        # the azimuth closes at both ends of the scale: there, whole columns are looked through
        if turn - width < 0 or turn + width > int(2.0 * math.pi * FINE):
            low, high = 0, TURN_MASK
        level, speed = me[2] * inverse, me[5] * inverse
        part_z, part_v, slack = (
            level - math.floor(level),
            speed - math.floor(speed),
            limit * inverse,
        )
        for c in range(columns):
            dz, dv = COLUMNS[c]
            if (dz > 0 and 1.0 - part_z > slack) or (dz < 0 and part_z > slack):
                continue
            if (dv > 0 and 1.0 - part_v > slack) or (dv < 0 and part_v > slack):
                continue
            base = ((keys[s] >> TURN_BITS) + (dz << SPEED_BITS) + dv) << TURN_BITS
            if c == 0 and columns == 5:
                begin[0] = s + 1
            else:
                begin[c] = _seek(keys, begin[c], base + low)
            end[c] = _seek(keys, max(end[c], begin[c]), base + high + 1)
            count = _scan(s, begin[c], end[c], states, across, wide, reach, wanted, found, count)
    return count


@njit(cache=True, error_model="numpy")
def _slots(state, size, axis, slots):
    """Places in a sieve of the cell of a state, first, and of the 15 that `size` reaches.

    Cells are two sizes wide, in z, in one direction across, and in the velocities along both. A
    place belongs to many cells.
    """
    half = 0.5 / size
    slots[:] = 0
    for c in range(4):
        x = state[2 if c == 0 else axis if c == 1 else 5 if c == 2 else axis + 3] * half
        cell = math.floor(x)
        other = cell - 1.0 if x - cell < 0.5 else cell + 1.0
        for k in range(16):
            slots[k] = slots[k] * 1000003 + np.int64(other if k >> c & 1 else cell)
    for k in range(16):
        slots[k] = (slots[k] ^ slots[k] >> 21) & ((1 << SIEVE_BITS) - 1)


@njit(cache=True, error_model="numpy")
def _slot(state, size, axis):
    """The first of `_slots`."""
    half = 0.5 / size
    slot = np.int64(math.floor(state[2] * half))
    slot = slot * 1000003 + np.int64(math.floor(state[axis] * half))
    slot = slot * 1000003 + np.int64(math.floor(state[5] * half))
    slot = slot * 1000003 + np.int64(math.floor(state[axis + 3] * half))
    return (slot ^ slot >> 21) & ((1 << SIEVE_BITS) - 1)


@njit(cache=True)
def near_wanted(states, owner, wanted, size):
    """States that may lie within `size` of a wanted one; they and owners move to the front.

    Cells near the wanted ones are marked; what lies in none of these passes no further.

    Returns
    -------
    int
        Number of states kept.
    """
    across = 0.0
    for state in states:
        across += abs(state[0]) - abs(state[1])
    axis = 1 if across > 0.0 else 0
    sieve = np.zeros(1 << SIEVE_BITS - 6, dtype=np.uint64)
    slots = np.empty(16, dtype=np.int64)
    for k in range(len(states)):
        if wanted[owner[k]]:
            _slots(states[k], size, axis, slots)
            for slot in slots:
                sieve[slot >> 6] |= np.uint64(1) << np.uint64(slot & 63)
    count = 0
    for k in range(len(states)):
        slot = _slot(states[k], size, axis)
        if sieve[slot >> 6] >> np.uint64(slot & 63) & np.uint64(1):
            states[count], owner[count] = states[k], owner[k]
            count += 1
    return count


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
