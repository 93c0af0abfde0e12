"""Detection of point sources of both signs on a matched-filter map.

References
----------
Hogbom 1974, A&AS 15, 417 (a brighter source's response is subtracted before a fainter peak counts).
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from alertprod.core.filtering import Filtered, matched_filter

__all__ = ["Filtered", "Peaks", "drop_echoes", "find_peaks", "matched_filter"]


@dataclass
class Peaks:
    """Detected peaks, strongest first (ties: lower y, then lower x).

    Parameters
    ----------
    x, y : int64, shape (n,)
        Pixel of the peak.
    snr : float64, shape (n,)
        Signed signal-to-noise ratio.
    footprint : int64, shape (n,)
        Footprint to which the peak belongs.
    pixels : int64, shape (np, 2)
        (y, x) of the pixels above the threshold, footprint by footprint.
    starts : int64, shape (nf + 1,)
        Row in `pixels` where each footprint begins.
    """

    x: np.ndarray
    y: np.ndarray
    snr: np.ndarray
    footprint: np.ndarray
    pixels: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return self.x.size

    def take(self, index) -> "Peaks":
        """Return the peaks that `index` selects; the footprints stay."""
        parts = (self.x[index], self.y[index], self.snr[index], self.footprint[index])
        return Peaks(*parts, self.pixels, self.starts)

    def footprint_pixels(self, footprint: int) -> np.ndarray:
        """Return (y, x) of the pixels of one footprint."""
        return self.pixels[self.starts[footprint] : self.starts[footprint + 1]]


def find_peaks(filtered: Filtered, threshold=5.0) -> Peaks:
    """Find the local maxima above a threshold, of both signs, and their footprints.

    Parameters
    ----------
    filtered : Filtered
    threshold : float
        Smallest |S|; not below ``filtered.floor``.

    Returns
    -------
    Peaks
        Footprints are 8-connected pixels of one sign above the threshold.
    """
    if threshold < filtered.floor:
        raise ValueError(f"threshold {threshold} is below the map's floor {filtered.floor}")
    rows, pixels, starts = _scan(filtered.snr, np.float32(threshold))
    y, x, label = rows[:, 0], rows[:, 1], rows[:, 2]
    snr = filtered.snr[y, x].astype(np.float64)
    order = np.lexsort([x, y, -np.abs(snr)])
    return Peaks(x[order], y[order], snr[order], label[order], pixels, starts)


def drop_echoes(peaks: Peaks, filtered: Filtered, *, threshold=5.0, leak=0.05) -> np.ndarray:
    """Say which peaks are more than the filter's response to a brighter neighbour.

    Parameters
    ----------
    peaks : Peaks
    filtered : Filtered
    threshold : float
        What must remain after the response of each brighter peak is taken away.
    leak : float
        Fraction of the response (or of a tenth of the brighter peak, where that is more) that
        may be left by an imperfect PSF.

    Returns
    -------
    bool, shape (n,)
        True for peaks in their own right.
    """
    keep = np.ones(len(peaks), dtype=bool)
    reach = filtered.kernels.shape[1] - 1
    if len(peaks) < 2:
        return keep
    near = _neighbours(peaks, 1.5 * reach)
    for row, brighter in near:
        for other in brighter:
            if not keep[other]:
                continue
            dx, dy = peaks.x[row] - peaks.x[other], peaks.y[row] - peaks.y[other]
            kernel = filtered.kernel_at(peaks.x[other], peaks.y[other])
            response = _autocorrelation(kernel, dx, dy)
            same = peaks.snr[row] * peaks.snr[other] > 0
            left = abs(peaks.snr[row])
            if same:
                left -= abs(peaks.snr[other]) * response
            if left < threshold + leak * abs(peaks.snr[other]) * max(response, 0.1):
                keep[row] = False
                break
    return keep


def _neighbours(peaks: Peaks, reach: float):
    """Yield each peak with the stronger peaks near it, strongest first."""
    from scipy.spatial import cKDTree

    points = np.stack([peaks.x, peaks.y], axis=1).astype(np.float64)
    near = cKDTree(points).query_ball_point(points, reach)
    for row, others in enumerate(near):
        stronger = sorted(k for k in others if k < row)
        if stronger:
            yield row, stronger


def _autocorrelation(kernel: np.ndarray, dx: int, dy: int) -> float:
    size = kernel.shape[0]
    dx, dy = abs(int(dx)), int(dy)
    if dx >= size or abs(dy) >= size:
        return 0.0
    upper = kernel[max(dy, 0) : size + min(dy, 0), dx:]
    lower = kernel[max(-dy, 0) : size + min(-dy, 0), : size - dx]
    return float((upper * lower).sum() / np.square(kernel).sum())


@njit(cache=True)
def _scan(snr, threshold):
    """Walk the map once: footprints by flooding, and the local maxima in each."""
    ny, nx = snr.shape
    seen = np.zeros((ny, nx), dtype=np.uint8)
    peaks = [(0, 0, 0) for _ in range(0)]
    pixels = [(0, 0) for _ in range(0)]
    starts = [0]
    for y in range(ny):
        for x in range(nx):
            if seen[y, x] or not abs(snr[y, x]) > threshold:
                continue
            sign = 1.0 if snr[y, x] > 0 else -1.0
            first = len(pixels)
            seen[y, x] = 1
            pixels.append((y, x))
            k = first
            while k < len(pixels):
                j, i = pixels[k]
                k += 1
                if _is_peak(snr, j, i, sign):
                    peaks.append((j, i, len(starts) - 1))
                for v in range(max(j - 1, 0), min(j + 2, ny)):
                    for u in range(max(i - 1, 0), min(i + 2, nx)):
                        if not seen[v, u] and sign * snr[v, u] > threshold:
                            seen[v, u] = 1
                            pixels.append((v, u))
            starts.append(len(pixels))
    out = np.empty((len(peaks), 3), dtype=np.int64)
    for k in range(len(peaks)):
        out[k, 0], out[k, 1], out[k, 2] = peaks[k]
    where = np.empty((len(pixels), 2), dtype=np.int64)
    for k in range(len(pixels)):
        where[k, 0], where[k, 1] = pixels[k]
    return out, where, np.array(starts, dtype=np.int64)


@njit(cache=True)
def _is_peak(snr, y, x, sign):
    """Highest of its 3 x 3 pixels; of equal ones the first in reading order."""
    ny, nx = snr.shape
    value = sign * snr[y, x]
    for v in range(max(y - 1, 0), min(y + 2, ny)):
        for u in range(max(x - 1, 0), min(x + 2, nx)):
            if v == y and u == x:
                continue
            other = sign * snr[v, u]
            if other > value or (other == value and (v < y or (v == y and u < x))):
                return False
    return True
