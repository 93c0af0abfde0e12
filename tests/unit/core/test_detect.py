"""Detection: numpy's noise, GalSim's stars, scipy's correlation and labels as independent truth."""

import galsim
import numpy as np
import pytest
from scipy import ndimage, signal

from alertprod.core import detect, filtering
from alertprod.core.detect import drop_echoes, find_peaks, matched_filter
from alertprod.core.psf import Psf

SHAPE = (300, 340)


def gaussian_psf(fwhm=3.0, shape=SHAPE, size=25):
    star = galsim.Gaussian(fwhm=fwhm)
    kernel = star.drawImage(nx=size, ny=size, scale=1.0, dtype=float).array
    return Psf.constant(kernel / kernel.sum(), shape)


def noise(sigma=10.0, seed=1, shape=SHAPE):
    image = np.random.default_rng(seed).normal(0, sigma, shape)
    return image.astype(np.float32), np.full(shape, sigma**2, dtype=np.float32)


def add_star(image, x, y, flux, fwhm=3.0, size=25):
    ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    stamp = galsim.Gaussian(fwhm=fwhm, flux=flux).drawImage(
        nx=size, ny=size, scale=1.0, offset=(x - ix, y - iy), dtype=float
    )
    half = size // 2
    image[iy - half : iy + half + 1, ix - half : ix + half + 1] += stamp.array


def nothing(shape=SHAPE):
    return np.zeros(shape, dtype=bool)


def test_the_map_is_the_matched_filter():
    image, variance = noise()
    variance *= np.linspace(0.5, 2.0, SHAPE[1], dtype=np.float32)
    add_star(image, 150.3, 120.7, 2000.0)
    psf = gaussian_psf()
    filtered = matched_filter(image, variance, nothing(), psf, floor=3.0)
    kernel = filtered.kernels[0]
    top = signal.correlate(image.astype(float), kernel, mode="same")
    bottom = np.sqrt(signal.correlate(variance.astype(float), kernel**2, mode="same"))
    expected = top / bottom / filtered.noise_factor
    # away from the edge, where scipy's zeros and ours agree too
    there = (np.abs(expected) > 3.01) & (np.abs(expected) < 1e9)
    np.testing.assert_allclose(filtered.snr[there], expected[there], rtol=2e-4)
    assert not filtered.snr[np.abs(expected) < 2.99].any()


def test_tiles_leave_no_seam(monkeypatch):
    image, variance = noise(seed=3)
    whole = matched_filter(image, variance, nothing(), gaussian_psf(), floor=2.0)
    monkeypatch.setattr(filtering, "TILE", 96)
    tiled = matched_filter(image, variance, nothing(), gaussian_psf(), floor=2.0)
    both = (whole.snr != 0) & (tiled.snr != 0)
    np.testing.assert_allclose(tiled.snr[both], whole.snr[both], atol=2e-4)
    assert (whole.snr != 0).sum() == pytest.approx(both.sum(), rel=2e-3)


@pytest.mark.parametrize("wrong", [0.7, 1.0, 1.6])
def test_significance_is_calibrated_on_blank_sky(wrong):
    """A variance plane that is off by a factor does not change what is found."""
    image, variance = noise(seed=5)
    add_star(image, 100.0, 100.0, 4000.0)
    psf = gaussian_psf()
    filtered = matched_filter(image, variance * wrong**2, nothing(), psf)
    assert filtered.noise_factor == pytest.approx(1 / wrong, rel=0.03)
    peaks = find_peaks(filtered)
    area = 1 / np.square(psf.basis[0].astype(float)).sum()
    assert len(peaks) == 1
    assert peaks.snr[0] == pytest.approx(4000 / (10 * np.sqrt(area)), rel=0.08)


def test_sources_do_not_enter_the_noise():
    """A source every 45 px, of either sign: a tenth of the sky would be inflated by them."""
    image, variance = noise(seed=6, shape=(600, 600))
    for k, x in enumerate(range(30, 580, 45)):
        for y in range(30, 580, 45):
            add_star(image, x, y, 4000.0 if k % 2 else -4000.0)
    filtered = matched_filter(image, variance, nothing((600, 600)), gaussian_psf(shape=(600, 600)))
    assert filtered.noise_factor == pytest.approx(1.0, abs=0.02)


def test_whole_numbers_do_not_quantise_the_calibration():
    """Sky noise of 0.6 units in whole numbers: a median deviation would be 0 or 1."""
    rng = np.random.default_rng(2)
    image = np.round(rng.normal(0.3, 0.6, SHAPE)).astype(np.float32)
    image -= image.mean()
    true_variance = 0.6**2 + 1 / 12
    variance = np.full(SHAPE, true_variance, dtype=np.float32)
    filtered = matched_filter(image, variance, nothing(), gaussian_psf())
    assert filtered.noise_factor == pytest.approx(1.0, abs=0.04)


