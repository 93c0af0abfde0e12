"""A small difference image with known sources: GalSim's stars, numpy's noise."""

from dataclasses import dataclass, field

import galsim
import numpy as np
import pytest
import yaml

from alertprod.core.exposure import Exposure
from alertprod.core.psf import Psf
from alertprod.core.wcs import Wcs

META = {
    "VISIT": 2026112000042,
    "DETECTOR": 3,
    "MJDMID": 61365.25,
    "EXPTIME": 30.0,
    "BAND": "r",
}
SKY, TEMPLATE_SKY, READ = 900.0, 100.0, 5.0


@dataclass
class Scene:
    """Pixels of a science image and a template under construction [nJy = electrons]."""

    fwhm: float = 3.5
    shape: tuple = (400, 420)
    seed: int = 1
    beta: float = 3.0
    static: np.ndarray = field(init=False)
    new: np.ndarray = field(init=False)
    mask: np.ndarray = field(init=False)

    def __post_init__(self):
        self.static = np.zeros(self.shape)
        self.new = np.zeros(self.shape)
        self.mask = np.zeros(self.shape, dtype=np.int32)

    @property
    def star(self):
        return galsim.Moffat(beta=self.beta, fwhm=self.fwhm)

    def stamp(self, profile, x, y, size=61):
        ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        image = profile.drawImage(
            nx=size, ny=size, scale=1.0, offset=(x - ix, y - iy), dtype=float
        ).array
        y0, x0 = iy - size // 2, ix - size // 2
        big = np.zeros((self.shape[0] + 2 * size, self.shape[1] + 2 * size))
        big[y0 + size : y0 + 2 * size, x0 + size : x0 + 2 * size] = image
        return big[size:-size, size:-size]

    def add_star(self, x, y, flux):
        self.static += self.stamp(self.star * flux, x, y)

    def add_transient(self, x, y, flux):
        self.new += self.stamp(self.star * flux, x, y)

    def add_trail(self, x, y, flux, length, angle_deg):
        line = galsim.Box(length, 1e-3, flux=1.0).rotate(angle_deg * galsim.degrees)
        self.new += self.stamp(galsim.Convolve(self.star, line) * flux, x, y, size=121)

    def psf(self):
        kernel = self.star.drawImage(nx=41, ny=41, scale=1.0, dtype=float).array
        # nothing is lost beyond the stamp: the aperture correction says what is
        return Psf.constant(kernel / kernel.sum(), self.shape, apcorr=1.0 / kernel.sum())

    def wcs(self):
        scale = 0.5 / 3600
        c, s = np.cos(0.6), np.sin(0.6)
        crpix = [self.shape[1] / 2, self.shape[0] / 2]
        cd = scale * np.array([[-c, s], [s, c]])
        return Wcs([62.0, -43.0], crpix, cd)

    def finish(self, leftover=None):
        """Return difference, calexp, template; the template has its own noise."""
        rng = np.random.default_rng([self.seed, 7])
        template_variance = np.maximum(self.static, 0) * 0.1 + TEMPLATE_SKY
        template = self.static + rng.normal(0, 1, self.shape) * np.sqrt(template_variance)
        expected = np.maximum(self.static + self.new, 0) + SKY
        science = rng.poisson(expected) + rng.normal(0, READ, self.shape) - SKY
        # the noise of the variance plane is that of its own pixel, as in a real image
        variance = np.maximum(science + SKY, 1.0) + READ**2
        # a negative source is one that the template still has
        science_image = Exposure(science, self.mask.copy(), variance, META, self.wcs(), self.psf())
        template_image = Exposure(
            template, self.mask * 0, template_variance, META, self.wcs(), self.psf()
        )
        pixels = science - template
        negative = np.minimum(self.new, 0)
        if (negative < 0).any():
            pixels = pixels + np.where(self.static + self.new < 0, self.static + self.new, 0)
        if leftover is not None:
            pixels = pixels + leftover
        difference = Exposure(
            pixels, self.mask.copy(), variance + template_variance, META, self.wcs(), self.psf()
        )
        return difference, science_image, template_image


@pytest.fixture
def make_scene():
    return Scene


@pytest.fixture(scope="session")
def config(root):
    with open(root / "config" / "default.yaml", encoding="utf-8") as handle:
        return yaml.safe_load(handle)["sources"]
