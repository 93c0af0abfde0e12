"""Two snaps of one visit: cosmic rays from their difference, and their sum.

A cosmic ray is in one snap only. What stands out in the difference is taken for one if it is also
sharper than the stars of this very exposure, which are measured on the pixelwise minimum of the
snaps, where no cosmic ray survives. A fast asteroid, which moves between the snaps, is as smooth
as a star and stays.

References
----------
Shaw & Horne 1992, ASPC 25, 311 (cosmic rays from a pair);
Rhoads 2000, PASP 112, 703 (a cosmic ray is sharper than the PSF).
"""

from __future__ import annotations

import numpy as np
from numba import njit

MIN_STARS = 10  # fewer stars than this do not say how sharp a star is


def find_in_pair(first, second, ratio, read_variance, saturated, *, config):
    """Find what is in one snap only.

    Parameters
    ----------
    first, second : ndarray, float32, shape (ny, nx)
        Snaps, electrons, dark current and sky included.
    ratio : float
        Exposure time of the first over that of the second.
    read_variance : ndarray, float32, shape (ny, nx)
        Square of the read noise, electrons^2.
    saturated : ndarray, bool, shape (ny, nx)
        Pixels that are saturated in both snaps or defective: never taken for a cosmic ray.
    config : dict
        ``n_sigma``, ``n_sigma_grow``, ``n_sigma_ring``, ``sharpness``, ``fwhm_px``.

    Returns
    -------
    ndarray, uint8, shape (ny, nx)
        0 clean, 1 the first snap is hit, 2 the second one.
    """
    sky = float(np.median(second[::8, ::8])) * ratio
    stars = _star_pairs(
        first,
        second,
        np.float32(ratio),
        saturated,
        _bright_level(sky, float(np.median(read_variance[::8, ::8]))),
    )
    shape = _star_shape(stars, sky, float(config["fwhm_px"]))
    change = _star_change(stars, sky)
    thresholds = np.array(
        [config["n_sigma"], config["n_sigma_grow"], config["n_sigma_ring"], change, sky],
        dtype=np.float32,
    )
    hit = np.zeros(first.shape, dtype=np.uint8)
    for number, (one, other, r) in enumerate(
        ((first, second, ratio), (second, first, 1.0 / ratio)), start=1
    ):
        level = thresholds.copy()
        level[4] = sky if number == 1 else sky / ratio
        _flag(
            one,
            other,
            np.float32(r),
            read_variance,
            saturated,
            level,
            (shape * config["sharpness"]).astype(np.float32),
            np.uint8(number),
            hit,
        )
    return hit


def _bright_level(sky: float, read_variance: float) -> np.float32:
    return np.float32(sky + 40.0 * np.sqrt(max(sky, 0.0) + read_variance))


def _star_shape(stars: np.ndarray, sky: float, fwhm_px: float) -> np.ndarray:
    """Mean of opposite neighbours over the peak, along x, y and the diagonals, of a sharp star."""
    if len(stars) >= MIN_STARS:
        peak = stars[:, 0] - sky
        ratios = (stars[:, 1:4] - sky) / peak[:, None]
        return np.clip(np.percentile(ratios, 20, axis=0), 0.05, 1.0)
    sigma = fwhm_px / 2.3548
    side = np.exp(-0.5 / sigma**2)
    return np.array([side, side, side**2])


def _star_change(stars: np.ndarray, sky: float) -> float:
    """Fraction by which a star's pixel may differ between the snaps (seeing, guiding, clouds)."""
    if len(stars) < MIN_STARS:
        return 0.2
    signal = stars[:, 0] - sky
    return float(np.clip(3.0 * np.percentile(np.abs(stars[:, 4]) / signal, 80), 0.05, 0.5))


@njit(cache=True)
def _star_pairs(first, second, ratio, saturated, bright):  # pragma: no cover
    """Peaks of the minimum of the snaps: (peak, mean of x, y, diagonal pairs, difference)."""
    ny, nx = first.shape
    found = np.empty((2000, 5), dtype=np.float64)
    n = 0
    for y in range(2, ny - 2):
        for x in range(2, nx - 2):
            peak = min(first[y, x], second[y, x] * ratio)
            if peak < bright or n >= 2000:
                continue
            highest = True
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if saturated[y + dy, x + dx]:
                        highest = False
                    value = min(first[y + dy, x + dx], second[y + dy, x + dx] * ratio)
                    if value > peak:
                        highest = False
            if not highest:
                continue
            sums = np.zeros(4)
            for k in range(4):
                dx, dy = (1, 0, 1, 1)[k], (0, 1, 1, -1)[k]
                for s in (-1, 1):
                    sums[k] += 0.5 * min(
                        first[y + s * dy, x + s * dx], second[y + s * dy, x + s * dx] * ratio
                    )
            found[n, 0], found[n, 1], found[n, 2] = peak, sums[0], sums[1]
            found[n, 3] = 0.5 * (sums[2] + sums[3])
            found[n, 4] = first[y, x] - second[y, x] * ratio
            n += 1
    return found[:n]


@njit(cache=True)
def _significance(one, other, ratio, read_variance, y, x):  # pragma: no cover
    """Excess of `one` over `other` in units of its noise at the level of the lower one."""
    expected = other[y, x] * ratio
    excess = one[y, x] - expected
    level = max(min(one[y, x], expected), np.float32(0.0))
    variance = level * (1.0 + ratio) + read_variance[y, x] * (1.0 + ratio * ratio)
    return excess / np.sqrt(variance)


