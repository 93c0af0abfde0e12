"""The choice among linkages that share detections: a set-packing problem.

Every detection belongs to one object at most. Among overlapping linkages the set of greatest total
quality is chosen: exactly, by integer programming, in each connected group of overlapping ones;
groups too large for that are chosen greedily, and the bound on what was lost is logged.
"""

from __future__ import annotations

import logging
import math

log = logging.getLogger(__name__)

LEAST = 0.1  # quality
MAX_EXACT = 400  # linkages of one connected group


def quality(link) -> float:
    """Figure of merit of a linkage: detections and nights, less what the residuals cost.

    Positive: whether an orbit fits well enough was asked before, and is not asked again here.
    """
    n = len(link["detections"])
    reduced = link["chi2"] / max(2 * n - 6, 1)
    return max(n + 2.0 * link["nights"] - 2.0 * max(reduced - 1.0, 0.0) * math.sqrt(n), LEAST)


def choose_linkages(linkages) -> list[dict]:
    """Pick linkages without common detections.

    Parameters
    ----------
    linkages : list of dict
        With ``detections`` (index array), ``chi2``, ``nights``.

    Returns
    -------
    list of dict
        The chosen ones with their ``quality``, in order of their detections.
    """
    pool = sorted(linkages, key=lambda link: link["detections"].tolist())
    for link in pool:
        link["quality"] = quality(link)
    chosen = []
    for group in _components(pool):
        if len(group) == 1:
            chosen += group
        elif len(group) == 2:
            chosen.append(max(group, key=lambda link: round(link["quality"], 6)))  # first of equals
        elif len(group) <= MAX_EXACT:
            chosen += pack_exactly(group)
        else:
            chosen += pack_greedily(group)
    return sorted(chosen, key=lambda link: link["detections"].tolist())


def _components(pool):
    """Groups of linkages connected by common detections."""
    parent = list(range(len(pool)))

    def root(k):
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    owner: dict[int, int] = {}
    for k, link in enumerate(pool):
        for d in link["detections"].tolist():
            if d in owner:
                a, b = sorted((root(owner[d]), root(k)))
                parent[b] = a
            else:
                owner[d] = k
    groups: dict[int, list] = {}
    for k, link in enumerate(pool):
        groups.setdefault(root(k), []).append(link)
    return [groups[k] for k in sorted(groups)]


def pack_exactly(group) -> list[dict]:
    """Best subset without common detections, by integer programming (PuLP, CBC)."""
    import pulp

    problem = pulp.LpProblem("linkages", pulp.LpMaximize)
    pick = [problem.add_variable(f"x{k}", 0, 1, cat="Integer") for k in range(len(group))]
    # a hair of order makes the optimum unique
    problem += pulp.lpSum(
        (round(link["quality"], 6) + 1e-7 * (len(group) - k)) * x
        for k, (link, x) in enumerate(zip(group, pick, strict=True))
    )
    users: dict[int, list] = {}
    for link, x in zip(group, pick, strict=True):
        for d in link["detections"].tolist():
            users.setdefault(d, []).append(x)
    for rivals in {tuple(sorted(v.name for v in u)): u for u in users.values()}.values():
        if len(rivals) > 1:
            problem += pulp.lpSum(rivals) <= 1
    status = problem.solve(_solver())
    if status != pulp.LpStatusOptimal:
        log.warning("no proven optimum among %d linkages; chosen greedily", len(group))
        return pack_greedily(group)
    return [link for link, x in zip(group, pick, strict=True) if x.value() > 0.5]


def _solver():
    """CBC as PuLP ships it, one thread; by its path, the one way that PuLP 3 and 4 share."""
    import pulp
    from pulp.apis import coin_api

    path = getattr(coin_api, "pulp_cbc_path", None) or "cbc"
    return pulp.COIN_CMD(path=path, msg=False, threads=1, timeLimit=60)


def pack_greedily(group) -> list[dict]:
    """Best first; the bound is the total quality shared out over detections."""
    used: set[int] = set()
    chosen = []
    for link in sorted(group, key=lambda link: (-link["quality"], tuple(link["detections"]))):
        dets = link["detections"].tolist()
        if not used.intersection(dets):
            used.update(dets)
            chosen.append(link)
    best: dict[int, float] = {}
    for link in group:
        share = link["quality"] / len(link["detections"])
        for d in link["detections"].tolist():
            best[d] = max(best.get(d, 0.0), share)
    total = sum(link["quality"] for link in chosen)
    log.info("greedy choice of %d among %d linkages: %.1f of at most %.1f",
             len(chosen), len(group), total, sum(best.values()))  # fmt: skip
    return chosen
