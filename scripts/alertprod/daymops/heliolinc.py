"""HelioLinC in three dimensions: tracklets to heliocentric states, clustered at one epoch.

Under the hypothesis of its heliocentric range and range rate the tracklets of one object coincide
at the reference epoch (`alertprod.daymops.spheres` gives the states). All states of one hypothesis
lie near one sphere, and their radial velocities are those of the hypothesis: two dimensions of
place and two of velocity tell them apart. They are swept in the order of one of these, and kept by
the others in a hash table, in which only what is still within reach is looked at: it stays small,
however many states there are. A few that are wanted are sought among the others, by a hash table of
all four, without any order.

References
----------
Holman, M. J. et al. 2018, AJ 156, 135 (HelioLinC); Heinze, A. et al. 2022, BAAS 54, 8, 504.04
(positions at the sphere, in three dimensions).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

FINE = 1e-7  # au: states are put in order as finely as this
# names of cells: sums of their steps times odd numbers of 64 bits
ODD = (-7046029254386353131, 5545529020109919103, -4132994306676758123, 3372029247567499371)


@njit(cache=True)
def rank(states, bits, keys):
    """Keys that sort as z does; the lowest `bits` of them tell which state each is of.

    So the order does not depend on how equals are sorted.
    """
    for k in range(len(states)):
        keys[k] = (np.int64(math.floor(states[k, 2] / FINE)) << bits) + k


@njit(cache=True)
def arrange(given, keys, bits, out):
    """Put states and owners into the order of their sorted keys."""
    for k in range(len(keys)):
        which = keys[k] & ((1 << bits) - 1)
        for c in range(7):
            out[0][k, c] = given[0][which, c]
        out[1][k] = given[1][which]


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


@njit(cache=True, inline="always")
def _share(x, odd):
    """What a dimension adds to the name of a cell; what more for the nearer cell beside it."""
    cell = math.floor(x)
    return np.int64(cell) * odd, -odd if x - cell < 0.5 else odd


@njit(cache=True)
def _names(state, half, axis, names):
    """Name of the cell of a state, first, and of 7 more that the size reaches, without z."""
    a, da = _share(state[axis] * half, ODD[1])
    b, db = _share(state[5] * half, ODD[2])
    c, dc = _share(state[axis + 3] * half, ODD[3])
    base = a + b + c
    names[0], names[1], names[2], names[3] = base, base + da, base + db, base + da + db
    for k in range(4):
        names[4 + k] = names[k] + dc


@njit(cache=True)
def _names_with_z(state, half, axis, names):
    """As `_names`, in all dimensions, 16 in all."""
    _names(state, half, axis, names)
    base, more = _share(state[2] * half, ODD[0])
    for k in range(8):
        names[k] += base
        names[8 + k] = names[k] + more


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
        _names_with_z(state, 0.5 / size, axis, names)
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
def _table_bits(states, size):
    """Size of a table, as a power of two, for the states that are within reach at a time."""
    span = max(states[-1, 2] - states[0, 2], size)
    bits = 6
    # eight places for each, were z uniform
    while 8.0 * len(states) * size > span * (1 << bits) and bits < 22:
        bits += 1
    return bits


@njit(cache=True)
def pairs(states, night, reach, size, step, found):
    """Pairs of states of two nights that are no farther apart than the reach of either.

    Parameters
    ----------
    states : ndarray, shape (n, 7)
        In the order of z; see `arrange`.
    night, reach : ndarray, shape (n,)
    size : float
        No reach is larger.
    step : int
        1: the pairs of all states; else only those that every `step`-th one ends.
    found : ndarray of int, shape (2, m)
        Receives the two states.

    Returns
    -------
    int
        Number of pairs; as many as there is room for, if there were more.
    """
    if not len(states):
        return 0
    n, axis, half, bits = len(states), _axis(states), 0.5 / size, _table_bits(states, size)
    # the last state of each place in the table, how far it has come in z, and the one before it
    last = np.full(1 << bits, -1, dtype=np.int32)
    come = np.full(1 << bits, -np.inf, dtype=np.float32)
    before, cell = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int64)
    names, which, begin = np.empty(8, np.int64), np.empty(9, np.int32), np.empty(9, np.int32)
    count = 0
    for s in range(n):
        _names(states[s], half, axis, names)
        low = np.float32(states[s, 2] - reach[s] - 2.0 * FINE)
        # most places are empty; which ones are not is gathered without a branch
        filled = 0
        for c in range(8 if s % step == 0 else 0):
            slot = _slot(names[c], bits)
            which[filled], begin[filled] = c, last[slot]
            filled += come[slot] >= low
        for c in range(filled):
            t = begin[c]
            while t >= 0 and states[t, 2] >= low:
                # (other cells in the same place are found by their own names)
                if (
                    _distance2(states[s], states[t]) <= min(reach[s], reach[t]) ** 2
                    and cell[t] == names[which[c]]
                    and night[t] != night[s]
                    and count < found.shape[1]
                ):
                    found[0, count], found[1, count] = s, t
                    count += 1
                t = before[t]
        slot = _slot(names[0], bits)
        cell[s], before[s] = names[0], last[slot]
        last[slot], come[slot] = s, states[s, 2]
    return count


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
    n, axis, half, bits = len(states), _axis(states), 0.5 / size, 12
    while 8 * n > 1 << bits:
        bits += 1
    # the states of each place in the table, as chains
    head, after = np.full(1 << bits, -1, dtype=np.int32), np.empty(n, dtype=np.int32)
    cell = np.empty(n, dtype=np.int64)
    for t in range(n):
        me = states[t]
        cell[t] = _cell(me[2], me[axis], me[5], me[axis + 3], half)
        slot = _slot(cell[t], bits)
        after[t], head[slot] = head[slot], t
    names, which, begin = np.empty(16, np.int64), np.empty(17, np.int32), np.empty(17, np.int32)
    count = 0
    for s in np.flatnonzero(wanted)[::step]:
        _names_with_z(states[s], half, axis, names)
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
                    and night[t] != night[s]
                    and not (wanted[t] and t < s)
                    and count < found.shape[1]
                ):
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
