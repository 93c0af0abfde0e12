"""TAN-SIP fits against astropy's systems: SIP by construction, and a real camera's TPV."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from alertprod.calibrate.wcs_fit import choose_order, fit_wcs

from .conftest import SHAPE, true_wcs


def grid(shape, n=16):
    y, x = np.meshgrid(np.linspace(0, shape[0] - 1, n), np.linspace(0, shape[1] - 1, n))
    return x.ravel(), y.ravel()


def largest_error(wcs, truth, shape):
    x, y = grid(shape, 23)
    px, py = wcs.sky_to_pix(*truth.all_pix2world(x, y, 0))
    return np.max(np.hypot(px - x, py - y))


def test_a_sip_system_is_reproduced_from_its_own_points(camera):
    truth = true_wcs(camera)
    x, y = grid(SHAPE)
    ra, dec = truth.all_pix2world(x, y, 0)
    centre = ((SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2)
    wcs = fit_wcs(x, y, ra, dec, np.ones(len(x)), crpix=centre, order=3)
    assert largest_error(wcs, truth, SHAPE) < 1e-3
    # and astropy reads our header the same way
    read = WCS(fits.Header(wcs.to_header()))
    a, d = read.all_pix2world(x, y, 0)
    assert np.max(np.abs(a - ra)) * 3600 < 1e-3 and np.max(np.abs(d - dec)) * 3600 < 1e-3


def test_weights_decide_between_contradicting_stars(camera):
    truth = true_wcs(camera, distort=False)
    x, y = grid(SHAPE)
    ra, dec = truth.all_pix2world(x, y, 0)
    wrong = np.arange(len(x)) % 3 == 0
    weight = np.where(wrong, 1e-6, 1.0)
    wcs = fit_wcs(x + 5 * wrong, y, ra, dec, weight, crpix=(300.0, 300.0), order=1)
    assert largest_error(wcs, truth, SHAPE) < 2e-3


def test_a_real_cameras_distortion_fits_in_sip(real_data):
    name = "testcase3/images/decam/CP/V4.8.2a/CP20180217/c4d_180218_090701_ooi_z_ls9.N10.fits"
    with fits.open(real_data / "legacypipe_decam" / name) as hdus:
        header = hdus[1].header
    truth, shape = WCS(header), (4096, 2046)
    # the stamp's header with the whole CCD's numbers: pixels run from the CCD's own corner
    x, y = grid(shape)
    ra, dec = truth.all_pix2world(x, y, 0)
    errors = []
    for order in (1, 3, 4):
        wcs = fit_wcs(
            x, y, ra, dec, np.ones(len(x)), crpix=(1022.5, 2047.5), order=order,
        )  # fmt: skip
        errors.append(largest_error(wcs, truth, shape))
    assert errors[0] > 0.5  # an affine system would not do
    assert errors[1] < 0.1
    assert errors[2] < 0.02


def test_order_follows_number_and_spread_of_stars():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 1000, (2, 300))
    assert choose_order(x, y, (1000, 1000), 3) == 3
    assert choose_order(x[:30], y[:30], (1000, 1000), 3) == 2
    assert choose_order(x[:9], y[:9], (1000, 1000), 3) == 1
    # three hundred stars in one corner hold no distortion
    assert choose_order(x / 4, y / 4, (1000, 1000), 3) == 1


def test_stars_in_a_row_fix_no_plane():
    x = np.linspace(0, 100, 20)
    with pytest.raises(np.linalg.LinAlgError):
        fit_wcs(x, 2 * x, x / 3600, 2 * x / 3600, np.ones(20), crpix=(0.0, 0.0),
                order=1)  # fmt: skip
