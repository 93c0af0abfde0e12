"""Trails drawn by GalSim (a box convolved with the PSF) come back."""

import numpy as np
import pytest

from alertprod.sources import measure_sources
from alertprod.sources.sky import direction, jacobians


@pytest.mark.parametrize("length, angle", [(8.0, 20.0), (16.0, 100.0), (40.0, 160.0)])
def test_a_trail_is_one_source_with_its_length_angle_and_flux(make_scene, config, length, angle):
    scene = make_scene(seed=int(length))
    flux = 4e3 * np.sqrt(length)
    scene.add_trail(200.3, 210.7, flux, length, angle)
    images = scene.finish()
    table = measure_sources(*images, config=config)
    assert len(table["x"]) == 1
    pulls = {
        "flux": (table["trailFlux"][0] - flux) / table["trailFluxErr"][0],
        "x": (table["x"][0] - 200.3) / table["xErr"][0],
        "y": (table["y"][0] - 210.7) / table["yErr"][0],
        "length": (table["trailLength"][0] - length * 0.5) / table["trailLengthErr"][0],
    }
    jacobian = jacobians(images[0].wcs, table["x"], table["y"])[0]
    bearing, _ = direction(jacobian, np.radians(angle))
    turn = (table["trailAngle"][0] - bearing + 90) % 180 - 90
    pulls["angle"] = turn / table["trailAngleErr"][0]
    assert max(abs(v) for v in pulls.values()) < 4.0, pulls
    assert abs(table["trailFlux"][0] / flux - 1) < 0.1
    assert table["trailChi2"][0] < 1.4 * table["trailNdata"][0]
    assert 0 <= table["trailAngle"][0] < 180
    assert table["reliability"][0] > 0.5


def test_point_sources_are_not_trails(make_scene, config):
    scene = make_scene(seed=3)
    places = [(40 + 45 * i, 40 + 45 * j) for i in range(8) for j in range(7)]
    for x, y in places:
        scene.add_transient(x + 0.3, y - 0.4, 5e3)
    table = measure_sources(*scene.finish(), config=config)
    assert len(table["x"]) == len(places)
    assert np.isfinite(table["trailLength"]).sum() == 0


def test_a_track_of_one_pixel_is_no_trail_where_stars_are_wider(make_scene, config):
    """A particle that grazes the sensor draws a line that knows nothing of the PSF."""
    scene = make_scene(seed=9, fwhm=2.4)
    leftover = np.zeros(scene.shape)
    for start, slope in ((60, 0.0), (160, 0.5), (260, -0.3)):
        for step in range(12):
            leftover[start + round(slope * step), start + step] += 350.0
    scene.add_trail(200.3, 330.7, 1.2e4, 12.0, 30.0)
    table = measure_sources(*scene.finish(leftover=leftover), config=config)
    trailed = np.isfinite(table["trailLength"])
    assert trailed.sum() == 1
    assert abs(table["x"][trailed][0] - 200.3) < 1 and abs(table["y"][trailed][0] - 330.7) < 1
