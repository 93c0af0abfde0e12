"""An exposure handed on in memory and one read back from disk are the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alertprod.core.errors import Rejected
from alertprod.core.exposure import Background, Exposure, canonical_meta
from alertprod.core.fits import read_exposure, read_meta, write_exposure, write_rejected_image
from alertprod.core.psf import Psf
from alertprod.core.wcs import Wcs

PROVENANCE = {"version": "1", "rule": "r", "code": "c", "config": "d", "inputs": ["a/b.fits"]}


def make_exposure(seed=0):
    rng = np.random.default_rng(seed)
    shape = (40, 50)
    sip = np.zeros((4, 4))
    sip[2, 0], sip[1, 1] = 1e-6, -2e-6
    return Exposure(
        rng.normal(size=shape),
        rng.integers(0, 2**15, shape),
        rng.uniform(1, 2, shape),
        {"VISIT": 2026010100012, "MJDMID": 61234.123456789123, "BUNIT": "nJy", "OK": True},
        Wcs(rng.uniform(0, 80, 2), (20.1, 24.9), rng.normal(size=(2, 2)), sip, sip.T),
        Psf(rng.normal(size=(3, 7, 7)), rng.normal(size=(3, 2, 2)), shape, 1.01),
        Background(rng.normal(size=(5, 6)), shape),
        {"coefficients": rng.normal(size=(3, 4, 5)), "centre": rng.normal(size=4)},
    )


def test_reading_what_was_written_gives_the_same_exposure(tmp_path):
    exposure = make_exposure()
    write_exposure(tmp_path / "a.fits", exposure, PROVENANCE)
    assert read_exposure(tmp_path / "a.fits") == exposure


def test_equality_notices_a_single_bit(tmp_path):
    exposure, other = make_exposure(), make_exposure()
    other.mask[3, 4] ^= 1
    assert exposure != other


def test_the_same_exposure_gives_the_same_bytes(tmp_path):
    write_exposure(tmp_path / "a.fits", make_exposure(), PROVENANCE)
    write_exposure(tmp_path / "b.fits", read_exposure(tmp_path / "a.fits"), PROVENANCE)
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()


def test_other_programs_find_pixels_wcs_and_valid_checksums(tmp_path):
    from astropy.io import fits
    from astropy.wcs import WCS

    exposure = make_exposure()
    write_exposure(tmp_path / "a.fits", exposure, PROVENANCE)
    with fits.open(tmp_path / "a.fits", checksum=True, memmap=False) as hdus:
        assert [hdu.name for hdu in hdus[1:4]] == ["IMAGE", "MASK", "VARIANCE"]
        assert hdus["IMAGE"].header["BUNIT"] == "nJy"
        assert hdus["MASK"].header["MP_SAT"] == 1
        np.testing.assert_array_equal(hdus["IMAGE"].data, exposure.image)
        ra, dec = WCS(hdus["IMAGE"].header).all_pix2world(10.0, 20.0, 0)
    expected = exposure.wcs.pix_to_sky(10.0, 20.0)
    np.testing.assert_allclose([ra % 360, dec], expected, atol=1e-9)


def test_a_rejected_image_raises_its_reason(tmp_path):
    write_rejected_image(tmp_path / "a.fits", "only 3 stars, need 20", PROVENANCE)
    for read in (read_exposure, read_meta):
        with pytest.raises(Rejected, match="only 3 stars"):
            read(tmp_path / "a.fits")


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    exposure = make_exposure()
    exposure.meta["BROKEN"] = object()
    with pytest.raises(ValueError):
        write_exposure(tmp_path / "a.fits", exposure, PROVENANCE)
    assert list(tmp_path.iterdir()) == []


@given(st.floats(-1e300, 1e300))
def test_every_finite_number_survives_a_fits_card(value):
    from astropy.io.fits import Card

    stored = canonical_meta({"KEY": value})["KEY"]
    card = Card.fromstring(str(Card("KEY", stored)))
    assert card.value == stored
    if abs(value) > 1e-290:
        assert stored == pytest.approx(value, rel=1e-12)


def test_a_background_spline_follows_a_smooth_sky():
    y, x = np.mgrid[:60, :80]
    truth = 100 + 0.3 * x + 0.2 * y + 0.001 * x * y
    boxes = truth.reshape(6, 10, 8, 10).mean(axis=(1, 3))
    np.testing.assert_allclose(Background(boxes, truth.shape).image(), truth, rtol=1e-5)
