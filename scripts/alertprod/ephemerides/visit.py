"""The precise step: objects inside one visit's footprint, with all that ``ssSource`` needs."""

from __future__ import annotations

import numpy as np

from alertprod.core import ephemeris, observer, orbits, tables
from alertprod.core.defaults import complete
from alertprod.core.orbits import ELEMENTS, STATE
from alertprod.core.stage import stage
from alertprod.ephemerides.night import with_camera

AU_DAY_KM_S = observer.AU_KM / observer.DAY_S


@stage("ephemerides", outputs=("predicted",))
def predict_visit(predicted_night, visit, camera=None, *, config) -> dict:
    """Predict the objects of the night at one visit's midpoint.

    Parameters
    ----------
    predicted_night : table
    visit : dict
        visit, midpoint_mjd_tai, ra, dec [deg] of the boresight, optionally radius [deg] of the
        footprint, obscode, band.
    camera : Camera, optional
        Gives station and radius of the field where the visit does not.
    config : dict
        Section ``ephemerides``.

    Returns
    -------
    table
        Product ``predicted``, sorted by ssObjectId. Positions are astrometric, topocentric, ICRS.
    """
    options = with_camera(complete(config, "ephemerides"), camera)
    time_tai = float(visit["midpoint_mjd_tai"])
    time = float(observer.tai_to_tdb(time_tai))
    obscode = str(visit.get("obscode") or options.get("obscode") or "500")
    radius = float(visit.get("radius") or options["field_radius_deg"])
    rows = _nearby(predicted_night, visit, time, radius)
    if not tables.n_rows(rows):
        return tables.empty("predicted")
    states = orbits.state_vectors(rows)
    helio, topo = ephemeris.topocentric(states, rows["epochMjdTdb"], time_tai, obscode)
    ra, dec = orbits.directions(topo)
    cov = _sky_errors(rows, states, time_tai, obscode, options)
    # five sigma of a badly known orbit may reach into the footprint
    slack = np.minimum(5.0 * np.sqrt(cov[:, 0, 0] + cov[:, 1, 1]) / 3600.0, 1.0)
    centre = orbits.unit_vectors([float(visit["ra"])], [float(visit["dec"])])[0]
    chord = np.linalg.norm(orbits.unit_vectors(ra, dec) - centre, axis=1)
    inside = np.rad2deg(2.0 * np.arcsin(np.clip(chord / 2.0, 0.0, 1.0))) <= radius + slack
    rows = tables.take(rows, inside)
    return _table(rows, helio[inside], topo[inside], cov[inside], visit)


def _nearby(night, visit, time, radius):
    """Rows valid at `time` that can be near the field, by straight motion from their epoch."""
    valid = (night["firstMjdTdb"] <= time) & (time <= night["lastMjdTdb"])
    # A visit outside the span for which the night was predicted takes the nearest state.
    if not valid.any() and tables.n_rows(night):
        distance = np.abs(night["epochMjdTdb"] - time)
        best = {}
        for k in np.argsort(distance, kind="stable"):
            best.setdefault(night["ssObjectId"][k], k)
        valid[list(best.values())] = True
    rows = np.flatnonzero(valid)
    dt = (time - night["epochMjdTdb"][rows])[:, None]
    earth, _ = observer.earth_state(time)
    sun, _ = observer.sun_state(time)
    place = np.stack([night[c][rows] for c in STATE[:3]], axis=-1) + sun - earth
    speed = np.stack([night[c][rows] for c in STATE[3:]], axis=-1)
    distance = np.linalg.norm(place, axis=1)
    moved = place + speed * (dt - (distance / observer.C_AU_DAY)[:, None])
    length = np.linalg.norm(moved, axis=1)
    centre = orbits.unit_vectors([float(visit["ra"])], [float(visit["dec"])])[0]
    angle = np.rad2deg(np.arccos(np.clip(moved @ centre / length, -1.0, 1.0)))
    # left out here: parallax of the station (5e-5 au) and curvature of the path
    return tables.take(night, rows[angle <= radius + 1.2 + np.rad2deg(2e-4 / length)])


def _sky_errors(rows, states, time_tai, obscode, options):
    """Covariance (n, 2, 2) [arcsec^2] east/north; orbits without one get the configured error."""
    full = orbits.covariance_matrices(rows)
    cov = ephemeris.sky_covariance(states, rows["epochMjdTdb"], full, time_tai, obscode)
    bad = ~np.isfinite(cov).all(axis=(1, 2))
    cov[bad] = np.eye(2) * options["default_error_arcsec"] ** 2
    return cov


def _table(rows, helio, topo, cov, visit):
    ra, dec = orbits.directions(topo)
    east, north = ephemeris.rates(topo)
    helio_range = np.linalg.norm(helio[:, :3], axis=1)
    topo_range = np.linalg.norm(topo[:, :3], axis=1)
    phase = ephemeris.phase_angle(helio, topo)
    distances = (helio_range, topo_range, phase)
    vmag = np.where(
        np.isfinite(rows["G12"]),
        ephemeris.magnitude_hg12(rows["H"], rows["G12"], *distances),
        ephemeris.magnitude_hg(rows["H"], rows["G"], *distances),
    )
    band = str(visit.get("band") or "")
    ecl_lon, ecl_lat, gal_lon, gal_lat = orbits.ecliptic_and_galactic(ra, dec)
    cosine = np.cos(np.deg2rad(dec))
    n = len(ra)
    table = {
        "visit": np.full(n, int(visit.get("visit") or 0)),
        "ssObjectId": rows["ssObjectId"],
        "designation": rows["designation"],
        "ra": ra,
        "dec": dec,
        # by the convention of raErr: an error of the coordinate, without cos(dec)
        "raErr": np.sqrt(cov[:, 0, 0]) / 3600.0 / cosine,
        "decErr": np.sqrt(cov[:, 1, 1]) / 3600.0,
        "ra_dec_Cov": cov[:, 0, 1] / 3600.0**2 / cosine,
        "ephRa": ra,
        "ephDec": dec,
        "ephRate": np.hypot(east, north),
        "ephRateRa": east,
        "ephRateDec": north,
        "ephVmag": vmag,
        "mag": vmag - orbits.V_MINUS_BAND.get(band, 0.0),
        "eclLambda": ecl_lon,
        "eclBeta": ecl_lat,
        "galLon": gal_lon,
        "galLat": gal_lat,
        "elongation": ephemeris.elongation(helio, topo),
        "phaseAngle": phase,
        "topoRange": topo_range,
        "topoRangeRate": np.sum(topo[:, :3] * topo[:, 3:], axis=1) / topo_range * AU_DAY_KM_S,
        "helioRange": helio_range,
        "helioRangeRate": np.sum(helio[:, :3] * helio[:, 3:], axis=1) / helio_range * AU_DAY_KM_S,
    }
    elements = orbits.states_to_elements(orbits.state_vectors(rows), rows["epochMjdTdb"])
    table.update({name: elements[:, k] for k, name in enumerate(ELEMENTS)})
    table.update({name: rows[name] for name in ("epochMjdTdb", "H", "G")})
    for prefix, vectors in (("helio", helio), ("topo", topo)):
        for k, name in enumerate(STATE):
            unit = 1.0 if k < 3 else AU_DAY_KM_S
            table[f"{prefix}_{name}"] = vectors[:, k] * unit
        table[f"{prefix}_vtot"] = np.linalg.norm(vectors[:, 3:], axis=1) * AU_DAY_KM_S
    return tables.sort_by(tables.conform(table, "predicted"), "ssObjectId")
