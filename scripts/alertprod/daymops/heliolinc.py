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
# names of cells: sums of their steps times odd numbers of 64 bits
ODD = (-7046029254386353131, 5545529020109919103, -4132994306676758123, 3372029247567499371)
# columns of cells: steps in z and in velocity; a state's own and those that come later
COLUMNS = ((0, 0), (0, 1), (1, -1), (1, 0), (1, 1))


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
def arrange(states, order, ordered, across):
    """Put states in order, and beside them their velocities along the azimuth.

    These tell most strangers apart that are near in what the states are sorted by.
    """
    for k in range(len(order)):
        me = states[order[k]]
        for c in range(7):
            ordered[k, c] = me[c]
        x, y = np.float64(me[0]), np.float64(me[1])
        across[k] = (x * me[4] - y * me[3]) / max(math.sqrt(x * x + y * y), 1e-12)


@njit(cache=True)
def describe(states, owner, tracklets, radius, out):
    """What clusters ask of states.

    Parameters
    ----------
    states, owner : ndarray
        States (n, 7) and their tracklets, as `spheres.to_reference` gives them.
    tracklets : tuple of ndarray
        Night of each tracklet; whether it is wanted.
    radius : tuple
        Reach [au] of a state at 1 au, in proportion to which it grows; distance [au] below which it
        does not shrink.
    out : tuple of ndarray
        Receive night, whether wanted, and reach of each.
    """
    night, wanted, reach = out
    for k in range(len(states)):
        night[k], wanted[k] = tracklets[0][owner[k]], tracklets[1][owner[k]]
        reach[k] = radius[0] * max(states[k, 6], radius[1])


@njit(cache=True, inline="always")
def _distance2(a, b):
    """Square distance of two states."""
    x, y, z, u, v, w = a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3], a[4] - b[4], a[5] - b[5]
    return x * x + y * y + z * z + u * u + v * v + w * w


