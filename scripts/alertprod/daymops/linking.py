"""Link tracklets over a window of nights into objects on one orbit."""

from __future__ import annotations

import logging

import numpy as np

from alertprod.core import kepler, tables
from alertprod.core.stage import stage
from alertprod.daymops import fit, heliolinc, hypotheses, purify
from alertprod.daymops.choose import choose_linkages
from alertprod.daymops.inputs import read_all, with_station

log = logging.getLogger(__name__)

DETECTION = (
    "diaSourceId", "visit", "detector", "midpointMjdTai", "ra", "dec", "raErr", "decErr", "mag",
    "magErr", "band",
)  # fmt: skip


@stage("daymops", outputs=("linkages",))
def link_tracklets(tracklets, camera=None, before=None, *, config) -> dict:
    """Find sets of tracklets on three nights or more that one orbit explains.

    Parameters
    ----------
    tracklets : list of tables or paths
        Product ``tracklets`` of the nights of the window, in any order. Nights earlier than
        ``window_nights`` before the last one are left out.
    camera : Camera, optional
        Gives the station.
    before : table, optional
        Product ``linkages`` of the night before. They are taken up again, extended by the new
        night, and only clusters round tracklets of the new night are searched: what is not linked
        yet and does not touch the new night was not linkable yesterday either.
    config : dict
        Section ``daymops``.

    Returns
    -------
    table
        Product ``linkages``; no rows if nothing was linked.

    Notes
    -----
    The result does not depend on the order of the tables or rows.
    """
    options = with_station(config, camera)
    window = Window.from_tables(read_all(tracklets), options)
    if window is None or len(window.nights) < options["min_nights"]:
        log.info("fewer than %d nights with tracklets: nothing to link", options["min_nights"])
        return tables.empty("linkages")
    known = take_up(window, before, options) if before and tables.n_rows(before) else []
    if known:
        window.wanted = window.trk_night == window.trk_night.max()
    clusters = find_clusters(window, options)
    found = known + refine(window, clusters, options, known)
    kept = choose_linkages(found)
    log.info("%d linkages, %d after the choice among overlapping ones", len(found), len(kept))
    return _table(window, kept, options)


class Window:
    """The tracklets of a window as arrays: detections, tracklets, visits, nights."""

    def __init__(self, det, trk_start, trk_det, trk_id, options):
        self.det = det
        self.trk_start, self.trk_det, self.trk_id = trk_start, trk_det, trk_id
        self.obs = fit.observation_block(
            det["midpointMjdTai"], det["ra"], det["dec"], det["raErr"], det["decErr"],
            options["obscode"],
        )  # fmt: skip
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
        parts = [part for part in parts if tables.n_rows(part)]
        if not parts:
            return None
        rows = tables.stack(parts)
        last = rows["midpointMjdTai"].max()
        rows = tables.take(rows, rows["midpointMjdTai"] > last - options["window_nights"])
        rows = tables.sort_by(rows, "trackletId", "midpointMjdTai", "diaSourceId")
        _, first, back = np.unique(rows["diaSourceId"], return_index=True, return_inverse=True)
        det = {name: rows[name][first] for name in DETECTION}
        order = np.lexsort((det["diaSourceId"], det["midpointMjdTai"]))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        det = tables.take(det, order)
        trk_id, begin = np.unique(rows["trackletId"], return_index=True)
        return cls(det, np.r_[begin, len(back)].astype(np.int64), rank[back], trk_id, options)

    def _index_visits(self):
        """Detections of each visit by declination, its mean direction and radius."""
        visit = self.det["visit"]
        unique, first = np.unique(visit, return_index=True)
        unique = unique[np.argsort(self.det["midpointMjdTai"][first], kind="stable")]
        rank = {v: k for k, v in enumerate(unique.tolist())}
        number = np.array([rank[v] for v in visit.tolist()])
        dec = np.deg2rad(self.det["dec"])
        order = np.lexsort((dec, number))
        start = np.searchsorted(number[order], np.arange(len(unique) + 1))
        unit = self.obs[:, fit.UX : fit.UX + 3]
        centre = np.add.reduceat(unit[order], start[:-1]) / np.diff(start)[:, None]
        centre /= np.linalg.norm(centre, axis=1)[:, None]
        cosine = np.sum(unit[order] * np.repeat(centre, np.diff(start), axis=0), axis=1)
        edge = np.cos(np.arccos(np.clip(np.minimum.reduceat(cosine, start[:-1]), -1, 1)) + 1e-4)
        self.sky = (
            np.ascontiguousarray(np.c_[centre, edge]), start.astype(np.int64),
            order.astype(np.int64), np.ascontiguousarray(dec[order]),
        )  # fmt: skip


