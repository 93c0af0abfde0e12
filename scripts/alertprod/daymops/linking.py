"""Link tracklets over a window of nights into objects on one orbit."""

from __future__ import annotations

import logging

import numpy as np
from numba import njit

from alertprod.core import tables
from alertprod.core.orbits import (
    COVARIANCE,
    STATE,
    UPPER,
    covariance_matrices,
    state_vectors,
)
from alertprod.core.stage import stage
from alertprod.daymops import fit, grow, purify
from alertprod.daymops.choose import choose_linkages
from alertprod.daymops.clusters import find_clusters
from alertprod.daymops.grow import ARCSEC
from alertprod.daymops.inputs import read_all, with_station
from alertprod.daymops.linkages import Linkages, room, segments
from alertprod.daymops.window import DETECTION, Window

log = logging.getLogger(__name__)

ORBIT = (*STATE, *COVARIANCE, "epochMjdTdb", "chi2", "nObs")  # columns


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
        found.append(take_up(window, linkages, options, claimed, held))
    found = Linkages.join(found + search(window, options, claimed, held))
    kept, quality = choose_linkages(found)
    log.info("%d linkages, %d after the choice among overlapping ones", len(found), len(kept))
    return _table(window, kept, quality)


def _rules(options):
    """Thresholds in the order that `purify.purify` takes them."""
    return np.array(
        [options["linear_rms_arcsec"] * ARCSEC, options["max_chi"], options["min_nights"],
         options["min_detections"], options["gate_sigma"],
         options["gate_arcsec"] * ARCSEC, options["secure_chi"],
         options["max_mag_difference"]], dtype=float,
    )  # fmt: skip


def take_up(window, linkages, options, claimed, held) -> Linkages:
    """Linkages of an earlier window, fitted and grown again in this one.

    What they leave free, of tracklets as of linkages that hold no longer, may be linked anew: its
    tracklets are wanted beside those of the new nights.
    """
    member = tables.match(window.det["diaSourceId"], linkages["diaSourceId"])
    # detections of the window are in order of time
    rows = np.lexsort((member, linkages["linkageId"]))
    rows = rows[member[rows] >= 0]
    members = member[rows]
    number, first = np.unique(linkages["linkageId"][rows], return_index=True)
    rank = np.lexsort((number, -linkages["quality"][rows[first]]))
    start, index = segments(np.r_[first, len(rows)], rank)
    earlier = tables.take({c: linkages[c] for c in ORBIT}, rows[first[rank]])
    newest = linkages["visit"].max() // 100_000
    new = window.obs[window.nights[window.night] > newest, fit.TIME]
    out = room(len(rank), len(window.night))
    links = grow.take_up(
        (state_vectors(earlier), covariance_matrices(earlier), earlier["epochMjdTdb"],
         earlier["chi2"].astype(float), earlier["nObs"].astype(np.int64)),
        new.min(initial=np.inf), start, members[index], window.epoch, window.obs, window.night,
        window.sky, _rules(options), claimed, held, out,
    )  # fmt: skip
    known = Linkages.filled(links, out)
    lost = np.zeros(len(window.night), dtype=np.bool_)
    lost[members] = True
    lost[known.detections] = False
    of = np.repeat(np.arange(len(window.trk_id)), np.diff(window.trk_start))
    window.wanted = window.nights[window.trk_night] > newest
    window.wanted[of[lost[window.trk_det]]] = True
    log.info("%d linkages of an earlier window, %d taken up", len(rank), links)
    return known


def search(window, options, claimed, held) -> list[Linkages]:
    """Link the tracklets of which no detection is claimed; see `purify.purify`."""
    found = []
    for clusters in find_clusters(window, options, claimed):
        starts, members, seeds = clusters["starts"], clusters["members"], clusters["seeds"]
        n = len(seeds)
        nights = _count_nights(starts, members, window.trk_night)
        order = np.lexsort((np.arange(n), clusters["spread"], -nights))
        out = room(n, len(window.night))
        links, fits = purify.purify(
            members, starts, order, seeds, window.epoch, window.obs, window.night,
            window.trk_start, window.trk_det, window.trk_night, window.sky, _rules(options),
            claimed, held, out,
        )  # fmt: skip
        log.info("%d clusters, %d fits, %d linkages", n, fits, links)
        found.append(Linkages.filled(links, out))
    return found


def _count_nights(starts, members, trk_night):
    bits = np.left_shift(np.uint64(1), trk_night[members].astype(np.uint64))
    return np.bitwise_count(np.bitwise_or.reduceat(bits, starts[:-1])).astype(np.int64)


def _table(window, kept, quality):
    """Long table of the chosen linkages, in order of their first detections."""
    if not len(kept):
        return tables.empty("linkages")
    dets, start, count = kept.detections, kept.start, kept.count
    res = np.empty((len(dets), 2))
    chi2 = fit.residuals_of_all(kept.state, window.epoch, window.obs, dets, start, res)
    res /= ARCSEC
    trk = _tracklets(dets, start, window.trk_start, window.trk_det)
    table = {name: window.det[name][dets] for name in DETECTION}
    time = table["midpointMjdTai"]
    table |= {"resRa": res[:, 0], "resDec": res[:, 1], "trackletId": window.trk_id[trk],
              "epochMjdTdb": np.full(len(dets), window.epoch)}  # fmt: skip
    square = np.add.reduceat(np.sum(res**2, axis=1), start[:-1])
    each = {
        "linkageId": table["diaSourceId"][start[:-1]], "chi2": chi2, "nObs": count,
        "rms": np.sqrt(square / (2 * count)), "nNights": kept.nights,
        "arc": time[start[1:] - 1] - time[start[:-1]], "quality": quality,
    }  # fmt: skip
    each |= {name: kept.state[:, k] for k, name in enumerate(STATE)}
    for name, (a, b) in zip(COVARIANCE, UPPER, strict=True):
        each[name] = kept.covariance[:, a, b]
    table |= {name: np.repeat(value, count) for name, value in each.items()}
    return tables.conform(table, "linkages")


@njit(cache=True)
def _tracklets(dets, start, trk_start, trk_det):
    """For each linked detection the tracklet that shares most with its linkage; first of equals."""
    size = trk_det.max() + 1
    link, most = np.full(size, -1), np.zeros(size, dtype=np.int64)
    best = np.full(size, -1)
    for k in range(len(start) - 1):
        for d in dets[start[k] : start[k + 1]]:
            link[d] = k
    for t in range(len(trk_start) - 1):
        members = trk_det[trk_start[t] : trk_start[t + 1]]
        for d in members:
            shared = 0
            for other in members:
                shared += link[other] == link[d]
            if link[d] >= 0 and shared > most[d]:
                most[d], best[d] = shared, t
    return best[dets]
