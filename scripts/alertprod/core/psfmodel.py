"""PSF models on pixels for many sources at once: the kernels under photometry and fits.

The shift is the separable Lanczos interpolation of `alertprod.core.psf`, written for compiled
loops and with its exact derivative, so that flux and position can be fitted together.
"""

import numpy as np
from numba import njit

ORDER = 5
"""Half-width of the Lanczos kernel [px]; the same as in `alertprod.core.psf.shift`."""


def kernels(psf, x, y) -> np.ndarray:
    """Return the centred PSF at many positions.

    Parameters
    ----------
    psf : alertprod.core.psf.Psf
        Spatially varying PSF.
    x, y : array, shape (n,)
        0-based pixel positions.

    Returns
    -------
    float64, shape (n, s, s)
        Unit-sum kernels, each centred on its middle pixel.
    """
    x = np.atleast_1d(np.asarray(x, dtype=np.float64))
    y = np.atleast_1d(np.asarray(y, dtype=np.float64))
    ny, nx = psf.shape
    xs = 2.0 * x / max(nx - 1, 1) - 1.0
    ys = 2.0 * y / max(ny - 1, 1) - 1.0
    value = np.polynomial.chebyshev.chebval2d
    weights = np.stack([value(ys, xs, c) for c in psf.coeffs], axis=-1)
    basis = np.asarray(psf.basis, dtype=np.float64)
    # einsum's plain loops, not BLAS: the same bytes for one source as for a thousand
    stack = np.einsum("nk,kij->nij", weights, basis)
    return stack / stack.sum(axis=(1, 2))[:, None, None]


@njit(cache=True)
def lanczos(offset, weights, slopes):
    """Fill the taps that move a function by `offset` [px] and their derivative by `offset`."""
    total = 0.0
    slope_total = 0.0
    for k in range(2 * ORDER + 1):
        t = k - ORDER - offset
        if abs(t) >= ORDER:
            weights[k] = 0.0
            slopes[k] = 0.0
        elif abs(t) < 1e-6:
            # near zero the quotient loses digits: L = 1 - c t^2 with c = pi^2 (1 + 1/order^2) / 6
            c = np.pi**2 * (1.0 + 1.0 / ORDER**2) / 6.0
            weights[k] = 1.0 - c * t * t
            slopes[k] = 2.0 * c * t
        else:
            a = np.pi * t
            b = a / ORDER
            sa = np.sin(a) / a
            sb = np.sin(b) / b
            weights[k] = sa * sb
            # the tap moves against the offset, hence the minus sign
            slopes[k] = -((np.cos(a) - sa) / t * sb + sa * (np.cos(b) - sb) / t)
        total += weights[k]
        slope_total += slopes[k]
    for k in range(2 * ORDER + 1):
        slopes[k] = (slopes[k] - weights[k] * slope_total / total) / total
        weights[k] /= total


@njit(cache=True)
def render(kernel, dx, dy, gradient, out):
    """Draw a PSF whose star is displaced by (dx, dy) px from the middle of the window.

    Parameters
    ----------
    kernel : float64, shape (s, s)
        Centred PSF.
    dx, dy : float
        Displacement of the star [px]; any size.
    gradient : bool
        Also fill the derivatives by the star's position.
    out : float64, shape (3, m, m)
        Filled with the PSF and its derivatives by x and y.
    """
    size = kernel.shape[0]
    m = out.shape[1]
    shift_x = int(np.floor(dx + 0.5))
    shift_y = int(np.floor(dy + 0.5))
    taps = 2 * ORDER + 1
    wx, gx = np.empty(taps), np.empty(taps)
    wy, gy = np.empty(taps), np.empty(taps)
    lanczos(dx - shift_x, wx, gx)
    lanczos(dy - shift_y, wy, gy)
    # kernel index = window index + (middle of the kernel - middle of the window) - whole shift
    base_x = size // 2 - m // 2 - shift_x
    base_y = size // 2 - m // 2 - shift_y
    tall = m + 2 * ORDER
    rows = np.zeros((tall, m))
    slopes = np.zeros((tall, m))
    for j in range(tall):
        kj = j - ORDER + base_y
        if kj < 0 or kj >= size:
            continue
        for i in range(m):
            value = 0.0
            slope = 0.0
            for k in range(taps):
                ki = i + base_x - (k - ORDER)
                if 0 <= ki < size:
                    value += wx[k] * kernel[kj, ki]
                    slope += gx[k] * kernel[kj, ki]
            rows[j, i] = value
            slopes[j, i] = slope
    for j in range(m):
        for i in range(m):
            value = 0.0
            by_x = 0.0
            by_y = 0.0
            for k in range(taps):
                row = j + 2 * ORDER - k
                value += wy[k] * rows[row, i]
                if gradient:
                    by_x += wy[k] * slopes[row, i]
                    by_y += gy[k] * rows[row, i]
            out[0, j, i] = value
            out[1, j, i] = by_x
            out[2, j, i] = by_y


@njit(cache=True)
def cut(image, variance, bad, ix, iy, radius, smooth, data, noise, weight):
    """Cut a round window and its fit weights; returns the number of good pixels.

    The weight is the inverse of the *locally averaged* variance. The variance of a pixel holds
    the Poisson noise of that very pixel, so its plain inverse favours downward fluctuations and
    biases a flux by minus one PSF area of electrons.

    Parameters
    ----------
    image, variance : float32, shape (ny, nx)
    bad : bool, shape (ny, nx)
    ix, iy : int
        Middle pixel of the window.
    radius : float
        Pixels farther than this from the middle get no weight [px].
    smooth : int
        Half-width of the box over which the variance is averaged [px].
    data, noise, weight : float64, shape (m, m)
        Filled with values, their own variances, and weights (0 = not used).
    """
    ny, nx = image.shape
    m = data.shape[0]
    half = m // 2
    good = 0
    for j in range(m):
        y = iy + j - half
        for i in range(m):
            x = ix + i - half
            data[j, i] = 0.0
            noise[j, i] = 1.0
            weight[j, i] = 0.0
            if x < 0 or y < 0 or x >= nx or y >= ny:
                continue
            if (i - half) ** 2 + (j - half) ** 2 > radius * radius:
                continue
            value = image[y, x]
            own = variance[y, x]
            if bad[y, x] or not np.isfinite(value) or not (0.0 < own < np.inf):
                continue
            total = 0.0
            count = 0
            for v in range(max(y - smooth, 0), min(y + smooth + 1, ny)):
                for u in range(max(x - smooth, 0), min(x + smooth + 1, nx)):
                    near = variance[v, u]
                    if not bad[v, u] and 0.0 < near < np.inf:
                        total += near
                        count += 1
            data[j, i] = value
            noise[j, i] = own
            weight[j, i] = count / total
            good += 1
    return good
