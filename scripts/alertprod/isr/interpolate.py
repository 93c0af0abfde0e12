"""Fill pixels without a value of their own from their neighbours."""

from __future__ import annotations

import numpy as np
from numba import njit

REACH = 8  # pixels: farther neighbours say nothing of this one


@njit(cache=True)
def interpolate(image, variance, mask, wanted, unusable, flags, fallback):  # pragma: no cover
    """Interpolate along the row and the column, weighted by the inverse square of the distance.

    Parameters
    ----------
    image, variance : float32, shape (ny, nx)
        Changed in place.
    mask : int32, shape (ny, nx)
        INTRP is set where a value was found, NO_DATA where none was.
    wanted : int
        Mask bits of the pixels to fill.
    unusable : int
        Mask bits of pixels that must not be used as neighbours (includes `wanted`).
    flags : tuple of int
        Bits INTRP and NO_DATA.
    fallback : tuple of float32
        Value and variance where no neighbour is within `REACH`.

    Returns
    -------
    int
        Number of pixels filled.
    """
    ny, nx = image.shape
    filled = 0
    for y in range(ny):
        for x in range(nx):
            if mask[y, x] & wanted == 0:
                continue
            total, noise, weight = 0.0, 0.0, 0.0
            for k in range(4):
                dy, dx = (0, 0, -1, 1)[k], (-1, 1, 0, 0)[k]
                for step in range(1, REACH + 1):
                    yy, xx = y + step * dy, x + step * dx
                    if yy < 0 or xx < 0 or yy >= ny or xx >= nx:
                        break
                    if mask[yy, xx] & unusable == 0:
                        w = 1.0 / (step * step)
                        total += w * image[yy, xx]
                        noise += w * variance[yy, xx]
                        weight += w
                        break
            if weight > 0:
                image[y, x] = np.float32(total / weight)
                variance[y, x] = np.float32(noise / weight)
                mask[y, x] |= flags[0]
                filled += 1
            else:
                image[y, x], variance[y, x] = fallback[0], fallback[1]
                mask[y, x] |= flags[1]
    return filled


@njit(cache=True)
def grow(mask, seed_bit, bit, reach):  # pragma: no cover
    """Set `bit` around every pixel that has `seed_bit`.

    `reach` is how far, px: to the left, right, down and up.
    """
    ny, nx = mask.shape
    left, right, down, up = reach
    seed = np.zeros((ny, nx), dtype=np.bool_)
    for y in range(ny):
        for x in range(nx):
            seed[y, x] = mask[y, x] & seed_bit != 0
    for y in range(ny):
        for x in range(nx):
            if not seed[y, x]:
                continue
            for yy in range(max(y - down, 0), min(y + up + 1, ny)):
                for xx in range(max(x - left, 0), min(x + right + 1, nx)):
                    mask[yy, xx] |= bit
