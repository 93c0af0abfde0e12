"""Tracks on the sky are those of the orbits."""

import numpy as np
import pytest

from alertprod.core import tables
from alertprod.core.orbits import unit_vectors
from alertprod.daymops.attribution import attributed, with_residuals
from alertprod.quality.tracks import against_mean_motion, residuals, trace


def test_residuals_are_what_daymops_makes_of_the_same_orbit_and_sources(found):
    orbits = found.orbits(("kept",) * 2, (0.0,) * 2)
    seen = tables.stack([found.detections(orbits, night) for night in found.NIGHTS])
    sightings = {k: seen[k] for k in seen if k not in ("how", "resRa", "resDec")}
    sightings["isIdentified"] = np.zeros(len(seen["ra"]), dtype=bool)
    written = attributed(orbits, None, {}, sightings, np.zeros(0, dtype=int))
    written = with_residuals(orbits, written, {"obscode": found.SITE})
    own = [tables.take(written, written["ssObjectId"] == i) for i in orbits["ssObjectId"]]
    for rows, track in zip(own, trace(orbits, own, found.SITE), strict=True):
        east, north = residuals(rows, track)
        np.testing.assert_allclose(east, rows["resRa"], atol=2e-6)
        np.testing.assert_allclose(north, rows["resDec"], atol=2e-6)


def test_track_goes_beyond_the_detections_and_through_their_times(found):
    orbits = found.orbits(("new",), (0.0,))
    rows = found.detections(orbits, found.NIGHTS[0])
    (track,) = trace(orbits, [rows], found.SITE)
    assert np.all(np.diff(track["time"]) > 0.0)
    assert np.isin(rows["midpointMjdTai"], track["time"]).all()
    assert track["time"][0] < rows["midpointMjdTai"].min() - 0.05
    assert track["time"][-1] > rows["midpointMjdTai"].max() + 0.05
    assert np.all((track["V"] > 18.0) & (track["V"] < 24.0))


def test_steady_motion_leaves_nothing():
    time = np.linspace(60000.0, 60002.0, 9)
    ra, dec = 120.0 + 0.2 * (time - 60001.0), np.zeros(9)
    rows = {"midpointMjdTai": time, "ra": ra, "dec": dec}
    relative = against_mean_motion(rows, {"time": time, "topo": unit_vectors(ra, dec)})
    assert relative["rate"] == pytest.approx(0.2, rel=1e-4)
    assert relative["angle"] == pytest.approx(90.0)  # due east
    for name in ("east", "north", "rowEast", "rowNorth"):
        assert np.abs(relative[name]).max() < 0.01  # arcsec


def test_curvature_stays():
    time = np.linspace(60000.0, 60002.0, 9)
    ra, dec = 120.0 + 0.2 * (time - 60001.0), 0.01 * (time - 60001.0) ** 2
    rows = {"midpointMjdTai": time, "ra": ra, "dec": dec}
    relative = against_mean_motion(rows, {"time": time, "topo": unit_vectors(ra, dec)})
    assert np.ptp(relative["rowNorth"]) == pytest.approx(36.0, rel=1e-3)  # 0.01 deg
    np.testing.assert_allclose(relative["rowNorth"], relative["north"], atol=1e-6)


def test_path_that_goes_round_the_sky_is_shown_as_far_as_a_plane_goes():
    time = np.linspace(60000.0, 60010.0, 11)
    ra, dec = 19.0 * (time - 60005.0), np.zeros(11)
    rows = {"midpointMjdTai": time, "ra": ra, "dec": dec}
    relative = against_mean_motion(rows, {"time": time, "topo": unit_vectors(ra, dec)})
    np.testing.assert_array_equal(np.isfinite(relative["rowEast"]), np.abs(ra) < 60.0)
    assert len(relative["east"]) == 7


def test_nothing_to_follow(found):
    assert trace(found.orbits((), ()), [], found.SITE) == []
