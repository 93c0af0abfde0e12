"""Aperture photometry in circles, with the exact overlap of circle and pixels."""

import numpy as np
from numba import njit


def aperture_flux(exposure, x, y, radius, *, bad=None, subpixels=0) -> dict[str, np.ndarray]:
    """Sum the flux in circles.

    Parameters
    ----------
    exposure : Exposure
        Image and variance [nJy, nJy^2].
    x, y : array, shape (n,)
        0-based pixel positions.
    radius : float
        Radius of the circle [px].
    bad : bool, shape (ny, nx), optional
        Pixels to leave out (their flux is not replaced); none by default.
    subpixels : int
        0 for the exact area of overlap, else each pixel is divided into this many squared.

    Returns
    -------
    dict of arrays, shape (n,)
        ``flux``, ``fluxErr`` [nJy], ``area`` [px^2] used, ``flag`` (nothing measured, or bad
        pixels inside), ``flag_apertureTruncated`` (circle cut by the image's edge; the flux is
        then that of the part inside).
    """
    x = np.atleast_1d(np.asarray(x, dtype=np.float64))
    y = np.atleast_1d(np.asarray(y, dtype=np.float64))
    if bad is None:
        bad = np.zeros(exposure.image.shape, dtype=bool)
    out = _sum_circles(exposure.image, exposure.variance, bad, x, y, float(radius), int(subpixels))
    ny, nx = exposure.image.shape
    truncated = ~(
        (x - radius >= -0.5)
        & (y - radius >= -0.5)
        & (x + radius <= nx - 0.5)
        & (y + radius <= ny - 0.5)
    )
    empty = ~(out[:, 2] > 0)
    return {
        "flux": np.where(empty, np.nan, out[:, 0]),
        "fluxErr": np.where(empty, np.nan, np.sqrt(out[:, 1])),
        "area": out[:, 2],
        "flag": empty | (out[:, 3] > 0),
        "flag_apertureTruncated": truncated,
    }


@njit(cache=True)
def _sum_circles(image, variance, bad, xs, ys, radius, subpixels):
    ny, nx = image.shape
    out = np.zeros((xs.size, 4))
    for s in range(xs.size):
        x, y = xs[s], ys[s]
        if not (np.isfinite(x) and np.isfinite(y)):
            continue
        if x + radius < -0.5 or y + radius < -0.5 or x - radius > nx or y - radius > ny:
            continue
        for j in range(max(int(y - radius), 0), min(int(y + radius) + 2, ny)):
            for i in range(max(int(x - radius), 0), min(int(x + radius) + 2, nx)):
                if subpixels > 0:
                    area = _sampled(i - x, j - y, radius, subpixels)
                else:
                    area = overlap(i - x - 0.5, j - y - 0.5, i - x + 0.5, j - y + 0.5, radius)
                if area <= 0.0:
                    continue
                if bad[j, i] or not np.isfinite(image[j, i]) or not np.isfinite(variance[j, i]):
                    out[s, 3] = 1.0
                    continue
                out[s, 0] += area * image[j, i]
                # the noise of a whole pixel enters by the square of its share
                out[s, 1] += area * area * variance[j, i]
                out[s, 2] += area
    return out


@njit(cache=True)
def _sampled(dx, dy, radius, n):
    inside = 0
    for j in range(n):
        for i in range(n):
            u = dx + (i + 0.5) / n - 0.5
            v = dy + (j + 0.5) / n - 0.5
            if u * u + v * v <= radius * radius:
                inside += 1
    return inside / (n * n)


@njit(cache=True)
def overlap(x0, y0, x1, y1, r):
    """Return the area that the box [x0, x1] x [y0, y1] shares with a circle at the origin.

    The area is the integral over x of the height of the box below and above the circle's arcs;
    by symmetry it is a sum of corner terms of the area between the origin and each corner.
    """
    return _corner(x1, y1, r) - _corner(x0, y1, r) - _corner(x1, y0, r) + _corner(x0, y0, r)


@njit(cache=True)
def _corner(x, y, r):
    """Signed area of the circle inside the box from the origin to (x, y)."""
    sign = 1.0
    if x < 0:
        x, sign = -x, -sign
    if y < 0:
        y, sign = -y, -sign
    x, y = min(x, r), min(y, r)
    if x * x + y * y <= r * r:
        return sign * x * y
    # under the line y up to where the arc meets it, then under the arc
    meet = np.sqrt(r * r - y * y)
    return sign * (meet * y + _arc(x, r) - _arc(meet, r))


@njit(cache=True)
def _arc(x, r):
    """Integral of sqrt(r^2 - t^2) from 0 to x."""
    return 0.5 * (x * np.sqrt(max(r * r - x * x, 0.0)) + r * r * np.arcsin(min(x / r, 1.0)))
