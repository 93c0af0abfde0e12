"""The coarse step: which known objects may cross tonight's fields, and their states at midnight.

A two-body screen of the whole catalogue (a microsecond per object) leaves the objects near a
field; only these are carried by N-body to osculating states in the middle of the night. From there
two-body motion is good to 0.001" for the rest of the night; objects near the Earth, where it is
not, get several states, each with its own span of validity.
"""

from __future__ import annotations

import logging

import numpy as np
from numba import njit
from scipy.spatial import cKDTree

from alertprod.core import ephemeris, kepler, nbody, observer, orbits, tables
from alertprod.core.catalog import read_orbits
from alertprod.core.defaults import complete
from alertprod.core.designations import ss_object_id
from alertprod.core.errors import BadInput
from alertprod.core.orbits import COVARIANCE, STATE
from alertprod.core.stage import stage

log = logging.getLogger(__name__)

TWIN_ARCSEC, MOST_TWIN_ARCSEC = 3.0, 30.0  # between two orbits of one object
TWIN_RATE = 12.0  # arcsec/day, between their motions
FIELD_RADIUS_DEG = 1.75  # where neither the visits nor a camera say


@stage("ephemerides", outputs=("predicted_night",))
def predict_night(orbits_known, orbits=None, visits=(), camera=None, *, config) -> dict:
    """Find the objects that may be inside one of tonight's fields.

    Parameters
    ----------
    orbits_known : path or empty
        Catalogue (see `catalog.read_orbits`).
    orbits : table or empty
        Own discoveries so far (product ``orbits``), with covariances.
    visits : list of dict
        midpoint_mjd_tai, ra, dec [deg]; optionally radius [deg] and obscode.
    camera : Camera, optional
        Gives station and radius of the field where the visits do not.
    config : dict
        Section ``ephemerides``.

    Returns
    -------
    table
        Product ``predicted_night``: one row per object and span of validity.

    Raises
    ------
    BadInput
        If the catalogue or a visit is unusable.
    """
    options = with_camera(complete(config, "ephemerides"), camera)
    pointings = _pointings(visits, options)
    if pointings is None:
        return tables.empty("predicted_night")
    objects = _gather(orbits_known, orbits, options)
    if not len(objects["designation"]):
        return tables.empty("predicted_night")
    near = screen(objects["states"], objects["epoch"], objects["slack"], pointings, options)
    log.info("screened %d orbits: %d near %d fields", len(near), near.sum(), len(pointings["ra"]))
    objects = {key: value[near] for key, value in objects.items()}
    single = _named_once(objects)
    objects = {key: value[single] for key, value in objects.items()}
    return _night_table(objects, pointings, options)


def with_camera(options, camera):
    """Add what a camera knows: the station, and the radius of the field."""
    if camera is None:
        return {"field_radius_deg": FIELD_RADIUS_DEG, **options}
    corners = [
        np.hypot(*detector.centre)
        + 0.5 * camera.pixel_scale / 3600.0 * np.hypot(detector.nx, detector.ny)
        for detector in _detectors(camera)
    ]
    return {"obscode": camera.obscode, **options, "field_radius_deg": float(max(corners))}


def _detectors(camera):
    found = camera.detectors
    return list(found.values()) if isinstance(found, dict) else list(found)


def _pointings(visits, options):
    """Arrays of the night's visits: time, direction, radius; the span of the night."""
    if not len(visits):
        return None
    try:
        time = np.array([float(v["midpoint_mjd_tai"]) for v in visits])
        ra = np.array([float(v["ra"]) for v in visits])
        dec = np.array([float(v["dec"]) for v in visits])
    except (KeyError, ValueError) as error:
        raise BadInput(
            f"a visit of the night lacks a usable {error}; every visit needs"
            " midpoint_mjd_tai, ra and dec"
        ) from None
    radius = np.array([float(v.get("radius") or options["field_radius_deg"]) for v in visits])
    return {
        "mjd_tai": time, "ra": ra, "dec": dec, "radius": radius,
        "obscode": str(visits[0].get("obscode") or options.get("obscode") or "500"),
        "first": float(time.min()) - options["pad_days"],
        "last": float(time.max()) + options["pad_days"],
    }  # fmt: skip


