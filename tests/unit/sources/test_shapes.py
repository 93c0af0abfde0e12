"""Adaptive moments against GalSim's HSM, an independent code for the same definition."""

import galsim
import numpy as np
import pytest

from alertprod.sources.shapes import adaptive_moments, elongation, extendedness


@pytest.mark.parametrize("g1, g2", [(0.0, 0.0), (0.3, 0.0), (-0.1, 0.25)])
def test_moments_are_those_of_hsm(g1, g2):
    profile = galsim.Moffat(beta=3.0, fwhm=4.0).shear(g1=g1, g2=g2)
    image = profile.drawImage(nx=61, ny=61, scale=1.0, dtype=float)
    hsm = galsim.hsm.FindAdaptiveMom(image)
    xx, yy, xy, ok = adaptive_moments(image.array, np.ones((61, 61)), 0.0, 0.0, 3.0)
    assert ok
    assert np.sqrt(np.sqrt(xx * yy - xy * xy)) == pytest.approx(hsm.moments_sigma, rel=2e-3)
    assert (xx - yy) / (xx + yy) == pytest.approx(hsm.observed_e1, abs=2e-3)
    assert 2 * xy / (xx + yy) == pytest.approx(hsm.observed_e2, abs=2e-3)


def test_nothing_has_no_moments():
    assert not adaptive_moments(np.zeros((21, 21)), np.ones((21, 21)), 0.0, 0.0, 3.0)[3]
    assert not adaptive_moments(-np.ones((21, 21)), np.ones((21, 21)), 0.0, 0.0, 3.0)[3]


def test_a_line_of_light_has_its_length():
    length, angle = 9.0, np.radians(30.0)
    xx, yy = 4 + length**2 / 12 * np.cos(angle) ** 2, 4 + length**2 / 12 * np.sin(angle) ** 2
    xy = length**2 / 12 * np.cos(angle) * np.sin(angle)
    ratio, found, extent = elongation(xx, yy, xy, (4.0, 4.0, 0.0))
    assert extent == pytest.approx(length)
    assert found == pytest.approx(angle)
    assert ratio == pytest.approx(1 + length**2 / 12 / 4)


def test_extendedness_needs_evidence():
    assert extendedness(1.0, 100.0) < 0.05
    assert extendedness(2.0, 100.0) > 0.99
    assert 0.2 < extendedness(1.6, 5.0) < 0.9