def test_pure_noise_gives_no_five_sigma_peaks():
    image, variance = noise(seed=11, shape=(1000, 1000))
    psf = gaussian_psf(shape=(1000, 1000))
    peaks = find_peaks(matched_filter(image, variance, nothing((1000, 1000)), psf))
    # 1e6 pixels / 11 px per independent trial x 6e-7 (both signs) = 0.05, with peaks about 0.3
    assert len(peaks) <= 2


def test_both_signs_are_found_at_their_places():
    image, variance = noise(seed=8)
    add_star(image, 60.2, 70.4, 1500.0)
    add_star(image, 200.6, 150.1, -900.0)
    peaks = find_peaks(matched_filter(image, variance, nothing(), gaussian_psf()))
    assert len(peaks) == 2
    assert peaks.snr[0] > 5 and peaks.snr[1] < -5
    assert (abs(peaks.x[0] - 60.2) <= 1) and (abs(peaks.y[0] - 70.4) <= 1)
    assert (abs(peaks.x[1] - 200.6) <= 1) and (abs(peaks.y[1] - 150.1) <= 1)


def test_bad_and_missing_pixels_make_no_sources_and_keep_the_scale():
    image, variance = noise(seed=9)
    bad = nothing()
    bad[:, 50] = True
    bad[100:130, 200:240] = True
    image[bad] = 1e6
    image[10, 10], variance[20, 20], variance[30, 30] = np.nan, 0.0, np.inf
    add_star(image, 50.0, 200.0, 3000.0)  # half its core on the bad column
    filtered = matched_filter(image, variance, bad, gaussian_psf())
    peaks = find_peaks(filtered)
    assert np.isfinite(filtered.snr).all()
    assert len(peaks) == 2 and set(peaks.x) <= {49, 51} and (abs(peaks.y - 200) <= 1).all()


def test_footprints_are_the_connected_pixels():
    image, variance = noise(seed=10)
    rng = np.random.default_rng(0)
    for _ in range(40):
        add_star(image, *rng.uniform(20, 270, 2), rng.choice([-1, 1]) * rng.uniform(500, 5000))
    filtered = matched_filter(image, variance, nothing(), gaussian_psf())
    peaks = find_peaks(filtered)
    total = 0
    for sign in (1, -1):
        labels, count = ndimage.label(sign * filtered.snr > 5, np.ones((3, 3)))
        total += count
        for k in np.flatnonzero(np.sign(peaks.snr) == sign):
            pixels = peaks.footprint_pixels(peaks.footprint[k])
            found = labels[pixels[:, 0], pixels[:, 1]]
            assert (found == labels[peaks.y[k], peaks.x[k]]).all()
            assert found.size == (labels == found[0]).sum()
    assert peaks.starts.size - 1 == total


def test_ripples_of_a_bright_star_are_not_sources_but_a_neighbour_is():
    image, variance = noise(seed=12)
    add_star(image, 150.0, 150.0, 3e5, fwhm=3.1)  # 3 % wider than the PSF says
    add_star(image, 157.0, 150.0, 2.5e4, fwhm=3.0)
    filtered = matched_filter(image, variance, nothing(), gaussian_psf())
    peaks = find_peaks(filtered)
    kept = peaks.take(drop_echoes(peaks, filtered))
    assert len(kept) == 2
    np.testing.assert_allclose(np.sort(kept.x), [150, 157], atol=1)


def test_order_of_equal_peaks_is_by_rule():
    image, variance = noise(sigma=1e-3, seed=1)
    variance[:] = 100.0
    for x, y in ((200, 80), (60, 80), (60, 40)):
        add_star(image, x, y, 5000.0)
    image = np.round(image, 1).astype(np.float32)
    filtered = matched_filter(image, variance, nothing(), gaussian_psf())
    filtered.snr[:] = np.round(filtered.snr * filtered.noise_factor, 1)
    peaks = find_peaks(detect.Filtered(filtered.snr, filtered.kernels, filtered.step, 1.0, 0.0), 5)
    strongest = np.flatnonzero(peaks.snr == peaks.snr[0])
    assert list(zip(peaks.y[strongest], peaks.x[strongest], strict=True)) == [
        (40, 60),
        (80, 60),
        (80, 200),
    ]


def test_a_threshold_below_the_map_is_refused():
    image, variance = noise()
    filtered = matched_filter(image, variance, nothing(), gaussian_psf(), floor=4.0)
    with pytest.raises(ValueError, match=r"below the map's floor 4\.0"):
        find_peaks(filtered, 3.0)