def _gather(path, discovered, options):
    """Known and discovered objects in one list of heliocentric states, ours behind the others."""
    names, epochs, states, covs = [], [], [], []
    light: dict[str, list] = {"h": [], "g": [], "g12": []}
    if path:
        known = read_orbits(path, options["default_g"], options["default_g12"])
        if known["skipped"]:
            log.warning(
                "%d of %d rows of %s are left out, the first: %s",
                known["skipped"], known["skipped"] + len(known["h"]), path, known["first"],
            )  # fmt: skip
        names.append(known["designation"])
        epochs.append(known["epoch"])
        states.append(orbits.elements_to_states(known["elements"], known["epoch"]))
        for key, column in light.items():
            column.append(known[key])
        covs.append(np.full((len(known["h"]), 21), np.nan))
    if discovered and tables.n_rows(discovered):
        names.append(np.asarray(discovered["designation"], dtype=object))
        epochs.append(discovered["epochMjdTdb"])
        states.append(orbits.state_vectors(discovered))
        blank = np.full(len(discovered["H"]), np.nan)
        for key, values in (("h", discovered["H"]), ("g", discovered["G"]), ("g12", blank)):
            light[key].append(values)
        covs.append(np.stack([discovered[c] for c in COVARIANCE], axis=-1))
    if not names:
        return {"designation": np.zeros(0, dtype=object)}
    out = {
        "designation": np.concatenate(names), "epoch": np.concatenate(epochs),
        "states": np.concatenate(states), "covariance": np.concatenate(covs),
        **{key: np.concatenate(column) for key, column in light.items()},
    }  # fmt: skip
    keep = np.isfinite(out["states"]).all(axis=1)
    if not keep.all():
        out = {key: value[keep] for key, value in out.items()}
    out["slack"] = np.where(np.isfinite(out["covariance"][:, 0]), 0.5, 0.0)
    return out


def _named_once(objects):
    """Rows of which the name does not come again: the later one counts."""
    reverse = objects["designation"][::-1].astype(str)
    _, last = np.unique(reverse, return_index=True)
    return np.sort(len(reverse) - 1 - last)


