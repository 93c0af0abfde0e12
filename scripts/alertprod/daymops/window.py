"""The tracklets of the nights that are linked together, as arrays."""

from __future__ import annotations

import logging
import math

import numpy as np
from numba import njit

from alertprod.core import orbits, tables
from alertprod.daymops import fit

log = logging.getLogger(__name__)

DETECTION = (
    "diaSourceId", "visit", "detector", "midpointMjdTai", "ra", "dec", "raErr", "decErr", "mag",
    "magErr", "band",
)  # fmt: skip


class Window:
    """The tracklets of a window as arrays: detections, tracklets, visits, nights.

    Detections are in order of time, tracklets in order of their identifiers: nothing depends on
    the order of the rows that they were read from.
    """

    def __init__(self, det, trk_start, trk_det, trk_id, options):
        self.det = det
        self.trk_start, self.trk_det, self.trk_id = trk_start, trk_det, trk_id
        self.obs = fit.observation_block(
            det["midpointMjdTai"], det["ra"], det["dec"], det["raErr"], det["decErr"],
            options["obscode"],
        )  # fmt: skip
        self.obs[:, fit.MAG] = det["mag"] + orbits.v_minus(det["band"])
        self.obs[:, fit.MAG_ERR] = np.nan_to_num(det["magErr"])
        nights, self.night = np.unique(det["visit"] // 100_000, return_inverse=True)
        self.nights = nights
        self.trk_night = self.night[trk_det[trk_start[:-1]]]
        self.wanted = np.ones(len(self.trk_night), dtype=np.bool_)
        time = self.obs[:, fit.TIME]
        # a round epoch in the middle, so that it does not depend on single detections
        self.epoch = float(np.round(0.5 * (time.min() + time.max()), 1))
        self.span = float(time.max() - time.min())
        self._index_visits()

    @classmethod
    def from_tables(cls, parts, options):
        """Stack the tables; None when there is nothing."""
        names = ("trackletId", *DETECTION)
        parts = [{c: part[c] for c in names} for part in parts if tables.n_rows(part)]
        if not parts:
            return None
        rows = _finite(tables.stack(parts))
        if not tables.n_rows(rows):
            return None
        recent = rows["midpointMjdTai"] > rows["midpointMjdTai"].max() - options["window_nights"]
        if not recent.all():
            rows = tables.take(rows, recent)
        rows = tables.sort_by(rows, "trackletId", "midpointMjdTai", "diaSourceId")
        first, back = _distinct(rows["diaSourceId"])
        det = {name: rows[name][first] for name in DETECTION}
        order = np.lexsort((det["diaSourceId"], det["midpointMjdTai"]))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        det = tables.take(det, order)
        begin = np.r_[0, np.flatnonzero(np.diff(rows["trackletId"])) + 1]
        trk_id = rows["trackletId"][begin]
        return cls(det, np.r_[begin, len(back)].astype(np.int64), rank[back], trk_id, options)

    def ends(self):
        """First and last detection of each tracklet."""
        return self.trk_det[self.trk_start[:-1]], self.trk_det[self.trk_start[1:] - 1]

    def _index_visits(self):
        """Detections of each visit by declination, its mean direction and radius."""
        unique, first, back = np.unique(self.det["visit"], return_index=True, return_inverse=True)
        rank = np.empty(len(unique), dtype=np.int64)
        rank[np.argsort(self.det["midpointMjdTai"][first], kind="stable")] = np.arange(len(unique))
        dec = np.deg2rad(self.det["dec"])
        start, order, visits = _visits(self.obs, rank[back], dec, len(unique))
        self.sky = visits, start, order, dec[order]


@njit(cache=True)
def _visits(obs, number, dec, count):
    """Detections of each visit in order of declination; mean direction and radius of visits."""
    start, order = np.zeros(count + 1, dtype=np.int64), np.empty(len(number), dtype=np.int64)
    for v in number:
        start[v + 1] += 1
    start = np.cumsum(start)
    fill = start[:-1].copy()
    for k in range(len(number)):
        order[fill[number[k]]] = k
        fill[number[k]] += 1
    visits = np.zeros((count, 4))
    for v in range(count):
        members = order[start[v] : start[v + 1]]
        members[:] = members[np.argsort(dec[members], kind="mergesort")]
        for c in range(3):
            for k in members:
                visits[v, c] += obs[k, fit.UX + c]
        visits[v, :3] /= math.sqrt(np.sum(visits[v, :3] ** 2))
        widest = 0.0
        for k in members:
            square = 0.0
            for c in range(3):
                square += (obs[k, fit.UX + c] - visits[v, c]) ** 2
            widest = max(widest, square)
        # a margin of a minute of arc and more, so that the widest gate fits in
        visits[v, 3] = math.sqrt(widest) + 4e-4
    return start, order, visits


def _distinct(numbers):
    """One row of each number in rising order, and of each row the rank of its number.

    Which row of equals does not matter here, so a fast sort will do.
    """
    order = np.argsort(numbers)
    ordered = numbers[order]
    new = np.r_[True, ordered[1:] != ordered[:-1]]
    rank = np.empty(len(numbers), dtype=np.int64)
    rank[order] = np.cumsum(new) - 1
    return order[new], rank


def _finite(rows):
    """Rows of the tracklets whose detections all have a place and a time."""
    good = np.isfinite(rows["ra"]) & np.isfinite(rows["dec"]) & np.isfinite(rows["midpointMjdTai"])
    if good.all():
        return rows
    flawed = np.unique(rows["trackletId"][~good])
    log.warning("%d tracklets without a finite place or time left out", len(flawed))
    return tables.take(rows, ~np.isin(rows["trackletId"], flawed))
