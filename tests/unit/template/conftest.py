"""Visits of one field drawn by GalSim: static stars, and something new in each visit."""

from types import SimpleNamespace

import galsim
import numpy as np
import pytest

from alertprod.core.exposure import Exposure
from alertprod.core.masks import bits
from alertprod.core.psf import Psf
from alertprod.core.skymap import SkyMap
from alertprod.core.wcs import Wcs

N = 260
SKY = 400.0
CAMERA = SimpleNamespace(tract_nside=256, patch_px=200, pixel_scale=1.0, patch_border_px=32)
FIRST = 2026090100001


def sky_map():
    """The sky map of the little camera."""
    camera = CAMERA
    return SkyMap(camera.tract_nside, camera.patch_px, camera.pixel_scale, camera.patch_border_px)


def centre():
    """A place where four patches meet."""
    return sky_map().tract_centre(200000)


def system(angle=0.0, dx=0.0, dy=0.0):
    """World coordinates of a detector: turned, dithered, slightly distorted."""
    t = np.radians(angle)
    cd = np.array([[-np.cos(t), np.sin(t)], [np.sin(t), np.cos(t)]]) / 3600
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    a[2, 0], b[0, 2] = 3e-6, -2e-6
    return Wcs(centre(), [N / 2 + dx, N / 2 + dy], cd, a, b)


def profile(fwhm):
    """The PSF."""
    return galsim.Moffat(beta=3.0, fwhm=fwhm)


def stars():
    """Static stars in pixels of the undithered detector: x, y, flux."""
    rng = np.random.default_rng(11)
    x, y = (g.ravel() for g in np.meshgrid(np.arange(20, 250, 38.0), np.arange(20, 250, 38.0)))
    flux = 10 ** rng.uniform(3.5, 5.2, x.size)
    return x + rng.uniform(-5, 5, x.size), y + rng.uniform(-5, 5, x.size), flux


def draw(places, wcs, fwhm, home):
    """Noiseless image of point sources given in pixels of the `home` system."""
    image = galsim.ImageF(N, N, xmin=0, ymin=0)
    x, y = wcs.sky_to_pix(*home.pix_to_sky(np.asarray(places[0]), np.asarray(places[1])))
    for x_star, y_star, flux in zip(x, y, places[2], strict=True):
        stamp = (
            profile(fwhm)
            .withFlux(float(flux))
            .drawImage(
                nx=61, ny=61, scale=1.0, center=galsim.PositionD(float(x_star), float(y_star))
            )
        )
        overlap = stamp.bounds & image.bounds
        if overlap.isDefined():
            image[overlap] += stamp[overlap]
    return image.array.astype(np.float64)


def visit(k, fwhm, wcs, extra=None, saturation=None):
    """One calibrated exposure."""
    truth = draw(stars(), wcs, fwhm, system())
    if extra is not None:
        truth += draw(extra, wcs, fwhm, system())
    rng = np.random.default_rng([77, k])
    variance = truth + SKY
    image = truth + rng.normal(size=truth.shape) * np.sqrt(variance)
    mask = np.zeros(truth.shape, np.int32)
    if saturation is not None:
        mask[truth > saturation] = bits("SAT")
    stamp = profile(fwhm).drawImage(nx=31, ny=31, scale=1.0).array
    meta = {
        "VISIT": FIRST + k, "DETECTOR": 0, "NIGHT": 20260901, "BAND": "r", "BUNIT": "nJy",
        "MJDMID": 61284.0 + k, "AIRMASS": 1.1 + 0.1 * k, "SEEING": fwhm,
    }  # fmt: skip
    psf = Psf.constant(stamp / stamp.sum(), truth.shape)
    return Exposure(image, mask, variance, meta, wcs=wcs, psf=psf)


@pytest.fixture(scope="session")
def visits():
    """Four visits; each has a thing of its own: asteroid, supernova, missed cosmic ray."""
    out = []
    for k in range(4):
        own = {0: ([120.0], [140.0], [2e4]), 1: ([72.0], [180.0], [4e4])}.get(k)
        asteroid = ([60.0 + 25 * k], [90.0 + 12 * k], [1.5e4])
        both = asteroid if own is None else tuple(a + b for a, b in zip(asteroid, own, strict=True))
        wcs = system(angle=1.5 * k - 2, dx=4.3 * k, dy=-3.1 * k)
        one = visit(k, (2.5, 2.6, 2.7, 2.9)[k], wcs, both)
        if k == 2:
            one.image[150, 100:109] += 6000.0  # a cosmic ray that nobody masked
            one.image[60:62, 200] += 3000.0
        out.append(one)
    return out


@pytest.fixture(scope="session")
def patch_names():
    """The patches that serve the field."""
    corners = system().pix_to_sky(np.array([0, N, N, 0]), np.array([0, 0, N, N]))
    return sky_map().patches_touching(*corners, margin_deg=0.01)


@pytest.fixture(scope="session")
def scene():
    """The helpers above, for tests."""
    return SimpleNamespace(CAMERA=CAMERA, N=N, draw=draw, stars=stars, system=system, visit=visit)
