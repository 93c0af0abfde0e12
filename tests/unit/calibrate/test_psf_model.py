"""The PSF model against GalSim's PSF: noise-free to see the method, noisy to see the errors."""

import galsim
import numpy as np
import pytest

from alertprod.calibrate.psf_model import choose_order, cut_stamps, fit_psf
from alertprod.core.errors import Rejected
from alertprod.core.exposure import Exposure

SIZE = 640


def psf_at(x, y, fwhm):
    u, v = 2 * x / SIZE - 1, 2 * y / SIZE - 1
    star = galsim.Moffat(beta=3.0, fwhm=fwhm * (1 + 0.05 * u + 0.03 * v * v))
    return star.shear(g1=0.02 + 0.03 * v, g2=0.03 * u * v)


def draw(x, y, flux, fwhm, half=26):
    canvas = galsim.ImageF(SIZE, SIZE)
    canvas.setOrigin(0, 0)
    for xi, yi, fi in zip(x, y, flux, strict=True):
        ix, iy = int(np.floor(xi + 0.5)), int(np.floor(yi + 0.5))
        stamp = galsim.ImageF(galsim.BoundsI(ix - half, ix + half, iy - half, iy + half))
        psf_at(xi, yi, fwhm).withFlux(fi).drawImage(
            stamp, scale=1.0, center=galsim.PositionD(xi, yi)
        )
        part = stamp.bounds & canvas.bounds
        canvas[part] += stamp[part]
    return canvas.array.copy()


def stars_on_a_grid(n=9, seed=1):
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(45, SIZE - 45, n), np.linspace(45, SIZE - 45, n))
    return (v.ravel() + rng.uniform(-0.5, 0.5, n * n) for v in (x, y))


def worst_residual(psf, fwhm, n=12):
    """Return the largest |model - truth| / peak of stars at random places and phases."""
    rng, worst = np.random.default_rng(9), []
    for _ in range(n):
        x, y = rng.uniform(40, SIZE - 40, 2)
        truth = galsim.ImageD(psf.size, psf.size)
        truth.setCenter(int(np.floor(x + 0.5)), int(np.floor(y + 0.5)))
        psf_at(x, y, fwhm).drawImage(truth, scale=1.0, center=galsim.PositionD(x, y))
        true = truth.array / truth.array.sum()
        worst.append(np.max(np.abs(psf.image(x, y) - true)) / true.max())
    return np.array(worst)


def fit(image, variance, x, y, fwhm, size, segments=None):
    exposure = Exposure(image, np.zeros(image.shape, int), variance, {})
    bad = np.zeros(image.shape, dtype=bool)
    stamps, index = cut_stamps(exposure, bad, segments, x, y, size)
    psf, kept = fit_psf(stamps, image.shape, 2, fwhm)
    return psf, kept, index


@pytest.mark.parametrize(("fwhm", "size"), [(2.2, 21), (3.0, 25), (6.0, 49)])
def test_a_varying_psf_is_modelled_to_a_per_cent_of_its_peak(fwhm, size):
    x, y = stars_on_a_grid()
    image = draw(x, y, np.full(len(x), 1e5), fwhm)
    psf, kept, _ = fit(image, np.ones_like(image), x, y, 1.1 * fwhm, size)
    assert kept.all()
    residual = worst_residual(psf, fwhm)
    assert np.median(residual) < 0.01
    assert residual.max() < 0.015
    assert psf.kernel_image(100, 500).sum() == pytest.approx(1, abs=1e-5)


def test_a_slight_error_of_the_sky_does_not_broaden_it():
    # half an electron under faint stars adds up to a tenth of their flux over the stamp
    x, y = stars_on_a_grid()
    flux = np.geomspace(3e3, 3e5, len(x))
    image = draw(x, y, np.random.default_rng(4).permutation(flux), 2.4) + np.float32(0.5)
    psf, _, _ = fit(image, np.full_like(image, 100.0), x, y, 2.6, 21)
    assert worst_residual(psf, 2.4).max() < 0.016


def test_neighbours_and_cosmic_rays_are_left_out():
    x, y = stars_on_a_grid()
    rng = np.random.default_rng(5)
    flux, angle = rng.uniform(3e4, 1e5, len(x)), rng.uniform(0, 2 * np.pi, len(x))
    reach = rng.uniform(8, 10, len(x))
    nx, ny = (x + reach * np.cos(angle))[::2], (y + reach * np.sin(angle))[::2]
    clean, neighbours = draw(x, y, flux, 2.4), draw(nx, ny, 0.15 * flux[::2], 2.4)
    image = clean + neighbours
    hit = rng.integers(0, len(x), 15)
    image[(y[hit] + 4).astype(int), x[hit].astype(int)] += 5000
    segments = np.where(neighbours > np.maximum(clean, 40), 2, np.where(clean > 40, 1, 0))
    variance = np.full_like(image, 100.0)
    psf, _, _ = fit(image, variance, x, y, 2.6, 21, segments.astype(np.int32))
    naive, _, _ = fit(image, variance, x, y, 2.6, 21)
    assert worst_residual(psf, 2.4).max() < 0.02
    assert np.median(worst_residual(psf, 2.4)) < 0.7 * np.median(worst_residual(naive, 2.4))


def test_a_blended_star_is_clipped():
    x, y = stars_on_a_grid()
    flux, blended = np.full(len(x), 5e4), [12, 42, 66]
    image = draw(x, y, flux, 3.0) + draw(x[blended] + 2.5, y[blended] + 1, flux[:3], 3.0)
    _, kept, index = fit(image, np.full_like(image, 50.0), x, y, 3.2, 25)
    assert not kept[np.isin(index, blended)].any()
    assert kept.sum() > 70


def test_few_stars_carry_a_constant_model_only():
    assert [choose_order(n, 2) for n in (5, 11, 12, 36, 500)] == [0, 0, 1, 2, 2]


def test_two_stars_are_a_rejection():
    x, y = np.array([100.0, 300.0]), np.array([200.0, 400.0])
    image = draw(x, y, [1e4, 1e4], 3.0)
    with pytest.raises(Rejected, match="2 stars"):
        fit(image, np.ones_like(image), x, y, 3.2, 25)
