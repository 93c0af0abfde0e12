"""The sky estimate against known skies, and against SExtractor's maps of a real image."""

import numpy as np
import pytest

from alertprod.core.background import estimate_background
from alertprod.core.errors import Rejected


def sky(shape=(300, 420), level=500.0, sigma=20.0, seed=1, slope=0.0):
    rng = np.random.default_rng(seed)
    ramp = slope * np.arange(shape[1])
    return (level + ramp + rng.normal(0, sigma, shape)).astype(np.float32)


def test_level_and_noise_of_a_flat_sky():
    level, rms = estimate_background(sky(), box=64)
    assert np.mean(level.grid) == pytest.approx(500.0, abs=0.3)
    # three-sigma clipping of a Gaussian leaves 98.66 % of its width
    assert np.mean(rms.grid) == pytest.approx(20.0 * 0.9866, rel=0.01)


def test_a_gradient_is_followed_to_the_edge():
    image = sky(sigma=2.0, slope=0.2)
    level, _ = estimate_background(image, box=64)
    residual = level.image() - (500 + 0.2 * np.arange(420))
    assert np.abs(residual[:, 32:-32]).max() < 1.0
    assert np.abs(residual).max() < 3.0


def test_stars_do_not_lift_the_sky():
    image = sky()
    rng = np.random.default_rng(3)
    y, x = np.mgrid[-12:13, -12:13]
    star = np.exp(-(x**2 + y**2) / 8.0)
    for _ in range(60):
        j, i = rng.integers(12, 287), rng.integers(12, 407)
        image[j - 12 : j + 13, i - 12 : i + 13] += (rng.uniform(100, 5000) * star).astype("f4")
    level, _ = estimate_background(image, box=64)
    assert np.mean(image) - 500 > 15  # the plain mean is lifted
    assert abs(np.mean(level.grid) - 500) < 1.5


def test_masked_pixels_do_not_count_whatever_they_hold():
    image, bad = sky(), np.zeros((300, 420), dtype=bool)
    bad[40:120, 50:300] = True
    clean, _ = estimate_background(image, bad, box=64)
    image[bad] = np.nan
    image[50:60, 60:70] = 1e9
    dirty, _ = estimate_background(image, bad, box=64)
    assert np.array_equal(clean.grid, dirty.grid)


def test_a_fully_masked_box_takes_its_neighbours_level():
    image, bad = sky(shape=(320, 320), slope=0.0), np.zeros((320, 320), dtype=bool)
    bad[64:128, 64:128] = True
    image[bad] = 1e6
    level, rms = estimate_background(image, bad, box=64, filter_size=1)
    assert level.grid[1, 1] == pytest.approx(500, abs=2)
    assert np.isfinite(rms.grid).all()


def test_integer_pixels_give_an_unbiased_sky():
    # noise of less than a digit and a half: the median alone would stick to the integers
    rng = np.random.default_rng(5)
    image = np.round(rng.normal(100.3, 1.5, (256, 256))).astype(np.float32)
    level, _ = estimate_background(image, box=64, filter_size=1)
    assert abs(np.mean(level.grid) - 100.3) < 0.1


def test_no_good_pixel_is_a_rejection_with_its_number():
    with pytest.raises(Rejected, match="none of 4 background boxes"):
        estimate_background(sky((128, 128)), np.ones((128, 128), dtype=bool), box=64)


def test_real_sky_agrees_with_sextractor(real_data):
    import fitsio

    folder = real_data / "ntt_emmi_sep"
    image = fitsio.read(folder / "image.fits").astype(np.float32)
    back, noise = (fitsio.read(folder / f"{name}.fits") for name in ("back", "rms"))
    level, rms = estimate_background(image, box=64)
    difference = level.image() - back
    # SExtractor's own noise is the yardstick
    assert np.sqrt(np.mean(np.square(difference))) < 0.1 * np.median(noise)
    assert abs(np.mean(difference)) < 0.05 * np.median(noise)
    assert np.mean(rms.image()) == pytest.approx(np.mean(noise), rel=0.05)
