"""The matched filter: signal-to-noise ratio of a point source at every pixel.

The signal-to-noise ratio of a point source centred on a pixel is
``S = sum(P D) / sqrt(sum(P^2 V))`` with image D, variance V and PSF P. The numerator is a
convolution, done in tiles with the PSF of each tile. The denominator is evaluated, exactly, only
where the numerator is large enough to matter: one in a hundred pixels.

References
----------
North 1943, RCA Tech. Rep. 6C; Zackay & Ofek 2017, ApJ 836, 187 (matched filter for sources).
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

TILE = 1024
REACH_FWHM = 2.0
BLOCK = 64
LEAST_SAMPLES = 500
STRONG = 5.0
MARGIN = 0.75
"""The first estimate of the noise may be too high by up to a third."""

LEAST_COVERAGE = 0.36
"""S is given if at least this share of the PSF's weight lies on good pixels."""

CELL = 4


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
    samples = _samples(signal, variance, bad, usable, (kernels, step))
    factor = _noise_factor(samples[:, 2])
    _divide(signal, variance, bad, (kernels, step), MARGIN * floor * factor)
    # sources take part in the first estimate: leave out what is near to any
    near = _near_strong(signal, samples, np.float32(STRONG * factor), 2 * reach)
    if (~near).sum() >= LEAST_SAMPLES:
        factor = max(_noise_factor(samples[~near, 2]), MARGIN * factor)
    _rescale(signal, np.float32(factor), np.float32(floor))
    return Filtered(signal, kernels, step, factor, floor)


