"""The tracklets of the nights that are linked together, as arrays."""

from __future__ import annotations

import logging

import numpy as np

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

    def _index_visits(self):
        """Detections of each visit by declination, its mean direction and radius."""
        visit = self.det["visit"]
        unique, first, back = np.unique(visit, return_index=True, return_inverse=True)
        rank = np.empty(len(unique), dtype=np.int64)
        rank[np.argsort(self.det["midpointMjdTai"][first], kind="stable")] = np.arange(len(unique))
        number = rank[back]
        dec = np.deg2rad(self.det["dec"])
        order = np.lexsort((dec, number))
        start = np.searchsorted(number[order], np.arange(len(unique) + 1))
        unit = self.obs[:, fit.UX : fit.UX + 3]
        centre = np.add.reduceat(unit[order], start[:-1]) / np.diff(start)[:, None]
        centre /= np.linalg.norm(centre, axis=1)[:, None]
        apart = np.linalg.norm(unit[order] - np.repeat(centre, np.diff(start), axis=0), axis=1)
        # a margin of a minute of arc and more, so that the widest gate fits in
        edge = np.maximum.reduceat(apart, start[:-1]) + 4e-4
        self.sky = (
            np.ascontiguousarray(np.c_[centre, edge]), start.astype(np.int64),
            order.astype(np.int64), np.ascontiguousarray(dec[order]),
        )  # fmt: skip


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
