"""Master calibrations from tiny frames whose truth is known, and from real ones."""

import numpy as np
import pytest

from alertprod.calibs import build_bias, build_dark, build_flat
from alertprod.calibs.combine import clipped_mean
from alertprod.core.errors import Rejected
from alertprod.core.masks import bits
from alertprod.instruments.camera import camera_from_dict


@pytest.fixture
def config(default_config):
    return default_config["calibs"]


def structure(tinycam):
    """Bias structure of one quadrant in its own read-out order, ADU."""
    y, x = np.mgrid[: tinycam.NY // 2, : tinycam.NX // 2]
    return 3.0 * np.sin(x / 5.0) + 0.1 * y


def test_the_master_bias_is_the_structure_above_the_overscan(tinycam, tmp_path, config):
    rng = np.random.default_rng(1)
    paths = [
        tinycam.write_raw(tmp_path / f"{k}.fits", rng=rng, kind="BIAS", bias=structure(tinycam))
        for k in range(9)
    ]
    bias = build_bias(paths, tinycam.camera(), config=config)
    corner = bias.image[:32, :48] - structure(tinycam)
    expected = tinycam.NOISE[0] / tinycam.GAINS[0] / 3
    assert abs(corner.mean()) < 0.2
    assert corner.std() == pytest.approx(expected, rel=0.15)
    assert np.sqrt(np.median(bias.variance[:32, :48])) == pytest.approx(expected, rel=0.15)
    assert bias.meta["READNOIS"] == pytest.approx(np.mean(tinycam.NOISE), rel=0.08)
    assert (bias.meta["BUNIT"], bias.meta["NFRAMES"], bias.meta["DETECTOR"]) == ("adu", 9, 0)


def test_a_cosmic_ray_in_one_frame_does_not_enter_the_master(tinycam, tmp_path, config):
    rng = np.random.default_rng(2)
    hit = np.zeros((tinycam.NY, tinycam.NX))
    hit[12, 20:30] = 5000.0
    paths = [
        tinycam.write_raw(tmp_path / f"{k}.fits", hit if k == 3 else None, rng, kind="BIAS")
        for k in range(7)
    ]
    bias = build_bias(paths, tinycam.camera(), config=config)
    assert np.abs(bias.image[12, 20:30]).max() < 10


def test_the_dark_is_a_rate_whatever_the_times_of_its_frames(tinycam, tmp_path, config):
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: tinycam.NY, : tinycam.NX]
    rate = 1.0 + 0.02 * x + (x == 70) * (y == 9) * 50.0
    paths = [
        tinycam.write_raw(
            tmp_path / f"{k}.fits", rng.poisson(rate * t).astype(float), rng, kind="DARK", EXPTIME=t
        )
        for k, t in enumerate((100.0, 100.0, 100.0, 300.0, 300.0))
    ]
    dark = build_dark(paths, tinycam.camera(), None, config=config)
    error = np.sqrt(rate * 900 + 5 * 7.5**2) / 900
    pull = (dark.image - rate) / error
    assert abs(np.median(pull)) < 0.3
    assert np.std(pull) == pytest.approx(1.0, abs=0.25)
    assert dark.image[9, 70] == pytest.approx(rate[9, 70], abs=5 * error[9, 70])
    assert dark.meta["BUNIT"] == "electron/s"


