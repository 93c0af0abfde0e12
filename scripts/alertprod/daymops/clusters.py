"""Clusters of tracklets under every hypothesis of the grid."""

from __future__ import annotations

import numpy as np

from alertprod.daymops import fit, heliolinc, hypotheses, spheres

FLOOR = 0.3  # au: nearer to the Earth the radius of clusters does not shrink
CROWD = 2.0  # states within reach of one, itself among them; where there are more, the floor sinks
ERRORS = 4.0  # of the rates, that the radius covers at least
FEW = 1000  # clusters of one hypothesis that wait for those of others before copies are dropped
MOST_MEMBERS = 3_000_000  # of clusters that are held at a time


def find_clusters(window, options, claimed):
    """Cluster the free tracklets under every hypothesis.

    Parameters
    ----------
    window : Window
    options : dict
    claimed : ndarray of bool
        Detections that are not offered; a tracklet that holds one is left out.

    Yields
    ------
    dict
        starts, members (compressed), seeds (n, 6), spread (n,), mark (n,). All at once as long as
        they fit into memory. Else in several portions: what the caller claims of one is left out
        of the next.
    """
    size = len(window.trk_id)
    states, owner = np.empty((2 * size, 7)), np.empty(2 * size, dtype=np.int64)
    salt = np.random.default_rng(20101).integers(1, 2**63, size, dtype=np.uint64)
    au_day = 86400.0 / fit.observer.AU_KM
    limits = np.array([options["excess_speed_km_s"] * au_day, options["min_distance_au"]])
    scale = max(window.span, 1.0) / 4.0
    radius = max(
        options["cluster_radius_km"] / fit.observer.AU_KM, ERRORS * _rate_error(window) * scale
    )
    rules = np.array([options["min_nights"], options["max_cluster"], window.wanted.all()])
    parts, active, begun = [], None, False
    for r, rdot in hypotheses.grid(options["zones"]):
        if r < hypotheses.ZONES["near"][1]:
            # here most states are, and most of them of objects farther out: those are found by now
            if parts and not begun:
                yield _tightest(parts)
                parts, active = [], None
            begun = True
        if active is None:
            active, first, last = _free(window, claimed)
        count = spheres.to_reference(first, last, r, rdot, window.epoch, limits, states, owner)
        part = _cluster(states[:count], active[owner[:count]], window, radius, scale, rules)
        if part is None:
            continue
        part["mark"] = heliolinc.signatures(
            part["starts"], part["members"], len(part["seeds"]), salt
        )
        parts.append(part if len(part["seeds"]) < FEW else _tightest([part]))
        full = sum(len(p["members"]) for p in parts) > MOST_MEMBERS
        if full or len(parts) > 16:
            parts = [_tightest(parts)]
        if full and len(parts[0]["members"]) > MOST_MEMBERS // 2:
            yield parts[0]
            parts, active = [], None
    if parts:
        yield _tightest(parts)


def _rate_error(window):
    """Median error of the rates of tracklets [rad/day], from those of the places at both ends.

    Rates err by more than rounding of the hypotheses allows for where errors are large and pairs
    are short; the states then scatter in proportion to the distance, as the radius grows.
    """
    first, last = window.trk_det[window.trk_start[:-1]], window.trk_det[window.trk_start[1:] - 1]
    error = np.max(window.obs[:, [fit.SE, fit.SN]], axis=1)
    days = window.obs[last, fit.TIME] - window.obs[first, fit.TIME]
    return float(np.median(np.hypot(error[first], error[last]) / days))


def _free(window, claimed):
    """Tracklets without a claimed detection, and their ends."""
    taken = np.add.reduceat(claimed[window.trk_det], window.trk_start[:-1]) > 0
    free = np.flatnonzero(~taken)
    first = spheres.ends(window.obs, window.trk_det[window.trk_start[free]])
    return free, first, spheres.ends(window.obs, window.trk_det[window.trk_start[free + 1] - 1])


def _cluster(states, owner, window, radius, scale, rules):
    n = len(states)
    if n < rules[0]:
        return None
    size = max(radius * max(float(states[:, 6].max()), FLOOR), 1e-4)
    if not rules[2]:
        n = heliolinc.near_wanted(states, owner, n, window.wanted, size, scale)
        states, owner = states[:n], owner[:n]
    keys = np.empty(n, dtype=np.int64)
    heliolinc.cells(states, n, size, scale, keys)
    order = np.argsort(keys)
    keys = keys[order]
    heliolinc.settle_ties(keys, order)
    states, owner = states[order], owner[order]
    reach = np.array([radius, FLOOR])
    crowd = heliolinc.crowding(states, owner, keys, window.wanted, reach, size, scale)
    if crowd > CROWD:
        # in four of the six dimensions states spread, in the others the hypothesis holds them
        reach[1] *= (CROWD / crowd) ** 0.25
    room = 16 * n
    while True:
        start = np.empty(n + 2, dtype=np.int64)
        flat = np.empty(room, dtype=np.int32)
        centre, spread = np.empty(n + 1, dtype=np.int64), np.empty(n + 1)
        count = heliolinc.neighbours(states, owner, keys, window.trk_night, window.wanted, reach,
                                     size, scale, rules, start, flat, centre, spread)  # fmt: skip
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
