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

MAX_ITERATIONS = 60
LEAST_WEIGHT = 0.7  # smallest variance of the weight [px^2]
WINDOW = 4.0  # half-size of the window in units of the weight's largest sigma


@njit(cache=True)
def _weighted_sums(image, x, y, wxx, wyy, wxy, out):
    """Sums over the window with a Gaussian weight: I, I dx, I dy, I dx^2, I dy^2, I dx dy."""
    ny, nx = image.shape
    det = wxx * wyy - wxy * wxy
    half = WINDOW * math.sqrt(max(wxx, wyy))
    i0, i1 = max(0, int(x - half)), min(nx, int(x + half) + 2)
    j0, j1 = max(0, int(y - half)), min(ny, int(y + half) + 2)
    cxx, cyy, cxy = wyy / det, wxx / det, -wxy / det
    out[:] = 0.0
    for j in range(j0, j1):
        dy = j - y
        for i in range(i0, i1):
            dx = i - x
            r2 = cxx * dx * dx + 2.0 * cxy * dx * dy + cyy * dy * dy
            if r2 < WINDOW * WINDOW:
                v = image[j, i] * math.exp(-0.5 * r2)
                out[0] += v
                out[1] += v * dx
                out[2] += v * dy
                out[3] += v * dx * dx
                out[4] += v * dy * dy
                out[5] += v * dx * dy


@njit(cache=True)
def _moments_at(image, x, y, sigma2, out):
    """Adaptive moments of one source; out = x, y, ixx, iyy, ixy, flux, converged."""
    x0, y0 = x, y
    mxx, myy, mxy = sigma2, sigma2, 0.0
    limit = 4.0 * math.sqrt(sigma2)
    sums = np.empty(6)
    ok, flux = 0.0, 0.0
    for _ in range(MAX_ITERATIONS):
        # a narrower weight would see single pixels instead of a profile
        wxx, wyy = max(mxx, LEAST_WEIGHT), max(myy, LEAST_WEIGHT)
        most = 0.9 * math.sqrt(wxx * wyy)
        wxy = min(max(mxy, -most), most)
        _weighted_sums(image, x, y, wxx, wyy, wxy, sums)
        s = sums[0]
        if s <= 0.0:
            break
        sx, sy = sums[1] / s, sums[2] / s
        pxx, pyy = sums[3] / s - sx * sx, sums[4] / s - sy * sy
        pxy = sums[5] / s - sx * sy
        # source times weight: the inverses of Gaussian covariances add up
        dp, dw = pxx * pyy - pxy * pxy, wxx * wyy - wxy * wxy
        if dp <= 0.0:
            break
        qxx, qyy, qxy = pyy / dp - wyy / dw, pxx / dp - wxx / dw, -pxy / dp + wxy / dw
        dq = qxx * qyy - qxy * qxy
        if qxx <= 0.0 or qyy <= 0.0 or dq <= 0.0:
            break
        nxx, nyy, nxy = qyy / dq, qxx / dq, -qxy / dq
        step = abs(sx) + abs(sy) + abs(nxx - mxx) / wxx + abs(nyy - myy) / wyy
        x, y = x + 1.5 * sx, y + 1.5 * sy
        # half of the way keeps the pixel phase of a narrow source from ringing
        mxx, myy, mxy = 0.5 * (mxx + nxx), 0.5 * (myy + nyy), 0.5 * (mxy + nxy)
        flux = s * math.sqrt((1.0 + mxx / wxx) * (1.0 + myy / wyy))
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
