"""The PSF of an exposure from its stars: pixel images times Chebyshev polynomials.

Each star is a noisy view of the same images at its own sub-pixel phase. The images solve a least
squares problem whose operator, the shift by a fraction of a pixel, is the one that
`core.psf.Psf.image` applies later; so what the interpolation of an undersampled profile does
wrong is fitted and not added. The system is solved by putting residuals back: shift each star's
residual to the common phase, fit a polynomial over the detector to each pixel, add, repeat.

References
----------
Anderson & King 2000, PASP 112, 1360 (effective PSF from dithered residuals);
Bertin 2011, ASPC 442, 435 (PSFEx: pixel basis with polynomials over the field).
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from alertprod.calibrate.shapes import adaptive_moments
from alertprod.core.errors import Rejected
from alertprod.core.psf import Psf, lanczos_weights

PIXEL_CLIP = 5.0
STAR_CLIP = 4.0
WING_SLOPE = -5.0  # of the PSF's profile beyond two FWHM
WING_START, WING_END = 2.25, 2.75  # FWHM: there the model goes over into that power law
MODEL_FLOOR = 0.01  # relative error that the model may have, for weights and clipping
LANCZOS = 5


@dataclass
class Stamps:
    """Cut-outs of the PSF stars.

    Parameters
    ----------
    pixels : float32, shape (n, s, s)
        Background-subtracted, centred on the pixel nearest to the star.
    good : bool, shape (n, s, s)
        Pixels that count.
    noise : float64, shape (n,)
        Standard deviation of a sky pixel at each star.
    x, y : float64, shape (n,)
        Positions on the detector [px].
    """

    pixels: np.ndarray
    good: np.ndarray
    noise: np.ndarray
    x: np.ndarray
    y: np.ndarray


def cut_stamps(exposure, bad, segments, x, y, size: int) -> tuple[Stamps, np.ndarray]:
    """Cut stamps of `size` px (odd); stars too near to the edge are left out.

    Parameters
    ----------
    exposure : Exposure
        Background-subtracted image and its variance.
    bad : bool, shape (ny, nx)
        Pixels that do not count.
    segments : int32, shape (ny, nx), or None
        Which source each pixel belongs to: neighbours, grown by a ring of 2 px, do not count
        (their light in the wings would make the whole model too broad).
    x, y : arrays, shape (n,)
        Positions [px].
    size : int
        Side of the stamps [px], odd.

    Returns
    -------
    stamps : Stamps
    index : int array
        The stars in them.
    """
    image, variance = exposure.image, exposure.variance
    half = size // 2
    ny, nx = image.shape
    ix, iy = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
    inside = (ix >= half) & (ix < nx - half) & (iy >= half) & (iy < ny - half)
    index = np.flatnonzero(inside)
    rows = (iy[index, None] + np.arange(-half, half + 1))[:, :, None]
    columns = (ix[index, None] + np.arange(-half, half + 1))[:, None, :]
    pixels = np.asarray(image[rows, columns], dtype=np.float32)
    good = ~bad[rows, columns] & np.isfinite(pixels)
    if segments is not None:
        owner = segments[rows, columns]
        own = owner[:, half, half][:, None, None]
        good &= ~_grown((owner > 0) & (owner != own))
    # the variance of the faintest fifth of the pixels is the sky's
    spread = variance[rows, columns].reshape(len(index), -1)
    noise = np.sqrt(np.percentile(spread, 20, axis=1)) if len(index) else np.zeros(0)
    return Stamps(np.where(good, pixels, 0), good, noise, x[index], y[index]), index


def _grown(mask: np.ndarray) -> np.ndarray:
    """Grow masks of shape (n, s, s) by two pixels."""
    for axis in (1, 2):
        for step in (1, 1):
            grown = mask.copy()
            ahead: list = [slice(None)] * 3
            behind: list = [slice(None)] * 3
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            grown[tuple(ahead)] |= mask[tuple(behind)]
            grown[tuple(behind)] |= mask[tuple(ahead)]
            mask = grown
    return mask


@njit(cache=True)
def shift_stamp(stamp, wx, wy, rows, out):
    """Move a stamp by the separable taps `wx`, `wy`; `rows` is scratch of the same shape."""
    size = stamp.shape[0]
    half = len(wx) // 2
    for j in range(size):
        for i in range(size):
            s = 0.0
            for k in range(max(-half, i - size + 1), min(half, i) + 1):
                s += wx[k + half] * stamp[j, i - k]
            rows[j, i] = s
    for j in range(size):
        for i in range(size):
            out[j, i] = 0.0
        for k in range(max(-half, j - size + 1), min(half, j) + 1):
            w = wy[k + half]
            for i in range(size):
                out[j, i] += w * rows[j - k, i]


@njit(cache=True)
def _shift_all(stamps, wx, wy):
    out = np.empty(stamps.shape)
    rows = np.empty(stamps.shape[1:])
    for n in range(stamps.shape[0]):
        shift_stamp(stamps[n], wx[n], wy[n], rows, out[n])
    return out


def chebyshev_terms(x, y, shape: tuple[int, int], order: int) -> np.ndarray:
    """Return T_j(y') T_i(x') for i + j <= order, shape (n, terms); the constant comes first."""
    ny, nx = shape
    xs = 2.0 * np.asarray(x) / max(nx - 1, 1) - 1.0
    ys = 2.0 * np.asarray(y) / max(ny - 1, 1) - 1.0
    tx = np.polynomial.chebyshev.chebvander(xs, order)
    ty = np.polynomial.chebyshev.chebvander(ys, order)
    return np.stack([tx[:, i] * ty[:, j] for i, j in _pairs(order)], axis=1)


def _pairs(order: int) -> list[tuple[int, int]]:
    return [(total - j, j) for total in range(order + 1) for j in range(total + 1)]


def choose_order(n_stars: int, largest: int) -> int:
    """Return the polynomial order over the detector that so many stars can carry."""
    supported = sum(n_stars >= need for need in (12, 36, 100))
    return min(supported, largest)


def fit_psf(
    stamps: Stamps, shape: tuple[int, int], order: int, fwhm: float, rounds: int = 8
) -> tuple[Psf, np.ndarray]:
    """Fit the PSF model to stamps of stars.

    Parameters
    ----------
    stamps : Stamps
        Cut-outs with good first positions.
    shape : (ny, nx)
        Size of the image [px].
    order : int
        Order of the Chebyshev polynomials over the image.
    fwhm : float
        Typical width [px]: fluxes are fitted inside 1.5 fwhm, variation inside 2.5 fwhm.
    rounds : int
        Number of times that residuals are put back.

    Returns
    -------
    psf : Psf
    kept : bool, shape (n,)
        Stars that were not clipped.

    Raises
    ------
    Rejected
        If fewer than three stars are left.
    """
    fit = _Fit(stamps, shape, order, fwhm)
    fit.start()
    for k in range(rounds):
        fit.improve(clip=k >= 2)
    return fit.psf(), fit.kept


class _Fit:
    """State of the iteration: images B[t], one per Chebyshev term, and the stars in use."""

    def __init__(self, stamps: Stamps, shape, order: int, fwhm: float) -> None:
        self.stamps, self.shape, self.order = stamps, shape, order
        n, size, _ = stamps.pixels.shape
        if n < 3:
            raise Rejected(f"only {n} stars for the PSF, need 3")
        self.terms = chebyshev_terms(stamps.x, stamps.y, shape, order)
        dx = stamps.x - np.floor(stamps.x + 0.5)
        dy = stamps.y - np.floor(stamps.y + 0.5)
        self.forth = [np.array([lanczos_weights(d) for d in v]) for v in (dx, dy)]
        self.back = [np.array([lanczos_weights(-d) for d in v]) for v in (dx, dy)]
        grid = np.arange(size) - size // 2
        self.radius = radius = np.hypot(grid[:, None], grid)
        self.fwhm = fwhm
        self.core = radius <= max(2.5, 1.5 * fwhm)
        # outside, noise would pass for variation
        self.taper = np.clip((WING_END - radius / fwhm) / (WING_END - WING_START), 0.0, 1.0)
        # beyond the inscribed circle there is nothing but corners
        self.disc = np.clip(size / 2 + 0.5 - radius, 0.0, 1.0)
        # A sky that is wrong by a hundredth of its noise would add up over the stamp to per cents
        # of a faint star: each star's sky is taken from the rim, where the model is zero.
        self.rim = (radius <= size / 2) & (radius > size / 2 - max(2.0, 0.15 * size))
        self.kept = np.ones(n, dtype=bool)
        self.good = stamps.good.copy()
        self.sky = np.zeros(n)
        self.images = np.zeros((self.terms.shape[1], size, size))

    def start(self) -> None:
        """First images: the median of the stars, each scaled by its own core flux."""
        self.sky = self._rim_level(self.stamps.pixels)
        pixels = self.stamps.pixels - self.sky[:, None, None]
        flux = np.where(self.core, pixels, 0).sum(axis=(1, 2))
        usable = self.good[:, self.core].all(axis=1) & (flux > 0)
        if usable.sum() < 3:
            raise Rejected(f"only {int(usable.sum())} clean stars for the PSF, need 3")
        pixels, flux = pixels[usable], flux[usable]
        aligned = _shift_all(pixels / flux[:, None, None], *(w[usable] for w in self.back))
        self.images[0] = np.median(aligned, axis=0)
        self._normalise()

    def _rim_level(self, values) -> np.ndarray:
        """Return the median of good pixels in the rim of each stamp; 0 where few are left."""
        rim = np.where(self.good, values, np.nan)[:, self.rim]
        enough = np.isfinite(rim).sum(axis=1) >= 0.2 * self.rim.sum()
        level = np.zeros(len(rim))
        level[enough] = np.nanmedian(rim[enough], axis=1)
        return level

    def _normalise(self) -> None:
        self.images *= self.disc
        self.images[1:] *= self.taper
        # A star's flux is free, so amplitude that varies over the field is none of the PSF's.
        self.images[0] /= self.images[0].sum()
        self.images[1:] -= self.images[1:].sum(axis=(1, 2))[:, None, None] * self.images[0]

    def _models(self) -> np.ndarray:
        kernels = np.tensordot(self.terms, self.images, axes=1)
        return _shift_all(kernels, *self.forth)

    def improve(self, clip: bool) -> None:
        """Fit fluxes, clip, and put the residuals back into the images."""
        models = self._models()
        pixels = self.stamps.pixels
        use = self.good & self.core
        model_use = np.where(use, models, 0)
        norm = np.square(model_use).sum(axis=(1, 2))
        top = (model_use * (pixels - self.sky[:, None, None])).sum(axis=(1, 2))
        flux = top / np.maximum(norm, 1e-30)
        positive = (flux > 0) & (norm > 0)
        self.kept &= positive
        scale = np.where(positive, flux, 1.0)[:, None, None]
        self.sky = self._rim_level(pixels - scale * models)
        residual = (pixels - self.sky[:, None, None]) / scale - models
        error = self._errors(models, scale)
        if clip:
            self._clip(residual / error)
        if self.kept.sum() < 3:
            raise Rejected(f"only {int(self.kept.sum())} stars agree on the PSF, need 3")
        residual[~self.good] = 0.0
        weight = np.where(self.good & self.kept[:, None, None], error**-2, 0.0)
        self._update(_shift_all(residual, *self.back), weight)

    def _errors(self, models, scale) -> np.ndarray:
        """Return the error of each pixel over the flux: sky, photons, and the model itself."""
        peak = models.max(axis=(1, 2))[:, None, None]
        positive = np.maximum(models, 0.0)
        return np.sqrt(
            np.square(self.stamps.noise[:, None, None] / scale)
            + positive / scale
            + np.square(MODEL_FLOOR * positive)
            + np.square(0.02 * MODEL_FLOOR * peak)
        )

    def _clip(self, normalised) -> None:
        """Drop pixels (neighbours, cosmic rays) and stars (blends) that do not fit."""
        self.good = self.stamps.good & (np.abs(normalised) < PIXEL_CLIP)
        core = np.where(self.core & self.stamps.good, normalised, 0.0)
        misfit = np.sqrt(np.square(core).sum(axis=(1, 2)) / self.core.sum())
        typical = np.median(misfit[self.kept]) if self.kept.any() else 0.0
        self.kept &= misfit < max(STAR_CLIP * 0.75 * typical, 1.5)

    def _update(self, aligned, weight) -> None:
        """Add the weighted least-squares polynomial of the residuals of each pixel."""
        n = len(aligned)
        weight, aligned = weight.reshape(n, -1), aligned.reshape(n, -1)
        count = self.terms.shape[1]
        products = (self.terms[:, :, None] * self.terms[:, None, :]).reshape(n, -1)
        normal = (weight.T @ products).reshape(-1, count, count)
        right = (weight * aligned).T @ self.terms
        trace = np.trace(normal, axis1=1, axis2=2)
        # a ridge far below any star's weight: pixels that no star constrains do not move
        ridge = 1e-6 * trace + 1e-9 * trace.max()
        normal += ridge[:, None, None] * np.eye(count)
        step = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
        self.images += step.T.reshape(self.images.shape)
        self._normalise()

    def _finish(self) -> None:
        """Give the model its wings.

        The rim, which the fit has set to zero, gets its level back, and the profile beyond 2.5
        FWHM is that seen around 2 FWHM, continued as r^-5: between a Moffat profile of beta 2.5
        to 3 and what the atmosphere does. A free wing would follow faint neighbours, and with the
        area it has, move the core, hence the zero point of each exposure, by per cents.
        """
        radius = self.radius / self.fwhm
        anchor = (radius > 1.75) & (radius < 2.25)
        power = np.maximum(radius, 1.0) ** WING_SLOPE
        level = float(np.mean(self.images[0][anchor]))
        scale = max(level, 0.0) / float(np.mean(power[anchor]) - np.mean(power[self.rim]))
        inside = np.clip((WING_END - radius) / (WING_END - WING_START), 0.0, 1.0)
        core = self.images[0] + scale * float(np.mean(power[self.rim]))
        self.images[0] = (inside * core + (1 - inside) * scale * power) * self.disc
        self._normalise()

    def psf(self) -> Psf:
        """Return the model, centred by its adaptive moments."""
        self._finish()
        middle = self.images.shape[1] // 2
        where = adaptive_moments(self.images[0], [float(middle)], [float(middle)], 1.5)
        if not where["ok"][0]:
            raise Rejected("the PSF has no centre: the moments of its image do not converge")
        wx = lanczos_weights(float(np.clip(middle - where["x"][0], -0.5, 0.5)))
        wy = lanczos_weights(float(np.clip(middle - where["y"][0], -0.5, 0.5)))
        count = len(self.images)
        images = _shift_all(self.images, np.tile(wx, (count, 1)), np.tile(wy, (count, 1)))
        coeffs = np.zeros((count, self.order + 1, self.order + 1))
        for t, (i, j) in enumerate(_pairs(self.order)):
            coeffs[t, j, i] = 1.0
        return Psf(images, coeffs, self.shape)
