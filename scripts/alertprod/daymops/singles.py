"""The sources of a night that nothing else explains: what asteroids are sought among."""

from __future__ import annotations

import logging

import numpy as np

from alertprod.core import tables
from alertprod.core.defaults import complete
from alertprod.core.errors import BadInput
from alertprod.core.stage import stage
from alertprod.daymops import known
from alertprod.daymops.inputs import read_all

log = logging.getLogger(__name__)

NEEDED = ("diaSourceId", "visit", "detector", "midpointMjdTai", "ra", "dec", "raErr", "decErr")
TRAIL = ("trailLength", "trailAngle")


@stage("daymops", outputs=("singles", "sightings"))
def select_singles(associations, predictions=(), *, config) -> tuple[dict, dict]:
    """Collect the unattributed detections of one night, and those of solar-system objects.

    Parameters
    ----------
    associations : list of tables or paths
        DIASources of the night's visits (product ``association``). Rows with a solar-system
        object, a negative flux or a DIAObject of many sources are left out; so are rejected
        visits.
    predictions : list of tables or paths
        Product ``predicted`` of the visits: what lies beside the predicted place of a known
        object, and moves with it, is that object.
    config : dict
        Section ``daymops``.

    Returns
    -------
    singles, sightings : table
        Products of these names, sorted by time and identifier.
    """
    options = complete(config, "daymops")
    parts = read_all(associations)
    found = select_detections(parts, options)
    owner, name = known.identify(found, predictions, options)
    beside = owner != 0
    missed = {**found, "ssObjectId": owner, "designation": name, "isIdentified": beside}
    singles = tables.take(found, ~beside)
    log.info("%d detections that nothing explains", tables.n_rows(singles))
    sightings = select_sightings(parts, tables.take(missed, beside))
    return tables.conform(singles, "singles"), sightings


def select_sightings(associations, missed) -> dict:
    """Detections of solar-system objects: of association, and those that it missed."""
    parts = [missed]
    for table in associations:
        if tables.n_rows(table) and "ssObjectId" in table:
            rows = np.flatnonzero(table["ssObjectId"] != 0)
            parts.append(
                {
                    **_columns(table, rows),
                    "ssObjectId": table["ssObjectId"][rows],
                    "isIdentified": np.zeros(len(rows), dtype=bool),
                }
            )
            if "mpc_orbits_designation" in table:
                parts[-1]["designation"] = table["mpc_orbits_designation"][rows]
    seen = tables.stack([tables.conform(part, "sightings") for part in parts])
    return tables.sort_by(seen, "midpointMjdTai", "diaSourceId")


def select_detections(associations, options) -> dict:
    """Single, positive, unattributed detections of all tables, sorted by time and identifier."""
    parts = []
    for table in associations:
        if not tables.n_rows(table):
            continue
        missing = [name for name in NEEDED if name not in table]
        if missing:
            raise BadInput(
                f"an association table lacks the columns {missing}; make it again with this version"
            )
        keep = np.isfinite(table["ra"]) & np.isfinite(table["dec"])
        keep &= np.isfinite(table["midpointMjdTai"])
        if not keep.all():
            log.warning("%d detections without a finite place or time left out", (~keep).sum())
        if "ssObjectId" in table:
            keep &= table["ssObjectId"] == 0
        if "isNegative" in table:
            keep &= ~np.asarray(table["isNegative"], dtype=bool)
        for name in ("nDiaSources", "diaObject_nDiaSources"):
            if name in table:
                keep &= table[name] <= options["max_detections"]
        parts.append(_columns(table, np.flatnonzero(keep)))
    if not parts:
        return tables.empty("singles")
    det = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    _, unique = np.unique(det["diaSourceId"], return_index=True)  # a detection counts once
    det = {key: value[unique] for key, value in det.items()}
    return tables.sort_by(det, "midpointMjdTai", "diaSourceId")


def _columns(table, rows):
    out = {name: np.asarray(table[name])[rows] for name in NEEDED}
    n = len(rows)
    blank = np.full(n, np.nan)
    # an unknown error is not a zero error
    for name in ("raErr", "decErr"):
        error = np.asarray(out[name], float)
        out[name] = np.where(np.isfinite(error) & (error > 0.0), error, 0.1 / 3600.0)
    for name in TRAIL:
        out[name] = np.asarray(table[name], float)[rows] if name in table else blank
    owner = table.get("diaObjectId", np.zeros(len(table["ra"]), dtype=np.int64))
    out["diaObjectId"] = np.asarray(owner)[rows]
    if "band" in table:
        out["band"] = np.asarray(table["band"], dtype=object)[rows]
    else:
        out["band"] = np.full(n, "", dtype=object)
    if "mag" in table:
        return out | {name: np.asarray(table[name], float)[rows] for name in ("mag", "magErr")}
    return out | _magnitudes(table, rows)


def _magnitudes(table, rows):
    """AB magnitudes of fluxes in nJy; NaN where there is none."""
    n, out = len(rows), {}
    blank = np.full(n, np.nan)
    flux, error = blank, blank
    for name in ("scienceFlux", "psfFlux"):  # the difference flux is the moving object's own
        if name in table:
            flux = np.asarray(table[name], float)[rows]
            error = np.asarray(table.get(name + "Err", np.full(len(flux), np.nan)), float)
            error = error[rows] if len(error) != n else error
    with np.errstate(invalid="ignore", divide="ignore"):
        good = flux > 0.0
        out["mag"] = np.where(good, 31.4 - 2.5 * np.log10(np.where(good, flux, 1.0)), np.nan)
        out["magErr"] = np.where(good, 1.0857 * error / flux, np.nan)
    return out
