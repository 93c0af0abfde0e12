"""PSF models built from PSF images at several places: resampled, averaged, filtered."""

import numpy as np

from alertprod.core.convolve import chebyshev_powers, chebyshev_terms
from alertprod.core.psf import Psf
from alertprod.core.wcs import Wcs


def psf_through(stamps, x, y, shape, apcorr: float = 1.0, order: int = 2) -> Psf:
    """Fit a PSF model to PSF images at several positions.

    Parameters
    ----------
    stamps : array, shape (n, s, s)
        Unit sum, s odd.
    x, y : array, shape (n,)
        Positions [px].
    shape : (ny, nx)
        Of the image.
    apcorr : float
    order : int
        Of the polynomial in position; lowered until there are twice as many positions as terms.

    Returns
    -------
    Psf
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    while order > 0 and len(x) < (order + 1) * (order + 2):
        order -= 1
    powers = chebyshev_powers(order)
    design = chebyshev_terms(x, y, shape, powers).T
    flat = np.asarray(stamps, dtype=np.float64).reshape(len(stamps), -1)
    solution = np.linalg.lstsq(design, flat, rcond=1e-8)[0]
    coefficients = np.zeros((len(powers), order + 1, order + 1))
    for k, (p, q) in enumerate(powers):
        coefficients[k, q, p] = 1.0
    images = solution.reshape(len(powers), *np.shape(stamps)[1:])
    return Psf(images, coefficients, shape, apcorr)


def grid_positions(shape: tuple[int, int], n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres of n x n equal boxes of an image: x, y [px], shape (n * n,)."""
    ny, nx = shape
    x = (np.arange(n) + 0.5) * nx / n - 0.5
    y = (np.arange(n) + 0.5) * ny / n - 0.5
    gx, gy = np.meshgrid(x, y)
    return gx.ravel(), gy.ravel()


def local_map(target: Wcs, source: Wcs, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where a target pixel lies on a source, and d(source px) / d(target px).

    Returns
    -------
    position : float64, shape (2,)
        x, y on the source.
    jacobian : float64, shape (2, 2)
    """
    h = 0.5
    px = np.array([x, x - h, x + h, x, x])
    py = np.array([y, y, y, y - h, y + h])
    sx, sy = source.sky_to_pix(*target.pix_to_sky(px, py))
    jacobian = np.array([[sx[2] - sx[1], sx[4] - sx[3]], [sy[2] - sy[1], sy[4] - sy[3]]])
    return np.array([sx[0], sy[0]]), jacobian


def resample_stamp(kernel: np.ndarray, jacobian: np.ndarray, size: int, order: int) -> np.ndarray:
    """Resample a centred PSF image to other pixels.

    Parameters
    ----------
    kernel : array, shape (s, s)
        s odd, unit sum.
    jacobian : array, shape (2, 2)
        d(source px) / d(target px).
    size : int
        Side of the result [px], odd.
    order : int
        Lanczos order.

    Returns
    -------
    float64, shape (size, size)
        Unit sum.
    """
    half, centre = size // 2, kernel.shape[0] // 2 + order
    padded = np.pad(np.asarray(kernel, dtype=np.float64), order)
    v, u = np.mgrid[-half : half + 1, -half : half + 1]
    x = jacobian[0, 0] * u + jacobian[0, 1] * v + centre
    y = jacobian[1, 0] * u + jacobian[1, 1] * v + centre
    ix, iy = np.floor(x).astype(int), np.floor(y).astype(int)
    taps = np.arange(-order + 1, order + 1)
    w_x, w_y = _taps(taps - (x - ix)[..., None], order), _taps(taps - (y - iy)[..., None], order)
    top = padded.shape[0] - 1
    columns = np.clip(ix[..., None] + taps, 0, top)
    rows = np.clip(iy[..., None] + taps, 0, top)
    values = padded[rows[..., :, None], columns[..., None, :]]
    stamp = np.einsum("...a,...ab,...b", w_y, values, w_x)
    return stamp / stamp.sum()


def _taps(distance: np.ndarray, order: int) -> np.ndarray:
    weights = np.sinc(distance) * np.sinc(distance / order)
    weights[np.abs(distance) >= order] = 0.0
    return weights / weights.sum(axis=-1, keepdims=True)
