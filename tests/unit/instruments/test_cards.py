"""FITS bytes: what astropy writes is read alike, what is broken is named."""

import gzip

import numpy as np
import pytest
from astropy.io import fits

from alertprod.core.errors import Rejected
from alertprod.instruments import cards


def read(path, **options):
    data = cards.read_bytes(path)
    hdus = cards.scan(data, path.name)
    return hdus, [cards.image(data, hdu, path.name, **options) for hdu in hdus if hdu.size]


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_pixels_of_every_type_come_back(tmp_path, kind):
    values = np.arange(12).reshape(3, 4).astype(kind)
    fits.PrimaryHDU(values).writeto(tmp_path / "a.fits")
    _, (pixels,) = read(tmp_path / "a.fits")
    assert pixels.dtype == (np.uint16 if kind == "uint16" else np.float32)
    assert np.array_equal(pixels, values)


def test_scaled_integers_are_scaled(tmp_path):
    hdu = fits.PrimaryHDU(np.array([[1.5, 2.5]], dtype=np.float32))
    hdu.scale("int16", bscale=0.5, bzero=1.0)
    hdu.writeto(tmp_path / "a.fits")
    assert read(tmp_path / "a.fits")[1][0].tolist() == [[1.5, 2.5]]


def test_header_values_agree_with_astropy(tmp_path):
    header = fits.Header()
    header["TEXT"] = "it's a / string"
    header["LONG"] = "x" * 150
    header["NUMBER"] = -1.5e-7
    header["FLAG"] = False
    header["COUNT"] = 12
    header["HIERARCH long key word"] = 3
    fits.PrimaryHDU(header=header).writeto(tmp_path / "a.fits")
    ours = read(tmp_path / "a.fits")[0][0].header
    for card in fits.getheader(tmp_path / "a.fits").cards:
        if card.keyword not in ("COMMENT", "HISTORY", ""):
            assert ours[card.keyword] == card.value, card.keyword


def test_a_value_that_is_no_fits_value_stays_a_string():
    card = "EXPTIME = 6,4E-05 / seconds".ljust(80) + "END".ljust(80)
    header, start = cards.parse_header(card.encode(), 0, "a.fits")
    assert header["EXPTIME"] == "6,4E-05"
    assert start == 2880


def test_a_gzipped_file_is_read_like_the_plain_one(tmp_path):
    fits.PrimaryHDU(np.eye(3, dtype=np.int16)).writeto(tmp_path / "a.fits")
    (tmp_path / "b.fits.gz").write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    assert np.array_equal(read(tmp_path / "b.fits.gz")[1][0], np.eye(3))


@pytest.mark.parametrize("keep", [0, 100, 2000, 3000, 9000])
def test_a_truncated_file_is_rejected_by_name(tmp_path, keep):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((50, 60), np.int16), name="Segment00")]
    fits.HDUList(hdus).writeto(tmp_path / "whole.fits")
    cut = tmp_path / "cut.fits"
    cut.write_bytes((tmp_path / "whole.fits").read_bytes()[:keep])
    with pytest.raises(Rejected, match=r"^cut\.fits: "):
        read(cut)


def test_a_truncated_gzip_file_is_rejected(tmp_path):
    fits.PrimaryHDU(np.random.default_rng(1).normal(size=(50, 50))).writeto(tmp_path / "a.fits")
    packed = gzip.compress((tmp_path / "a.fits").read_bytes())
    (tmp_path / "b.fits.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(Rejected, match="cannot be read"):
        cards.read_bytes(tmp_path / "b.fits.gz")


def test_changed_pixels_fail_their_checksum(tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones((40, 40), np.int16)).writeto(path, checksum=True)
    read(path, verify=True)
    data = bytearray(path.read_bytes())
    data[2880 + 17] ^= 4
    path.write_bytes(data)
    read(path)
    with pytest.raises(Rejected, match="corrupt pixels"):
        read(path, verify=True)


def test_random_bytes_are_rejected_not_a_traceback(tmp_path):
    rng = np.random.default_rng(2)
    fits.PrimaryHDU(np.ones((20, 20), np.int16)).writeto(tmp_path / "a.fits")
    good = (tmp_path / "a.fits").read_bytes()
    for _ in range(60):
        data = bytearray(good)
        for position in rng.integers(0, 2880, 20):
            data[position] = rng.integers(0, 256)
        (tmp_path / "b.fits").write_bytes(data)
        try:
            read(tmp_path / "b.fits", verify=True)
        except Rejected as reason:
            assert "b.fits" in str(reason)
