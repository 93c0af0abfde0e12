"""The choice among linkages that share detections: a set-packing problem.

Every detection belongs to one object at most. Among overlapping linkages the set of greatest total
quality is chosen: exactly, by integer programming, in each connected group of overlapping ones;
groups too large for that are chosen greedily, and the bound on what was lost is logged.
"""

from __future__ import annotations

import itertools
import logging
from typing import NamedTuple

import numpy as np

log = logging.getLogger(__name__)

LEAST = 0.1  # quality
MAX_EXACT = 400  # linkages of one connected group


def quality(linkages) -> np.ndarray:
    """Figure of merit of each: detections and nights, less what the residuals cost.

    Positive: whether an orbit fits well enough was asked before, and is not asked again here.
    """
    n = linkages.count
    excess = np.maximum(linkages.chi2 / np.maximum(2 * n - 6, 1) - 1.0, 0.0)
    return np.maximum(n + 2.0 * linkages.nights - 2.0 * excess * np.sqrt(n), LEAST)


def choose_linkages(linkages):
    """Pick linkages without common detections.

    Parameters
    ----------
    linkages : Linkages

    Returns
    -------
    chosen : Linkages
        In order of their first detections.
    quality : ndarray
        Of these.
    """
    worth = quality(linkages)
    if not len(linkages):
        return linkages, worth
    shared = np.bincount(linkages.detections)[linkages.detections] > 1
    shared = np.logical_or.reduceat(shared, linkages.start[:-1])
    chosen = [rival.number for group in _components(_rivals(linkages, worth, shared))
              for rival in _pack(group)]  # fmt: skip
    which = np.r_[np.flatnonzero(~shared), np.array(chosen, dtype=np.int64)]
    which = which[np.argsort(linkages.detections[linkages.start[which]])]
    return linkages.take(which), worth[which]


class Rival(NamedTuple):
    """A linkage that shares detections with others."""

    detections: tuple[int, ...]
    chi2: float
    number: int
    quality: float


def _rivals(linkages, worth, shared):
    """Those that share detections, in order of these; of equal sets the one that fits best."""
    pool = sorted(
        Rival(tuple(linkages.members(k).tolist()), float(linkages.chi2[k]), k, float(worth[k]))
        for k in np.flatnonzero(shared).tolist()
    )
    return [next(same) for _, same in itertools.groupby(pool, key=lambda rival: rival.detections)]


def _pack(group):
    if len(group) <= 2:
        return [max(group, key=lambda rival: round(rival.quality, 6))]  # first of equals
    return pack_exactly(group) if len(group) <= MAX_EXACT else pack_greedily(group)


def _components(pool):
    """Groups of rivals connected by common detections."""
    parent = list(range(len(pool)))

    def root(k):
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    owner: dict[int, int] = {}
    for k, rival in enumerate(pool):
        for d in rival.detections:
            if d in owner:
                a, b = sorted((root(owner[d]), root(k)))
                parent[b] = a
            else:
                owner[d] = k
    groups: dict[int, list] = {}
    for k, rival in enumerate(pool):
        groups.setdefault(root(k), []).append(rival)
    return [groups[k] for k in sorted(groups)]


def pack_exactly(group) -> list[Rival]:
    """Best subset without common detections, by integer programming (PuLP, CBC)."""
    import pulp

    problem = pulp.LpProblem("linkages", pulp.LpMaximize)
    pick = [problem.add_variable(f"x{k}", 0, 1, cat="Integer") for k in range(len(group))]
    # a hair of order makes the optimum unique
    problem += pulp.lpSum(
        (round(rival.quality, 6) + 1e-7 * (len(group) - k)) * x
        for k, (rival, x) in enumerate(zip(group, pick, strict=True))
    )
    users: dict[int, list] = {}
    for rival, x in zip(group, pick, strict=True):
        for d in rival.detections:
            users.setdefault(d, []).append(x)
    for others in {tuple(sorted(v.name for v in u)): u for u in users.values()}.values():
        if len(others) > 1:
            problem += pulp.lpSum(others) <= 1
    status = problem.solve(_solver())
    if status != pulp.LpStatusOptimal:
        log.warning("no proven optimum among %d linkages; chosen greedily", len(group))
        return pack_greedily(group)
    return [rival for rival, x in zip(group, pick, strict=True) if x.value() > 0.5]


def _solver():
    """CBC as PuLP ships it, one thread; by its path, the one way that PuLP 3 and 4 share."""
    import pulp
    from pulp.apis import coin_api

    path = getattr(coin_api, "pulp_cbc_path", None) or "cbc"
    return pulp.COIN_CMD(path=path, msg=False, threads=1, timeLimit=60)


def pack_greedily(group) -> list[Rival]:
    """Best first; the bound is the total quality shared out over detections."""
    used: set[int] = set()
    chosen = []
    for rival in sorted(group, key=lambda rival: (-rival.quality, rival.detections)):
        if not used.intersection(rival.detections):
            used.update(rival.detections)
            chosen.append(rival)
    best: dict[int, float] = {}
    for rival in group:
        share = rival.quality / len(rival.detections)
        for d in rival.detections:
            best[d] = max(best.get(d, 0.0), share)
    total = sum(rival.quality for rival in chosen)
    log.info("greedy choice of %d among %d linkages: %.1f of at most %.1f",
             len(chosen), len(group), total, sum(best.values()))  # fmt: skip
    return chosen
