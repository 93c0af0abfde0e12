"""Choosing stars: the locus of sizes, isolation, spread over the detector."""

import numpy as np
import pytest

from alertprod.calibrate.detect import find_sources, touched
from alertprod.calibrate.select import (
    half_sample_mode,
    isolated,
    measure_shapes,
    select_stars,
    star_locus,
)
from alertprod.core.masks import bits

from .conftest import SHAPE, draw_sky, observe


def test_stars_are_told_from_galaxies_and_cosmic_rays_by_size():
    rng = np.random.default_rng(1)
    size = np.concatenate(
        [rng.normal(2.5, 0.05, 60), rng.uniform(2.8, 8, 150), rng.uniform(1.0, 1.5, 15)]
    )
    snr = np.concatenate(
        [rng.uniform(20, 500, 60), rng.uniform(20, 200, 150), rng.uniform(20, 500, 15)]
    )
    middle, width = star_locus(np.log(size), snr)
    assert np.exp(middle) == pytest.approx(2.5, rel=0.02)
    assert width < 0.05


def test_mode_finds_the_densest_values():
    values = np.sort(np.concatenate([np.linspace(0, 10, 30), np.full(25, 4.2)]))
    assert half_sample_mode(values) == pytest.approx(4.2)


def test_a_faint_neighbour_spoils_only_a_faint_star():
    x, y = np.array([0.0, 5.0, 100.0]), np.zeros(3)
    assert list(isolated(x, y, np.array([1000.0, 20.0, 50.0]), 8)) == [True, False, True]
    assert list(isolated(x, y, np.array([1000.0, 20.0, 50.0]), 4)) == [True, True, True]


def test_touched_looks_at_the_square_round_a_position():
    mask = np.zeros((20, 30), dtype=np.int32)
    mask[10, 12] = bits("CR")
    x, y = [12, 14, 15, np.nan, 40], [10, 10, 10, 5, 5]
    assert list(touched(mask, x, y, 2, "CR")) == [True, True, False, False, False]
    assert not touched(mask, [12], [10], 2, "SAT").any()


@pytest.fixture(scope="module")
def scene(config):
    rng = np.random.default_rng(6)
    gx, gy = np.meshgrid(np.arange(60, 660, 75), np.arange(60, 600, 75))
    x, y = (g.ravel() + rng.uniform(-3, 3, g.size) for g in (gx, gy))
    flux = rng.uniform(8e3, 8e4, x.size)
    isr = observe(draw_sky(x, y, flux, galaxies=0))
    # a struck star, a saturated one, a defect next to a third
    for k, plane in ((3, "CR"), (10, "SAT"), (20, "BAD")):
        isr.mask[int(y[k] + 0.5), int(x[k] + 0.5)] |= bits(plane)
    found = find_sources(isr.image, isr.mask, config)
    return isr, found, x, y, flux


def test_every_bright_star_is_found_once_and_in_order_of_flux(scene):
    isr, found, x, y, _ = scene
    distance = np.hypot(found.x[:, None] - x, found.y[:, None] - y)
    assert (np.sort(distance, axis=0)[0] < 0.5).sum() >= len(x) - 1  # all but the dead one
    assert (np.diff(found.flux) <= 0).all()
    assert len(found) < len(x) + 8
    centre = found.segments[np.round(found.y).astype(int), np.round(found.x).astype(int)]
    alive = ~touched(isr.mask, found.x, found.y, 1, "BAD")
    assert np.array_equal(centre[alive], found.label[alive])


def test_flawed_stars_are_never_chosen(scene, config):
    isr, found, x, y, _ = scene
    shapes = measure_shapes(found, isr.mask, isr.variance)
    chosen = select_stars(found, shapes, SHAPE, config["psf"])
    distance = np.hypot(shapes.x[chosen, None] - x, shapes.y[chosen, None] - y)
    nearest = np.argmin(distance, axis=1)
    assert not {3, 10, 20} & set(nearest)
    assert len(chosen) >= len(x) - 6


def test_the_number_of_stars_is_limited_evenly_over_the_detector(scene, config):
    isr, found, *_ = scene
    shapes = measure_shapes(found, isr.mask, isr.variance)
    chosen = select_stars(found, shapes, SHAPE, config["psf"] | {"max_stars": 24})
    assert len(chosen) == 24
    quarter = (shapes.x[chosen] > 352).astype(int) + 2 * (shapes.y[chosen] > 320)
    assert np.bincount(quarter, minlength=4).min() >= 3
