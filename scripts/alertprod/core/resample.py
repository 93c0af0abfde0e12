"""Moving an exposure onto other pixels.

Lanczos interpolation, conserving flux: an output pixel holds the interpolated flux per input
pixel times the number of input pixels that it covers. The map from output to input pixels is
evaluated on a coarse grid and interpolated bilinearly; the grid is made finer until that is good
to a thousandth of a pixel.

**Variance.** Interpolation correlates neighbouring pixels. The plane returned is the variance of
*white* noise with the same power on the scale of a PSF and above, i.e. what a matched filter, an
aperture or a coadd needs; the scatter of single pixels is smaller (by 20 % for Lanczos-3 and by a
random shift), see `transfer_power`.

References
----------
Lanczos 1956, Applied Analysis; Duchon 1979, J. Appl. Meteor. 18, 1016 (the window);
Fruchter & Hook 2002, PASP 114, 144 (correlated noise of resampled images).
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from alertprod.core.masks import bits
from alertprod.core.wcs import Wcs

PHASES = 2048
BLOCK = 8  # px, grain of the "anything masked here?" map
WIDE_THRESHOLD = 1e-3
#: Planes whose pixel values are not to be trusted: they spread over the whole interpolant.
SPREADING = ("BAD", "SAT", "CR", "NO_DATA", "STREAK")
#: Planes that say what one image detected; they mean nothing on other pixels.
DROPPED = ("DETECTED", "DETECTED_NEGATIVE", "EDGE")


@dataclass(frozen=True)
class PixelMap:
    """Input pixel of each output pixel, on nodes every `step` output pixels.

    Attributes
    ----------
    x, y : float64, shape (ky, kx)
        Input position [px]; NaN where the input image is far away.
    area : float64, shape (ky, kx)
        Input pixels per output pixel.
    step : int
    """

    x: np.ndarray
    y: np.ndarray
    area: np.ndarray
    step: int


def pixel_map(
    target: Wcs,
    target_shape: tuple[int, int],
    source: Wcs,
    source_shape: tuple[int, int],
    tolerance: float = 1e-3,
) -> PixelMap:
    """Tabulate where the pixels of a target lie on a source.

    Parameters
    ----------
    target, source : Wcs
    target_shape, source_shape : (ny, nx)
    tolerance : float
        Largest error of the bilinear interpolation between nodes [px].

    Returns
    -------
    PixelMap
    """
    step = 64
    while True:
        x, y = _nodes(target, target_shape, source, source_shape, step, 0.0)
        # Bilinear interpolation is worst in the middle of a cell.
        mid_x, mid_y = _nodes(target, target_shape, source, source_shape, step, 0.5)
        with np.errstate(invalid="ignore"):
            errors = [
                np.abs(0.25 * (g[1:, 1:] + g[:-1, 1:] + g[1:, :-1] + g[:-1, :-1]) - m[:-1, :-1])
                for g, m in ((x, mid_x), (y, mid_y))
            ]
        worst = max(float(np.max(e, where=np.isfinite(e), initial=0.0)) for e in errors)
        if worst <= tolerance or step <= 8:
            break
        step //= 2
    x_y, x_x = np.gradient(x, step)
    y_y, y_x = np.gradient(y, step)
    return PixelMap(x, y, np.abs(x_x * y_y - x_y * y_x), step)


def _nodes(target, target_shape, source, source_shape, step, offset):
    """Source positions of a grid of target positions; NaN far outside the source."""
    ny, nx = (max(2, -(-(n - 1) // step) + 1) for n in target_shape)
    gy, gx = np.meshgrid(
        (np.arange(ny) + offset) * step, (np.arange(nx) + offset) * step, indexing="ij"
    )
    ra, dec = target.pix_to_sky(gx, gy)
    # Polynomials run wild outside the image that they were fitted on: stay near it.
    x, y = Wcs(source.crval, source.crpix, source.cd).sky_to_pix(ra, dec)
    sy, sx = source_shape
    margin = 0.1 * max(sx, sy) + 4 * step * target.pixel_scale() / source.pixel_scale()
    with np.errstate(invalid="ignore"):
        near = (x > -margin) & (x < sx + margin) & (y > -margin) & (y < sy + margin)
    x, y = np.full(gx.shape, np.nan), np.full(gx.shape, np.nan)
    if near.any():
        x[near], y[near] = source.sky_to_pix(ra[near], dec[near])
    return x, y


def lanczos_table(order: int) -> np.ndarray:
    """Return the interpolation weights by sub-pixel phase.

    Parameters
    ----------
    order : int
        Half-width of the window [px].

    Returns
    -------
    float32, shape (PHASES + 1, 2 * order)
        Row i: weights of the pixels from ``-order + 1`` to ``order`` about the pixel to the left
        of a point at phase i / PHASES. Each row sums to one, so that a flat sky stays flat.
    """
    phase = np.arange(PHASES + 1) / PHASES
    taps = np.arange(-order + 1, order + 1)[None, :] - phase[:, None]
    weights = np.sinc(taps) * np.sinc(taps / order)
    weights[np.abs(taps) >= order] = 0.0
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def transfer_power(order: int, frequency: np.ndarray) -> np.ndarray:
    """Power that interpolation leaves to white noise, averaged over all sub-pixel shifts.

    Parameters
    ----------
    order : int
        Lanczos order.
    frequency : array
        Frequency along one axis [cycles/px].

    Returns
    -------
    array
        Factor per axis; the factor in two dimensions is the product of both.
    """
    table = lanczos_table(order)[:: PHASES // 16][:-1].astype(np.float64)
    taps = np.arange(-order + 1, order + 1)
    wave = np.exp(-2j * np.pi * np.multiply.outer(np.ravel(frequency), taps))
    power = np.mean(np.abs(wave @ table.T) ** 2, axis=1)
    return power.reshape(np.shape(frequency))


class Canvas:
    """Output planes that several images are drawn on.

    Where two overlap, the one wins that has the pixel deeper inside; a pixel without data never
    covers one with data; ties go to the image that was drawn first.

    Parameters
    ----------
    wcs : Wcs
    shape : (ny, nx)
    order : int
        Lanczos order.
    """

    def __init__(self, wcs: Wcs, shape: tuple[int, int], order: int = 3):
        self.wcs, self.shape, self.order = wcs, (int(shape[0]), int(shape[1])), int(order)
        self.image = np.zeros(self.shape, np.float32)
        self.variance = np.zeros(self.shape, np.float32)
        self.mask = np.full(self.shape, bits("NO_DATA"), np.int32)
        self._depth = np.full(self.shape, -np.inf, np.float32)
        self._table = lanczos_table(self.order)

    def draw(self, image, variance, mask, wcs: Wcs) -> int:
        """Draw an image on the canvas.

        Parameters
        ----------
        image, variance : float32, shape (ny, nx)
            Flux per pixel and its variance. Values that are not finite count as NO_DATA.
        mask : int32, shape (ny, nx)
        wcs : Wcs
            Of the image.

        Returns
        -------
        int
            Number of canvas pixels that now show this image, with data.
        """
        mapping = pixel_map(self.wcs, self.shape, wcs, image.shape)
        mask = mask & ~bits(*DROPPED)
        finite = np.isfinite(image) & np.isfinite(variance)
        if not finite.all():
            image, variance = np.where(finite, image, 0), np.where(finite, variance, 0)
            mask = np.where(finite, mask, mask | bits("NO_DATA"))
        planes = np.array([bits(*SPREADING), bits("NO_DATA")], np.int32)
        return int(
            _draw(
                np.ascontiguousarray(image, np.float32),
                np.ascontiguousarray(variance, np.float32),
                np.ascontiguousarray(mask, np.int32),
                _masked_blocks(mask),
                (mapping.x, mapping.y, mapping.area),
                mapping.step,
                self._table,
                planes,
                (self.image, self.variance, self.mask, self._depth),
            )
        )

    @property
    def covered(self) -> float:
        """Fraction of the canvas that has data."""
        return float(np.mean((self.mask & bits("NO_DATA")) == 0))


def _masked_blocks(mask: np.ndarray) -> np.ndarray:
    """Say for each block of pixels whether it or a neighbour has any mask bit set."""
    ny, nx = (-(-n // BLOCK) for n in mask.shape)
    padded = np.zeros((ny * BLOCK, nx * BLOCK), bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask != 0
    some = padded.reshape(ny, BLOCK, nx, BLOCK).any(axis=(1, 3))
    wide = np.pad(some, 1)
    near = np.zeros_like(some)
    for dy in range(3):
        for dx in range(3):
            near |= wide[dy : dy + ny, dx : dx + nx]
    return near


@njit(cache=True)
def _draw(image, variance, mask, masked, nodes, step, table, planes, out):
    """Fill the output cell by cell of the node grid; returns the number of pixels drawn."""
    node_x, node_y, area = nodes
    out_shape = out[0].shape
    ny, nx = image.shape
    drawn = 0
    for j in range(node_x.shape[0] - 1):
        for i in range(node_x.shape[1] - 1):
            x00, x01 = node_x[j, i], node_x[j, i + 1]
            x10, x11 = node_x[j + 1, i], node_x[j + 1, i + 1]
            y00, y01 = node_y[j, i], node_y[j, i + 1]
            y10, y11 = node_y[j + 1, i], node_y[j + 1, i + 1]
            if np.isnan(x00 + x01 + x10 + x11 + y00 + y01 + y10 + y11):
                continue
            if max(x00, x01, x10, x11) < 0 or min(x00, x01, x10, x11) > nx:
                continue
            if max(y00, y01, y10, y11) < 0 or min(y00, y01, y10, y11) > ny:
                continue
            y_end = min((j + 1) * step, out_shape[0])
            if j == node_x.shape[0] - 2:
                y_end = out_shape[0]
            x_start, x_end = i * step, min((i + 1) * step, out_shape[1])
            if i == node_x.shape[1] - 2:
                x_end = out_shape[1]
            for y in range(j * step, y_end):
                t = (y - j * step) / step
                ends = (
                    x00 + t * (x10 - x00),
                    x01 + t * (x11 - x01),
                    y00 + t * (y10 - y00),
                    y01 + t * (y11 - y01),
                    area[j, i] + t * (area[j + 1, i] - area[j, i]),
                    area[j, i + 1] + t * (area[j + 1, i + 1] - area[j, i + 1]),
                )
                drawn += _draw_run(
                    image, variance, mask, masked, ends, step, table, planes, out, y, x_start, x_end
                )
    return drawn


@njit(cache=True)
def _draw_run(image, variance, mask, masked, ends, step, table, planes, out, y, x_start, x_end):
    """Fill one row of one cell."""
    out_image, out_variance, out_mask, out_depth = out
    xa, xb, ya, yb, area_a, area_b = ends
    ny, nx = image.shape
    taps = table.shape[1]
    order = taps // 2
    phases = table.shape[0] - 1
    no_data = planes[1]
    drawn = 0
    for x in range(x_start, x_end):
        s = (x - x_start) / step
        sx, sy = xa + s * (xb - xa), ya + s * (yb - ya)
        ix, iy = int(np.floor(sx)), int(np.floor(sy))
        left, low = ix - order + 1, iy - order + 1
        if left < 0 or low < 0 or left + taps > nx or low + taps > ny:
            continue
        depth = np.float32(min(min(sx, nx - 1 - sx), min(sy, ny - 1 - sy)))
        if depth <= out_depth[y, x]:
            continue
        fx, fy = sx - ix, sy - iy
        px, py = int(fx * phases + 0.5), int(fy * phases + 0.5)
        found = 0
        if masked[iy // BLOCK, ix // BLOCK]:
            found = _mask_at(mask, low, left, table, px, py, planes[0])
            if found & no_data:
                depth -= np.float32(1e6)
                if depth <= out_depth[y, x]:
                    continue
        if taps == 6:
            value = _value6(image, low, left, table, px, py)
        else:
            value = _value(image, low, left, table, px, py)
        upper = (1 - fx) * variance[iy, ix] + fx * variance[iy, ix + 1]
        lower = (1 - fx) * variance[iy + 1, ix] + fx * variance[iy + 1, ix + 1]
        area = area_a + s * (area_b - area_a)
        if found & no_data:
            out_image[y, x], out_variance[y, x] = 0.0, 0.0
        else:
            out_image[y, x] = area * value
            out_variance[y, x] = area * ((1 - fy) * upper + fy * lower)
            drawn += 1
        out_mask[y, x] = found
        out_depth[y, x] = depth
    return drawn


@njit(cache=True)
def _value(image, low, left, table, px, py):
    """Interpolate with any number of taps."""
    taps = table.shape[1]
    value = np.float32(0.0)
    for b in range(taps):
        line = np.float32(0.0)
        for a in range(taps):
            line += table[px, a] * image[low + b, left + a]
        value += table[py, b] * line
    return value


@njit(cache=True)
def _value6(image, low, left, table, px, py):
    """Interpolate with six taps, written out: several times as fast."""
    w0, w1, w2 = table[px, 0], table[px, 1], table[px, 2]
    w3, w4, w5 = table[px, 3], table[px, 4], table[px, 5]
    value = np.float32(0.0)
    for b in range(6):
        r = low + b
        value += table[py, b] * (
            (w0 * image[r, left] + w1 * image[r, left + 1])
            + (w2 * image[r, left + 2] + w3 * image[r, left + 3])
            + (w4 * image[r, left + 4] + w5 * image[r, left + 5])
        )
    return value


@njit(cache=True)
def _mask_at(mask, low, left, table, px, py, spreading):
    """Combine the mask bits under an interpolant."""
    taps = table.shape[1]
    order = taps // 2
    found = 0
    for b in range(taps):
        for a in range(taps):
            value = mask[low + b, left + a]
            if value == 0:
                continue
            weight = abs(table[px, a] * table[py, b])
            near = order - 1 <= a <= order and order - 1 <= b <= order and weight > 0
            if near:
                found |= value
            elif weight > WIDE_THRESHOLD:
                found |= value & spreading
    return found
