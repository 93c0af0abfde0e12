"""Solving for the WCS from lists of positions; the truth is an astropy system."""

import numpy as np
import pytest

from alertprod.calibrate.astrometry import Star, solve_astrometry
from alertprod.calibrate.reference import Reference, load_reference
from alertprod.core.errors import Rejected

from .conftest import BORESIGHT, MJD, ROTATION, SHAPE, true_wcs, write_shard


def lists(camera, n=200, noise=0.05, seed=1, **wcs_options):
    """Return stars of the image, the same stars as reference, and the true system."""
    rng = np.random.default_rng(seed)
    truth = true_wcs(camera, **wcs_options)
    x, y = rng.uniform(0, SHAPE[1], n), rng.uniform(0, SHAPE[0], n)
    ra, dec = truth.all_pix2world(x, y, 0)
    flux = np.sort(rng.pareto(1.0, n) + 1)[::-1]
    stars = Star(x + rng.normal(0, noise, n), y + rng.normal(0, noise, n), np.full(n, noise),
                 np.ones(n, dtype=bool))  # fmt: skip
    nothing = np.zeros(n)
    reference = Reference(np.arange(1, n + 1), ra, dec, np.full(n, 5.0), flux, nothing, nothing)
    return stars, reference, truth


def solve(camera, config, stars, reference, **options):
    nominal = camera.nominal_wcs(3, *BORESIGHT, ROTATION)
    return solve_astrometry(stars, reference, nominal, SHAPE, config["astrometry"] | options)


def worst(wcs, truth):
    x, y = np.meshgrid(np.linspace(20, SHAPE[1] - 20, 12), np.linspace(20, SHAPE[0] - 20, 12))
    px, py = wcs.sky_to_pix(*truth.all_pix2world(x, y, 0))
    return np.max(np.hypot(px - x, py - y))


def test_a_distorted_and_turned_field_is_solved_far_below_a_pixel(camera, config):
    stars, reference, truth = lists(camera)
    solution = solve(camera, config, stars, reference)
    assert solution.order == 3 and solution.used.sum() >= 195
    assert worst(solution.wcs, truth) < 0.05
    assert solution.rms_mas == pytest.approx(50, rel=0.1)  # 0.05 px of 1 arcsec


def test_wrong_pairs_are_clipped(camera, config):
    stars, reference, truth = lists(camera)
    stars.x[::10] += np.random.default_rng(2).uniform(0.6, 1.4, 20)
    solution = solve(camera, config, stars, reference)
    assert not np.isin(solution.star[solution.used], np.arange(0, 200, 10)).any()
    assert worst(solution.wcs, truth) < 0.05


def test_ten_stars_give_an_affine_system(camera, config):
    stars, reference, truth = lists(camera, n=10, distort=False)
    solution = solve(camera, config, stars, reference)
    assert solution.order == 1 and solution.used.sum() >= 8
    assert worst(solution.wcs, truth) < 0.3


def test_three_stars_or_a_foreign_field_give_a_reason_with_numbers(camera, config):
    stars, reference, _ = lists(camera, n=3)
    with pytest.raises(Rejected, match="3 stars matches none of 3 reference stars"):
        solve(camera, config, stars, reference)
    stars, _, _ = lists(camera, seed=1)
    _, reference, _ = lists(camera, seed=2)
    with pytest.raises(Rejected, match="matches none"):
        solve(camera, config, stars, reference)


def test_a_pointing_error_beyond_the_limit_is_not_solved(camera, config):
    stars, reference, _ = lists(camera, shift=(90.0, 0.0))
    with pytest.raises(Rejected, match="within 60 arcsec"):
        solve(camera, config, stars, reference)
    solve(camera, config, stars, reference, pointing_error_arcsec=120)


def test_a_poor_agreement_is_a_rejection(camera, config):
    stars, reference, _ = lists(camera, noise=0.9)
    with pytest.raises(Rejected, match="agree with the catalogue to"):
        solve(camera, config, stars, reference, tolerance_px=4.0)


def test_reference_stars_are_where_they_have_moved_to(camera, config, tmp_path):
    ra, dec = np.array([149.95, 149.96, 149.94]), np.array([-20.02, -20.03, -20.01])
    shard = write_shard(tmp_path / "s.parquet", ra, dec, np.array([1e4, 3e4, 2e4]), error_mas=0.001)
    nominal = camera.nominal_wcs(3, *BORESIGHT, ROTATION)
    table = load_reference([shard], nominal, SHAPE, {"ref_band": "r"}, MJD, config["astrometry"])
    order = [1, 2, 0]  # the brightest first
    assert list(table.source_id) == [2, 3, 1]
    assert np.abs(table.ra - ra[order]).max() * 3.6e6 < 1
    assert np.abs(table.dec - dec[order]).max() * 3.6e6 < 1
