"""Clusters of tracklets under every hypothesis of the grid."""

from __future__ import annotations

import numpy as np

from alertprod.daymops import fit, heliolinc, hypotheses


def find_clusters(window, options, active) -> dict:
    """Cluster the tracklets under every hypothesis.

    Parameters
    ----------
    window : Window
    options : dict
    active : ndarray of int
        The tracklets that take part.

    Returns
    -------
    dict
        starts, members (compressed), seeds (n, 6), spread (n,), mark (n,).
    """
    first = window.obs[window.trk_det[window.trk_start[active]]]
    last = window.obs[window.trk_det[window.trk_start[active + 1] - 1]]
    n = len(first)
    states = np.empty((2 * n, 7))
    owner = np.empty(2 * n, dtype=np.int64)
    salt = np.random.default_rng(20101).integers(1, 2**63, len(window.trk_id), dtype=np.uint64)
    au_day = 86400.0 / fit.observer.AU_KM
    limits = np.array([options["excess_speed_km_s"] * au_day, options["min_distance_au"]])
    radius = options["cluster_radius_km"] / fit.observer.AU_KM
    scale = max(window.span, 1.0) / 4.0
    rules = np.array([options["min_nights"], options["max_cluster"]])
    parts = []
    for k, (r, rdot) in enumerate(hypotheses.grid(options["zones"])):
        count = heliolinc.to_reference(first, last, r, rdot, window.epoch, limits, states, owner)
        part = _cluster(states[:count], active[owner[:count]], window, radius, scale, rules)
        if part is not None:
            part["mark"] = heliolinc.signatures(
                part["starts"], part["members"], len(part["seeds"]), salt
            )
            parts.append(_tightest([part]))
        if k % 16 == 15 and parts:
            parts = [_tightest(parts)]
    return _tightest(parts)


def _cluster(states, owner, window, radius, scale, rules):
    n = len(states)
    if n < rules[0]:
        return None
    # cells as wide as the largest radius but a few: the most distant percentile would widen all
    size = radius * max(float(np.quantile(states[:, 6], 0.99)), 0.3)
    size = max(size, radius * float(states[:, 6].max()), 4e-5)
    keys = np.empty(n, dtype=np.int64)
    heliolinc.cell_keys(states, n, size, keys)
    order = np.argsort(keys, kind="stable")
    room = 16 * n
    while True:
        start = np.empty(n + 2, dtype=np.int64)
        flat = np.empty(room, dtype=np.int32)
        centre, spread = np.empty(n + 1, dtype=np.int64), np.empty(n + 1)
        count = heliolinc.neighbours(states, owner, order, keys[order], window.trk_night,
                                     window.wanted, radius, scale,
                                     rules, start, flat, centre, spread)  # fmt: skip
        if count >= 0:
            break
        room *= 4
    if not count:
        return None
    return {
        "starts": start[: count + 1], "members": flat[: start[count]].copy(),
        "seeds": states[centre[:count], :6], "spread": spread[:count].copy(),
    }  # fmt: skip


def _tightest(parts):
    """One cluster per set of tracklets: that of the hypothesis under which it is tightest.

    The hypothesis matters: it gives the starting orbit, and from a wrong one the fit creeps along
    a curved valley.
    """
    if not parts:
        return {"starts": np.zeros(1, np.int64), "members": np.zeros(0, np.int32),
                "seeds": np.zeros((0, 6)), "spread": np.zeros(0),
                "mark": np.zeros(0, np.uint64)}  # fmt: skip
    mark = np.concatenate([p["mark"] for p in parts])
    spread = np.concatenate([p["spread"] for p in parts])
    lengths = np.concatenate([np.diff(p["starts"]) for p in parts])
    members = np.concatenate([p["members"] for p in parts])
    begin = np.r_[0, np.cumsum(lengths)[:-1]]
    order = np.lexsort((np.arange(len(mark)), spread, mark))
    ordered = mark[order]
    order = np.sort(order[np.r_[True, ordered[1:] != ordered[:-1]]])
    new = np.r_[0, np.cumsum(lengths[order])].astype(np.int64)
    index = np.arange(new[-1]) - np.repeat(new[:-1] - begin[order], lengths[order])
    return {
        "starts": new, "members": members[index], "spread": spread[order], "mark": mark[order],
        "seeds": np.concatenate([p["seeds"] for p in parts])[order],
    }  # fmt: skip
