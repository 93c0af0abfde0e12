"""Adaptive moments: centroid, size and shape of sources on undersampled and on wide images.

The weight is the elliptical Gaussian that fits the source best, found by iteration, so that the
moments converge for any profile and noise in the wings does not matter.

References
----------
Bernstein & Jarvis 2002, AJ 123, 583, section 3.1; Hirata & Seljak 2003, MNRAS 343, 459.
"""

import math

import numpy as np
from numba import njit

MAX_ITERATIONS = 40
WINDOW = 4.0  # half-size of the window in units of the weight's largest sigma


@njit(cache=True)
def _moments_at(image, x, y, sigma2, out):
    """Adaptive moments of one source; out = x, y, ixx, iyy, ixy, flux, converged."""
    ny, nx = image.shape
    x0, y0 = x, y
    mxx, myy, mxy = sigma2, sigma2, 0.0
    limit = 4.0 * math.sqrt(sigma2)
    ok = 0.0
    flux = 0.0
    for _ in range(MAX_ITERATIONS):
        det = mxx * myy - mxy * mxy
        half = WINDOW * math.sqrt(max(mxx, myy))
        i0, i1 = max(0, int(x - half)), min(nx, int(x + half) + 2)
        j0, j1 = max(0, int(y - half)), min(ny, int(y + half) + 2)
        cxx, cyy, cxy = myy / det, mxx / det, -mxy / det
        s = sx = sy = sxx = syy = sxy = 0.0
        for j in range(j0, j1):
            dy = j - y
            for i in range(i0, i1):
                dx = i - x
                r2 = cxx * dx * dx + 2.0 * cxy * dx * dy + cyy * dy * dy
                if r2 < WINDOW * WINDOW:
                    v = image[j, i] * math.exp(-0.5 * r2)
                    s += v
                    sx += v * dx
                    sy += v * dy
                    sxx += v * dx * dx
                    syy += v * dy * dy
                    sxy += v * dx * dy
        if s <= 0.0:
            break
        sx, sy = sx / s, sy / s
        sxx, syy, sxy = sxx / s - sx * sx, syy / s - sy * sy, sxy / s - sx * sy
        step = abs(sx) + abs(sy) + abs(2 * sxx / mxx - 1) + abs(2 * syy / myy - 1)
        x, y = x + 2.0 * sx, y + 2.0 * sy
        flux = 2.0 * s
        mxx, myy, mxy = 2.0 * sxx, 2.0 * syy, 2.0 * sxy
        # a converged weight has half the source's own width in quadrature; stop runaways
        if mxx < 0.04 or myy < 0.04 or mxx * myy - mxy * mxy < 0.0016:
            break
        if max(mxx, myy) > 100.0 * sigma2 or abs(x - x0) > limit or abs(y - y0) > limit:
            break
        if step < 1e-4:
            ok = 1.0
            break
    out[0], out[1], out[2], out[3], out[4], out[5], out[6] = x, y, mxx, myy, mxy, flux, ok


@njit(cache=True)
def _all_moments(image, xs, ys, sigma2):
    out = np.empty((len(xs), 7))
    for k in range(len(xs)):
        _moments_at(image, xs[k], ys[k], sigma2, out[k])
    return out


def adaptive_moments(image: np.ndarray, x, y, sigma: float) -> dict[str, np.ndarray]:
    """Measure centroids and second moments with adaptive Gaussian weights.

    Parameters
    ----------
    image : float32, shape (ny, nx)
        Background-subtracted, any unit.
    x, y : arrays
        First positions [px].
    sigma : float
        First guess of the width [px].

    Returns
    -------
    dict
        x, y [px]; ixx, iyy, ixy [px^2] (of the best-fitting Gaussian); flux of that Gaussian in
        the image's unit; ok (converged).
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    out = _all_moments(np.ascontiguousarray(image, dtype=np.float32), xs, ys, float(sigma) ** 2)
    names = ("x", "y", "ixx", "iyy", "ixy", "flux")
    result = {name: out[:, k].copy() for k, name in enumerate(names)}
    result["ok"] = out[:, 6] > 0
    return result


def trace_fwhm(ixx, iyy, ixy) -> np.ndarray:
    """Return the FWHM [px] of the Gaussian with these moments (from the determinant)."""
    determinant = np.maximum(np.asarray(ixx) * np.asarray(iyy) - np.square(ixy), 0.0)
    return 2.0 * math.sqrt(2.0 * math.log(2.0)) * determinant**0.25
