"""Clusters of tracklets under every hypothesis of the grid."""

from __future__ import annotations

import numpy as np

from alertprod.daymops import agreement, fit, heliolinc, hypotheses, spheres

FLOOR = 0.3  # au: nearer to the Earth the radius of clusters does not shrink
CROWD = 1.5  # states within reach of one, itself among them; where there are more, the floor sinks
ERRORS = 4.0  # of the rates, that the radius covers at least
FASTER = 2.5  # errors of the rates, by which distant objects may seem too fast
WIDER = 1.25  # reach of new tracklets, which are the only centres when a night is added
FEWER = 0.98  # share of tracklets that are left, below which the others are left out at once
SAMPLE = 700  # states that tell how crowded it is
# of range beyond `hypotheses.NEAREST`, and of its rate over the circular speed
SIGMAS = 0.15, 0.3
MOST_MEMBERS = 3_000_000  # of clusters that are held at a time


def find_clusters(window, options, claimed):
    """Cluster the free tracklets under every hypothesis.

    Parameters
    ----------
    window : Window
    options : dict
    claimed : ndarray of bool
        Detections that are not offered; tracklets that hold one are left out, unless they are few.

    Yields
    ------
    dict
        starts, members (compressed), seeds (n, 6), spread (n,), mark (n,), in several portions:
        what the caller claims of one is left out of the next.
    """
    size = len(window.trk_id)
    room = np.empty((2 * size, 7), dtype=np.float32), np.empty(2 * size, dtype=np.int32)
    search = _Search(window, options)
    salt = np.random.default_rng(20101).integers(1, 2**63, size, dtype=np.uint64)
    active = np.arange(0)
    for ring in hypotheses.rings(options["zones"]):
        parts, free = [], None
        for r, rdot in ring:
            if free is None:
                free = _free(window, claimed)
                # a few that were claimed since do no harm: their clusters are left out later
                if not FEWER * len(active) < len(free) <= len(active):
                    active = free
                    first, last = (spheres.columns(e, active) for e in search.ends)
                    slack = (FASTER * search.errors[active]) ** 2
            motion = float(r), float(rdot), window.epoch
            count = spheres.to_reference(
                first, last, motion, (*search.limits, slack), search.scale, *room
            )
            states, owner = room[0][:count], active[room[1][:count]]
            part = search.clusters(states, owner, motion)
            if part is None:
                continue
            part["mark"] = heliolinc.signatures(
                part["starts"], part["members"], len(part["seeds"]), salt
            )
            parts.append(part)
            full = sum(len(p["members"]) for p in parts) > MOST_MEMBERS
            if full:
                parts = [_tightest(parts)]
            if full and len(parts[0]["members"]) > MOST_MEMBERS // 2:
                yield parts[0]
                parts, free = [], None
        if parts:
            yield _tightest(parts)


def _rate_errors(window):
    """Errors of the rates of tracklets [rad/day], from those of the places at both ends."""
    first, last = window.trk_det[window.trk_start[:-1]], window.trk_det[window.trk_start[1:] - 1]
    error = np.max(window.obs[:, [fit.SE, fit.SN]], axis=1)
    days = window.obs[last, fit.TIME] - window.obs[first, fit.TIME]
    return np.hypot(error[first], error[last]) / days


def _free(window, claimed):
    """Tracklets without a claimed detection."""
    taken = np.logical_or.reduceat(claimed[window.trk_det], window.trk_start[:-1])
    return np.flatnonzero(~taken).astype(np.int32)