def _convolve(image, bad, variance, psf, geometry):
    """Correlate with the PSF of each tile (overlap-save); returns the map and the kernels."""
    from scipy import fft

    reach, step = geometry
    ny, nx = image.shape
    out = np.empty((ny, nx), dtype=np.float32)
    kernels: list[np.ndarray] = []
    spectrum, last = np.empty(0), ()
    for y0 in range(0, ny, step):
        for x0 in range(0, nx, step):
            y1, x1 = min(y0 + step, ny), min(x0 + step, nx)
            kernel = _filter_kernel(psf, (x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2, reach)
            shape = tuple(fft.next_fast_len(n + 2 * reach, real=True) for n in (y1 - y0, x1 - x0))
            if last != shape or (kernels[-1] != kernel).any():
                spectrum = np.conj(fft.rfft2(kernel.astype(np.float32), s=shape))
                last = shape
            kernels.append(kernel)
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


def _noise_factor(values) -> float:
    """Return the robust standard deviation of S on blank sky (1 with too little sky).

    Half the distance between the quantiles at -1 and +1 sigma: it is smooth also for images in
    whole numbers, where a median deviation is quantised.
    """
    if values.size < LEAST_SAMPLES:
        return 1.0
    low, high = np.quantile(values, [0.15865525, 0.84134475])
    return max(0.5 * float(high - low), 1e-6)


def _samples(signal, variance, bad, usable, filters) -> np.ndarray:
    """Return x, y and S on a regular grid of usable pixels: shape (n, 3)."""
    stride = max(1, int(np.sqrt(signal.size / 60_000)))
    return _sample(signal, variance, bad, usable, filters[0], (filters[1], stride))


@njit(cache=True)
def _sample(signal, variance, bad, usable, kernels, geometry):
    step, stride = geometry
    ny, nx = signal.shape
    out = np.empty(((ny // stride + 1) * (nx // stride + 1), 3))
    n = 0
    for y in range(stride // 2, ny, stride):
        for x in range(stride // 2, nx, stride):
            if not usable[y, x]:
                continue
            kernel = kernels[_tile_index(x, y, step, nx)]
            noise, coverage = _denominator(variance, bad, kernel, x, y)
            if coverage > 0.9 and noise > 0:
                out[n, 0], out[n, 1], out[n, 2] = x, y, signal[y, x] / noise
                n += 1
    return out[:n]


@njit(cache=True)
def _near_strong(snr, samples, strong, reach):
    """Say which samples lie within about `reach` px of a pixel above `strong`."""
    ny, nx = snr.shape
    cy, cx = ny // CELL + 1, nx // CELL + 1
    marked = np.zeros((cy, cx), dtype=np.bool_)
    span = (reach + CELL - 1) // CELL
    for y in range(ny):
        for x in range(nx):
            if abs(snr[y, x]) > strong:
                j, i = y // CELL, x // CELL
                for v in range(max(j - span, 0), min(j + span + 1, cy)):
                    for u in range(max(i - span, 0), min(i + span + 1, cx)):
                        if (v - j) ** 2 + (u - i) ** 2 <= span * span:
                            marked[v, u] = True
    out = np.zeros(samples.shape[0], dtype=np.bool_)
    for k in range(samples.shape[0]):
        out[k] = marked[int(samples[k, 1]) // CELL, int(samples[k, 0]) // CELL]
    return out


@njit(cache=True)
def _rescale(snr, factor, floor):
    for y in range(snr.shape[0]):
        for x in range(snr.shape[1]):
            value = snr[y, x] / factor
            snr[y, x] = value if abs(value) > floor else np.float32(0.0)


@njit(cache=True)
def _least_variance(variance, bad):
    """Return the smallest good variance in each block and its eight neighbours."""
    ny, nx = variance.shape
    by, bx = (ny + BLOCK - 1) // BLOCK, (nx + BLOCK - 1) // BLOCK
    own = np.full((by, bx), np.inf)
    for y in range(ny):
        for x in range(nx):
            value = variance[y, x]
            if not bad[y, x] and 0 < value < own[y // BLOCK, x // BLOCK]:
                own[y // BLOCK, x // BLOCK] = value
    out = np.full((by, bx), np.inf)
    for j in range(by):
        for i in range(bx):
            for v in range(max(j - 1, 0), min(j + 2, by)):
                for u in range(max(i - 1, 0), min(i + 2, bx)):
                    out[j, i] = min(out[j, i], own[v, u])
    return out


@njit(cache=True)
def _maimed(variance, bad, reach):
    """Mark the pixels whose filter window holds a useless pixel or goes over the edge.

    It is enough to go round the useless pixels that have a good neighbour.
    """
    ny, nx = variance.shape
    out = np.zeros((ny, nx), dtype=np.bool_)
    out[:reach] = True
    out[-reach:] = True
    out[:, :reach] = True
    out[:, -reach:] = True
    for y in range(ny):
        for x in range(nx):
            if not bad[y, x] and 0 < variance[y, x] < np.inf:
                continue
            rim = False
            for v in range(max(y - 1, 0), min(y + 2, ny)):
                for u in range(max(x - 1, 0), min(x + 2, nx)):
                    rim = rim or (not bad[v, u] and 0 < variance[v, u] < np.inf)
            if rim:
                for v in range(max(y - reach, 0), min(y + reach + 1, ny)):
                    for u in range(max(x - reach, 0), min(x + reach + 1, nx)):
                        out[v, u] = True
    return out


@njit(cache=True)
def _divide(signal, variance, bad, filters, floor):
    """Turn the numerator into S in place; 0 where |S| is surely below the floor."""
    kernels, step = filters
    ny, nx = signal.shape
    power = np.inf
    for t in range(kernels.shape[0]):
        power = min(power, np.sum(kernels[t] * kernels[t]))
    bounds = (floor * floor * power * _least_variance(variance, bad)).astype(np.float32)
    maimed = _maimed(variance, bad, kernels.shape[1] // 2)
    least = np.float32(LEAST_COVERAGE)
    for y in range(ny):
        for i in range(bounds.shape[1]):
            bound = bounds[y // BLOCK, i]
            for x in range(i * BLOCK, min((i + 1) * BLOCK, nx)):
                value = signal[y, x]
                signal[y, x] = 0.0
                square = value * value
                if not square > least * bound or (square <= bound and not maimed[y, x]):
                    continue
                if bad[y, x]:
                    continue
                kernel = kernels[_tile_index(x, y, step, nx)]
                noise, coverage = _denominator(variance, bad, kernel, x, y)
                if coverage >= LEAST_COVERAGE and abs(value) > floor * noise:
                    signal[y, x] = value / noise
