"""Detection of point sources of both signs by matched filtering.

The signal-to-noise ratio of a point source centred on a pixel is
``S = sum(P D) / sqrt(sum(P^2 V))`` with image D, variance V and PSF P. The numerator is a
convolution, done in tiles with the PSF of each tile. The denominator is evaluated, exactly, only
where the numerator is large enough to matter: one in a hundred pixels.

References
----------
North 1943, RCA Tech. Rep. 6C; Zackay & Ofek 2017, ApJ 836, 187 (matched filter for sources);
Hogbom 1974, A&AS 15, 417 (a brighter source's response is subtracted before a fainter peak counts).
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

TILE = 1024
REACH_FWHM = 2.0
BLOCK = 64
LEAST_COVERAGE = 0.36
"""A peak counts if at least this share of the PSF's weight lies on good pixels."""


@dataclass
class Filtered:
    """A matched-filter map and what is needed to read it.

    Parameters
    ----------
    snr : float32, shape (ny, nx)
        Signal-to-noise ratio where its size may exceed `floor`, else 0.
    kernels : float64, shape (nt, s, s)
        PSF of each tile, cut to the filter's reach.
    step : int
        Side of the area served by one tile [px].
    noise_factor : float
        Standard deviation of S on blank sky; `snr` is already divided by it.
    floor : float
        Values below are not in the map.
    """

    snr: np.ndarray
    kernels: np.ndarray
    step: int
    noise_factor: float
    floor: float

    def kernel_at(self, x: int, y: int) -> np.ndarray:
        """Return the filter used at a pixel."""
        return self.kernels[_tile_index(x, y, self.step, self.snr.shape[1])]


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


