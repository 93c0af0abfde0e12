"""Raw files: pixels to their amplifiers, headers to metadata."""

import numpy as np
import pytest
from astropy.io import fits

from alertprod.core.errors import BadInput, Rejected
from alertprod.instruments.raw import read_metadata, read_raw


@pytest.fixture
def raw_file(tinycam, tmp_path):
    return tinycam.write_raw(
        tmp_path / "raw.fits", rng=np.random.default_rng(1), GROUPID="g7", CURINDEX=2, MAXINDEX=2
    )


def test_a_raw_file_gives_its_segments_and_facts(tinycam, raw_file):
    raw = read_raw(raw_file, tinycam.camera(), verify=True)
    assert [s.shape for s in raw.segments] == [(32, 68)] * 4
    for k, part in enumerate(raw.segments):
        assert np.array_equal(part, fits.getdata(raw_file, k + 1))
    info = raw.metadata
    assert (info.image_type, info.day_obs, info.seq_num) == ("OBJECT", 20251122, 7)
    assert (info.group, info.snap, info.n_snaps, info.filter) == ("g7", 2, 2, "r_03")
    assert info.midpoint == pytest.approx(tinycam.MJD + 7.5 / 86400, abs=1e-9)
    assert read_metadata(raw_file, tinycam.camera()) == info


def test_a_file_of_another_detector_is_rejected(tinycam, raw_file):
    with pytest.raises(Rejected, match=r"raw\.fits: header says detector 0, expected 1"):
        read_raw(raw_file, tinycam.camera(), 1)


def test_a_file_without_detector_number_needs_a_header_map(tinycam, tmp_path):
    path = tinycam.write_raw(tmp_path / "a.fits", DETECTOR="UNKNOWN")
    with pytest.raises(BadInput, match="map `detector`"):
        read_raw(path, tinycam.camera())


def test_segments_that_are_too_small_are_rejected(tinycam, raw_file):
    camera = tinycam.camera()
    with fits.open(raw_file, mode="update") as hdus:
        hdus[3].data = hdus[3].data[:, :60]
    with pytest.raises(Rejected, match="amplifier C2 has 60 x 32 px"):
        read_raw(raw_file, camera)


def test_a_missing_amplifier_is_rejected(tinycam, raw_file):
    with fits.open(raw_file) as hdus:
        fits.HDUList([hdu.copy() for hdu in hdus[:3]]).writeto(raw_file, overwrite=True)
    with pytest.raises(Rejected, match="amplifier C2 should be in HDU Segment10"):
        read_raw(raw_file, tinycam.camera())


def test_a_tile_compressed_raw_is_read_like_the_plain_one(tinycam, raw_file, tmp_path):
    packed = tmp_path / "raw.fits.fz"
    with fits.open(raw_file) as hdus:
        new = [hdus[0].copy()]
        new += [fits.CompImageHDU(h.data, h.header, compression_type="RICE_1") for h in hdus[1:]]
        fits.HDUList(new).writeto(packed)
    plain = read_raw(raw_file, tinycam.camera())
    for a, b in zip(read_raw(packed, tinycam.camera()).segments, plain.segments, strict=True):
        assert np.array_equal(a, b)
    assert read_metadata(packed, tinycam.camera()).seq_num == 7


def test_the_e2v_detector_is_assembled_exactly_as_expected(real_data, tinycam):
    from alertprod.instruments.assembly import assemble
    from alertprod.instruments.camera import camera_from_dict

    path = real_data / "lsst_raw" / "e2v_spot.fits.gz"
    expected = fits.getdata(real_data / "lsst_raw" / "e2v_expected_assembled.fits.gz")
    rows = []
    with fits.open(path) as hdus:
        for hdu in hdus[1:17]:
            x, y = (part.split(":") for part in hdu.header["DETSEC"].strip("[]").split(","))
            x, y = [int(v) for v in x], [int(v) for v in y]
            rows.append(
                {
                    "name": hdu.name,
                    "hdu": hdu.header["EXTNAME"],
                    "gain": 1.0,
                    "read_noise": 5.0,
                    "saturation": 1e6,
                    "data": [10, 522, 0, 2002],
                    "detsec": [min(x) - 1, max(x), 4004 - max(y), 4004 - min(y) + 1],
                    "flip_x": x[1] < x[0],
                    "flip_y": y[1] > y[0],  # the expected image is turned over in y
                }
            )
    detector = {"id": 94, "nx": 4096, "ny": 4004, "centre": [0, 0], "amplifiers": rows}
    camera = camera_from_dict({**tinycam.description(), "detectors": [detector]})
    assert np.array_equal(assemble(read_raw(path, camera)).image, expected)


def test_the_overscan_of_a_real_rubin_segment_agrees_with_its_header(real_data, tinycam):
    from alertprod.instruments.assembly import DEFAULT_OVERSCAN, overscan_level
    from alertprod.instruments.camera import Amplifier, Section

    path = real_data / "lsst_raw" / "201807241028453-RTM-010-S11-det067.fits.gz"
    data, header = fits.getdata(path, "Segment00", header=True)
    amplifier = Amplifier(
        "Segment00", 16, 1.0, None, 2e5, Section(10, 522, 0, 2002), Section(522, 576, 0, 2002),
        Section(0, 512, 0, 2002),
    )  # fmt: skip
    level, rms = overscan_level(data.astype(np.float32), amplifier, DEFAULT_OVERSCAN)
    assert level.mean() == pytest.approx(header["AVGBIAS"], abs=1.5)
    assert rms == pytest.approx(header["STDVBIAS"], rel=0.05)


def test_the_microobs_header_is_understood_in_spite_of_its_traps(real_data):
    from astropy.time import Time

    from alertprod.instruments.camera import read_camera

    path = real_data / "microobservatory_hatp32" / "HATP-32171220013343.FITS.gz"
    info = read_metadata(path, read_camera("microobs"))
    # UT-OBS, not the local DATE-OBS nor the MJD-OBS with three decimals
    assert info.begin == pytest.approx(Time("2017-12-20T01:33:43.317").tai.mjd, abs=1e-9)
    assert (info.midpoint - info.begin) * 86400 == pytest.approx(30, abs=1e-4)
    assert (info.ra, info.dec, info.filter) == (31.312099, 46.769087, "Clear")
    assert info.image_type == "OBJECT"


def test_the_lco_header_is_understood(real_data, root):
    from astropy.time import Time

    from alertprod.instruments.camera import read_camera

    camera = read_camera(root / "tests/data/instruments/lco_fa05.yaml")
    info = read_metadata(real_data / "lco" / "mef_raw_test_frame.fits", camera)
    assert info.begin == pytest.approx(Time("2021-10-08T01:55:17.144").tai.mjd, abs=1e-9)
    assert info.ra == pytest.approx(287.3248292, abs=1e-6)  # 19:09:17.959
    assert info.dec == pytest.approx(59.4939306, abs=1e-6)
    assert (info.day_obs, info.exposure, info.detector) == (20211007, 94.975, None)
