"""Clusters of tracklets under every hypothesis of the grid."""

from __future__ import annotations

from functools import partial

import numpy as np
from numba import njit

from alertprod.daymops import agreement, fit, heliolinc, hypotheses, linkages, spheres

FLOOR = 0.3  # au: nearer to the Earth the radius of clusters does not shrink
CROWD = 1.3  # states within reach of one, itself among them; where there are more, the floor sinks
ERRORS = 4.0  # of the rates, that the radius covers at least
FASTER = 2.5  # errors of the rates, by which distant objects may seem too fast
WIDER = 1.12  # reach of new tracklets, which are the only centres when a night is added
FEWER = 0.98  # share of tracklets that are left, below which the others are left out at once
SAMPLE = 700  # states that tell how crowded it is
# of range beyond `hypotheses.NEAREST`, and of its rate over the circular speed
SIGMAS = 0.15, 0.3
STEP = 0.02  # of these, by which hypotheses are changed for derivatives in single precision
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
    rings = hypotheses.rings(options["zones"])
    search = _Search(window, options, np.concatenate(rings))
    salt = np.random.default_rng(20101).integers(1, 2**63, len(window.trk_id), dtype=np.uint64)
    active = np.arange(0)
    for ring in rings:
        parts, free = [], None
        for r, rdot in ring:
            if free is None:
                free = _free(claimed, window.trk_start, window.trk_det)
                search.want(free)
                # a few others that were claimed since do no harm: none of them is wanted
                if not FEWER * len(active) < len(free) <= len(active):
                    active = free
                    search.offer(active)
            part = search.clusters((float(r), float(rdot)))
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
    first, last = window.ends()
    error = np.maximum(window.obs[:, fit.SE], window.obs[:, fit.SN])
    days = window.obs[last, fit.TIME] - window.obs[first, fit.TIME]
    return np.hypot(error[first], error[last]) / days


@njit(cache=True)
def _free(claimed, trk_start, trk_det):
    """Tracklets without a claimed detection."""
    out = np.empty(len(trk_start) - 1, dtype=np.int32)
    count = 0
    for t in range(len(out)):
        out[count] = t
        count += not claimed[trk_det[trk_start[t] : trk_start[t + 1]]].any()
    return out[:count]