def test_the_flat_is_the_response_with_mean_one_whatever_the_lamp(tinycam, tmp_path, config):
    rng = np.random.default_rng(4)
    y, x = np.mgrid[: tinycam.NY, : tinycam.NX]
    response = 1.0 - 1e-5 * ((x - 48) ** 2 + (y - 32) ** 2)
    response[20, 20] = 0.5
    paths = [
        tinycam.write_raw(
            tmp_path / f"{k}.fits", rng.poisson(level * response).astype(float), rng, kind="FLAT"
        )
        for k, level in enumerate((20000.0, 24000.0, 30000.0, 22000.0))
    ]
    flat = build_flat(paths, tinycam.camera(), None, None, config=config)
    assert flat.image.mean() == pytest.approx(1.0, abs=1e-5)
    truth = response / response.mean()
    # no step between the amplifiers: gains are out of it
    for k in range(4):
        quarter = (slice(k // 2 * 32, k // 2 * 32 + 32), slice(k % 2 * 48, k % 2 * 48 + 48))
        assert (flat.image / truth)[quarter].mean() == pytest.approx(1.0, abs=3e-3)
    assert flat.image[20, 20] == pytest.approx(0.5, abs=0.02)
    assert (flat.meta["BAND"], flat.meta["FILTER"]) == ("r", "r_03")


def test_flats_of_two_filters_or_of_no_light_are_rejected(tinycam, tmp_path, config):
    rng = np.random.default_rng(5)
    light = np.full((tinycam.NY, tinycam.NX), 2e4)
    paths = [
        tinycam.write_raw(tmp_path / f"{k}.fits", light, rng, kind="FLAT", FILTER=name)
        for k, name in enumerate(("r_03", "r_03", "g_01"))
    ]
    with pytest.raises(Rejected, match="2 filters"):
        build_flat(paths, tinycam.camera(), None, None, config=config)
    paths = [
        tinycam.write_raw(tmp_path / f"d{k}.fits", -20 + 0 * light, rng, kind="FLAT")
        for k in range(3)
    ]
    with pytest.raises(Rejected, match="this flat has a median of"):
        build_flat(paths, tinycam.camera(), None, None, config=config)


def test_a_broken_frame_is_left_out_and_too_few_are_rejected(tinycam, tmp_path, config):
    rng = np.random.default_rng(6)
    paths = [tinycam.write_raw(tmp_path / f"{k}.fits", rng=rng, kind="BIAS") for k in range(4)]
    paths[1].write_bytes(paths[1].read_bytes()[:9000])
    bias = build_bias(paths, tinycam.camera(), config=config)
    assert bias.meta["NFRAMES"] == 3
    paths[0].write_bytes(b"")
    with pytest.raises(Rejected, match=r"2 of 4 bias frames are usable, .* 3 \(0\.fits"):
        build_bias(paths, tinycam.camera(), config=config)


def test_the_clipped_mean_keeps_all_of_gaussian_noise_and_none_of_the_outliers():
    rng = np.random.default_rng(7)
    stack = rng.normal(100, 5, (9, 60, 60)).astype(np.float32)
    mean, variance = clipped_mean(stack, np.ones(9), n_sigma=4.0)
    plain = stack.mean(axis=0)
    assert np.mean(np.abs(mean - plain) < 1e-3) > 0.98
    assert np.median(variance) == pytest.approx(25, rel=0.15)
    stack[4, 30, 30] = 1e4
    stack[2, 31, 31] = np.nan
    mean, _ = clipped_mean(stack, np.ones(9), n_sigma=4.0)
    assert abs(mean[30, 30] - 100) < 8
    assert abs(mean[31, 31] - 100) < 8
    stack[:, 5, 5] = np.nan
    assert np.isnan(clipped_mean(stack, np.ones(9), n_sigma=4.0)[0][5, 5])


def asi120():
    """The ASI120 camera's file, in words."""
    size = [0, 1280, 0, 960]
    amplifier = {"name": "A", "hdu": 0, "gain": 1.0, "read_noise": 10.0, "saturation": 65520,
                 "data": size, "detsec": size}  # fmt: skip
    return camera_from_dict(
        {
            "name": "asi120",
            "obscode": "500",
            "pixel_scale": 1.0,
            "parity": 1,
            "reader": "simple",
            "filters": {},
            "detectors": [
                {"id": 0, "nx": 1280, "ny": 960, "centre": [0, 0], "amplifiers": [amplifier]}
            ],
        }
    )


def test_real_asi120_frames_give_their_dark_current(real_data, config):
    """Nine ADU per second between 10 s and 100 s; the bias frames' EXPTIME is malformed."""
    folder = real_data / "asi120_calib"
    biases = sorted((folder / "Bias").glob("*.gz"))[:4]
    bias = build_bias(biases, asi120(), config=config)
    rates = []
    for seconds in ("10s", "100s"):
        paths = sorted((folder / f"Dark_{seconds}").glob("*.gz"))
        dark = build_dark(paths, asi120(), bias, config={**config, "require": 2})
        rates.append(float(dark.image.mean()))
    assert rates == pytest.approx([9.2, 9.2], abs=0.9)
    flats = sorted((folder / "Flat").glob("*.gz"))[:3]
    flat = build_flat(flats, asi120(), bias, None, config=config)
    assert flat.image.mean() == pytest.approx(1.0, abs=1e-4)
    assert np.count_nonzero(flat.mask & bits("NO_DATA")) < 1e-3 * flat.image.size
