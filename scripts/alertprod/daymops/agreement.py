"""Clusters of states that agree on one orbit: what range and range rate would bring them together.

Under a wrong hypothesis the states of one object lie apart, but not anywhere: to first order they
come together when range and rate change by two numbers that are the same for all of them. Strangers
that happen to be near each other have no such numbers. Asking for them leaves of chance clusters a
small part, and gives the fit that follows a starting orbit from which the error of the hypothesis
is gone.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# how far members may miss each other after the change, as shares of the reach: at least, more for
# each standard deviation of the change, which is not linear when it is large, and at most
TIGHT, BEND, WIDEST = 0.2, 0.2, 0.8
BLUR = 3.5  # errors of the states by which they may miss each other besides
LOOSE = 0.15  # of the reach, which a change by one standard deviation costs


@njit(cache=True)
def _nights(mask):
    """Number of nights in a bit mask."""
    count = 0
    while mask:
        mask &= mask - np.uint64(1)
        count += 1
    return count


@njit(cache=True)
def promising(found, night, wanted, least, centre, needed):
    """States whose neighbours fill `least` nights and hold a wanted one; and these neighbours.

    Parameters
    ----------
    found : ndarray of int, shape (2, m)
        See `heliolinc.pairs`.
    night, wanted : ndarray, shape (n,)
        Index of the night of each state (< 64); whether its clusters are of interest.
    least : int
    centre, needed : ndarray of bool, shape (n,)
        Receive which states have such neighbours, and which are needed for a closer look.
    """
    mask, some = np.empty(len(night), dtype=np.uint64), wanted.copy()
    for s in range(len(night)):
        mask[s] = np.uint64(1) << np.uint64(night[s])
    for k in range(found.shape[1]):
        s, t = found[0, k], found[1, k]
        mask[s] |= np.uint64(1) << np.uint64(night[t])
        mask[t] |= np.uint64(1) << np.uint64(night[s])
        some[s] |= wanted[t]
        some[t] |= wanted[s]
    for s in range(len(night)):
        centre[s] = some[s] and _nights(mask[s]) >= least
        needed[s] = centre[s]
    for k in range(found.shape[1]):
        s, t = found[0, k], found[1, k]
        needed[t] |= centre[s]
        needed[s] |= centre[t]


@njit(cache=True)
def adjacency(found, centre, begin, near):
    """Neighbours of each centre, compressed."""
    begin[:] = 0
    for k in range(found.shape[1]):
        begin[found[0, k] + 1] += centre[found[0, k]]
        begin[found[1, k] + 1] += centre[found[1, k]]
    for s in range(len(centre)):
        begin[s + 1] += begin[s]
    fill = begin[:-1].copy()
    for k in range(found.shape[1]):
        for s, t in ((found[0, k], found[1, k]), (found[1, k], found[0, k])):
            if centre[s]:
                near[fill[s]] = t
                fill[s] += 1


@njit(cache=True)
def _sums(s, t, states, moves, slot, sums):
    """Add to `sums` what the pair of states tells of the change that brings them together."""
    mine, others = moves[slot[s]], moves[slot[t]]
    for c in range(6):
        d = np.float64(states[t, c]) - states[s, c]
        u, v = others[0, c] - mine[0, c], others[1, c] - mine[1, c]
        sums[0] += u * u
        sums[1] += u * v
        sums[2] += v * v
        sums[3] += u * d
        sums[4] += v * d


@njit(cache=True)
def _change(sums, prior):
    """The change of range and rate that brings states together, held near none by the prior."""
    uu, vv, uv = sums[0] + prior[0], sums[2] + prior[1], sums[1]
    det = uu * vv - uv * uv
    return (uv * sums[4] - vv * sums[3]) / det, (uv * sums[3] - uu * sums[4]) / det


@njit(cache=True)
def _miss2(s, t, states, moves, slot, a, b):
    """Square distance of two states after a change of range by `a` and of the rate by `b`."""
    mine, others = moves[slot[s]], moves[slot[t]]
    total = 0.0
    for c in range(6):
        d = np.float64(states[t, c]) - states[s, c]
        d += a * (others[0, c] - mine[0, c]) + b * (others[1, c] - mine[1, c])
        total += d * d
    return total


@njit(cache=True)
def _allowed2(limit, a, b, spread, blur2):
    """Square distance that members may keep after a change of range by `a` and rate by `b`."""
    share = TIGHT + BEND * (abs(a) / spread[0] + abs(b) / spread[1])
    return (min(share, WIDEST) * limit) ** 2 + BLUR**2 * blur2


@njit(cache=True)
def _agreeing(s, near, states, moves, slot, blur, limit, spread, rules, night, members, miss):
    """Neighbours that one change brings to the centre `s`; their number, and the change.

    Each has to come near by a change of its own first; then the one that misses most under the
    common change is dropped until none misses by too much. None are left when they do not fill
    enough nights.
    """
    prior = (LOOSE * limit / spread[0]) ** 2, (LOOSE * limit / spread[1]) ** 2
    sums = np.zeros(5)
    count = 0
    for t in near:
        sums[:] = 0.0
        _sums(s, t, states, moves, slot, sums)
        a, b = _change(sums, prior)
        both = blur[slot[s]] ** 2 + blur[slot[t]] ** 2
        if _miss2(s, t, states, moves, slot, a, b) <= _allowed2(limit, a, b, spread, both):
            members[count] = t
            count += 1
    while _filled(s, members[:count], night) >= rules[0]:
        sums[:] = 0.0
        for k in range(count):
            _sums(s, members[k], states, moves, slot, sums)
        a, b = _change(sums, prior)
        worst = 0
        for k in range(count):
            both = blur[slot[s]] ** 2 + blur[slot[members[k]]] ** 2
            allowed = _allowed2(limit, a, b, spread, both)
            miss[k] = _miss2(s, members[k], states, moves, slot, a, b) / allowed
            if miss[k] > miss[worst]:
                worst = k
        if miss[worst] <= 1.0:
            return count, a, b
        count -= 1
        members[worst] = members[count]
    return 0, 0.0, 0.0


@njit(cache=True)
def _filled(s, members, night):
    """Number of nights that a state and others fill."""
    mask = np.uint64(1) << np.uint64(night[s])
    for t in members:
        mask |= np.uint64(1) << np.uint64(night[t])
    return _nights(mask)


@njit(cache=True)
def gather(states, owner, reach, centre, graph, change, sky, rules, spread, out):
    """Clusters: each centre with its neighbours that agree with it, if they fill enough nights.

    Parameters
    ----------
    states, owner, reach : ndarray, shape (n, ...)
        See `heliolinc.arrange`.
    centre : ndarray of bool, shape (n,)
        See `promising`.
    graph : tuple of ndarray
        Begin of the neighbours of each state in the list of neighbours; see `adjacency`.
    change : tuple of ndarray
        Of the states that are needed: their derivatives by the hypothesis, (m, 2, 6), see
        `spheres.moves`; of each state its row in these; errors of places (m,) [au].
    sky : tuple of ndarray
        Night of each state; whether it is wanted.
    rules : ndarray of int
        Least number of nights; most members of a cluster.
    spread : tuple
        Standard deviations of range and rate about those of the hypothesis.
    out : tuple of ndarray
        Receive the clusters: starts, members (tracklets, those that agree best first), states at
        the centres after the change, mean square distance over the square of the reach.

    Returns
    -------
    int
        Number of clusters.
    """
    begin, near = graph
    moves, slot, blur = change
    night, wanted = sky
    starts, flat, seeds, wide = out
    starts[0] = 0
    members, miss = np.empty(rules[1], dtype=np.int64), np.empty(rules[1])
    count = 0
    for s in range(len(states)):
        low, high = begin[s], begin[s + 1]
        if not centre[s] or high - low >= rules[1]:
            continue
        n, a, b = _agreeing(s, near[low:high], states, moves, slot, blur, reach[s], spread, rules,
                            night, members, miss)  # fmt: skip
        if not n or not (wanted[s] or wanted[members[:n]].any()):
            continue
        fill = starts[count]
        flat[fill] = owner[s]
        ranked = np.argsort(miss[:n], kind="mergesort")
        for k in range(n):
            flat[fill + 1 + k] = owner[members[ranked[k]]]
        starts[count + 1] = fill + 1 + n
        for c in range(6):
            seeds[count, c] = states[s, c] + a * moves[slot[s], 0, c] + b * moves[slot[s], 1, c]
        total = 0.0
        for k in range(n):
            total += _miss2(s, members[k], states, moves, slot, 0.0, 0.0)
        wide[count] = total / ((n + 1) * reach[s] * reach[s])
        count += 1
    return count