def screen(states, epochs, slack, pointings, options):
    """Two-body test of which objects may be inside a field during the night.

    Parameters
    ----------
    states : ndarray, shape (n, 6)
    epochs, slack : ndarray, shape (n,)
        MJD TDB; extra margin [deg] of badly known orbits.
    pointings : dict
    options : dict

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    middle = 0.5 * (pointings["first"] + pointings["last"])
    half = 0.5 * (pointings["last"] - pointings["first"])
    place, velocity = observer.observer_state(pointings["obscode"], middle)
    time = float(observer.tai_to_tdb(middle))
    sun_place, sun_velocity = observer.sun_state(time)
    where = np.concatenate([place[0], velocity[0]])
    sun = np.concatenate([sun_place[0], sun_velocity[0]])
    fields = orbits.unit_vectors(pointings["ra"], pointings["dec"])
    merged, reach = _merge(fields, np.deg2rad(pointings["radius"]))
    age = np.abs(time - epochs)
    margin = np.deg2rad(options["margin_deg"] + slack + np.minimum(age * 1e-3, 2.0))
    return _screen(np.ascontiguousarray(states), np.ascontiguousarray(epochs), time, where, sun,
                   merged, reach, margin, half)  # fmt: skip


def _merge(fields, radius):
    """Greedy cover of the pointings by few circles: dithers of one field count once."""
    centres, reach = [], []
    for unit, r in zip(fields, radius, strict=True):
        for k, centre in enumerate(centres):
            angle = np.arccos(np.clip(unit @ centre, -1.0, 1.0))
            if angle < 0.02:
                reach[k] = max(reach[k], angle + r)
                break
        else:
            centres.append(unit)
            reach.append(r)
    return np.array(centres), np.array(reach)


@njit(cache=True)
def _screen(states, epochs, time, where, sun, fields, reach, margin, half):
    n = states.shape[0]
    near = np.zeros(n, dtype=np.bool_)
    sum_station = where[:3] - sun[:3]
    for k in range(n):
        s = states[k]
        h = kepler.step(s[0], s[1], s[2], s[3], s[4], s[5], time - epochs[k], kepler.GM_SUN)
        x, y, z = h[0] - sum_station[0], h[1] - sum_station[1], h[2] - sum_station[2]
        distance = np.sqrt(x * x + y * y + z * z)
        vx = h[3] + sun[3] - where[3]
        vy = h[4] + sun[4] - where[4]
        vz = h[5] + sun[5] - where[5]
        speed = np.sqrt(vx * vx + vy * vy + vz * vz)
        # Angle swept in half a night plus the light time left out here; nearer than the sweep
        # itself it can be anywhere.
        swept = speed * (half + distance / 173.0)
        if not (distance > 2.0 * swept):
            near[k] = True
            continue
        allowance = 1.2 * swept / distance + margin[k]
        for j in range(fields.shape[0]):
            dot = (x * fields[j, 0] + y * fields[j, 1] + z * fields[j, 2]) / distance
            angle = allowance + reach[j]
            if angle > 3.14 or dot > np.cos(angle):
                near[k] = True
                break
    return near


def _night_table(objects, pointings, options):
    """Osculating states of the selected objects, one row per span of validity."""
    first = float(observer.tai_to_tdb(pointings["first"]))
    last = float(observer.tai_to_tdb(pointings["last"]))
    middle = 0.5 * (first + last)
    states = _carry(objects["states"], objects["epoch"], middle, options["dynamics"])
    single = ~_twins(objects, states, middle, pointings["obscode"])
    objects, states = {key: value[single] for key, value in objects.items()}, states[single]
    earth, _ = observer.earth_state(middle)
    sun, _ = observer.sun_state(middle)
    distance = np.linalg.norm(states[:, :3] + sun[0] - earth[0], axis=1)
    close = (distance < options["near_au"]) & (options["dynamics"] == "nbody")
    covariance = _carried_covariance(objects, middle)
    rows = [(k, middle, first, last, states[k]) for k in np.flatnonzero(~close)]
    count = max(1, int(np.ceil((last - first) / options["near_step_days"])))
    edges = np.linspace(first, last, count + 1)
    for k in np.flatnonzero(close):
        centres = 0.5 * (edges[1:] + edges[:-1])
        path = nbody.trajectory(states[k : k + 1], middle, centres)[:, 0]
        rows.extend(zip([k] * count, centres, edges[:-1], edges[1:], path, strict=True))
    return _rows_to_table(rows, objects, covariance)


def _twins(objects, states, time, obscode):
    """Rows of the catalogue that are objects of our own, by now designated; ours stay.

    So an object keeps one identifier through a survey. Our orbit holds all our observations of it.
    """
    twin = np.zeros(len(states), dtype=bool)
    ours = np.isfinite(objects["covariance"]).all(axis=1)
    mine, theirs = np.flatnonzero(ours), np.flatnonzero(~ours & np.isfinite(states).all(axis=1))
    if not len(mine) or not len(theirs):
        return twin
    now, tai = np.full(len(states), time), float(observer.tdb_to_tai(time))
    _, topo = ephemeris.topocentric(states, now, tai, obscode)
    unit = topo[:, :3] / np.linalg.norm(topo[:, :3], axis=1)[:, None]
    rate = np.stack(ephemeris.rates(topo), axis=-1) * 3600.0
    cov = ephemeris.sky_covariance(
        objects["states"][mine], objects["epoch"][mine],
        orbits.full_matrices(objects["covariance"][mine]), tai, obscode,
    )  # fmt: skip
    sigma = np.sqrt(np.trace(cov, axis1=1, axis2=2))
    reach = np.clip(3.0 * sigma, TWIN_ARCSEC, MOST_TWIN_ARCSEC)
    near = cKDTree(unit[theirs]).query_ball_point(unit[mine], np.deg2rad(reach / 3600.0))
    for k, found in zip(mine, near, strict=True):
        for j in theirs[np.array(found, dtype=int)]:
            if np.hypot(*(rate[j] - rate[k])) < TWIN_RATE:
                twin[j] = True
                log.info("%s is our %s", objects["designation"][j], objects["designation"][k])
    return twin


def _carry(states, epochs, time, dynamics):
    if dynamics == "kepler":
        return kepler.propagate(np.ascontiguousarray(states), time - epochs)
    if dynamics != "nbody":
        raise BadInput(f"ephemerides.dynamics is {dynamics!r}; use 'nbody' or 'kepler'")
    return nbody.propagate(states, epochs, time)


def _carried_covariance(objects, time):
    """Upper triangle of the covariance at `time` (two-body partials are ample for an ellipse)."""
    out = np.full_like(objects["covariance"], np.nan)
    i, j = np.triu_indices(6)
    state, partials, full = np.empty(6), np.empty((6, 6)), np.zeros((6, 6))
    for k in np.flatnonzero(np.isfinite(objects["covariance"]).all(axis=1)):
        kepler.step_with_partials(
            objects["states"][k], time - objects["epoch"][k], kepler.GM_SUN, state, partials
        )
        full[i, j] = objects["covariance"][k]
        full[j, i] = objects["covariance"][k]
        out[k] = (partials @ full @ partials.T)[i, j]
    return out


def _rows_to_table(rows, objects, covariance):
    if not rows:
        return tables.empty("predicted_night")
    index = np.array([row[0] for row in rows])
    state = np.stack([row[4] for row in rows])
    good = np.isfinite(state).all(axis=1)
    table = {
        "ssObjectId": np.array([ss_object_id(n) for n in objects["designation"]])[index],
        "designation": objects["designation"][index],
        "epochMjdTdb": np.array([row[1] for row in rows]),
        "firstMjdTdb": np.array([row[2] for row in rows]),
        "lastMjdTdb": np.array([row[3] for row in rows]),
        **{name: state[:, k] for k, name in enumerate(STATE)},
        "H": objects["h"][index],
        "G": objects["g"][index],
        "G12": objects["g12"][index],
        **{name: covariance[index, k] for k, name in enumerate(COVARIANCE)},
    }
    table = tables.conform(tables.take(table, good), "predicted_night")
    return tables.sort_by(table, "ssObjectId", "firstMjdTdb")