def find_clusters(window, options) -> dict:
    """Cluster the tracklets under every hypothesis.

    Returns
    -------
    dict
        starts, members (compressed), seeds (n, 6), spread (n,), mark (n,).
    """
    first = window.obs[window.trk_det[window.trk_start[:-1]]]
    last = window.obs[window.trk_det[window.trk_start[1:] - 1]]
    n = len(first)
    states = np.empty((2 * n, 7))
    owner = np.empty(2 * n, dtype=np.int64)
    salt = np.random.default_rng(20101).integers(1, 2**63, n, dtype=np.uint64)
    au_day = 86400.0 / fit.observer.AU_KM
    limits = np.array([options["excess_speed_km_s"] * au_day, options["min_distance_au"]])
    radius = options["cluster_radius_km"] / fit.observer.AU_KM
    scale = max(window.span, 1.0) / 4.0
    rules = np.array([options["min_nights"], options["max_cluster"]])
    parts = []
    for k, (r, rdot) in enumerate(hypotheses.grid(options["zones"])):
        count = heliolinc.to_reference(first, last, r, rdot, window.epoch, limits, states, owner)
        part = _cluster(states[:count], owner[:count], window, radius, scale, rules)
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


def _rules(options):
    """Thresholds in the order that `purify.purify` takes them."""
    return np.array(
        [options["linear_rms_arcsec"] * purify.ARCSEC, options["max_chi"], options["min_nights"],
         options["min_detections"], options["gate_sigma"],
         options["gate_arcsec"] * purify.ARCSEC, options["secure_chi"]], dtype=float,
    )  # fmt: skip


def take_up(window, before, options) -> list[dict]:
    """Linkages of an earlier window, fitted and grown again in this one."""
    rules = _rules(options)
    where = {v: k for k, v in enumerate(window.det["diaSourceId"].tolist())}
    claimed = np.zeros(len(window.night), dtype=np.bool_)
    _, first = np.unique(before["linkageId"], return_index=True)
    order = first[np.lexsort((before["linkageId"][first], -before["quality"][first]))]
    found = []
    for row in order:
        mine = before["diaSourceId"][before["linkageId"] == before["linkageId"][row]]
        dets = sorted(where[d] for d in mine.tolist() if d in where)
        if len(dets) < options["min_detections"]:
            continue
        state = np.array([before[c][row] for c in ("x", "y", "z", "vx", "vy", "vz")])
        dt = np.array([window.epoch - before["epochMjdTdb"][row]])
        state = kepler.propagate(state[None], dt)[0]
        use = np.empty(len(window.sky[0]) + 4096, dtype=np.int64)
        use[: len(dets)] = dets
        normal = np.empty((6, 6))
        n, chi2 = purify._grow(state, window.epoch, window.obs, *window.sky, claimed,
                               rules[4:6].copy(), rules, use, len(dets), normal)  # fmt: skip
        nights, _ = purify._nights_with_pairs(use, n, window.night, claimed)
        if nights < options["min_nights"] or chi2 > rules[1] ** 2 * max(2 * n - 6, 4):
            continue
        secure = chi2 < rules[6] ** 2 * (2 * n - 6)
        claimed[use[:n]] |= secure
        found.append({"state": state, "covariance": fit.invert(normal), "chi2": float(chi2),
                      "nights": int(nights), "secure": bool(secure),
                      "detections": use[:n].copy()})  # fmt: skip
    return found


