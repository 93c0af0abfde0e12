"""How far the faults of the two images reach in the difference."""

import numpy as np
from numba import njit

from alertprod.core.masks import bits

#: Science planes that stay as they are.
KEPT = "BAD SAT SUSPECT CR EDGE NO_DATA INTRP CROSSTALK STREAK SPIKE HIGH_VARIANCE INJECTED".split()
#: Template planes that spread by the kernel and keep their name.
SPREAD = ("BAD", "SUSPECT", "CR", "STREAK", "SPIKE", "HIGH_VARIANCE", "NO_DATA")


def kernel_reach(kernel: np.ndarray, outside: float = 0.02) -> int:
    """Return the radius [px] outside which a kernel holds less than a given share of itself.

    Parameters
    ----------
    kernel : array, shape (k, k)
    outside : float
        Share of the sum of absolute values.
    """
    half = kernel.shape[0] // 2
    u = np.arange(-half, half + 1)
    radius = np.hypot(u[:, None], u[None, :])
    weight = np.abs(kernel)
    for r in range(half + 1):
        if weight[radius > r].sum() < outside * weight.sum():
            return max(r, 1)
    return half


@njit(cache=True)
def grow(mask, radius):
    """Grow the true pixels of a mask by a disc.

    Parameters
    ----------
    mask : bool, shape (ny, nx)
    radius : int
        Radius of the disc [px].

    Returns
    -------
    bool, shape (ny, nx)
    """
    ny, nx = mask.shape
    out = mask.copy()
    if radius <= 0:
        return out
    reach = np.empty(2 * radius + 1, np.int64)
    for k in range(2 * radius + 1):
        reach[k] = int(np.sqrt(radius * radius - (k - radius) ** 2 + 0.5))
    for y in range(ny):
        for x in range(nx):
            if not mask[y, x]:
                continue
            inner = 0 < y < ny - 1 and 0 < x < nx - 1
            # Only the rim draws: a disc round an inner pixel adds nothing to that of the rim.
            if inner and mask[y - 1, x] and mask[y + 1, x] and mask[y, x - 1] and mask[y, x + 1]:
                continue
            for k in range(max(-radius, -y), min(radius, ny - 1 - y) + 1):
                width = reach[k + radius]
                for i in range(max(0, x - width), min(nx, x + width + 1)):
                    out[y + k, i] = True
    return out


def propagate_mask(science, template, *, reach: int, saturation_reach: int, edge: int):
    """Combine the masks of the two images for the difference.

    Parameters
    ----------
    science, template : int32, shape (ny, nx)
    reach : int
        Of the matching kernel [px].
    saturation_reach : int
        By how much saturated areas grow: kernel plus detection filter [px].
    edge : int
        Width of the border where the kernel lacks pixels [px].

    Returns
    -------
    int32, shape (ny, nx)
    """
    mask = science & bits(*KEPT)
    saturated = (science & bits("SAT")) != 0
    mask[grow(saturated, saturation_reach)] |= bits("SAT")
    for name in SPREAD:
        plane = (template & bits(name)) != 0
        if plane.any():
            mask[grow(plane, reach)] |= bits(name)
    saturated = (template & bits("SAT", "SAT_TEMPLATE")) != 0
    mask[grow(saturated, saturation_reach)] |= bits("SAT_TEMPLATE")
    injected = (template & bits("INJECTED", "INJECTED_TEMPLATE")) != 0
    if injected.any():
        mask[grow(injected, reach)] |= bits("INJECTED_TEMPLATE")
    if edge > 0:
        for border in (np.s_[:edge], np.s_[-edge:], np.s_[:, :edge], np.s_[:, -edge:]):
            mask[border] |= bits("EDGE")
    return mask


def smoothing_width(kernel: np.ndarray) -> float:
    """Return the Gaussian width [px] of a squared kernel: how convolution smears variance."""
    half = kernel.shape[0] // 2
    u = np.arange(-half, half + 1)
    weight = kernel**2
    second = (weight * (u[:, None] ** 2 + u[None, :] ** 2)).sum() / weight.sum() / 2
    return float(np.sqrt(max(second, 0.0)))


@njit(cache=True)
def smooth(plane, taps):
    """Convolve with a short, symmetric, separable filter; the edges are repeated.

    Parameters
    ----------
    plane : float32, shape (ny, nx)
    taps : float32, shape (2 h + 1,)

    Returns
    -------
    float32, shape (ny, nx)
    """
    ny, nx = plane.shape
    half = taps.shape[0] // 2
    out = np.empty_like(plane)
    row = np.empty(nx, np.float32)
    padded = np.empty(nx + 2 * half, np.float32)
    for y in range(ny):
        row[:] = 0.0
        for k in range(-half, half + 1):
            source = min(max(y + k, 0), ny - 1)
            for x in range(nx):
                row[x] += taps[k + half] * plane[source, x]
        padded[:half] = row[0]
        padded[half : half + nx] = row
        padded[half + nx :] = row[nx - 1]
        row[:] = 0.0
        for k in range(2 * half + 1):
            for x in range(nx):
                row[x] += taps[k] * padded[x + k]
        out[y] = row
    return out


def gaussian_taps(sigma: float) -> np.ndarray:
    """Return the taps of a Gaussian filter of a given width [px], with unit sum."""
    half = max(1, int(np.ceil(3 * sigma)))
    u = np.arange(-half, half + 1)
    taps = np.exp(-0.5 * (u / max(sigma, 1e-3)) ** 2)
    return (taps / taps.sum()).astype(np.float32)
