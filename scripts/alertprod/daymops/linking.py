"""Link tracklets over a window of nights into objects on one orbit."""

from __future__ import annotations

import logging

import numpy as np

from alertprod.core import tables
from alertprod.core.orbits import COVARIANCE, STATE, UPPER
from alertprod.core.stage import stage
from alertprod.daymops import fit, grow, purify
from alertprod.daymops.choose import choose_linkages
from alertprod.daymops.clusters import find_clusters
from alertprod.daymops.grow import ARCSEC
from alertprod.daymops.inputs import read_all, with_station
from alertprod.daymops.window import DETECTION, Window

log = logging.getLogger(__name__)


@stage("daymops", outputs=("linkages",))
def link_tracklets(tracklets, camera=None, linkages=None, *, config) -> dict:
    """Find sets of tracklets on three nights or more that one orbit explains.

    Parameters
    ----------
    tracklets : list of tables or paths
        Product ``tracklets`` of the nights of the window, in any order. Nights earlier than
        ``window_nights`` before the last one are left out.
    camera : Camera, optional
        Gives the station.
    linkages : table, optional
        Product ``linkages`` of the night before. They are taken up again and extended, and beside
        them only clusters round tracklets of new nights are searched: what is not linked yet and
        does not touch a new night was not linkable yesterday either.
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
    claimed = np.zeros(len(window.night), dtype=np.bool_)
    held = np.full(len(window.night) + 1, -1)
    found = []
    if linkages and tables.n_rows(linkages):
        found += take_up(window, linkages, options, claimed, held)
    found += search(window, options, claimed, held)
    kept = choose_linkages(found)
    log.info("%d linkages, %d after the choice among overlapping ones", len(found), len(kept))
    return _table(window, kept)


def _rules(options):
    """Thresholds in the order that `purify.purify` takes them."""
    return np.array(
        [options["linear_rms_arcsec"] * ARCSEC, options["max_chi"], options["min_nights"],
         options["min_detections"], options["gate_sigma"],
         options["gate_arcsec"] * ARCSEC, options["secure_chi"],
         options["max_mag_difference"]], dtype=float,
    )  # fmt: skip


def take_up(window, linkages, options, claimed, held) -> list[dict]:
    """Linkages of an earlier window, fitted and grown again in this one.

    What they leave free, of tracklets as of linkages that hold no longer, may be linked anew: its
    tracklets are wanted beside those of the new nights.
    """
    order = np.lexsort([linkages[c] for c in ("diaSourceId", "midpointMjdTai", "linkageId")])
    order = order[np.isin(linkages["diaSourceId"][order], window.det["diaSourceId"])]
    rows = tables.take(linkages, order)
    by_id = np.argsort(window.det["diaSourceId"])
    members = by_id[np.searchsorted(window.det["diaSourceId"], rows["diaSourceId"], sorter=by_id)]
    number, first, count = np.unique(rows["linkageId"], return_index=True, return_counts=True)
    rank = np.lexsort((number, -rows["quality"][first]))
    index = np.concatenate([first[k] + np.arange(count[k]) for k in rank] or [np.zeros(0, int)])
    first = first[rank]
    covariances = np.empty((len(rank), 6, 6))
    for name, (a, b) in zip(COVARIANCE, UPPER, strict=True):
        covariances[:, a, b] = covariances[:, b, a] = rows[name][first]
    earlier = (
        np.stack([rows[c][first] for c in STATE], axis=-1), covariances, rows["epochMjdTdb"][first],
        rows["chi2"][first].astype(float), rows["nObs"][first].astype(np.int64),
    )  # fmt: skip
    newest = linkages["visit"].max() // 100_000
    new = window.obs[window.nights[window.night] > newest, fit.TIME]
    out = _room(len(rank), len(window.night))
    links = grow.take_up(
        earlier, new.min(initial=np.inf), np.r_[0, np.cumsum(count[rank])],
        members[index], window.epoch, window.obs, window.night, window.sky, _rules(options),
        claimed, held, out,
    )  # fmt: skip
    known = _as_dicts(links, out)
    lost = np.zeros(len(window.night), dtype=np.bool_)
    lost[members] = True
    for link in known:
        lost[link["detections"]] = False
    of = np.repeat(np.arange(len(window.trk_id)), np.diff(window.trk_start))
    window.wanted = window.nights[window.trk_night] > newest
    window.wanted[of[lost[window.trk_det]]] = True
    log.info("%d linkages of an earlier window, %d taken up", len(rank), links)
    return known


def search(window, options, claimed, held) -> list[dict]:
    """Link the tracklets of which no detection is claimed; see `purify.purify`."""
    best: dict[bytes, dict] = {}
    for clusters in find_clusters(window, options, claimed):
        starts, members, seeds = clusters["starts"], clusters["members"], clusters["seeds"]
        n = len(seeds)
        nights = _count_nights(starts, members, window.trk_night)
        order = np.lexsort((np.arange(n), clusters["spread"], -nights))
        out = _room(n, len(window.night))
        links, fits = purify.purify(
            members, starts, order, seeds, window.epoch, window.obs, window.night,
            window.trk_start, window.trk_det, window.trk_night, window.sky, _rules(options),
            claimed, held, out,
        )  # fmt: skip
        log.info("%d clusters, %d fits, %d linkages", n, fits, links)
        for link in _as_dicts(links, out):
            mark = link["detections"].tobytes()
            if mark not in best or link["chi2"] < best[mark]["chi2"]:
                best[mark] = link
    return list(best.values())


def _room(links, detections):
    """Arrays that the kernels fill with linkages."""
    room = min(links, 4 * detections) + 1
    return (np.empty((room, 6)), np.empty((room, 6, 6)), np.empty((room, 3)),
            np.empty(room + 1, dtype=np.int64),
            np.empty(16 * detections + 1024, dtype=np.int64))  # fmt: skip


def _as_dicts(count, out):
    """Linkages: state, covariance, chi2, nights, secure, detections (indices into the window)."""
    if count < 0:
        raise RuntimeError("the room for overlapping linkages was too small")
    state, cov, stat, begin, dets = out
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


def _table(window, kept):
    """Long table of the chosen linkages, in order of their first detections."""
    if not kept:
        return tables.empty("linkages")
    kept = sorted(kept, key=lambda link: link["detections"].tolist())
    dets = np.concatenate([link["detections"] for link in kept])
    count = np.array([len(link["detections"]) for link in kept])
    start = np.r_[0, np.cumsum(count)]
    state = np.stack([link["state"] for link in kept])
    res = np.empty((len(dets), 2))
    chi2 = fit.residuals_of_all(state, window.epoch, window.obs, dets, start, res)
    res /= ARCSEC
    table = {name: window.det[name][dets] for name in DETECTION}
    time = table["midpointMjdTai"]
    table |= {"resRa": res[:, 0], "resDec": res[:, 1],
              "trackletId": _tracklets(window, dets, np.repeat(np.arange(len(kept)), count)),
              "epochMjdTdb": np.full(len(dets), window.epoch)}  # fmt: skip
    square = np.add.reduceat(np.sum(res**2, axis=1), start[:-1])
    each = {
        "linkageId": table["diaSourceId"][start[:-1]], "chi2": chi2, "nObs": count,
        "rms": np.sqrt(square / (2 * count)), "nNights": [link["nights"] for link in kept],
        "arc": time[start[1:] - 1] - time[start[:-1]],
        "quality": [link["quality"] for link in kept],
    }  # fmt: skip
    covariance = np.stack([link["covariance"] for link in kept])
    each |= {name: state[:, k] for k, name in enumerate(STATE)}
    for name, (a, b) in zip(COVARIANCE, UPPER, strict=True):
        each[name] = covariance[:, a, b]
    table |= {name: np.repeat(value, count) for name, value in each.items()}
    return tables.conform(table, "linkages")


def _tracklets(window, dets, link):
    """For each linked detection the tracklet that shares most with its linkage; first of equals."""
    label = np.full(len(window.night), -1)
    label[dets] = link
    trk = np.repeat(np.arange(len(window.trk_id)), np.diff(window.trk_start))
    linked = label[window.trk_det] >= 0
    trk, det = trk[linked], window.trk_det[linked]
    _, back, shared = np.unique(
        trk * (link.max() + 1) + label[det], return_inverse=True, return_counts=True
    )
    order = np.lexsort((trk, -shared[back], det))
    found, first = np.unique(det[order], return_index=True)
    return window.trk_id[trk[order[first]][np.searchsorted(found, dets)]]
