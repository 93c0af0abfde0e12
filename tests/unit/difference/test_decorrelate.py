"""Whitening against theory, against made noise, and against a published real example."""

import numpy as np
import pytest

from alertprod.core.convolve import TILE, VaryingKernel, convolve, kernel_transform
from alertprod.core.psf import Psf
from alertprod.difference.decorrelate import plan_decorrelation, transfer_function, whitened_psf


def gaussian(sigma, half):
    u = np.arange(-half, half + 1)
    image = np.exp(-0.5 * (u[:, None] ** 2 + u[None, :] ** 2) / sigma**2)
    return image / image.sum()


def lag_one(image):
    scatter = np.mean(image**2)
    return np.mean(image[:, 1:] * image[:, :-1]) / scatter, np.mean(
        image[1:] * image[:-1]
    ) / scatter


@pytest.mark.parametrize("scale", [1.0, 0.7, 1.6])
def test_made_noise_comes_out_white_with_the_variance_at_zero_frequency(scale):
    rng = np.random.default_rng(3)
    shape, noise_s, noise_t = (600, 600), 10.0, 15.0
    kernel = scale * gaussian(1.2, 9)
    science = rng.normal(0, noise_s, shape).astype(np.float32)
    template = rng.normal(0, noise_t, shape).astype(np.float32)
    difference = science - convolve(template, kernel)
    varying = VaryingKernel(kernel[None], ((0, 0),), shape)
    planes = (np.full(shape, v**2, np.float32) for v in (noise_s, noise_t))
    plan = plan_decorrelation(varying, *planes, np.zeros(shape, bool), cells=2)
    white = plan.apply(difference)[40:-40, 40:-40].astype(float)
    assert max(np.abs(lag_one(difference[40:-40, 40:-40].astype(float)))) > 0.03
    assert max(np.abs(lag_one(white))) < 0.005
    assert white.std() == pytest.approx(np.hypot(noise_s, scale * noise_t), rel=0.01)


def test_noise_and_kernel_that_change_over_the_image_are_followed():
    rng = np.random.default_rng(5)
    shape = (512, 1024)
    ramp = np.linspace(5.0, 15.0, shape[1], dtype=np.float32)[None, :] * np.ones(shape, np.float32)
    kernel = gaussian(1.8, 9)
    template = (rng.normal(size=shape) * ramp).astype(np.float32)
    science = rng.normal(0, 8.0, shape).astype(np.float32)
    difference = science - convolve(template, kernel)
    varying = VaryingKernel(kernel[None], ((0, 0),), shape)
    flat = np.full(shape, 64.0, np.float32)
    plan = plan_decorrelation(varying, flat, ramp**2, np.zeros(shape, bool), cells=8)
    pulls = plan.apply(difference) / np.sqrt(flat + ramp**2)
    for part in (np.s_[40:-40, 40:300], np.s_[40:-40, 700:-40]):
        assert max(np.abs(lag_one(pulls[part].astype(float)))) < 0.012
        assert pulls[part].std() == pytest.approx(1.0, abs=0.02)


def test_the_psf_of_the_difference_is_the_filtered_psf():
    shape = (400, 400)
    kernel = gaussian(1.5, 9)
    varying = VaryingKernel(kernel[None], ((0, 0),), shape)
    planes = [np.full(shape, 1.0, np.float32), np.full(shape, 2.0, np.float32)]
    plan = plan_decorrelation(varying, *planes, np.zeros(shape, bool), cells=4)
    star = np.zeros(shape, np.float32)
    psf = Psf.constant(gaussian(1.7, 12), shape)
    star[150:175, 230:255] = 1e4 * psf.kernel_image(242, 162)
    got = plan.apply(star)
    want = whitened_psf(psf, plan, matched=False, white=True)
    half = want.size // 2
    box = got[162 - half : 163 + half, 242 - half : 243 + half] / 1e4
    assert np.abs(box - want.kernel_image(242, 162)).max() < 2e-3 * box.max()
    assert got.sum() == pytest.approx(1e4, rel=1e-3)


def test_a_noiseless_template_needs_no_whitening():
    shape = (300, 300)
    varying = VaryingKernel(gaussian(2.0, 9)[None], ((0, 0),), shape)
    planes = [np.full(shape, 1.0, np.float32), np.full(shape, 1e-12, np.float32)]
    plan = plan_decorrelation(varying, *planes, np.zeros(shape, bool), cells=1)
    assert np.abs(plan.transfer - 1).max() < 1e-5


def test_real_decam_noise_is_whitened_as_well_as_published(real_data):
    """Five images of either epoch, matched and stacked, one stack matched to the other (sfft)."""
    from astropy.io import fits

    def read(name):
        return fits.getdata(real_data / "sfft_decam_decorr" / name).astype(np.float64)

    def sky_variance(image):
        low, middle = np.percentile(image, [15.865, 50.0])
        return (middle - low) ** 2

    def power(kernel):
        return np.abs(kernel_transform(kernel, TILE).astype(complex)) ** 2

    last = power(read("input_data/FinalMatchKernel.fits"))
    noise = np.zeros_like(last)
    for epoch, factor in (("04", 1.0), ("18", last)):
        for letter in "abcde":
            image = read(f"input_data/DEC-OBS{epoch}{letter}.mini.fits")
            match = 1.0
            if letter != "a":
                match = power(read(f"input_data/DEC-OBS{epoch}{letter}.MatchKernel.fits"))
            noise = noise + sky_variance(image) * match * factor / 25
    transfer = transfer_function(noise, np.sqrt(noise[0, 0]), 0.0, 1.0)
    from scipy.fft import irfft2

    kernel = np.roll(irfft2(transfer, s=(TILE, TILE)), (25, 25), axis=(0, 1))[:51, :51]
    difference = read("4check/FinalDifference.fits")
    ours = convolve(difference.astype(np.float32), kernel).astype(float)
    published = read("4check/FinalDifference.DeCorr.fits")
    inner = np.s_[30:-30, 30:-30]

    def correlation(image):
        part = image[inner]
        limit = 4 * np.sqrt(sky_variance(part))
        good = np.abs(part - np.median(part)) < limit
        both = good[:, 1:] & good[:, :-1]
        part = part - np.median(part)
        return np.mean(part[:, 1:][both] * part[:, :-1][both]) / np.mean(part[good] ** 2)

    assert correlation(difference) > 0.5
    assert correlation(ours) < max(0.15, correlation(published) + 0.01)
