"""The PSF model: normalised, centred, and moved by the right amount."""

import galsim
import numpy as np
import pytest

from alertprod.core.psf import Psf


def moffat(fwhm, size=31, dx=0.0, dy=0.0):
    profile = galsim.Convolve(galsim.Moffat(beta=3.5, fwhm=fwhm), galsim.Pixel(1.0)).shift(dx, dy)
    return profile.drawImage(nx=size, ny=size, scale=1.0, method="no_pixel").array


@pytest.mark.parametrize("fwhm", [3.0, 5.0])
@pytest.mark.parametrize(("dx", "dy"), [(0.3, -0.4), (0.49, 0.1), (-0.25, -0.25)])
def test_a_star_between_pixels_looks_as_galsim_draws_it(fwhm, dx, dy):
    psf = Psf.constant(moffat(fwhm), (100, 100))
    expected = moffat(fwhm, dx=dx, dy=dy)
    got = psf.image(50 + dx, 60 + dy)
    assert np.abs(got - expected / expected.sum()).max() < 0.004 * got.max()


def test_the_width_is_that_of_the_profile():
    assert Psf.constant(moffat(4.0, 41), (99, 99)).fwhm() == pytest.approx(4.1, rel=0.03)


def test_chebyshev_weights_vary_as_they_should():
    narrow, wide = moffat(3.0), moffat(5.0)
    coeffs = np.zeros((2, 1, 2))
    coeffs[0, 0, 0] = 1.0  # narrow everywhere
    coeffs[1, 0, 1] = 1.0  # plus the other, from -1 at the left edge to +1 at the right
    psf = Psf(np.stack([narrow, wide]), coeffs, (101, 201))
    np.testing.assert_allclose(psf.weights(0, 50), [1, -1], atol=1e-12)
    np.testing.assert_allclose(psf.weights(200, 50), [1, 1], atol=1e-12)
    assert psf.kernel_image(200, 50).sum() == pytest.approx(1, abs=1e-6)
    assert psf.fwhm(200, 50) > psf.fwhm(100, 50)
