"""The sky under the stars: clipped statistics in boxes, interpolated to the whole frame.

In each box the good pixels are sorted once; because a sorted list is clipped by moving its two
ends, every round of sigma clipping then costs two binary searches instead of a pass over the
pixels. Sums over any stretch come from running sums.

References
----------
Bertin & Arnouts 1996, A&AS 117, 393, section 2 (boxes, mode estimate, median filter);
Da Costa 1992, ASPC 23, 90 (the mode as 2.5 median - 1.5 mean).
"""

import numpy as np

from alertprod.core.errors import Rejected
from alertprod.core.exposure import Background

CLIP = 3.0
ROUNDS = 12
CROWDED = 0.3  # (mean - median) / sigma beyond which the mode estimate is not to be trusted


def estimate_background(
    image: np.ndarray, bad: np.ndarray | None = None, box: int = 128, filter_size: int = 3
) -> tuple[Background, Background]:
    """Estimate the sky level and the noise of an image.

    Parameters
    ----------
    image : float, shape (ny, nx)
        Any unit; returned in the same unit.
    bad : bool, shape (ny, nx), optional
        Pixels to leave out (defects, saturated pixels, known sources).
    box : int
        Side of a box [px]; the frame is cut into equal boxes of about this size.
    filter_size : int
        Side of the median filter over the grid of boxes (odd), against boxes full of a galaxy.

    Returns
    -------
    level, rms : Background
        Sky level, and standard deviation of one pixel, on the grid of box centres.

    Raises
    ------
    Rejected
        If no box has enough good pixels.
    """
    ny, nx = image.shape
    gy, gx = max(1, round(ny / box)), max(1, round(nx / box))
    rows, counts, sizes = _boxes(image, bad, gy, gx)
    level, rms = _clipped(rows, counts)
    poor = counts < np.maximum(9, sizes // 8)
    if poor.all():
        raise Rejected(
            f"no sky: none of {gy * gx} background boxes has an eighth of its pixels good"
        )
    level[poor], rms[poor] = np.nan, np.nan
    return tuple(  # type: ignore[return-value]
        Background(_median_filter(_fill(grid.reshape(gy, gx)), filter_size), image.shape)
        for grid in (level, rms)
    )


def _boxes(image, bad, gy: int, gx: int):
    """Gather the good pixels of each box, sorted, padded with +inf.

    Returns rows f4[gy*gx, n], good counts and box areas.
    """
    ny, nx = image.shape
    ey = np.round(np.linspace(0, ny, gy + 1)).astype(int)
    ex = np.round(np.linspace(0, nx, gx + 1)).astype(int)
    hy, hx = np.diff(ey).max(), np.diff(ex).max()
    rows = np.full((gy * gx, hy * hx), np.inf, dtype=np.float32)
    sizes = np.empty(gy * gx, dtype=np.int64)
    for j in range(gy):
        strip = image[ey[j] : ey[j + 1]].astype(np.float32)
        if bad is not None:
            strip[bad[ey[j] : ey[j + 1]]] = np.inf
        for i in range(gx):
            part = strip[:, ex[i] : ex[i + 1]].ravel()
            rows[j * gx + i, : part.size] = part
            sizes[j * gx + i] = part.size
    rows[~np.isfinite(rows)] = np.inf
    rows.sort(axis=1)
    return rows, (rows < np.inf).sum(axis=1), sizes


def _clipped(rows: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mode estimate and clipped standard deviation of each sorted row."""
    level, rms = np.zeros(len(rows)), np.zeros(len(rows))
    for k, count in enumerate(counts):
        if count:
            level[k], rms[k] = _clipped_row(rows[k, :count].astype(np.float64))
    return level, rms


def _clipped_row(values: np.ndarray) -> tuple[float, float]:
    pivot = values[len(values) // 2]  # keeps the running sums well conditioned
    values = values - pivot
    sums = np.concatenate([[0.0], np.cumsum(values)])
    squares = np.concatenate([[0.0], np.cumsum(values * values)])
    low, high = 0, len(values)
    for _ in range(ROUNDS):
        n = high - low
        mean = (sums[high] - sums[low]) / n
        sigma = np.sqrt(max((squares[high] - squares[low]) / n - mean * mean, 0.0))
        median = _median(values, low, high)
        new_low = int(np.searchsorted(values, median - CLIP * sigma, "left"))
        new_high = int(np.searchsorted(values, median + CLIP * sigma, "right"))
        if (new_low, new_high) == (low, high) or new_high - new_low < 3:
            break
        low, high = new_low, new_high
    crowded = sigma > 0 and abs(mean - median) > CROWDED * sigma
    mode = median if crowded else 2.5 * median - 1.5 * mean
    return mode + pivot, sigma


def _median(values: np.ndarray, low: int, high: int) -> float:
    """Median of a stretch of sorted values; among equal (digitised) values, interpolated."""
    n = high - low
    value = values[low + n // 2]
    first = int(np.searchsorted(values, value, "left"))
    last = int(np.searchsorted(values, value, "right"))
    if last - first < 3:
        return float(0.5 * (values[low + (n - 1) // 2] + value))
    below = values[first - 1] if first > low else value
    above = values[last] if last < high else value
    first, last = max(first, low), min(last, high)
    step = 0.5 * (above - below)
    return float(value + step * ((low + 0.5 * n - first) / (last - first) - 0.5))


def _fill(grid: np.ndarray) -> np.ndarray:
    """Give boxes without a value the mean of their nearest neighbours that have one."""
    grid = grid.copy()
    good = np.isfinite(grid)
    known = np.argwhere(good)
    values = grid[good]
    for j, i in np.argwhere(~good):
        distance = np.square(known - (j, i)).sum(axis=1)
        grid[j, i] = values[distance == distance.min()].mean()
    return grid


def _median_filter(grid: np.ndarray, size: int) -> np.ndarray:
    if size <= 1:
        return grid
    half = size // 2
    # reflected about the edge value, a gradient goes on: its median at the edge is not moved
    if min(grid.shape) > half:
        padded = np.pad(grid, half, mode="reflect", reflect_type="odd")
    else:
        padded = np.pad(grid, half, mode="edge")
    stack = [
        padded[dj : dj + grid.shape[0], di : di + grid.shape[1]]
        for dj in range(size)
        for di in range(size)
    ]
    return np.median(stack, axis=0)
