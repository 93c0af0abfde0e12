"""Dipoles: what a star leaves that moved, or that was not where the template has it."""

import numpy as np

from alertprod.sources import measure_sources


def moved(make_scene, separation, flux, seed=1, second=1.0):
    scene = make_scene(seed=seed)
    scene.add_star(200.0, 200.0, flux * second)
    scene.add_transient(200.0, 200.0, -flux * second)
    scene.add_transient(200.0 + separation, 200.0, flux)
    return scene.finish()


def test_a_star_that_moved_is_one_dipole(make_scene, config):
    table = measure_sources(*moved(make_scene, 3.0, 2e4), config=config)
    assert len(table["x"]) == 1 and table["isDipole"][0] and table["dipoleFitAttempted"][0]
    assert abs(table["dipoleLength"][0] - 1.5) < 0.1  # 3 px of 0.5"
    assert abs(table["dipoleMeanFlux"][0] - 2e4) < 4 * table["dipoleMeanFluxErr"][0]
    assert abs(table["dipoleFluxDiff"][0]) < 4 * table["dipoleFluxDiffErr"][0]
    assert table["reliability"][0] < 0.3


def test_its_angle_points_from_the_old_place_to_the_new(make_scene, config):
    images = moved(make_scene, 4.0, 2e4)
    table = measure_sources(*images, config=config)
    ra, dec = images[0].wcs.pix_to_sky(np.array([200.0, 204.0]), np.array([200.0, 200.0]))
    east = (ra[1] - ra[0]) * np.cos(np.radians(dec[0]))
    bearing = np.degrees(np.arctan2(east, dec[1] - dec[0])) % 360
    assert abs((table["dipoleAngle"][0] - bearing + 180) % 360 - 180) < 3


def test_half_a_pixel_leaves_a_dipole_too(make_scene, config):
    table = measure_sources(*moved(make_scene, 0.5, 8e4), config=config)
    assert len(table["x"]) == 1 and table["isDipole"][0]


def test_two_far_sources_of_opposite_sign_are_two_sources(make_scene, config):
    table = measure_sources(*moved(make_scene, 14.0, 1e4), config=config)
    assert len(table["x"]) == 2 and not table["isDipole"].any()
    assert table["isNegative"].sum() == 1


def test_unequal_neighbours_are_not_a_dipole(make_scene, config):
    table = measure_sources(*moved(make_scene, 5.0, 1e4, second=4.0), config=config)
    assert not table["isDipole"].any()