@njit(cache=True)
def _flag(one, other, ratio, read_variance, ignore, level, shape, number, hit):  # pragma: no cover
    """Find seeds, flood to their neighbours, drop what is as smooth as a star, add a ring."""
    ny, nx = one.shape
    n_sigma, n_grow, n_ring, change, sky = level[0], level[1], level[2], level[3], level[4]
    state = np.zeros((ny, nx), dtype=np.uint8)  # 1 visited
    ys = np.empty(ny * nx // 4 + 1024, dtype=np.int32)
    xs = np.empty(ny * nx // 4 + 1024, dtype=np.int32)
    for y0 in range(ny):
        for x0 in range(nx):
            excess = one[y0, x0] - other[y0, x0] * ratio
            # Cheap first: most pixels end here.
            if excess * excess < n_sigma * n_sigma * read_variance[y0, x0] or excess < 0:
                continue
            if state[y0, x0] or ignore[y0, x0]:
                continue
            if not _is_seed(one, other, ratio, read_variance, n_sigma, change, sky, y0, x0):
                continue
            n, i = 1, 0
            ys[0], xs[0] = y0, x0
            state[y0, x0] = 1
            sharp = False
            while i < n:
                y, x = ys[i], xs[i]
                i += 1
                if not sharp and _is_seed(
                    one, other, ratio, read_variance, n_sigma, change, sky, y, x
                ):
                    sharp = _is_sharp(one, other, ratio, read_variance, shape, y, x)
                for dy in range(-1, 2):
                    for dx in range(-1, 2):
                        yy, xx = y + dy, x + dx
                        if yy < 0 or xx < 0 or yy >= ny or xx >= nx or n >= ys.size:
                            continue
                        if state[yy, xx] or ignore[yy, xx]:
                            continue
                        if _is_seed(one, other, ratio, read_variance, n_grow, change, sky, yy, xx):
                            state[yy, xx] = 1
                            ys[n], xs[n] = yy, xx
                            n += 1
            if not sharp:
                continue
            for k in range(n):
                hit[ys[k], xs[k]] = number
                for dy in range(-1, 2):
                    for dx in range(-1, 2):
                        yy, xx = ys[k] + dy, xs[k] + dx
                        if yy < 0 or xx < 0 or yy >= ny or xx >= nx or hit[yy, xx]:
                            continue
                        if _significance(one, other, ratio, read_variance, yy, xx) > n_ring:
                            hit[yy, xx] = number


@njit(cache=True)
def _is_seed(one, other, ratio, read_variance, n_sigma, change, sky, y, x):  # pragma: no cover
    """Significant, and more than a star's own change between the snaps."""
    if _significance(one, other, ratio, read_variance, y, x) < n_sigma:
        return False
    ny, nx = one.shape
    brightest = np.float32(0.0)
    for yy in range(max(y - 1, 0), min(y + 2, ny)):
        for xx in range(max(x - 1, 0), min(x + 2, nx)):
            value = other[yy, xx] * ratio - sky
            if value > brightest:
                brightest = value
    return one[y, x] - other[y, x] * ratio > change * brightest


@njit(cache=True)
def _is_sharp(one, other, ratio, read_variance, shape, y, x):  # pragma: no cover
    """Whether this is a peak and a pair of opposite neighbours is lower than a star's.

    Only at peaks: where an asteroid's two images touch, its flanks are steeper than any star's.
    """
    ny, nx = one.shape
    if y < 1 or x < 1 or y > ny - 2 or x > nx - 2:
        return True  # no pair to compare with: a star this near to the edge is of no use either
    excess = one[y, x] - other[y, x] * ratio
    for yy in range(y - 1, y + 2):
        for xx in range(x - 1, x + 2):
            if one[yy, xx] - other[yy, xx] * ratio > excess:
                return False
    level = max(min(one[y, x], other[y, x] * ratio), np.float32(0.0))
    noise = np.sqrt(0.5 * (level * (1.0 + ratio) + read_variance[y, x] * (1.0 + ratio * ratio)))
    for k in range(4):
        dx, dy = (1, 0, 1, 1)[k], (0, 1, 1, -1)[k]
        pair = 0.5 * (
            one[y + dy, x + dx]
            - other[y + dy, x + dx] * ratio
            + one[y - dy, x - dx]
            - other[y - dy, x - dx] * ratio
        )
        if shape[min(k, 2)] * excess - pair > noise:
            return True
    return False


@njit(cache=True)
def combine(first, second, masks, hit, ratio, read_variance, cr_bit):  # pragma: no cover
    """Add two snaps in place of the first; where one is hit, scale up the other.

    Parameters
    ----------
    first, second : float32, shape (ny, nx)
        Electrons; `first` becomes the sum.
    masks : tuple of two int32 arrays
        The first becomes that of the sum.
    hit : uint8, shape (ny, nx)
        From `find_in_pair`.
    ratio : float32
        Exposure time of the first over that of the second.
    read_variance : float32, shape (ny, nx)
        Becomes the variance of the sum: Poisson plus read noise, of the snaps that went in.
    cr_bit : int
    """
    ny, nx = first.shape
    up_second = np.float32(1.0 + ratio)  # (t0 + t1) / t1
    up_first = np.float32(1.0 + 1.0 / ratio)
    zero = np.float32(0.0)
    for y in range(ny):
        for x in range(nx):
            a, b, r = first[y, x], second[y, x], read_variance[y, x]
            if hit[y, x] == 0:
                first[y, x] = a + b
                read_variance[y, x] = max(a, zero) + max(b, zero) + 2 * r
                masks[0][y, x] |= masks[1][y, x]
            elif hit[y, x] == 1:
                first[y, x] = b * up_second
                read_variance[y, x] = (max(b, zero) + r) * up_second * up_second
                masks[0][y, x] = masks[1][y, x] | cr_bit
            else:
                first[y, x] = a * up_first
                read_variance[y, x] = (max(a, zero) + r) * up_first * up_first
                masks[0][y, x] |= cr_bit