@njit(cache=True)
def _scan(s, low, high, states, across, limit, night, reach, found, count):
    """Partners of state `s` among those from `low` to `high`."""
    mine = across[s]
    for t in range(low, high):
        if abs(across[t] - mine) <= limit and night[t] != night[s]:
            d2 = _distance2(states[s], states[t])
            if d2 <= min(reach[s], reach[t]) ** 2 and count < found.shape[1]:
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
def pairs(states, keys, across, night, reach, size, step, found):
    """Pairs of states no farther apart than the reach of either.

    Parameters
    ----------
    states, reach, across : ndarray
        In order of `keys`; see `arrange`.
    keys : ndarray of int64, shape (n,)
        Sorted; see `cells`.
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
    # where in each column the last search began and ended: the next one does nearby
    begin, end = np.zeros(5, dtype=np.int64), np.zeros(5, dtype=np.int64)
    fastest = 0.0
    for me in states:
        fastest = max(fastest, me[3] ** 2 + me[4] ** 2 + me[5] ** 2)
    fastest, inverse = math.sqrt(fastest), 1.0 / size
    for s in range(0, len(states), step):
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
        for c in range(5):
            dz, dv = COLUMNS[c]
            if dz > 0 and 1.0 - part_z > slack:
                continue
            if (dv > 0 and 1.0 - part_v > slack) or (dv < 0 and part_v > slack):
                continue
            base = ((keys[s] >> TURN_BITS) + (dz << SPEED_BITS) + dv) << TURN_BITS
            begin[c] = s + 1 if c == 0 else _seek(keys, begin[c], base + low)
            end[c] = _seek(keys, max(end[c], begin[c]), base + high + 1)
            count = _scan(s, begin[c], end[c], states, across, wide, night, reach, found, count)
    return count


@njit(cache=True, error_model="numpy")
def _cell(z, across, vz, speed, half):
    """Name of a cell. Cells far apart may share one, those beside each other do not.

    Cells are two sizes wide, in z, in one direction across, and in the velocities along both.
    """
    return (
        np.int64(math.floor(z * half)) * ODD[0]
        + np.int64(math.floor(across * half)) * ODD[1]
        + np.int64(math.floor(vz * half)) * ODD[2]
        + np.int64(math.floor(speed * half)) * ODD[3]
    )


@njit(cache=True, error_model="numpy")
def _name(state, size, axis):
    """Name of the cell of a state."""
    return _cell(state[2], state[axis], state[5], state[axis + 3], 0.5 / size)


@njit(cache=True, error_model="numpy")
def _names(state, size, axis, names):
    """Name of the cell of a state, first, and of the 15 others that `size` reaches."""
    half = 0.5 / size
    names[0] = 0
    for c in range(4):
        x = state[2 if c == 0 else axis if c == 1 else 5 if c == 2 else axis + 3] * half
        cell = math.floor(x)
        names[0] += np.int64(cell) * ODD[c]
    many = 1
    for c in range(4):
        x = state[2 if c == 0 else axis if c == 1 else 5 if c == 2 else axis + 3] * half
        step = -ODD[c] if x - math.floor(x) < 0.5 else ODD[c]
        for k in range(many):
            names[many + k] = names[k] + step
        many *= 2


@njit(cache=True)
def _slot(name, bits):
    """Place of a cell in a table of 2**bits places."""
    return np.int64(np.uint64(name) >> np.uint64(64 - bits))


@njit(cache=True)
def _axis(states):
    """The one of x and y along which states spread more."""
    across = 0.0
    for state in states:
        across += abs(state[0]) - abs(state[1])
    return 1 if across > 0.0 else 0


@njit(cache=True)
def mark(states, size):
    """Cells within `size` of states, as a sieve of bits; the axis that it goes by."""
    axis, bits = _axis(states), 10
    # of its places at most a thirty-second are marked
    while 512 * len(states) > 1 << bits and bits < 24:
        bits += 1
    sieve = np.zeros(1 << bits - 6, dtype=np.uint64)
    names = np.empty(16, dtype=np.int64)
    for state in states:
        _names(state, size, axis, names)
        for name in names:
            slot = _slot(name, bits)
            sieve[slot >> 6] |= np.uint64(1) << np.uint64(slot & 63)
    return sieve, axis, bits


@njit(cache=True)
def passes(z, across, vz, speed, sieve):
    """Whether a state may lie within the size of one that was marked.

    Parameters
    ----------
    z, across, vz, speed : float
        Places and velocities along z and the axis.
    sieve : tuple
        Bits and their number, as `mark` gives them, and half the inverse of the size.
    """
    slot = _slot(_cell(z, across, vz, speed, sieve[2]), sieve[1])
    return sieve[0][slot >> 6] >> np.uint64(slot & 63) & np.uint64(1) != 0


@njit(cache=True)
def pairs_with(states, wanted, night, reach, size, step, found):
    """Pairs of states no farther apart than the reach of either, of which one is wanted.

    Parameters
    ----------
    states, reach : ndarray, shape (n, ...)
        In any order.
    wanted : ndarray of bool, shape (n,)
    size : float
        No reach is larger.
    step : int
        See `pairs`; here of the wanted ones.
    found : ndarray of int, shape (2, m)
        Receives the two states, a wanted one first.

    Returns
    -------
    int
        Number of pairs; as many as there is room for, if there were more.
    """
    n, axis, bits = len(states), _axis(states), 12
    while 8 * n > 1 << bits:
        bits += 1
    # the states of each place in the table, as chains
    head, after = np.full(1 << bits, -1, dtype=np.int32), np.empty(n, dtype=np.int32)
    cell = np.empty(n, dtype=np.int64)
    for t in range(n):
        cell[t] = _name(states[t], size, axis)
        slot = _slot(cell[t], bits)
        after[t], head[slot] = head[slot], t
    names, which, begin = (
        np.empty(16, dtype=np.int64),
        np.empty(17, np.int32),
        np.empty(17, np.int32),
    )
    count = 0
    for s in np.flatnonzero(wanted)[::step]:
        _names(states[s], size, axis, names)
        # most places are empty; which ones are not is gathered without a branch
        filled = 0
        for c in range(16):
            which[filled], begin[filled] = c, head[_slot(names[c], bits)]
            filled += begin[filled] >= 0
        for c in range(filled):
            t = begin[c]
            while t >= 0:
                # other cells in the same place are found by their own names; two wanted ones find
                # each other
                if (
                    _distance2(states[s], states[t]) <= min(reach[s], reach[t]) ** 2
                    and cell[t] == names[which[c]]
                    and t != s and not (wanted[t] and t < s) and count < found.shape[1]
                ):  # fmt: skip
                    found[0, count], found[1, count] = s, t
                    count += 1
                t = after[t]
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
