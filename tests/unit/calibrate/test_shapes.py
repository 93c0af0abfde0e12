"""Adaptive moments against GalSim's own HSM."""

import galsim
import numpy as np
import pytest

from alertprod.calibrate.shapes import adaptive_moments, trace_fwhm


@pytest.mark.parametrize(
    ("fwhm", "g1", "g2"), [(2.5, 0.0, 0.0), (4.0, 0.1, -0.05), (7.0, 0.0, 0.2)]
)
def test_moments_agree_with_hsm(fwhm, g1, g2):
    star = galsim.Moffat(beta=3.0, fwhm=fwhm).shear(g1=g1, g2=g2)
    image = star.drawImage(nx=61, ny=61, scale=1.0, offset=(0.3, -0.2))
    hsm = galsim.hsm.FindAdaptiveMom(image)
    m = adaptive_moments(image.array, [30.0], [30.0], 1.5)
    assert m["ok"][0]
    assert m["x"][0] + 1 == pytest.approx(hsm.moments_centroid.x, abs=3e-3)
    assert m["y"][0] + 1 == pytest.approx(hsm.moments_centroid.y, abs=3e-3)
    sigma = (m["ixx"][0] * m["iyy"][0] - m["ixy"][0] ** 2) ** 0.25
    assert sigma == pytest.approx(hsm.moments_sigma, rel=5e-3)
    size = m["ixx"][0] + m["iyy"][0]
    assert (m["ixx"][0] - m["iyy"][0]) / size == pytest.approx(hsm.observed_e1, abs=3e-3)
    assert 2 * m["ixy"][0] / size == pytest.approx(hsm.observed_e2, abs=3e-3)


def test_a_gaussian_gives_its_own_width_and_flux():
    star = galsim.Gaussian(sigma=2.0, flux=1000.0)
    image = star.drawImage(nx=41, ny=41, scale=1.0, method="no_pixel").array
    m = adaptive_moments(image, [19.0], [21.0], 1.2)
    assert trace_fwhm(m["ixx"], m["iyy"], m["ixy"])[0] == pytest.approx(2.3548 * 2, rel=1e-3)
    assert m["flux"][0] == pytest.approx(1000, rel=2e-3)


def test_centroids_of_stars_narrower_than_two_pixels_settle():
    error = []
    for seed in range(20):
        dx, dy = np.random.default_rng(seed).uniform(-0.5, 0.5, 2)
        star = galsim.Moffat(beta=3.0, fwhm=1.5)
        image = star.drawImage(nx=31, ny=31, scale=1.0, offset=(dx, dy)).array
        m = adaptive_moments(image, [15.0], [15.0], 1.0)
        assert m["ok"][0]
        error.append(m["x"][0] - 15 - dx)
    assert np.std(error) < 0.03


def test_noise_and_empty_sky_are_not_ok():
    assert not adaptive_moments(-np.ones((21, 21)), [10.0], [10.0], 1.5)["ok"][0]
