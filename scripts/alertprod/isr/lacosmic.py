"""Cosmic rays in a single image: Laplacian edge detection, with medians at candidates only.

The image is thought of as subsampled by two, so that the Laplacian of a pixel is the mean over its
four quarters of ``max(0, 2 p - a - b)`` with a, b the two outer neighbours of that quarter. What
is sharp in it and has no fine structure like a star's is a cosmic ray. The original filters the
whole frame with medians several times; here a cheap first test leaves one pixel in a thousand.

References
----------
van Dokkum 2001, PASP 113, 1420.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BRIGHT = 40.0  # sigma above the sky of a peak that tells how sharp stars are
MIN_STARS = 10
TYPICAL_CONTRAST = 0.6  # of a star with a FWHM of 3 px


def find_cosmic_rays(image, read_variance, ignore, *, config):
    """Find cosmic rays in one image.

    Parameters
    ----------
    image : ndarray, float32, shape (ny, nx)
        Electrons, sky included.
    read_variance : ndarray, float32, shape (ny, nx)
        Square of the read noise, electrons^2.
    ignore : ndarray, bool, shape (ny, nx)
        Saturated and defective pixels: never taken for cosmic rays nor used beside one.
    config : dict
        ``n_sigma`` (4.5), ``n_sigma_grow`` (second ring, 1.5), ``contrast`` (Laplacian over fine
        structure, in units of the image's own stars), ``iterations``.

    Returns
    -------
    ndarray, bool, shape (ny, nx)
    """
    work = np.ascontiguousarray(image, dtype=np.float32).copy()
    found = np.zeros(work.shape, dtype=np.bool_)
    sky = float(np.median(work[::8, ::8]))
    floor = np.float32(0.5 * max(sky, 0.0))  # medians are rarely below half the sky
    limits = np.array([config["n_sigma"], config["n_sigma_grow"], 0.0], dtype=np.float32)
    laplacian = np.empty_like(work)
    ys, xs = _candidates(work, read_variance, ignore, floor, limits[0], laplacian)
    first = ys, xs
    bright = np.float32(sky + BRIGHT * np.sqrt(max(sky, 0.0) + np.median(read_variance[::8, ::8])))
    limits[2] = config["contrast"] * _star_contrast(
        _peaks(work, laplacian, read_variance, ignore, (np.float32(sky), bright), ys, xs)
    )
    for _ in range(int(config["iterations"])):
        new = _decide(work, laplacian, read_variance, ignore, found, limits, ys, xs)
        if len(new) == 0:
            break
        _fill(work, found, ignore, new)
        ys, xs = _again(work, found, ignore, new, laplacian, *first)
    return found


def _star_contrast(ratios: np.ndarray) -> float:
    """Laplacian over fine structure of a star, from that of all bright peaks.

    It depends on the sampling: 0.4 for a FWHM of 4 px, above 1 for 2 px. Rays have ten to a
    thousand times more; the lower quartile is a star's even if half the peaks were rays.
    """
    if len(ratios) < MIN_STARS:
        return TYPICAL_CONTRAST
    return float(np.clip(np.percentile(ratios, 25), 0.3, 2.0))


@njit(cache=True)
def _laplacian(image, y, x):  # pragma: no cover
    """Positive Laplacian of the subsampled image at a pixel; borders repeat the last pixel."""
    ny, nx = image.shape
    p = 2 * image[y, x]
    up, down = image[max(y - 1, 0), x], image[min(y + 1, ny - 1), x]
    left, right = image[y, max(x - 1, 0)], image[y, min(x + 1, nx - 1)]
    zero = np.float32(0.0)
    total = max(zero, p - up - left) + max(zero, p - up - right)
    total += max(zero, p - down - left) + max(zero, p - down - right)
    return np.float32(0.25) * total


@njit(cache=True)
def _candidates(image, read_variance, ignore, floor, n_sigma, laplacian):  # pragma: no cover
    """Laplacian everywhere; pixels whose Laplacian is significant for the lowest noise."""
    ny, nx = image.shape
    ys = np.empty(ny * nx, dtype=np.int32)
    xs = np.empty(ny * nx, dtype=np.int32)
    n = 0
    for y in range(ny):
        for x in range(nx):
            value = _laplacian(image, y, x)
            laplacian[y, x] = value
            limit = 4 * n_sigma * n_sigma * (floor + read_variance[y, x])
            if value * value > limit and not ignore[y, x]:
                ys[n], xs[n] = y, x
                n += 1
    return ys[:n].copy(), xs[:n].copy()


@njit(cache=True)
def _median(values, n):  # pragma: no cover
    """Median of the first n values, which are sorted in place (n is small)."""
    for i in range(1, n):
        v = values[i]
        j = i - 1
        while j >= 0 and values[j] > v:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = v
    if n % 2:
        return values[n // 2]
    return np.float32(0.5) * (values[n // 2 - 1] + values[n // 2])


@njit(cache=True)
def _box_median(image, y, x, reach, work):  # pragma: no cover
    ny, nx = image.shape
    n = 0
    for yy in range(max(y - reach, 0), min(y + reach + 1, ny)):
        for xx in range(max(x - reach, 0), min(x + reach + 1, nx)):
            work[n] = image[yy, xx]
            n += 1
    return _median(work, n)


@njit(cache=True)
def _excess(image, laplacian, read_variance, y, x, work):  # pragma: no cover
    """Significance of the Laplacian above its surroundings, and the noise there."""
    level = max(_box_median(image, y, x, 2, work), np.float32(1e-5))
    noise = np.sqrt(level + read_variance[y, x])
    smooth = _box_median(laplacian, y, x, 2, work)
    return (laplacian[y, x] - smooth) / (2 * noise), noise


@njit(cache=True)
def _fine_structure(image, y, x, work):  # pragma: no cover
    """3 x 3 median minus the 7 x 7 median of 3 x 3 medians: what a star leaves and a ray not."""
    ny, nx = image.shape
    medians = np.empty(49, dtype=np.float32)
    n = 0
    centre = np.float32(0.0)
    for yy in range(max(y - 3, 0), min(y + 4, ny)):
        for xx in range(max(x - 3, 0), min(x + 4, nx)):
            medians[n] = _box_median(image, yy, xx, 1, work)
            if yy == y and xx == x:
                centre = medians[n]
            n += 1
    return centre - _median(medians, n)


@njit(cache=True)
def _peaks(image, laplacian, read_variance, ignore, levels, ys, xs):  # pragma: no cover
    """Laplacian over fine structure at bright peaks among the candidates that may be stars."""
    ny, nx = image.shape
    work = np.empty(64, dtype=np.float32)
    out = np.empty(2000, dtype=np.float64)
    n = 0
    for k in range(len(ys)):
        y, x = ys[k], xs[k]
        if image[y, x] < levels[1] or y < 4 or x < 4 or y > ny - 5 or x > nx - 5 or n >= len(out):
            continue
        highest = True
        for yy in range(y - 2, y + 3):
            for xx in range(x - 2, x + 3):
                if ignore[yy, xx] or image[yy, xx] > image[y, x]:
                    highest = False
        rim = levels[0] + np.float32(0.06) * (image[y, x] - levels[0])
        for yy in range(y - 1, y + 2):
            for xx in range(x - 1, x + 2):
                # A star of FWHM 2 px leaves 6 % of its peak even in the farthest corner.
                if image[yy, xx] < rim:
                    highest = False
        if not highest:
            continue
        significance, noise = _excess(image, laplacian, read_variance, y, x, work)
        fine = _fine_structure(image, y, x, work) / noise
        out[n] = significance / max(fine, np.float32(0.01))
        n += 1
    return out[:n]


@njit(cache=True)
def _decide(image, laplacian, read_variance, ignore, found, limits, ys, xs):  # pragma: no cover
    """Full test at the candidates, then two rings of growth; returns the new pixels."""
    ny, nx = image.shape
    work = np.empty(64, dtype=np.float32)
    out = np.empty((image.size // 2 + 1024, 2), dtype=np.int32)
    n = 0
    for k in range(len(ys)):
        y, x = ys[k], xs[k]
        if found[y, x]:
            continue
        significance, noise = _excess(image, laplacian, read_variance, y, x, work)
        if significance < limits[0]:
            continue
        fine = max(_fine_structure(image, y, x, work) / noise, np.float32(0.01))
        if significance > limits[2] * fine and n < len(out):
            found[y, x] = True
            out[n, 0], out[n, 1] = y, x
            n += 1
    start = 0
    for ring in range(2):
        end = n
        for k in range(start if ring == 0 else 0, end):
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    y, x = out[k, 0] + dy, out[k, 1] + dx
                    if y < 0 or x < 0 or y >= ny or x >= nx or n >= len(out):
                        continue
                    if found[y, x] or ignore[y, x]:
                        continue
                    significance, _ = _excess(image, laplacian, read_variance, y, x, work)
                    if significance > limits[ring]:
                        found[y, x] = True
                        out[n, 0], out[n, 1] = y, x
                        n += 1
    return out[:n].copy()


@njit(cache=True)
def _fill(image, found, ignore, pixels):  # pragma: no cover
    """Replace cosmic-ray pixels by the median of the clean ones around, so as to look beneath."""
    ny, nx = image.shape
    work = np.empty(64, dtype=np.float32)
    for k in range(len(pixels)):
        y, x = pixels[k, 0], pixels[k, 1]
        n = 0
        for yy in range(max(y - 2, 0), min(y + 3, ny)):
            for xx in range(max(x - 2, 0), min(x + 3, nx)):
                if not found[yy, xx] and not ignore[yy, xx]:
                    work[n] = image[yy, xx]
                    n += 1
        if n > 0:
            image[y, x] = _median(work, n)


@njit(cache=True)
def _again(image, found, ignore, pixels, laplacian, ys, xs):  # pragma: no cover
    """Renew the Laplacian beside replaced pixels; return what to look at once more.

    These are the neighbours, whose Laplacian has changed, and the first candidates within the
    reach of the fine structure's medians, which a replaced pixel no longer pushes up.
    """
    ny, nx = image.shape
    near = np.zeros((ny, nx), dtype=np.uint8)
    for k in range(len(pixels)):
        y0, x0 = pixels[k, 0], pixels[k, 1]
        for y in range(max(y0 - 4, 0), min(y0 + 5, ny)):
            for x in range(max(x0 - 4, 0), min(x0 + 5, nx)):
                beside = abs(y - y0) <= 1 and abs(x - x0) <= 1
                if beside and near[y, x] < 2:
                    near[y, x] = 2
                    laplacian[y, x] = _laplacian(image, y, x)
                elif near[y, x] == 0:
                    near[y, x] = 1
    out_y = np.empty(len(ys) + 9 * len(pixels), dtype=np.int32)
    out_x = np.empty(len(ys) + 9 * len(pixels), dtype=np.int32)
    n = 0
    for k in range(len(ys)):
        if near[ys[k], xs[k]] == 1 and not found[ys[k], xs[k]]:
            out_y[n], out_x[n] = ys[k], xs[k]
            n += 1
    for k in range(len(pixels)):
        y0, x0 = pixels[k, 0], pixels[k, 1]
        for y in range(max(y0 - 1, 0), min(y0 + 2, ny)):
            for x in range(max(x0 - 1, 0), min(x0 + 2, nx)):
                if near[y, x] == 2 and not found[y, x] and not ignore[y, x]:
                    near[y, x] = 3  # once
                    out_y[n], out_x[n] = y, x
                    n += 1
    return out_y[:n].copy(), out_x[:n].copy()
