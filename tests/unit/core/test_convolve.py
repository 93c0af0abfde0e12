"""Tiled convolution against scipy.ndimage and against a real, published example."""

import numpy as np
import pytest
from scipy import ndimage

from alertprod.core.convolve import (
    VaryingKernel,
    chebyshev_powers,
    chebyshev_terms,
    convolve,
    convolve_varying,
    tiles,
)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(4).normal(0, 10, (330, 401)).astype(np.float32)


def direct(image, kernel):
    return ndimage.convolve(image.astype(np.float64), kernel, mode="constant")


def test_a_lopsided_kernel_moves_light_the_way_convolution_does(noise):
    kernel = np.random.default_rng(1).normal(size=(15, 15))
    assert np.abs(convolve(noise, kernel) - direct(noise, kernel)).max() < 2e-4


def test_a_delta_function_changes_nothing(noise):
    kernel = np.zeros((9, 9))
    kernel[4, 4] = 1.0
    assert np.abs(convolve(noise, kernel) - noise).max() < 1e-4


def test_tiles_cover_every_pixel_once():
    count = np.zeros((517, 1030), int)
    for tile in tiles(count.shape, 20):
        count[tile.y, tile.x] += 1
        shape = tuple(s.stop - s.start for s in tile.window)
        assert max(shape) <= 288
        assert tile.inside[0].start + tile.window[0].start == tile.y.start
        assert tile.inside[1].start + tile.window[1].start == tile.x.start
    assert (count == 1).all()


def test_a_kernel_that_varies_is_applied_exactly_and_without_seams(noise):
    rng = np.random.default_rng(2)
    powers = chebyshev_powers(2)
    kernel = VaryingKernel(rng.normal(size=(6, 21, 21)) / 20, powers, noise.shape)
    ny, nx = noise.shape
    y, x = np.mgrid[:ny, :nx]
    ramps = chebyshev_terms(x, y, noise.shape, powers)
    truth = sum(direct(noise * ramps[t], kernel.terms[t]) for t in range(6))
    assert np.abs(convolve_varying(noise, kernel) - truth).max() < 1e-4 * truth.std()


def test_chebyshev_terms_are_numpys():
    powers = chebyshev_powers(3)
    assert len(powers) == 10
    value = chebyshev_terms(30.0, 70.0, (101, 201), powers)
    xs, ys = 2 * 30 / 200 - 1, 2 * 70 / 100 - 1
    for (p, q), v in zip(powers, value, strict=True):
        c = np.zeros((4, 4))
        c[p, q] = 1
        assert v == pytest.approx(np.polynomial.chebyshev.chebval2d(xs, ys, c))


def test_real_kernels_turn_one_decam_epoch_into_the_other(real_data):
    """Published images, kernel and difference (sfft): the convention, and the sign."""
    from astropy.io import fits

    folder = real_data / "sfft_decam_decorr"
    science = fits.getdata(folder / "4check" / "Stack-DEC-OBS04.fits").astype(np.float64)
    template = fits.getdata(folder / "4check" / "Stack-DEC-OBS18.fits").astype(np.float64)
    kernel = fits.getdata(folder / "input_data" / "FinalMatchKernel.fits").astype(np.float64)
    truth = fits.getdata(folder / "4check" / "FinalDifference.fits").astype(np.float64)
    inner = np.s_[20:-20, 20:-20]
    exact = science - direct(template, kernel)
    assert np.abs(exact - truth)[inner].max() < 2e-13 * np.abs(science).max() * 10
    ours = science - convolve(template.astype(np.float32), kernel)
    # Single precision: a ten-millionth of the brightest star.
    assert np.abs(ours - truth)[inner].max() < 3e-7 * np.abs(template).max()
