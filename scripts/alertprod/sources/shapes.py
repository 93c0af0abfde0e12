"""Adaptive second moments of sources and of the PSF, and how extended a source is.

References
----------
Bernstein & Jarvis 2002, AJ 123, 583; Hirata & Seljak 2003, MNRAS 343, 459 (moments with an
elliptical Gaussian weight that is matched to the source).
"""

import numpy as np
from numba import njit

ITERATIONS = 60
TOLERANCE = 1e-4


@njit(cache=True)
def adaptive_moments(data, weight, x, y, start):
    """Return (ixx, iyy, ixy, ok) [px^2] round a fixed centre.

    Parameters
    ----------
    data : float64, shape (m, m)
        Pixels of a positive source.
    weight : float64, shape (m, m)
        0 for pixels not to use.
    x, y : float
        Centre, from the middle of the window [px].
    start : float
        First guess of ixx = iyy [px^2].
    """
    m = data.shape[0]
    xx, yy, xy = start, start, 0.0
    for _ in range(ITERATIONS):
        determinant = xx * yy - xy * xy
        if not determinant > 1e-3 or xx + yy > 0.5 * m * m:
            return np.nan, np.nan, np.nan, False
        a, b, c = yy / determinant, xx / determinant, -xy / determinant
        total, sxx, syy, sxy = 0.0, 0.0, 0.0, 0.0
        for j in range(m):
            dy = j - m // 2 - y
            for i in range(m):
                if weight[j, i] <= 0:
                    continue
                dx = i - m // 2 - x
                r2 = a * dx * dx + b * dy * dy + 2.0 * c * dx * dy
                if r2 > 16.0:
                    continue
                value = np.exp(-0.5 * r2) * data[j, i]
                total += value
                sxx += value * dx * dx
                syy += value * dy * dy
                sxy += value * dx * dy
        if not total > 0:
            return np.nan, np.nan, np.nan, False
        # a Gaussian seen through itself as weight has half its own moments
        new_xx, new_yy, new_xy = 2 * sxx / total, 2 * syy / total, 2 * sxy / total
        change = abs(new_xx - xx) + abs(new_yy - yy) + abs(new_xy - xy)
        xx, yy, xy = 0.5 * (xx + new_xx), 0.5 * (yy + new_yy), 0.5 * (xy + new_xy)
        if change < TOLERANCE * (xx + yy):
            return new_xx, new_yy, new_xy, True
    return xx, yy, xy, False


def extendedness(trace_ratio, snr):
    """Return how surely a source is wider than the PSF, 0 to 1.

    The normal probability that the trace of its moments exceeds that of the PSF by a quarter,
    given its noise (2 / snr for a Gaussian) and a tenth for the PSF model.
    """
    from scipy.special import ndtr

    scatter = np.hypot(0.1, 2.0 / np.maximum(snr, 1.0))
    return ndtr((np.asarray(trace_ratio) - 1.25) / scatter)


def elongation(ixx, iyy, ixy, psf):
    """Return moment along over across the longest axis, less those of the PSF, and its angle.

    Parameters
    ----------
    ixx, iyy, ixy : array
        Moments of the sources [px^2].
    psf : (ixx, iyy, ixy)
        Moments of the PSF [px^2].

    Returns
    -------
    ratio, angle, length
        1 + excess along the axis over the PSF's mean moment; angle [rad] from x to y; length of
        the line of light with that excess [px] (a line has the moment length^2 / 12).
    """
    dxx, dyy, dxy = ixx - psf[0], iyy - psf[1], ixy - psf[2]
    mean, half = 0.5 * (dxx + dyy), 0.5 * (dxx - dyy)
    spread = np.hypot(half, dxy)
    angle = 0.5 * np.arctan2(dxy, half)
    along, across = mean + spread, mean - spread
    excess = np.maximum(along - np.maximum(across, 0.0), 0.0)
    return 1.0 + excess / (0.5 * (psf[0] + psf[1])), angle, np.sqrt(12.0 * excess)
