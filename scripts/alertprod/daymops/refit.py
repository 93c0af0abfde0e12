"""Orbits of found objects, fitted again whenever they are seen, to everything ever seen of them.

A linkage holds the nights of one window. Later an object is found by its prediction and never
linked again; its arc, and with it the orbit, grows by these sightings. Arcs of months want N-body
motion, whatever the configuration says of short ones.
"""

from __future__ import annotations

import logging

import numpy as np

from alertprod.core import nbody, tables
from alertprod.core.orbits import state_vectors
from alertprod.daymops import fit, fitting
from alertprod.daymops.refine import correct_nbody

log = logging.getLogger(__name__)

OUTLIER = 5.0  # an observation counts unless chi square falls by this squared without it
TIDY = 6  # fits of one object at most, each with one observation less


def refit(objects, tonight, earlier, options, night) -> dict:
    """Fit objects with more observations than their present orbit has used.

    Parameters
    ----------
    objects : table
        Product ``orbits``.
    tonight : table
        Product ``attributed`` of the night, residuals not needed.
    earlier : table
        Rows of product ``attributed`` of earlier nights, all of the objects seen tonight.
    options : dict
        Section ``daymops`` with the station.
    night : int
        Tonight (day_obs).

    Returns
    -------
    table
        Product ``orbits``. An orbit changes only where the new one holds its observations.
    """
    seen = tables.take(tonight, np.isin(tonight["ssObjectId"], objects["ssObjectId"]))
    if not tables.n_rows(seen):
        return objects
    history = _history(seen, earlier)
    name, back, count = np.unique(history["ssObjectId"], return_inverse=True, return_counts=True)
    row = tables.match(objects["ssObjectId"], name)
    more = np.flatnonzero(count > objects["nObs"][row])
    if not len(more):
        return objects
    groups = [np.flatnonzero(back == k) for k in more]
    return _replace(objects, row[more], (history, groups), options, night)


def _history(seen, earlier):
    """All observations of the objects in `seen`, in order of object and time."""
    names = ("designation", "ssObjectId", "diaSourceId", "visit", "midpointMjdTai", "ra", "dec",
             "raErr", "decErr", "mag", "magErr", "band")  # fmt: skip
    before = tables.take(earlier, np.isin(earlier["ssObjectId"], seen["ssObjectId"]))
    all_of = tables.stack([{name: part[name] for name in names} for part in (seen, before)])
    _, first = np.unique(all_of["diaSourceId"], return_index=True)
    return tables.sort_by(tables.take(all_of, first), "ssObjectId", "midpointMjdTai", "diaSourceId")


def _replace(objects, rows, observed, options, night):
    """Fit the objects in `rows` to their observations and put the good orbits in place."""
    history, groups = observed
    epoch = float(np.round(history["midpointMjdTai"].max()))
    obs = fit.observation_block(
        *(history[c] for c in ("midpointMjdTai", "ra", "dec", "raErr", "decErr")),
        options["obscode"],
    )
    states, epochs = state_vectors(objects)[rows], np.asarray(objects["epochMjdTdb"], float)[rows]
    start = nbody.propagate(states, epochs, epoch)
    bounded = objects["quality"][rows] == "bounded"
    solution, groups = _fit_tidily(start, epoch, obs, groups, (bounded, options))
    detections = {**history, "epochMjdTdb": np.full(len(obs), epoch)}
    table = fitting.describe_fits(detections, groups, solution, obs, options)
    good = (table["quality"] != "poor") & np.isfinite(solution[1]).all(axis=(1, 2))
    out = {name: column.copy() for name, column in objects.items()}
    for name, column in table.items():
        out[name][rows[good]] = column[good]
    out["fitNight"][rows[good]] = night
    changed = rows[good][out["status"][rows[good]] != "new"]
    out["status"][changed] = "updated"
    log.info("%d of %d orbits fitted again, to all observations", good.sum(), len(rows))
    for k in rows[~good]:
        log.warning("no orbit holds all observations of %s; its last one stays",
                    objects["designation"][k])  # fmt: skip
    return out


def _fit_tidily(start, epoch, obs, groups, how):
    """Fit, leave out what does not belong, one by one, and drop priors that are not needed.

    Returns
    -------
    solution : tuple
        states, covariances, chi square, whether a prior was used.
    groups : list of ndarray of int
        Rows of `obs` that were used.
    """
    bounded, options = how
    weight = np.where(bounded, options["prior_weight"], 0.0)
    groups = list(groups)
    states, covariances, chi2 = start.copy(), np.empty((len(start), 6, 6)), np.empty(len(start))
    again = np.arange(len(start))
    for _ in range(TIDY):
        states[again], covariances[again], chi2[again], suspects = correct_nbody(
            states[again], epoch, obs, [groups[k] for k in again], weight=weight[again], rounds=4
        )
        changed = []
        for k, (worst, gain) in zip(again, suspects, strict=True):
            told = fitting.relative_error(states[k], covariances[k]) < options["prior_below"]
            if weight[k] > 0.0 and told:
                weight[k] = 0.0
                changed.append(k)
            elif gain > OUTLIER**2 and len(groups[k]) > options["min_detections"]:
                groups[k] = np.delete(groups[k], int(worst))
                changed.append(k)
        again = np.array(changed, dtype=int)
        if not len(again):
            break
    return (states, covariances, chi2, weight > 0.0), groups
