"""Scenes drawn by GalSim: what is on the sky is known, nothing of the code under test is used."""

from types import SimpleNamespace

import galsim
import numpy as np
import pytest

from alertprod.core.exposure import Exposure
from alertprod.core.masks import bits
from alertprod.core.psfgrid import grid_positions, psf_through
from alertprod.core.wcs import Wcs

N = 480
SKY = 1000.0  # electrons per pixel
SATURATION = 1e5


def moffat(x, y, fwhm, vary, sign):
    """PSF at a place: width and shape change over the field."""
    u, v = 2 * x / N - 1, 2 * y / N - 1
    width = fwhm * (1 + vary * sign * (0.6 * u - 0.4 * v + 0.5 * u * v))
    return galsim.Moffat(beta=3.0, fwhm=width).shear(e1=0.03 + vary * u, e2=-0.02 - sign * vary * v)


def draw(catalogue, fwhm, vary, sign):
    """Noiseless image of point sources and galaxies (x, y, flux, half-light radius or 0)."""
    image = galsim.ImageF(N, N, xmin=0, ymin=0)
    for x, y, flux, radius in catalogue:
        profile = moffat(x, y, fwhm, vary, sign).withFlux(flux)
        if radius > 0:
            galaxy = galsim.Exponential(half_light_radius=radius, flux=flux)
            profile = galsim.Convolve(galaxy, moffat(x, y, fwhm, vary, sign))
        stamp = profile.drawImage(scale=1.0, center=galsim.PositionD(x, y))
        overlap = stamp.bounds & image.bounds
        if overlap.isDefined():
            image[overlap] += stamp[overlap]
    return image.array.astype(np.float64)


def field(seed, n_stars=220, n_galaxies=60):
    """Stars with a steep luminosity function, galaxies."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, N - 1, (2, n_stars + n_galaxies))
    flux = np.minimum(400 * (1 - rng.random(len(x))) ** (-1 / 0.6), 6e5)
    radius = np.r_[np.zeros(n_stars), rng.uniform(1, 4, n_galaxies)]
    return np.stack([x, y, flux, radius], axis=1)


def expose(truth, rng, psf, depth=1.0):
    """Noise of `depth` exposures in the mean, saturation, mask."""
    variance = (truth.clip(min=0) + SKY) / depth
    image = truth + rng.normal(size=truth.shape) * np.sqrt(variance)
    mask = np.where(truth + SKY > SATURATION, bits("SAT"), 0)
    image = np.minimum(image, SATURATION)
    wcs = Wcs([150.0, 2.0], [N / 2, N / 2], np.diag([-1.0, 1.0]) / 3600)
    meta = {"VISIT": 2026010100001, "DETECTOR": 0, "BUNIT": "nJy"}
    return Exposure(image, mask, variance, meta, wcs=wcs, psf=psf)


def psf_of(fwhm, vary, sign):
    """Psf object through stars drawn by GalSim on a grid."""
    x, y = grid_positions((N, N), 5)
    stamps = [
        moffat(*place, fwhm, vary, sign).drawImage(nx=41, ny=41, scale=1.0).array
        for place in zip(x, y, strict=True)
    ]
    return psf_through([stamp / stamp.sum() for stamp in stamps], x, y, (N, N))


def make_scene(fwhm_science, fwhm_template, depth, vary=0.0, seed=1):
    """One field seen twice; the science image once with and once without transients."""
    stars = field(seed)
    rng = np.random.default_rng(seed + 100)
    psf_s, psf_t = psf_of(fwhm_science, vary, 1), psf_of(fwhm_template, vary, -1)
    sn_one = np.sqrt(SKY * (1 + 1 / depth) * psf_s.effective_area(N / 2, N / 2))
    # Far apart: their wings must not be taken for sky.
    grid = [(x, y) for x in range(70, N - 40, 90) for y in range(70, N - 40, 90)]
    new = np.array(
        [[x + rng.uniform(-9, 9), y + rng.uniform(-9, 9), 5 * sn_one, 0] for x, y in grid]
    )
    static = draw(stars, fwhm_science, vary, 1)
    changed = static + draw(new, fwhm_science, vary, 1)
    template = expose(draw(stars, fwhm_template, vary, -1), rng, psf_t, depth)
    quiet = expose(static, np.random.default_rng(seed + 200), psf_s)
    loud = expose(changed, np.random.default_rng(seed + 200), psf_s)
    loud.variance = quiet.variance.copy()
    noise = quiet.image - np.minimum(static, SATURATION)
    loud.image = np.minimum(changed + noise, SATURATION).astype(np.float32)
    loud.mask = quiet.mask.copy()
    table = {"x": stars[:220, 0], "y": stars[:220, 1], "psfFlux": stars[:220, 2]}
    return SimpleNamespace(
        quiet=quiet, loud=loud, template=template, stars=table, static=static, new=new, field=stars,
        draw=draw,
    )  # fmt: skip


@pytest.fixture(scope="session")
def deep():
    """Template sharper and ten times deeper; PSFs that vary in opposite ways."""
    return make_scene(4.0, 3.0, 10.0, vary=0.03)


@pytest.fixture(scope="session")
def shallow():
    """Template as noisy as the science image."""
    return make_scene(3.6, 3.0, 1.0)


@pytest.fixture(scope="session")
def blunt():
    """Template blunter than the science image."""
    return make_scene(2.6, 3.4, 5.0)