def matched_filter(image, variance, bad, psf, *, floor=4.0, blank=None) -> Filtered:
    """Filter an image with its PSF and calibrate the result on blank sky.

    Parameters
    ----------
    image, variance : float32, shape (ny, nx)
        Flux and its variance, white noise.
    bad : bool, shape (ny, nx)
        Pixels without weight.
    psf : Psf
        PSF of the image.
    floor : float
        Smallest size of S that must be in the map.
    blank : bool, shape (ny, nx), optional
        Pixels of blank sky, for the calibration; all good pixels by default.

    Returns
    -------
    Filtered
    """
    reach = int(np.ceil(REACH_FWHM * psf.fwhm()))
    reach = max(2, min(reach, psf.size // 2))
    step = TILE - 2 * reach
    signal, kernels = _convolve(image, bad, variance, psf, (reach, step))
    usable = ~bad if blank is None else blank & ~bad
    factor = _noise_factor(signal, (variance, bad), (kernels, step), usable)
    least = _least_variance(variance, bad)
    _divide(signal, variance, bad, kernels, (step, floor * factor, factor), least)
    return Filtered(signal, kernels, step, factor, floor)


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


def _convolve(image, bad, variance, psf, geometry):
    """Correlate with the PSF of each tile (overlap-save); returns the map and the kernels."""
    from scipy import fft

    reach, step = geometry
    ny, nx = image.shape
    out = np.empty((ny, nx), dtype=np.float32)
    kernels, spectrum, previous = [], None, None
    for y0 in range(0, ny, step):
        for x0 in range(0, nx, step):
            y1, x1 = min(y0 + step, ny), min(x0 + step, nx)
            kernel = _filter_kernel(psf, (x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2, reach)
            kernels.append(kernel)
            shape = tuple(fft.next_fast_len(n + 2 * reach, real=True) for n in (y1 - y0, x1 - x0))
            if spectrum is None or previous[0] != shape or (previous[1] != kernel).any():
                spectrum = np.conj(fft.rfft2(kernel.astype(np.float32), s=shape))
                previous = (shape, kernel)
            block = np.zeros(shape, dtype=np.float32)
            _fill(image, variance, bad, y0 - reach, x0 - reach, block)
            product = fft.irfft2(fft.rfft2(block) * spectrum, s=shape)
            out[y0:y1, x0:x1] = product[: y1 - y0, : x1 - x0]
    return out, np.stack(kernels)


def _filter_kernel(psf, x, y, reach) -> np.ndarray:
    kernel = np.asarray(psf.kernel_image(x, y), dtype=np.float64)
    middle = kernel.shape[0] // 2
    span = slice(middle - reach, middle + reach + 1)
    return np.ascontiguousarray(kernel[span, span])


@njit(cache=True)
def _fill(image, variance, bad, y0, x0, block):
    """Copy a window, with zeros off the image and on pixels without weight."""
    ny, nx = image.shape
    for j in range(max(0, -y0), min(block.shape[0], ny - y0)):
        for i in range(max(0, -x0), min(block.shape[1], nx - x0)):
            y, x = y0 + j, x0 + i
            if _good(image[y, x], variance[y, x], bad[y, x]):
                block[j, i] = image[y, x]


@njit(cache=True)
def _good(value, variance, bad):
    return (not bad) and np.isfinite(value) and variance > 0 and np.isfinite(variance)


@njit(cache=True)
def _tile_index(x, y, step, nx):
    return (y // step) * ((nx + step - 1) // step) + x // step


@njit(cache=True)
def _denominator(variance, bad, kernel, x, y):
    """Return sqrt(sum P^2 V) over good pixels and the share of P^2 on them."""
    ny, nx = variance.shape
    reach = kernel.shape[0] // 2
    total = 0.0
    on = 0.0
    whole = 0.0
    for j in range(2 * reach + 1):
        v = y + j - reach
        for i in range(2 * reach + 1):
            p2 = kernel[j, i] * kernel[j, i]
            whole += p2
            u = x + i - reach
            if 0 <= u < nx and 0 <= v < ny and not bad[v, u]:
                own = variance[v, u]
                if own > 0 and np.isfinite(own):
                    total += p2 * own
                    on += p2
    return np.sqrt(total), on / whole


def _noise_factor(signal, pixels, filters, usable) -> float:
    """Return the robust standard deviation of S on blank sky (1 with too little sky).

    Half the distance between the quantiles at -1 and +1 sigma: sources in the tails do not count,
    and it is smooth also for images in whole numbers, where a median deviation is quantised.
    """
    variance, bad = pixels
    stride = max(1, int(np.sqrt(signal.size / 60_000)))
    values = _sample(signal, variance, bad, usable, filters[0], (filters[1], stride))
    if values.size < 200:
        return 1.0
    low, high = np.quantile(values, [0.15865525, 0.84134475])
    return max(0.5 * float(high - low), 1e-6)


@njit(cache=True)
def _sample(signal, variance, bad, usable, kernels, geometry):
    step, stride = geometry
    ny, nx = signal.shape
    out = np.empty((ny // stride + 1) * (nx // stride + 1))
    n = 0
    for y in range(stride // 2, ny, stride):
        for x in range(stride // 2, nx, stride):
            if not usable[y, x]:
                continue
            kernel = kernels[_tile_index(x, y, step, nx)]
            noise, coverage = _denominator(variance, bad, kernel, x, y)
            if coverage > 0.9 and noise > 0:
                out[n] = signal[y, x] / noise
                n += 1
    return out[:n]


@njit(cache=True)
def _least_variance(variance, bad):
    """Return the smallest good variance in each block and its eight neighbours."""
    ny, nx = variance.shape
    by, bx = (ny + BLOCK - 1) // BLOCK, (nx + BLOCK - 1) // BLOCK
    own = np.full((by, bx), np.inf)
    for y in range(ny):
        for x in range(nx):
            value = variance[y, x]
            if not bad[y, x] and value > 0 and value < own[y // BLOCK, x // BLOCK]:
                own[y // BLOCK, x // BLOCK] = value
    out = np.full((by, bx), np.inf)
    for j in range(by):
        for i in range(bx):
            for v in range(max(j - 1, 0), min(j + 2, by)):
                for u in range(max(i - 1, 0), min(i + 2, bx)):
                    out[j, i] = min(out[j, i], own[v, u])
    return out


@njit(cache=True)
def _divide(signal, variance, bad, kernels, setting, least):
    """Turn the numerator into S in place; 0 where |S| is surely below the floor."""
    step, floor, factor = setting
    ny, nx = signal.shape
    power = np.empty(kernels.shape[0])
    for t in range(kernels.shape[0]):
        power[t] = np.sum(kernels[t] * kernels[t])
    for y in range(ny):
        for x in range(nx):
            t = _tile_index(x, y, step, nx)
            value = signal[y, x]
            bound = LEAST_COVERAGE * power[t] * least[y // BLOCK, x // BLOCK]
            signal[y, x] = 0.0
            if bad[y, x] or not value * value > floor * floor * bound:
                continue
            noise, coverage = _denominator(variance, bad, kernels[t], x, y)
            if coverage >= LEAST_COVERAGE and abs(value) > floor * noise:
                signal[y, x] = value / (noise * factor)


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
