"""Pixel flags of sources: which mask planes their footprints and centres touch."""

import numpy as np
from numba import njit

from alertprod.core.detect import Peaks
from alertprod.core.masks import bits

GROW = 2
"""Footprints are grown by this much [px], as what is above the threshold is only the core."""

FOOTPRINT = {
    "pixelFlags_bad": ("BAD",),
    "pixelFlags_cr": ("CR",),
    "pixelFlags_edge": ("EDGE",),
    "pixelFlags_nodata": ("NO_DATA",),
    "pixelFlags_interpolated": ("INTRP",),
    "pixelFlags_saturated": ("SAT", "SAT_TEMPLATE"),
    "pixelFlags_suspect": ("SUSPECT",),
    "pixelFlags_streak": ("STREAK",),
    "pixelFlags_injected": ("INJECTED",),
    "pixelFlags_injected_template": ("INJECTED_TEMPLATE",),
}
CENTRE = {
    "pixelFlags_crCenter": ("CR",),
    "pixelFlags_nodataCenter": ("NO_DATA",),
    "pixelFlags_interpolatedCenter": ("INTRP",),
    "pixelFlags_saturatedCenter": ("SAT", "SAT_TEMPLATE"),
    "pixelFlags_suspectCenter": ("SUSPECT",),
    "pixelFlags_streakCenter": ("STREAK",),
    "pixelFlags_injectedCenter": ("INJECTED",),
    "pixelFlags_injected_templateCenter": ("INJECTED_TEMPLATE",),
}


def pixel_flags(mask, peaks: Peaks, x, y) -> dict[str, np.ndarray]:
    """Return the pixel flags and the size of the bounding square.

    Parameters
    ----------
    mask : int32, shape (ny, nx)
    peaks : Peaks
        For the footprints; one row per source.
    x, y : array, shape (n,)
        Positions of the sources [px].

    Returns
    -------
    dict of arrays, shape (n,)
        The ``pixelFlags*`` columns (bool) and ``bboxSize`` (int32).
    """
    ny, nx = mask.shape
    ix, iy = np.floor(x + 0.5).astype(np.int64), np.floor(y + 0.5).astype(np.int64)
    facts = _collect(mask, peaks.footprint, peaks.pixels, peaks.starts, ix, iy)
    table = {name: (facts[:, 0] & bits(*planes)) != 0 for name, planes in FOOTPRINT.items()}
    table |= {name: (facts[:, 1] & bits(*planes)) != 0 for name, planes in CENTRE.items()}
    table["pixelFlags_edge"] |= facts[:, 3] > 0
    table["pixelFlags_offimage"] = (ix < 0) | (iy < 0) | (ix >= nx) | (iy >= ny)
    table["pixelFlags"] = table["pixelFlags_offimage"].copy()
    table["bboxSize"] = facts[:, 2].astype(np.int32)
    return table


@njit(cache=True)
def _collect(mask, footprint, pixels, starts, xs, ys):
    """Columns: bits in the footprint, bits in the central 3 x 3, box side, cut by the edge."""
    ny, nx = mask.shape
    out = np.zeros((xs.size, 4), dtype=np.int64)
    for k in range(xs.size):
        first, last = starts[footprint[k]], starts[footprint[k] + 1]
        y0, y1, x0, x1 = ny, -1, nx, -1
        for p in range(first, last):
            y, x = pixels[p, 0], pixels[p, 1]
            y0, y1, x0, x1 = min(y0, y), max(y1, y), min(x0, x), max(x1, x)
            for v in range(max(y - GROW, 0), min(y + GROW + 1, ny)):
                for u in range(max(x - GROW, 0), min(x + GROW + 1, nx)):
                    out[k, 0] |= mask[v, u]
        for v in range(max(ys[k] - 1, 0), min(ys[k] + 2, ny)):
            for u in range(max(xs[k] - 1, 0), min(xs[k] + 2, nx)):
                out[k, 1] |= mask[v, u]
        out[k, 2] = max(y1 - y0, x1 - x0) + 1 + 2 * GROW
        if y0 < GROW or x0 < GROW or y1 + GROW >= ny or x1 + GROW >= nx:
            out[k, 3] = 1
    return out
