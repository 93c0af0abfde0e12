"""The zero point on made-up stars with a known answer."""

import numpy as np
import pytest

from alertprod.calibrate.zeropoint import fit_zero_point, weighted_median
from alertprod.core.errors import Rejected


def stars(n=200, zero=27.5, coefficient=0.0, noise=0.01, seed=1):
    rng = np.random.default_rng(seed)
    magnitude, colour = rng.uniform(15, 20, n), rng.uniform(0, 2, n)
    seen = magnitude + coefficient * colour + rng.normal(0, noise, n)
    flux = 10 ** (-0.4 * (seen - zero))
    reference = 10 ** (0.4 * (31.4 - magnitude))
    return flux, noise * flux / 1.0857, reference, 0.001 * reference, colour


def fit(flux, error, reference, reference_error, colour, coefficient=0.0, usable=None):
    usable = np.ones(len(flux), dtype=bool) if usable is None else usable
    return fit_zero_point(
        flux, error, reference, reference_error, coefficient * colour, usable, min_stars=3,
    )  # fmt: skip


def test_electrons_become_nanojansky():
    flux, error, reference, reference_error, colour = stars()
    zero = fit(flux, error, reference, reference_error, colour)
    assert zero.magnitude == pytest.approx(27.5, abs=0.003)
    assert np.median(flux * zero.factor / reference) == pytest.approx(1.0, abs=0.003)
    assert zero.scatter == pytest.approx(0.01, rel=0.2)


def test_a_colour_term_is_applied_with_its_sign():
    sample = stars(coefficient=0.05)
    assert fit(*sample, coefficient=0.05).magnitude == pytest.approx(27.5, abs=0.003)
    assert abs(fit(*sample).magnitude - 27.5) > 0.03


def test_variables_and_blends_do_not_move_it():
    flux, error, reference, reference_error, colour = stars()
    flux[:50] *= np.random.default_rng(2).uniform(1.1, 3.0, 50)
    zero = fit(flux, error, reference, reference_error, colour)
    assert zero.magnitude == pytest.approx(27.5, abs=0.005)
    assert zero.used[:50].sum() < 5 and zero.used[50:].sum() > 135


def test_stars_without_reference_flux_or_error_are_handled():
    flux, error, reference, reference_error, colour = stars()
    reference[:20], reference_error[:] = np.nan, np.nan
    zero = fit(flux, error, reference, reference_error, colour)
    assert zero.magnitude == pytest.approx(27.5, abs=0.003)
    assert not zero.used[:20].any()


def test_too_few_stars_are_a_rejection_with_their_number():
    sample = stars(n=20)
    usable = np.arange(20) < 2
    with pytest.raises(Rejected, match="2 stars, need 3"):
        fit(*sample, usable=usable)


def test_weighted_median_is_where_half_of_the_weight_is():
    assert weighted_median(np.array([1.0, 2.0, 10.0]), np.array([1.0, 1.0, 5.0])) == 10.0
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.ones(3)) == 2.0
