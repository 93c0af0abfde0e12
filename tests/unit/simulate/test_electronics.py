"""Electrons to integers: what the textbook says of CCDs."""

import dataclasses

import numpy as np
import pytest

from alertprod.simulate import api, electronics, hardware


@pytest.fixture
def linear(camera):
    """Detector 0 without crosstalk and nonlinearity."""
    detector = camera.detectors[0]
    amplifiers = tuple(dataclasses.replace(a, linearity=0.0) for a in detector.amplifiers)
    return dataclasses.replace(detector, amplifiers=amplifiers, crosstalk=None)


def test_variance_over_level_is_the_inverse_gain_of_each_amplifier(camera, linear):
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(2):
        charge = rng.poisson(20000.0, (1024, 1024)).astype(np.float32)
        frames.append(electronics.read_out(camera, linear, charge, rng))
    for k, amplifier in enumerate(linear.amplifiers):
        x0, x1, y0, y1 = amplifier.data
        a, b = (f[k][y0:y1, x0:x1].astype(float) for f in frames)
        bias = np.mean(frames[0][k][y0:y1, amplifier.bias[0] : amplifier.bias[1]])
        level = np.mean((a + b) / 2) - bias
        variance = np.var(a - b) / 2
        read = (amplifier.read_noise / amplifier.gain) ** 2
        assert level / (variance - read) == pytest.approx(amplifier.gain, rel=0.015)


def test_overscan_scatters_by_the_read_noise(camera, linear):
    dark = np.zeros((1024, 1024), np.float32)
    raw = electronics.read_out(camera, linear, dark, np.random.default_rng(2))
    for pixels, amplifier in zip(raw, linear.amplifiers, strict=True):
        x0, x1, y0, y1 = amplifier.bias
        overscan = pixels[y0:y1, x0:x1].astype(float)
        scatter = np.std(overscan - np.median(overscan, axis=1, keepdims=True), ddof=1)
        # rounding adds 1/12 adu^2; the median of a row takes a share of it away
        assert scatter * amplifier.gain == pytest.approx(amplifier.read_noise, rel=0.05)


@pytest.mark.parametrize(
    ("x", "y", "segment", "column", "row"),
    [(0, 0, 0, 8, 0), (1023, 0, 1, 8, 0), (0, 1023, 2, 8, 0), (700, 1000, 3, 331, 23)],
)
def test_each_amplifier_reads_from_its_own_corner(camera, linear, x, y, segment, column, row):
    charge = np.zeros((1024, 1024), np.float32)
    charge[y, x] = 40000.0
    raw = electronics.read_out(camera, linear, charge, np.random.default_rng(3))
    for k, pixels in enumerate(raw):
        peak = np.unravel_index(int(np.argmax(pixels)), pixels.shape)
        if k == segment:
            assert peak == (row, column)
        else:
            assert pixels.max() < 3000


def test_ghosts_appear_where_the_camera_file_puts_them(camera):
    detector = camera.detectors[0]
    charge = np.zeros((1024, 1024), np.float32)
    charge[100:140, 200:240] = 60000.0  # amplifier 0
    with_ghosts = electronics.read_out(camera, detector, charge, np.random.default_rng(4))
    without = electronics.read_out(camera, detector, 0 * charge, np.random.default_rng(4))
    place = slice(100, 140), slice(208, 248)
    signal = np.mean(with_ghosts[0][place].astype(float) - without[0][place])
    for victim in (1, 2, 3):
        ghost = np.mean(with_ghosts[victim][place].astype(float) - without[victim][place])
        expected = detector.crosstalk[victim][0] * signal
        assert ghost == pytest.approx(expected, abs=0.05)


def test_the_files_polynomial_makes_signals_linear_again(camera):
    detector = dataclasses.replace(camera.detectors[0], crosstalk=None)
    for level in (1000.0, 40000.0):
        charge = np.full((1024, 1024), level, np.float32)
        raw = electronics.read_out(camera, detector, charge, np.random.default_rng(5))
        for k, amplifier in enumerate(detector.amplifiers):
            x0, x1, y0, y1 = amplifier.data
            rows = raw[k][y0 + 200 : y1].astype(float)
            x = np.mean(rows[:, x0 + 200 : x1]) - np.mean(rows[:, amplifier.bias[0] :])
            linear = x + amplifier.linearity * x * x
            assert linear * amplifier.gain == pytest.approx(level, abs=1.5 + 1e-4 * level)


def test_bleeding_conserves_charge_and_runs_along_columns():
    image = np.full((200, 50), 100.0, np.float32)
    image[90:95, 20] = 400_000.0
    well = np.full(image.shape, 90_000.0, np.float32)
    total = image.sum(dtype=float)
    full = electronics.bleed(image, well)
    assert image.sum(dtype=float) == pytest.approx(total, rel=1e-6)
    assert image.max() <= 90_000.0
    assert set(np.flatnonzero(full.any(axis=0))) == {20}
    assert 20 <= full[:, 20].sum() <= 25
    rows = np.flatnonzero(full[:, 20])
    assert np.all(np.diff(rows) == 1)


def test_a_saturated_star_reaches_the_level_of_the_camera_file(camera, observe):
    stars = api.Points(np.array([339.86]), np.array([-8.54]), np.array([2e8]))
    made = api.simulate_detector(camera, 1, observe(cosmics=False), api.Scene(stars), seed=3)
    detector = camera.detectors[1]
    assert made.snaps[0].full.sum() > 30
    for pixels, amplifier in zip(made.snaps[0].segments, detector.amplifiers, strict=True):
        x0, x1, y0, y1 = amplifier.data
        a0, a1, b0, b1 = amplifier.detsec
        flips = slice(None, None, -1 if amplifier.flip_y else 1)
        full = made.snaps[0].full[b0:b1, a0:a1][flips, :: -1 if amplifier.flip_x else 1]
        assert np.all(pixels[y0:y1, x0:x1][full] >= amplifier.saturation)
        assert pixels.max() < 65535


def test_cosmic_rays_are_sharp_and_of_many_shapes():
    image = np.zeros((512, 512), np.float32)
    hits = electronics.add_cosmic_rays(image, np.random.default_rng(6), 60)
    np.testing.assert_array_equal(image, hits)
    touched = hits > 100
    assert 100 < touched.sum() < 2500
    # Next to most hit pixels across a track lies one without charge.
    neighbours = sum(np.roll(touched, s, axis=(0, 1)) for s in ((0, 1), (0, -1), (1, 0), (-1, 0)))
    assert np.mean(neighbours[touched] <= 2) > 0.6


def test_chips_have_hot_and_dead_pixels_that_stay(camera):
    chip = hardware.chip(camera, camera.detectors[2])
    again = hardware.chip(camera, camera.detectors[2])
    assert again.dark is chip.dark
    assert (chip.dark > 5).sum() > 30
    assert (chip.response < 0.5).sum() > 100
    assert chip.defects[chip.response < 0.5].all()
    other = hardware.chip(camera, camera.detectors[1])
    assert np.std(chip.response - other.response) > 0.005
