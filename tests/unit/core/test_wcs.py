"""Pixels and sky: against astropy's wcslib, and there and back."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from alertprod.core.errors import BadInput
from alertprod.core.wcs import Wcs

SIZE = 4096


def distorted(ra=150.0, dec=2.0, angle=30.0, parity=-1):
    """Make a system with some ten pixels of cubic distortion in the corners."""
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    cd = 0.2 / 3600 * np.array([[parity * c, s], [-parity * s, c]])
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[3, 0] = a[1, 2] = 5e-10
    b[0, 3] = b[2, 1] = 5e-10
    a[2, 0], b[1, 1] = 1e-7, -2e-7
    return Wcs((ra, dec), (2047.5, 2047.5), cd, a, b)


@settings(max_examples=30)
@given(st.floats(0, 359.9), st.floats(-89, 89), st.floats(0, 360), st.sampled_from([-1, 1]))
def test_there_and_back_closes_to_a_millionth_of_a_pixel(ra, dec, angle, parity):
    wcs = distorted(ra, dec, angle, parity)
    x, y = np.random.default_rng(1).uniform(-50, SIZE + 50, (2, 200))
    x2, y2 = wcs.sky_to_pix(*wcs.pix_to_sky(x, y))
    np.testing.assert_allclose(np.hypot(x2 - x, y2 - y), 0, atol=1e-6)


def test_positions_agree_with_wcslib():
    wcs = distorted()
    x, y = np.random.default_rng(2).uniform(0, SIZE, (2, 500))
    header = fits.Header(wcs.with_inverse((SIZE, SIZE)).to_header())
    expected = WCS(header).all_pix2world(x, y, 0)
    np.testing.assert_allclose(wcs.pix_to_sky(x, y), expected, atol=1e-10)
    assert Wcs.from_header(header).pix_to_sky(5.0, 6.0) == pytest.approx(wcs.pix_to_sky(5.0, 6.0))


def test_the_inverse_polynomial_in_the_header_serves_other_programs():
    wcs = distorted()
    header = fits.Header(wcs.with_inverse((SIZE, SIZE)).to_header())
    x, y = np.random.default_rng(3).uniform(0, SIZE, (2, 500))
    back = WCS(header).sip_foc2pix(WCS(header).sip_pix2foc(np.c_[x, y], 0), 0)
    np.testing.assert_allclose(back, np.c_[x, y], atol=0.02)


def test_the_jacobian_is_the_slope_of_the_map():
    wcs = distorted()
    ra, dec = wcs.pix_to_sky(3000.0, 1000.0)
    step = 0.5
    for axis in (0, 1):
        offset = np.eye(2)[axis] * step
        ra2, dec2 = wcs.pix_to_sky(3000.0 + offset[0], 1000.0 + offset[1])
        slope = np.array([(ra2 - ra) * np.cos(np.deg2rad(dec)), dec2 - dec]) / step
        # East and north at the pixel are turned against those at the tangent point.
        np.testing.assert_allclose(slope, wcs.jacobian(3000, 1000)[:, axis], atol=2e-8)


def test_a_cut_out_keeps_its_sky():
    wcs = distorted()
    assert wcs.shifted(100, 200).pix_to_sky(1.0, 2.0) == wcs.pix_to_sky(101.0, 202.0)


def test_a_foreign_projection_is_refitted(real_data):
    path = sorted((real_data / "legacypipe_decam" / "testcase3" / "images").rglob("*ooi*.fits*"))[0]
    with fits.open(path) as hdus:
        header = next(hdu.header.copy() for hdu in hdus if "CRVAL1" in hdu.header)
    assert header["CTYPE1"] == "RA---TPV"
    shape = (header.get("ZNAXIS2", header["NAXIS2"]), header.get("ZNAXIS1", header["NAXIS1"]))
    x, y = np.random.default_rng(4).uniform(0, 1, (2, 100)) * np.array(shape[::-1])[:, None]
    expected = WCS(header).all_pix2world(x, y, 0)
    got = Wcs.from_header(header, shape).pix_to_sky(x, y)
    np.testing.assert_allclose(got, expected, atol=1e-3 / 3600)


def test_a_header_without_a_system_is_refused_in_one_sentence():
    with pytest.raises(BadInput, match="no celestial WCS"):
        Wcs.from_header({"NAXIS": 2})