class _Search:
    """The search for clusters of a window under one hypothesis after the other."""

    def __init__(self, window, options, grid):
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
        self.tracklets = window.trk_night.astype(np.int8), window.wanted.copy()
        self.few = not window.wanted.all()
        self.floor: dict[float, float] = {}  # of each range
        self.middles = spheres.middles(window.obs, *window.ends(), window.epoch)
        self.slack = ((FASTER * self.errors) ** 2).astype(np.float32)
        ranges, back = np.unique(grid[:, 0], return_inverse=True)
        swing = np.zeros(len(ranges))
        np.maximum.at(swing, back, 0.5 * window.span * np.abs(grid[:, 1]))
        self.farthest = spheres.farthest(self.middles, self.limits, self.slack, ranges, swing)
        size = 2 * len(window.trk_id)
        self.room = np.empty((size, 7), dtype=np.float32), np.empty(size, dtype=np.int32)
        self.offers: list = []

    def want(self, free):
        """Let tracklets that are claimed not be wanted any more."""
        claimed = np.ones(len(self.errors), dtype=np.bool_)
        claimed[free] = False
        self.tracklets[1][claimed] = False

    def offer(self, free):
        """Set out tracklets, those that can be far away first; the wanted ones, if few, apart."""
        free = free[np.argsort(-self.farthest[free], kind="stable")]
        wanted = self.tracklets[1][free]
        groups = [free[wanted], free[~wanted]] if self.few else [free]
        self.offers = [
            ((spheres.columns(self.middles, g), g, self.slack[g]), -self.farthest[g])
            for g in groups
        ]

    def _states(self, motion):
        """States of the tracklets under a hypothesis, and these; if few are wanted, near those."""
        sieve, count = ((np.empty(0, dtype=np.uint64), 0, 0), 1.0), 0
        for tracklets, inward in self.offers:
            some = np.searchsorted(inward, -np.float32(motion[0]), side="right")
            room = tuple(column[count:] for column in self.room)
            count += spheres.to_reference(
                tracklets, some, motion, self.limits, self.scale, sieve, room
            )
            states, owner = (column[:count] for column in self.room)
            if not count:
                break
            if self.few and not len(sieve[0][0]):
                size = WIDER * self._size(states, self.floor.get(motion[0], FLOOR))
                sieve = heliolinc.mark(states, size), size
        return states, owner

    def clusters(self, motion):
        """Clusters of the states under one hypothesis; None if there are none."""
        states, owner = self._states(motion)
        n = len(states)
        if n < self.rules[0]:
            return None
        states, owner, night, wanted, reach, found = self._pairs(states, owner, motion[0])
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
            spheres.columns(self.middles, owner[rows]),
            states[rows, 6], motion, (STEP * spread[0], STEP * spread[1]), self.scale, moves,
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
        """States, with owner, night, whether wanted, and reach of each; pairs of them.

        Few wanted ones are the only centres, and reach farther.
        """
        n, floor = len(states), self.floor.get(r, FLOOR)
        if not (self.few or again):
            states, owner = _in_order(states, owner)
        night, wanted, reach = seen = (
            np.empty(n, dtype=np.int8), np.empty(n, dtype=np.bool_), np.empty(n, dtype=np.float32),
        )  # fmt: skip
        heliolinc.describe(states, owner, self.tracklets, (self.radius, floor), seen)
        size = self._size(states, floor)
        if self.few:
            wide = np.float32(WIDER) * reach
            find = partial(heliolinc.pairs_with, states, wanted, night, wide, WIDER * size)
            seekers = max(np.count_nonzero(wanted), 1) * WIDER**4
        else:
            find = partial(heliolinc.pairs, states, night, reach, size)
            seekers = 0.5 * n  # each pair counts for both
        step = n // SAMPLE if n > 8 * SAMPLE else 1
        found = _with_room(find, n, step)
        # in four of the six dimensions states spread, in the others the hypothesis holds them
        better = floor * (CROWD / (1.0 + found.shape[1] * step / seekers)) ** 0.25
        if abs(min(better, FLOOR) / floor - 1.0) > 0.1 and not again:
            self.floor[r] = min(better, FLOOR)
            return self._pairs(states, owner, r, again=True)
        if step > 1:
            found = _with_room(find, n, 1)
        return states, owner, night, wanted, reach, found


def _in_order(states, owner):
    """States and owners in the order of z."""
    keys, bits = np.empty(len(states), dtype=np.int64), len(states).bit_length()
    heliolinc.rank(states, bits, keys)
    keys.sort()
    out = np.empty_like(states), np.empty_like(owner)
    heliolinc.arrange((states, owner), keys, bits, out)
    return out


def _with_room(find, states, step):
    """Pairs of states, from those of a sample if `step` is not 1; shape (2, m)."""
    room = 4 * states
    while True:
        found = np.empty((2, room), dtype=np.int32)
        count = find(step, found)
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
    members = np.concatenate([p["members"] for p in parts])
    count = np.concatenate([np.diff(p["starts"]) for p in parts])
    order = np.lexsort((np.arange(len(mark)), spread, mark))
    ordered = mark[order]
    order = np.sort(order[np.r_[True, ordered[1:] != ordered[:-1]]])
    start, index = linkages.segments(np.r_[0, np.cumsum(count)], order)
    return {
        "starts": start, "members": members[index], "spread": spread[order], "mark": mark[order],
        "seeds": np.concatenate([p["seeds"] for p in parts])[order],
    }  # fmt: skip
