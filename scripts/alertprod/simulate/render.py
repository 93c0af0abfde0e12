"""Photons on a detector.

Faint sources, galaxies and trails are shot photon by photon through their real profile and the
point-spread function of their place: exact, with Poisson noise, and cheap. Bright stars, whose
photons would be too many, are drawn as an expectation, integrated over pixels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from alertprod.simulate.optics import InverseGrowth, Profile

BRIGHT_ELECTRONS = 8000.0  # above this a star is drawn, below it is shot
CHUNK = 1_000_000  # photons in memory at a time
# Gauss-Legendre points on a pixel; three per axis integrate a star's core to 1e-4.
_NODES = np.array([-np.sqrt(0.15), 0.0, np.sqrt(0.15)])
_WEIGHTS = np.array([5.0, 8.0, 5.0]) / 18.0


def draw_stars(shape, x, y, electrons, matrices, profile: Profile) -> np.ndarray:
    """Return the expected electrons of bright stars.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx).
    x, y : ndarray
        Pixel coordinates; may lie off the detector.
    electrons : ndarray
        Total electrons of each.
    matrices : ndarray, shape (n, 2, 2)
        From unit FWHM to pixels.
    profile : Profile

    Returns
    -------
    ndarray, float32, shape (ny, nx)
    """
    image = np.zeros(shape, np.float32)
    for k in range(len(x)):
        m = matrices[k]
        area = abs(np.linalg.det(m))
        fwhm = np.sqrt(area)
        _add(image, x[k], y[k], electrons[k] / area, np.linalg.inv(m), profile, fwhm)
    return image


def _add(image, x, y, amplitude, inverse, profile, fwhm):
    """Add one star: its wings at pixel centres, its core integrated over pixels."""
    reach = int(np.ceil(fwhm * profile.reach(0.03 / amplitude))) + 2
    core = int(np.ceil(3 * fwhm))
    ix, iy = round(x), round(y)
    ny, nx = image.shape
    x0, x1 = max(ix - reach, 0), min(ix + reach + 1, nx)
    y0, y1 = max(iy - reach, 0), min(iy + reach + 1, ny)
    if x0 >= x1 or y0 >= y1:
        return
    dx, dy = np.arange(x0, x1) - x, np.arange(y0, y1) - y
    stamp = profile.brightness(_radius(inverse, dx, dy))
    a0, a1 = max(ix - core, x0), min(ix + core + 1, x1)
    b0, b1 = max(iy - core, y0), min(iy + core + 1, y1)
    if a0 < a1 and b0 < b1:
        fine_x = (np.arange(a0, a1)[:, None] + _NODES).ravel() - x
        fine_y = (np.arange(b0, b1)[:, None] + _NODES).ravel() - y
        values = profile.brightness(_radius(inverse, fine_x, fine_y))
        values = values.reshape(b1 - b0, 3, a1 - a0, 3)
        stamp[b0 - y0 : b1 - y0, a0 - x0 : a1 - x0] = np.einsum(
            "yixj,i,j->yx", values, _WEIGHTS, _WEIGHTS
        )
    image[y0:y1, x0:x1] += (amplitude * stamp).astype(np.float32)


def _radius(inverse, dx, dy):
    u = inverse[0, 0] * dx[None, :] + inverse[0, 1] * dy[:, None]
    v = inverse[1, 0] * dx[None, :] + inverse[1, 1] * dy[:, None]
    return np.sqrt(u * u + v * v)


@lru_cache(maxsize=16)
def sersic_radii(n: float) -> InverseGrowth:
    """Return the inverse curve of growth of a Sersic profile [half-light radii].

    References
    ----------
    Graham & Driver 2005, PASA 22, 118.
    """
    # The light within radius r is the incomplete gamma function of order 2n at t = b r^(1/n).
    t = np.linspace(0.0, 60.0, 60001)
    light = np.exp(-t) * t ** (2 * n - 1)
    growth = np.concatenate([[0.0], np.cumsum(light[1:] + light[:-1])])
    radius = (t / np.interp(0.5 * growth[-1], growth, t)) ** n
    keep = radius < (30.0 if n > 1.5 else 8.0)
    growth, radius = growth[keep], radius[keep]
    return InverseGrowth(growth / growth[-1], radius)


def draw_radii(rng, number: int, inverse: InverseGrowth) -> np.ndarray:
    """Draw radii of photons."""
    return inverse(rng.random(number))


class Shooter:
    """Collects photons on one detector.

    Parameters
    ----------
    rng : numpy.random.Generator
    response : ndarray, float32, shape (ny, nx)
        Probability, relative to 1, that a photon becomes an electron.
    profile : Profile
    """

    def __init__(self, rng, response: np.ndarray, profile: Profile) -> None:
        self.rng, self.profile = rng, profile
        self.peak = float(response.max())
        self.accept = (response / self.peak).ravel()
        self.shape = response.shape
        self.image = np.zeros(self.accept.size, np.float32)

    def shoot(self, x, y, electrons, matrices, spread=None) -> None:
        """Shoot sources.

        Parameters
        ----------
        x, y, electrons : ndarray, shape (n,)
            Pixel coordinates and expected electrons at unit response.
        matrices : ndarray, shape (n, 2, 2)
            Point-spread function, from unit FWHM to pixels.
        spread : callable, optional
            ``spread(index)`` gives the offsets (dx, dy) [px] within the sources of photons whose
            sources are `index`.
        """
        counts = self.rng.poisson(np.asarray(electrons) * self.peak)
        index = np.repeat(np.arange(counts.size), counts)
        for start in range(0, index.size, CHUNK):
            part = index[start : start + CHUNK]
            self._land(part, x, y, matrices, spread)

    def _land(self, index, x, y, matrices, spread) -> None:
        radius, c, s = self._disc(index.size)
        m = matrices[index]
        px = x[index] + radius * (m[:, 0, 0] * c + m[:, 0, 1] * s)
        py = y[index] + radius * (m[:, 1, 0] * c + m[:, 1, 1] * s)
        if spread is not None:
            dx, dy = spread(index)
            px, py = px + dx, py + dy
        ix, iy = np.rint(px).astype(np.int64), np.rint(py).astype(np.int64)
        ny, nx = self.shape
        inside = (ix >= 0) & (ix < nx) & (iy >= 0) & (iy < ny)
        flat = (iy * nx + ix)[inside]
        kept = flat[self.rng.random(flat.size, dtype=np.float32) < self.accept[flat]]
        self.image += np.bincount(kept, minlength=self.image.size).astype(np.float32)

    def _disc(self, n):
        r = draw_radii(self.rng, n, self.profile.inverse)
        angle = 2 * np.pi * self.rng.random(n, dtype=np.float32)
        return r, np.cos(angle), np.sin(angle)

    def galaxies(self, index_n, radius, shapes):
        """Return a `spread` for galaxies.

        Parameters
        ----------
        index_n : ndarray
            Sersic index of each.
        radius : ndarray
            Half-light radius along the major axis [arcsec].
        shapes : ndarray, shape (n, 2, 2)
            Maps from the unit circle (arcsec) to pixels: axis ratio, position angle, camera.
        """

        def spread(index):
            r = np.empty(index.size)
            for n in np.unique(index_n):
                which = index_n[index] == n
                r[which] = draw_radii(self.rng, int(which.sum()), sersic_radii(float(n)))
            angle = 2 * np.pi * self.rng.random(index.size, dtype=np.float32)
            a, b = r * radius[index] * np.cos(angle), r * radius[index] * np.sin(angle)
            m = shapes[index]
            return m[:, 0, 0] * a + m[:, 0, 1] * b, m[:, 1, 0] * a + m[:, 1, 1] * b

        return spread

    def trails(self, dx, dy):
        """Return a `spread` for sources that move by (dx, dy) [px] during the exposure."""

        def spread(index):
            when = self.rng.random(index.size) - 0.5
            return dx[index] * when, dy[index] * when

        return spread

    def electrons(self) -> np.ndarray:
        """Return what was collected, shape (ny, nx)."""
        return self.image.reshape(self.shape)
