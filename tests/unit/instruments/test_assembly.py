"""Overscan, flips, saturation, crosstalk, linearity."""

import numpy as np
import pytest

from alertprod.core.errors import Rejected
from alertprod.core.masks import bits
from alertprod.instruments.assembly import assemble, overscan_level
from alertprod.instruments.raw import read_raw


def ramp(tinycam):
    """An image in which every pixel is different."""
    y, x = np.mgrid[: tinycam.NY, : tinycam.NX]
    return 10.0 * x + 1000.0 * y


@pytest.mark.parametrize("method", ["row", "poly"])
def test_every_pixel_comes_to_its_place_above_the_drifting_level(tinycam, tmp_path, method):
    path = tinycam.write_raw(tmp_path / "a.fits", ramp(tinycam))
    frame = assemble(read_raw(path, tinycam.camera()), overscan={"method": method}, electrons=True)
    # rounding to integers costs half an ADU in the pixel and half in the level
    assert np.abs(frame.image - ramp(tinycam)).max() < 1.01 * max(tinycam.GAINS)


def test_without_electrons_the_image_stays_in_adu(tinycam, tmp_path):
    path = tinycam.write_raw(tmp_path / "a.fits", ramp(tinycam))
    image = assemble(read_raw(path, tinycam.camera())).image
    assert image[0, 10] == pytest.approx(100 / 1.5, abs=1)
    assert image[0, 90] == pytest.approx(900 / 1.6, abs=1)


def test_a_master_bias_is_subtracted_before_the_gain(tinycam, tmp_path):
    path = tinycam.write_raw(tmp_path / "a.fits", ramp(tinycam), bias=50.0)
    master = np.full((tinycam.NY, tinycam.NX), 50.0, np.float32)
    frame = assemble(read_raw(path, tinycam.camera()), bias=master, electrons=True)
    assert np.abs(frame.image - ramp(tinycam)).max() < 1.01 * max(tinycam.GAINS)


def test_read_noise_is_measured_in_the_overscan_when_not_given(tinycam, tmp_path):
    rng = np.random.default_rng(3)
    text = tinycam.description()
    for row in text["amplifier_layout"]:
        row["read_noise"] = None
    camera = tinycam.camera(amplifier_layout=text["amplifier_layout"])
    noise = []
    for k in range(12):
        path = tinycam.write_raw(tmp_path / f"{k}.fits", rng=rng)
        noise.append(assemble(read_raw(path, camera)).read_noise)
    # the integers' own scatter, 1/sqrt(12) ADU, is part of the noise
    expected = np.sqrt(np.square(tinycam.NOISE) + np.square(tinycam.GAINS) / 12)
    assert np.mean(noise, axis=0) == pytest.approx(expected, rel=0.03)


def test_the_row_level_is_quieter_than_a_median_and_shrugs_off_outliers(tinycam):
    rng = np.random.default_rng(4)
    amplifier = tinycam.camera().detector(0).amplifiers[0]
    noisy = rng.normal(1000, 5, (32, 68)).astype(np.float32)
    noisy[:, -1] += 3000 * (rng.random(32) < 0.5)
    level, rms = overscan_level(noisy, amplifier, {"method": "row", "skip_columns": 2, "order": 1})
    assert np.std(level) < 5 * 1.253 / np.sqrt(14)  # the error of a median
    assert abs(level.mean() - 1000) < 1.0
    assert rms == pytest.approx(5, rel=0.1)


def test_saturated_and_suspect_pixels_are_flagged_by_their_raw_value(tinycam, tmp_path):
    text = tinycam.layout()
    for row in text:
        row["suspect"] = 30000
    scene = np.zeros((tinycam.NY, tinycam.NX))
    scene[5, 7] = (tinycam.SATURATION - 900) * 1.5  # adu above the level of 1000: saturated
    scene[9, 7] = 29500 * 1.5
    path = tinycam.write_raw(tmp_path / "a.fits", scene)
    mask = assemble(read_raw(path, tinycam.camera(amplifier_layout=text))).mask
    assert mask[5, 7] == bits("SAT", "SUSPECT")
    assert mask[9, 7] == bits("SUSPECT")
    assert np.count_nonzero(mask) == 2


