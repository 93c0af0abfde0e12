"""The basis of the matching kernel."""

import numpy as np
import pytest

from alertprod.difference.basis import choose_basis, make_basis

CONFIG = {"kernel_sigmas": [0.7, 1.5, 3.0], "kernel_degrees": [4, 2, 2], "kernel_half_width": 0}


def test_only_the_first_function_carries_flux():
    sums = make_basis([0.7, 1.5, 3.0], [4, 2, 2], 10).images().sum(axis=(1, 2))
    assert sums[0] == pytest.approx(1.0)
    assert np.abs(sums[1:]).max() < 1e-12


def test_the_number_of_functions_is_that_of_the_polynomials():
    assert len(make_basis([0.7, 1.5, 3.0], [4, 2, 2], 10)) == 15 + 6 + 6


def test_the_basis_spans_the_kernel_between_two_gaussian_psfs():
    basis = make_basis([0.7, 1.5, 3.0], [4, 2, 2], 12).images().reshape(27, -1)
    u = np.arange(-12, 13)
    wanted = np.exp(-0.5 * ((u[:, None] - 0.2) ** 2 + (u[None, :] + 0.1) ** 2) / 1.15**2)
    wanted = (wanted / wanted.sum()).ravel()
    solution = np.linalg.lstsq(basis.T, wanted, rcond=None)[0]
    assert np.abs(basis.T @ solution - wanted).max() < 0.01 * wanted.max()


@pytest.mark.parametrize(("fwhm", "half"), [(2.2, 7), (4.0, 10), (12.0, 17)])
def test_the_kernel_grows_with_the_seeing_within_bounds(fwhm, half):
    assert choose_basis(fwhm, CONFIG).half == half
