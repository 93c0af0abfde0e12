"""Photometry against GalSim's stars: the truth does not come from the code under test."""

import galsim
import numpy as np
import pytest

from alertprod.core.exposure import Exposure
from alertprod.core.masks import bits
from alertprod.core.photometry import (
    aperture_flux,
    fit_position,
    psf_flux,
    psf_flux_at_sky,
)
from alertprod.core.psf import Psf
from alertprod.core.wcs import Wcs

SHAPE = (520, 540)
SCALE = 1.0


def profile(fwhm=4.0):
    return galsim.Moffat(beta=3.0, fwhm=fwhm).shear(g1=0.04, g2=-0.03)


def draw(star, x, y, flux, size=61):
    """Return GalSim's pixels of a star and the corner of the box."""
    ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    image = (star * flux).drawImage(
        nx=size, ny=size, scale=1.0, offset=(x - ix, y - iy), method="auto", dtype=float
    )
    return image.array, ix - size // 2, iy - size // 2


def model_psf(star, shape=SHAPE, size=41):
    kernel = star.drawImage(nx=size, ny=size, scale=1.0, dtype=float).array
    return Psf.constant(kernel / kernel.sum(), shape)


def scene(fluxes, *, fwhm=4.0, sky=400.0, seed=1, spacing=40, poisson=True):
    """Return an exposure with stars on a jittered grid, and their true positions."""
    rng = np.random.default_rng(seed)
    star = profile(fwhm)
    image = np.full(SHAPE, float(sky))
    gy, gx = np.meshgrid(
        np.arange(spacing, SHAPE[0] - 30, spacing), np.arange(spacing, SHAPE[1] - 30, spacing)
    )
    n = gx.size
    x = gx.ravel() + rng.uniform(-0.5, 0.5, n)
    y = gy.ravel() + rng.uniform(-0.5, 0.5, n)
    fluxes = np.broadcast_to(fluxes, n)
    for xx, yy, flux in zip(x, y, fluxes, strict=True):
        stamp, x0, y0 = draw(star, xx, yy, flux)
        image[y0 : y0 + 61, x0 : x0 + 61] += stamp
    if poisson:
        image = rng.poisson(image).astype(float) + rng.normal(0, 6.0, SHAPE)
    variance = np.maximum(image, 1.0) + 36.0
    exposure = Exposure(
        image - sky, np.zeros(SHAPE, dtype=np.int32), variance, {}, None, model_psf(star)
    )
    return exposure, x, y, fluxes


def test_noiseless_flux_and_position_come_back():
    exposure, x, y, flux = scene(1e4, poisson=False)
    forced = psf_flux(exposure, x, y)
    # 41 px hold all but a part in 300 of this Moffat, and the kernel is normalised to one
    inside = profile().drawImage(nx=41, ny=41, scale=1.0, dtype=float).array.sum()
    np.testing.assert_allclose(forced["flux"] / flux, inside, rtol=2e-3)
    fitted = fit_position(exposure, np.round(x), np.round(y))
    assert np.abs(fitted["x"] - x).max() < 4e-3
    assert np.abs(fitted["y"] - y).max() < 4e-3
    np.testing.assert_allclose(fitted["flux"], forced["flux"], rtol=1e-3)
    assert not fitted["flag_position"].any() and not fitted["flag"].any()


@pytest.mark.parametrize("flux, sky", [(1500.0, 400.0), (700.0, 60.0), (3e4, 400.0)])
def test_flux_is_unbiased_and_its_error_true(flux, sky):
    """Also with few electrons of sky, where plain 1/variance weights lose one PSF area."""
    inside = profile().drawImage(nx=41, ny=41, scale=1.0, dtype=float).array.sum()
    pulls, ratios = [], []
    for seed in range(3):
        exposure, x, y, true = scene(flux, sky=sky, seed=seed)
        result = psf_flux(exposure, x, y)
        pulls.append((result["flux"] - true * inside) / result["fluxErr"])
        ratios.append(result["flux"] / (true * inside))
    pulls, ratios = np.concatenate(pulls), np.concatenate(ratios)
    error = pulls.std() / np.sqrt(pulls.size)
    assert abs(pulls.mean()) < 3.5 * error
    assert 0.9 < pulls.std() < 1.1
    assert abs(np.mean(ratios) - 1) < max(0.004, 3.5 * ratios.std() / np.sqrt(ratios.size))


def test_positions_scatter_as_their_errors_say():
    exposure, x, y, _ = scene(3000.0, seed=7)
    rng = np.random.default_rng(0)
    start_x, start_y = np.floor(x + 0.5 + rng.uniform(-0.5, 0.5, x.size)), np.floor(y + 0.5)
    result = fit_position(exposure, start_x, start_y)
    for name, true in (("x", x), ("y", y)):
        pull = (result[name] - true) / result[name + "Err"]
        assert abs(pull.mean()) < 3.5 / np.sqrt(pull.size)
        assert 0.85 < pull.std() < 1.2
    assert np.all(np.abs(result["xyCov"]) < result["xErr"] * result["yErr"])


def test_errors_grow_where_pixels_are_missing():
    exposure, x, y, _ = scene(3000.0, seed=3)
    whole = psf_flux(exposure, x[:1], y[:1])
    ix, iy = round(x[0]), round(y[0])
    exposure.mask[iy : iy + 20, ix - 20 : ix + 20] |= bits("SAT")
    half = psf_flux(exposure, x[:1], y[:1])
    assert half["fluxErr"][0] > 1.3 * whole["fluxErr"][0]
    assert half["ndata"][0] < whole["ndata"][0]
    assert abs(half["flux"][0] - whole["flux"][0]) < 4 * half["fluxErr"][0]
    exposure.mask[iy - 20 : iy + 20, ix - 20 : ix + 20] |= bits("BAD")
    none = psf_flux(exposure, x[:1], y[:1])
    assert none["flag"][0] and none["flag_noGoodPixels"][0] and np.isnan(none["flux"][0])