def test_crosstalk_is_taken_out_where_it_came_from(tinycam, tmp_path):
    """Amplifier 3 (flipped both ways) ghosts into amplifier 0 with a thousandth of its ADU."""
    matrix = np.zeros((4, 4))
    matrix[0, 3] = 1e-3
    scene = np.zeros((tinycam.NY, tinycam.NX))
    scene[50, 80] = 30000 * tinycam.GAINS[3]
    clean = scene.copy()
    # both are read out after as many steps from their corners
    scene[tinycam.NY - 1 - 50, tinycam.NX - 1 - 80] += 30 * tinycam.GAINS[0]
    text = tinycam.description()["detectors"]
    text[0]["crosstalk"] = matrix.tolist()
    raw = read_raw(tinycam.write_raw(tmp_path / "a.fits", scene), tinycam.camera(detectors=text))
    frame = assemble(raw, electrons=True)
    assert np.abs(frame.image - clean).max() < 2.1
    assert list(zip(*np.nonzero(frame.mask & bits("CROSSTALK")), strict=True)) == [(13, 15)]
    plain = assemble(read_raw(tmp_path / "a.fits", tinycam.camera()), electrons=True)
    assert plain.image[13, 15] == pytest.approx(45, abs=2.1)


def test_a_polynomial_straightens_a_bent_response(tinycam, tmp_path):
    """true = x + c2 x^2 + c3 x^3 with x what the amplifier gives."""
    c2, c3 = 2e-6, 1e-11
    text = tinycam.layout()
    for row in text:
        row["linearity"] = [c2, c3]
    measured = np.full((tinycam.NY, tinycam.NX), 20000.0)  # electrons as the amplifier counts
    path = tinycam.write_raw(tmp_path / "a.fits", measured)
    image = assemble(read_raw(path, tinycam.camera(amplifier_layout=text))).image
    x = 20000 / 1.5
    assert image[3, 3] == pytest.approx(x + c2 * x**2 + c3 * x**3, abs=1.1)


def test_an_overscan_without_numbers_is_rejected(tinycam, tmp_path):
    path = tinycam.write_raw(tmp_path / "a.fits")
    raw = read_raw(path, tinycam.camera())
    broken = raw.segments[1].astype(np.float32)
    broken[:, 52:] = np.nan
    segments = (raw.segments[0], broken, *raw.segments[2:])
    bad = type(raw)(raw.name, raw.header, raw.metadata, raw.detector, segments)
    with pytest.raises(Rejected, match=r"a\.fits: the overscan of amplifier C1"):
        assemble(bad)


def test_the_four_quadrants_of_a_real_frame_agree_on_the_sky(real_data, root):
    """LCO 1 m, 2021-10-08: one sky over four amplifiers after overscan and gain."""
    from alertprod.instruments.camera import read_camera

    camera = read_camera(root / "tests/data/instruments/lco_fa05.yaml")
    raw = read_raw(real_data / "lco" / "mef_raw_test_frame.fits", camera, verify=True)
    frame = assemble(raw, electrons=True)
    sky = [np.median(frame.image[a.detsec.slices]) for a in raw.detector.amplifiers]
    assert min(sky) > 1884 and max(sky) < 1920
    for k, amplifier in enumerate(raw.detector.amplifiers):
        sample = raw.segments[k][amplifier.bias.slices].astype(float)
        spread = np.std(sample - sample.mean(axis=1)[:, None]) * amplifier.gain
        assert frame.read_noise[k] == pytest.approx(spread * np.sqrt(21 / 20), rel=0.01)
        assert 7.3 < frame.read_noise[k] < 8.0