class _Search:
    """The search for clusters of a window under one hypothesis after the other."""

    def __init__(self, window, options):
        au_day = 86400.0 / fit.observer.AU_KM
        self.limits = np.array([options["excess_speed_km_s"] * au_day, options["min_distance_au"]])
        self.scale = max(window.span, 1.0) / 4.0
        self.errors = _rate_errors(window)
        # where errors are large and pairs are short, rates err by more than the rounding of the
        # hypotheses allows for; states then scatter in proportion to the distance, like the radius
        self.radius = max(
            options["cluster_radius_km"] / fit.observer.AU_KM,
            ERRORS * float(np.median(self.errors)) * self.scale,
        )
        self.rules = np.array([options["min_nights"], options["max_cluster"]])
        self.tracklets = window.trk_night, window.wanted
        self.few = not window.wanted.all()
        self.floor: dict[float, float] = {}  # of each range
        self.ends = tuple(
            spheres.ends(window.obs, window.trk_det[which])
            for which in (window.trk_start[:-1], window.trk_start[1:] - 1)
        )

    def clusters(self, states, owner, motion):
        """Clusters of the states under one hypothesis; None if there are none."""
        n = len(states)
        if self.few and n:
            size = WIDER * self._size(states, self.floor.get(motion[0], FLOOR))
            n = heliolinc.near_wanted(states, owner, self.tracklets[1], size)
        if n < self.rules[0]:
            return None
        states, owner, night, wanted, reach, found = self._pairs(states[:n], owner[:n], motion[0])
        centre, needed = np.empty(n, dtype=np.bool_), np.empty(n, dtype=np.bool_)
        agreement.promising(found, night, wanted, self.rules[0], centre, needed)
        if not centre.any():
            return None
        begin = np.empty(n + 1, dtype=np.int64)
        near = np.empty(found.size, dtype=np.int32)
        agreement.adjacency(found, centre, begin, near)
        rows = np.flatnonzero(needed)
        slot = np.empty(n, dtype=np.int32)
        slot[rows] = np.arange(len(rows))
        spread = (
            SIGMAS[0] * (motion[0] - hypotheses.NEAREST),
            SIGMAS[1] * np.sqrt(spheres.GM / motion[0]),
        )
        moves = np.full((len(rows), 2, 6), np.nan)
        spheres.moves(
            *(spheres.columns(e, owner[rows]) for e in self.ends),
            states[rows, 6], motion, (1e-3 * spread[0], 1e-3 * spread[1]), self.scale, moves,
        )  # fmt: skip
        blur = self.errors[owner[rows]] * self.scale * states[rows, 6]
        most = int(centre.sum())
        starts, members, seeds, wide = out = (
            np.empty(most + 1, dtype=np.int64), np.empty(begin[-1] + most, dtype=np.int32),
            np.empty((most, 6)), np.empty(most),
        )  # fmt: skip
        count = agreement.gather(states, owner, reach, centre, (begin, near), (moves, slot, blur),
                                 (night, wanted), self.rules, spread, out)  # fmt: skip
        if not count:
            return None
        seeds[:count, 3:] /= self.scale
        return {
            "starts": starts[: count + 1].copy(), "members": members[: starts[count]].copy(),
            "seeds": seeds[:count].copy(), "spread": wide[:count].copy(),
        }  # fmt: skip

    def _size(self, states, floor):
        """Largest reach [au]."""
        return max(self.radius * max(float(states[:, 6].max()), floor), 1e-4)

    def _pairs(self, states, owner, r, again=False):
        """States in order, with owner, night, whether wanted, and reach of each; pairs of them."""
        n = len(states)
        floor = self.floor.get(r, FLOOR)
        wider = WIDER if self.few else 1.0
        size = wider * self._size(states, floor)
        keys = np.empty(n, dtype=np.int64)
        heliolinc.cells(states, size, keys)
        order = np.argsort(keys)
        keys = keys[order]
        heliolinc.settle_ties(keys, order)
        out = (
            np.empty((n, 7), dtype=np.float32), np.empty(n, dtype=np.int32),
            np.empty(n, dtype=np.int8), np.empty(n, dtype=np.bool_),
            np.empty(n, dtype=np.float32), np.empty(n, dtype=np.float32),
        )  # fmt: skip
        radius = np.array([wider * self.radius, floor])
        heliolinc.arrange((states, owner), order, self.tracklets, radius, out)
        ordered, _, _, wanted, reach, across = out
        args = ordered, keys, across, reach, wanted if self.few else wanted[:0], size
        step = 1 if self.few else max(1, n // SAMPLE)
        found = self._find(args, step)
        # each pair counts for both, but where it was looked for from the wanted ones only
        sought = WIDER**4 * max(wanted.sum(), 1) if self.few else 0.5 * n / step
        # in four of the six dimensions states spread, in the others the hypothesis holds them
        better = min(floor * (CROWD / (1.0 + found.shape[1] / sought)) ** 0.25, FLOOR)
        if abs(better / floor - 1.0) > 0.1 and not again:
            self.floor[r] = better
            return self._pairs(states, owner, r, again=True)
        if step > 1:
            found = self._find(args, 1)
        reach /= wider
        return *out[:5], found

    def _find(self, args, step):
        """Pairs of states, from those of a sample if `step` is not 1; shape (2, m)."""
        room = 4 * len(args[0])
        while True:
            found = np.empty((2, room), dtype=np.int32)
            count = heliolinc.pairs(*args, step, found)
            if count < room:
                return found[:, :count]
            room *= 4


def _tightest(parts):
    """One cluster per set of tracklets: that of the hypothesis under which it is tightest.

    The hypothesis matters: its error is taken from the starting orbit to first order only, and
    from a wrong start the fit creeps along a curved valley.
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