def test_positions_off_the_image_are_flagged_not_fatal():
    exposure, *_ = scene(100.0)
    result = psf_flux(exposure, [-5.0, np.nan, 3.0, 1e9], [10.0, 10.0, 10.0, -1e9])
    assert result["flag"].tolist() == [True, True, False, True]
    assert result["flag_edge"].all()
    assert result["ndata"].tolist()[:2] == [0, 0]


def test_a_source_measures_the_same_alone_and_in_company():
    exposure, x, y, _ = scene(2000.0)
    together = fit_position(exposure, x, y)
    order = np.random.default_rng(1).permutation(x.size)
    shuffled = fit_position(exposure, x[order], y[order])
    alone = fit_position(exposure, x[5], y[5])
    for name, values in together.items():
        np.testing.assert_array_equal(values[order], shuffled[name])
        np.testing.assert_array_equal(values[5:6], alone[name])


def test_varying_psf_is_evaluated_at_each_source():
    star_a, star_b = profile(3.5), profile(5.0)
    ka, kb = model_psf(star_a).basis[0], model_psf(star_b).basis[0]
    coeffs = np.zeros((2, 1, 2))
    coeffs[0, 0] = 0.5, -0.5
    coeffs[1, 0] = 0.5, 0.5
    psf = Psf(np.stack([ka, kb]), coeffs, SHAPE)
    image = np.zeros(SHAPE)
    for x, star in ((30.3, star_a), (SHAPE[1] - 31.4, star_b)):
        fraction = x / (SHAPE[1] - 1)
        for share, one in ((1 - fraction, star_a), (fraction, star_b)):
            stamp, x0, y0 = draw(one, x, 200.2, 1000.0 * share, size=41)
            image[y0 : y0 + 41, x0 : x0 + 41] += stamp
        del star
    exposure = Exposure(image, np.zeros(SHAPE, np.int32), np.ones(SHAPE), {}, None, psf)
    result = psf_flux(exposure, [30.3, SHAPE[1] - 31.4], [200.2, 200.2])
    np.testing.assert_allclose(result["flux"], 1000.0, rtol=0.012)
    assert result["fluxErr"][1] > 1.2 * result["fluxErr"][0]


def test_aperture_correction_enters_once():
    exposure, x, y, _ = scene(2000.0)
    plain = psf_flux(exposure, x, y)
    exposure.psf = Psf(exposure.psf.basis, exposure.psf.coeffs, SHAPE, apcorr=1.05)
    corrected = psf_flux(exposure, x, y)
    np.testing.assert_allclose(corrected["flux"], 1.05 * plain["flux"], rtol=1e-12)
    np.testing.assert_allclose(corrected["fluxErr"], 1.05 * plain["fluxErr"], rtol=1e-12)


def test_sky_positions_reach_their_pixels():
    exposure, x, y, _ = scene(2000.0)
    exposure.wcs = Wcs([150.0, 2.0], [260.0, 250.0], [[-5.5e-5, 0], [0, 5.5e-5]])
    ra, dec = exposure.wcs.pix_to_sky(x, y)
    by_sky, by_pixel = psf_flux_at_sky(exposure, ra, dec), psf_flux(exposure, x, y)
    np.testing.assert_allclose(by_sky["flux"], by_pixel["flux"], rtol=1e-6)
    np.testing.assert_allclose(by_sky["x"], x, atol=1e-6)


def test_circles_agree_with_sep():
    import sep

    rng = np.random.default_rng(4)
    image = rng.normal(10, 3, (100, 120)).astype(np.float32)
    exposure = Exposure(image, np.zeros(image.shape, np.int32), np.full(image.shape, 9.0), {})
    x, y = rng.uniform(15, 100, 30), rng.uniform(15, 80, 30)
    for radius in (0.4, 1.0, 3.3, 12.0):
        ours = aperture_flux(exposure, x, y, radius)
        theirs, _, _ = sep.sum_circle(image, x, y, radius, subpix=0)
        np.testing.assert_allclose(ours["flux"], theirs, rtol=2e-6)
        np.testing.assert_allclose(ours["area"], np.pi * radius**2, rtol=1e-9)
        sampled = aperture_flux(exposure, x, y, radius, subpixels=5)
        theirs, _, _ = sep.sum_circle(image, x, y, radius, subpix=5)
        np.testing.assert_allclose(sampled["area"], np.pi * radius**2, rtol=0.25)
        assert np.abs(sampled["flux"] / sampled["area"] - 10).max() < 20 / radius


def test_aperture_over_the_edge_or_bad_pixels_is_flagged():
    image = np.ones((50, 60))
    exposure = Exposure(image, np.zeros(image.shape, np.int32), np.ones(image.shape), {})
    bad = np.zeros(image.shape, dtype=bool)
    bad[25, 30] = True
    result = aperture_flux(exposure, [5.0, 30.0, 30.0, -40.0], [25.0, 25.0, 37.0, 0.0], 8, bad=bad)
    assert result["flag_apertureTruncated"].tolist() == [True, False, False, True]
    assert result["flag"].tolist() == [False, True, False, True]
    assert result["area"][1] == pytest.approx(np.pi * 64 - 1)
    assert np.isnan(result["flux"][3])
