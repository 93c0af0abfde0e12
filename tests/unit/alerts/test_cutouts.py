"""Stamps: FITS that others can read, made without a FITS library."""

import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from alertprod.alerts import cutouts
from alertprod.core.exposure import Exposure
from alertprod.core.masks import bits
from alertprod.core.psf import Psf
from alertprod.core.wcs import Wcs


@pytest.fixture
def exposure(survey):
    rng = np.random.default_rng(8)
    a = np.zeros((3, 3))
    a[2, 0], a[1, 1] = 3e-5, -2e-5
    wcs = Wcs(
        np.array([150.1, 2.2]),
        np.array([70.3, 44.1]),
        np.array([[-5e-5, 1e-5], [1.1e-5, 5.1e-5]]),
        a,
        a.T.copy(),
    )
    kernels = np.stack([survey.gaussian(21, 1.5), survey.gaussian(21, 2.5)])
    coeffs = np.zeros((2, 2, 2))
    coeffs[:, 0, 0], coeffs[1, 0, 1] = 0.5, 0.3
    return Exposure(
        rng.normal(0, 10, (100, 120)),
        rng.integers(0, 1 << 11, (100, 120)),
        rng.uniform(50, 150, (100, 120)),
        {"BUNIT": "nJy", "ROTPA": 33.25},
        wcs=wcs,
        psf=Psf(kernels, coeffs, (100, 120)),
    )


def read(content):
    return CCDData.read(io.BytesIO(content))


def test_a_stamp_opens_as_ccddata_with_pixels_variance_mask_psf_and_rotation(exposure):
    cutter = cutouts.Cutter(exposure)
    box = cutouts.box_round(60.2, 50.7, 10, 30, 102)
    stamp = read(cutter.cut(box, cutter.psfs([60.2], [50.7])[0]))
    here = np.s_[box.y0 : box.y0 + 30, box.x0 : box.x0 + 30]
    assert (box.x0, box.y0, stamp.shape) == (45, 36, (30, 30))
    assert np.array_equal(stamp.data, exposure.image[here])
    assert np.array_equal(stamp.uncertainty.array, exposure.variance[here])
    assert stamp.uncertainty.uncertainty_type == "var"
    assert str(stamp.unit) == "nJy"
    sky_only = bits("DETECTED", "DETECTED_NEGATIVE")
    assert np.array_equal(stamp.mask, (exposure.mask[here] & ~sky_only) != 0)
    assert np.allclose(stamp.psf, exposure.psf.kernel_image(60.2, 50.7), atol=1e-7)
    assert stamp.psf.sum() == pytest.approx(1.0, abs=1e-5)
    assert stamp.header["ROTPA"] == 33.25


@pytest.mark.parametrize(("x", "y"), [(60.2, 50.7), (2.0, 97.6), (118.9, 0.4)])
def test_the_wcs_of_a_stamp_puts_the_source_at_its_pixel(exposure, x, y):
    box = cutouts.box_round(x, y, 10, 30, 102)
    stamp = read(cutouts.Cutter(exposure).cut(box))
    ra, dec = exposure.wcs.pix_to_sky(x, y)
    found = stamp.wcs.all_world2pix(float(ra), float(dec), 0)
    assert np.allclose(found, (x - box.x0, y - box.y0), atol=1e-5)
    assert np.abs(np.array(found) - 15).max() <= 0.5 + 1e-5
    assert stamp.wcs.sip is not None


def test_pixels_beyond_the_edge_are_nan_and_masked(exposure):
    box = cutouts.box_round(2.0, 97.6, 10, 30, 102)
    stamp = read(cutouts.Cutter(exposure).cut(box))
    outside = np.zeros((30, 30), dtype=bool)
    outside[:, : -box.x0] = True
    outside[100 - box.y0 :] = True
    assert np.array_equal(np.isnan(stamp.data), outside)
    assert stamp.mask[outside].all()


def test_the_box_grows_with_the_footprint_up_to_a_limit():
    sides = [cutouts.box_round(50, 50, size, 30, 102).side for size in (5, 30, 47, 500)]
    assert sides == [30, 30, 47, 102]


def test_bytes_hold_to_the_standard_and_to_each_other(exposure):
    cutter = cutouts.Cutter(exposure)
    box = cutouts.box_round(60.2, 50.7, 10, 30, 102)
    content = cutter.cut(box, cutter.psfs([60.2], [50.7])[0])
    again = cutouts.Cutter(exposure.copy())
    assert content == again.cut(box, again.psfs([60.2], [50.7])[0])
    assert len(content) % 2880 == 0
    with fits.open(io.BytesIO(content)) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "UNCERT", "MASK", "PSFIMAGE"]
        text = repr([hdu.header for hdu in hdus])
        planes = hdus["MASK"].header
        mask = hdus["MASK"].data
    assert "DATE" not in text
    saturated = next(key for key in planes if planes[key] == "SAT")
    here = np.s_[box.y0 : box.y0 + 30, box.x0 : box.x0 + 30]
    plane = 1 << int(saturated.removeprefix("MP_"))
    assert np.array_equal((mask & plane) != 0, exposure.bad("SAT")[here])


def test_cards_agree_with_astropys():
    for key, value in (("A", 3), ("B", True), ("C", 0.1), ("D", -1.25e-17), ("E", "nJy")):
        text = cutouts.card(key, value, "why").decode()
        card = fits.Card.fromstring(text)
        assert len(text) == 80 and card.value == value and card.comment == "why"


def test_a_template_without_a_psf_still_makes_a_stamp(exposure):
    bare = Exposure(exposure.image, exposure.mask, exposure.variance, {}, wcs=exposure.wcs)
    cutter = cutouts.Cutter(bare)
    assert cutter.psfs([60.0], [50.0]) is None
    assert read(cutter.cut(cutouts.Box(40, 40, 30))).shape == (30, 30)