def refine(window, clusters, options, known=()) -> list[dict]:
    """Fit the clusters; see `purify.purify`. Detections of secure `known` linkages are taken.

    Returns
    -------
    list of dict
        state, covariance, chi2, nights, secure, detections (indices into the window).
    """
    starts, members, seeds = clusters["starts"], clusters["members"], clusters["seeds"]
    n = len(seeds)
    if not n:
        return []
    nights = _count_nights(starts, members, window.trk_night)
    order = np.lexsort((np.arange(n), clusters["spread"], -nights))
    rules = _rules(options)
    size = len(window.night)
    room = min(n, 4 * size) + 1
    state, cov = np.empty((room, 6)), np.empty((room, 6, 6))
    stat, begin = np.empty((room, 3)), np.empty(room + 1, dtype=np.int64)
    dets = np.empty(16 * size + 1024, dtype=np.int64)
    claimed = np.zeros(size, dtype=np.bool_)
    for link in known:
        claimed[link["detections"]] |= link["secure"]
    count, fits = purify.purify(
        members, starts, order, seeds, window.epoch, window.obs, window.night, window.trk_start,
        window.trk_det, window.trk_night, window.sky, rules, claimed, state, cov, stat, begin, dets,
    )  # fmt: skip
    if count < 0:
        raise RuntimeError("the room for overlapping linkages was too small")
    log.info("%d clusters, %d fits, %d linkages", n, fits, count)
    return [
        {
            "state": state[k], "covariance": cov[k], "chi2": float(stat[k, 0]),
            "nights": int(stat[k, 1]), "secure": bool(stat[k, 2]),
            "detections": dets[begin[k] : begin[k + 1]].copy(),
        }
        for k in range(count)
    ]  # fmt: skip


def _count_nights(starts, members, trk_night):
    bits = np.left_shift(np.uint64(1), trk_night[members].astype(np.uint64))
    return np.bitwise_count(np.bitwise_or.reduceat(bits, starts[:-1])).astype(np.int64)


def _table(window, kept, options):
    """Long table of the chosen linkages, in order of their first detections."""
    if not kept:
        return tables.empty("linkages")
    by_det = {}
    for trk in range(len(window.trk_id)):
        for d in window.trk_det[window.trk_start[trk] : window.trk_start[trk + 1]]:
            by_det.setdefault(int(d), []).append(trk)
    rows = []
    i, j = np.triu_indices(6)
    for link in sorted(kept, key=lambda link: tuple(link["detections"])):
        dets = link["detections"]
        res = np.empty((len(dets), 2))
        chi2 = fit.residuals(link["state"], window.epoch, window.obs, dets, res)
        res /= purify.ARCSEC
        members = {int(d) for d in dets}
        n = len(dets)
        part = {name: window.det[name][dets] for name in DETECTION}
        time = part["midpointMjdTai"]
        part |= {
            "linkageId": np.full(n, part["diaSourceId"][0]),
            "trackletId": np.array([_tracklet(window, by_det[int(d)], members) for d in dets]),
            "resRa": res[:, 0], "resDec": res[:, 1],
            "epochMjdTdb": np.full(n, window.epoch),
            "rms": np.full(n, np.sqrt(np.mean(res**2))),
            "chi2": np.full(n, chi2),
            "nObs": np.full(n, n), "nNights": np.full(n, link["nights"]),
            "arc": np.full(n, time[-1] - time[0]),
            "quality": np.full(n, link.get("quality", 0.0)),
        }  # fmt: skip
        for k, name in enumerate(("x", "y", "z", "vx", "vy", "vz")):
            part[name] = np.full(n, link["state"][k])
        for a, b in zip(i, j, strict=True):
            part[f"cov{a}{b}"] = np.full(n, link["covariance"][a, b])
        rows.append(tables.conform(part, "linkages"))
    return tables.stack(rows)


def _tracklet(window, candidates, members):
    """The tracklet that shares most detections with the linkage; the first one of equals."""
    best = max(
        candidates,
        key=lambda t: (
            sum(int(d) in members for d in
                window.trk_det[window.trk_start[t] : window.trk_start[t + 1]]),
            -t,
        ),
    )  # fmt: skip
    return window.trk_id[best]
