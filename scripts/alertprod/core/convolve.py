"""Convolution by tiled real FFTs in single precision, with kernels that vary over the image.

Convention, everywhere: ``out(x) = sum_u kernel(u) image(x - u)`` with u = 0 at the middle pixel of
an odd, square kernel. Outside the image there is zero.

References
----------
Alard & Lupton 1998, ApJ 503, 325; Alard 2000, A&AS 144, 363 (kernels that vary over the image).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

TILE = 288  # px, transform length: smooth, and a tile of all planes stays in the cache


@dataclass(frozen=True)
class Tile:
    """One piece of an image: its own rows and columns, and the transform window round them."""

    y: slice
    x: slice
    window: tuple[slice, slice]
    inside: tuple[slice, slice]
    centre: tuple[float, float]


def tiles(shape: tuple[int, int], reach: int, length: int = TILE) -> Iterator[Tile]:
    """Cut an image into tiles whose windows overlap by a kernel's reach.

    Parameters
    ----------
    shape : (ny, nx)
    reach : int
        Half-width of the kernel [px].
    length : int
        Side of the transform window [px]; more than ``2 * reach``.

    Yields
    ------
    Tile
        ``window`` indexes the image, ``inside`` the window (after padding to `length`).
    """
    if length <= 2 * reach:
        raise ValueError(f"a window of {length} px cannot hold a kernel of half-width {reach}")
    counts = [max(1, -(-n // (length - 2 * reach))) for n in shape]
    edges = [
        [n * k // count for k in range(count + 1)] for n, count in zip(shape, counts, strict=True)
    ]
    for y0, y1 in zip(edges[0][:-1], edges[0][1:], strict=True):
        for x0, x1 in zip(edges[1][:-1], edges[1][1:], strict=True):
            top, left = max(0, y0 - reach), max(0, x0 - reach)
            window = (slice(top, min(shape[0], y1 + reach)), slice(left, min(shape[1], x1 + reach)))
            inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
            centre = (0.5 * (y0 + y1 - 1), 0.5 * (x0 + x1 - 1))
            yield Tile(slice(y0, y1), slice(x0, x1), window, inside, centre)


def kernel_transform(kernel: np.ndarray, length: int = TILE) -> np.ndarray:
    """Return the real transform of a kernel centred on pixel (0, 0) of a window.

    Parameters
    ----------
    kernel : array, shape (..., k, k)
        k odd.
    length : int

    Returns
    -------
    complex64, shape (..., length, length // 2 + 1)
    """
    from scipy.fft import rfft2

    half = kernel.shape[-1] // 2
    padded = np.zeros((*kernel.shape[:-2], length, length), np.float32)
    padded[..., : 2 * half + 1, : 2 * half + 1] = kernel
    return rfft2(np.roll(padded, (-half, -half), axis=(-2, -1)))


@dataclass(frozen=True)
class VaryingKernel:
    """A kernel that is a Chebyshev series over an image.

    ``kernel(x, y) = sum_t T_p(x') T_q(y') terms[t]`` with ``(p, q) = powers[t]`` and x', y' from
    -1 to 1 over the image.

    Attributes
    ----------
    terms : float64, shape (n, k, k)
    powers : tuple of (int, int)
    shape : (ny, nx)
        Of the image.
    """

    terms: np.ndarray
    powers: tuple[tuple[int, int], ...]
    shape: tuple[int, int]

    @property
    def half(self) -> int:
        """Half-width [px]."""
        return self.terms.shape[-1] // 2

    def weights(self, x: float, y: float) -> np.ndarray:
        """Return the value of each spatial term at a pixel."""
        return chebyshev_terms(x, y, self.shape, self.powers)

    def at(self, x: float, y: float) -> np.ndarray:
        """Return the kernel at a pixel: float64, shape (k, k)."""
        return np.tensordot(self.weights(x, y), self.terms, axes=1)


def chebyshev_powers(order: int) -> tuple[tuple[int, int], ...]:
    """Return the exponents (p, q), p + q <= order, of a series in two dimensions."""
    return tuple((p, n - p) for n in range(order + 1) for p in range(n, -1, -1))


def chebyshev_terms(x, y, shape: tuple[int, int], powers) -> np.ndarray:
    """Evaluate T_p(x') T_q(y') for each (p, q); shape (len(powers), ...)."""
    xs = 2.0 * np.asarray(x, dtype=np.float64) / max(shape[1] - 1, 1) - 1.0
    ys = 2.0 * np.asarray(y, dtype=np.float64) / max(shape[0] - 1, 1) - 1.0
    order = max(p + q for p, q in powers)
    t_x, t_y = [np.ones_like(xs), xs], [np.ones_like(ys), ys]
    for _ in range(order - 1):
        t_x.append(2 * xs * t_x[-1] - t_x[-2])
        t_y.append(2 * ys * t_y[-1] - t_y[-2])
    return np.stack([t_x[p] * t_y[q] for p, q in powers])


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve an image with one kernel.

    Parameters
    ----------
    image : float32, shape (ny, nx)
    kernel : array, shape (k, k), k odd

    Returns
    -------
    float32, shape (ny, nx)
    """
    half = kernel.shape[-1] // 2
    length = _window_length(half)
    transform = kernel_transform(np.asarray(kernel), length)
    return filter_tiles(image, lambda tile: transform, half, length)


def convolve_varying(image: np.ndarray, kernel: VaryingKernel) -> np.ndarray:
    """Convolve an image with a kernel that varies over it.

    The kernel is that of the position of the *input* pixel: each spatial term multiplies the
    image before the transform, so that one inverse transform per tile is enough and nothing
    changes from tile to tile.

    Parameters
    ----------
    image : float32, shape (ny, nx)
    kernel : VaryingKernel

    Returns
    -------
    float32, shape (ny, nx)
    """
    from scipy.fft import irfft2, rfft2

    length = _window_length(kernel.half)
    transforms = kernel_transform(kernel.terms, length)
    ny, nx = image.shape
    order = max(p + q for p, q in kernel.powers)
    series = [(n, 0) for n in range(order + 1)]
    t_x = chebyshev_terms(np.arange(nx), np.zeros(nx), image.shape, series).astype(np.float32)
    series = [(0, n) for n in range(order + 1)]
    t_y = chebyshev_terms(np.zeros(ny), np.arange(ny), image.shape, series).astype(np.float32)
    out = np.empty(image.shape, np.float32)
    window = np.zeros((length, length), np.float32)
    for tile in tiles(image.shape, kernel.half, length):
        rows, columns = tile.window
        piece = image[tile.window]
        total = None
        for (p, q), transform in zip(kernel.powers, transforms, strict=True):
            term = piece * t_x[p, columns] if p else piece
            term = term * t_y[q, rows, None] if q else term
            spectrum = rfft2(_fill(window, term))
            spectrum *= transform
            total = spectrum if total is None else np.add(total, spectrum, out=total)
        out[tile.y, tile.x] = irfft2(total, s=(length, length))[tile.inside]
    return out


def filter_tiles(
    image: np.ndarray, transfer: Callable[[Tile], np.ndarray], reach: int, length: int = TILE
) -> np.ndarray:
    """Multiply the transform of each tile by a function.

    Parameters
    ----------
    image : float32, shape (ny, nx)
    transfer : callable
        Tile -> array, shape (length, length // 2 + 1), as `kernel_transform` makes it.
    reach : int
        Half-width [px] beyond which the filter is negligible.
    length : int

    Returns
    -------
    float32, shape (ny, nx)
    """
    from scipy.fft import irfft2, rfft2

    out = np.empty(image.shape, np.float32)
    window = np.zeros((length, length), np.float32)
    for tile in tiles(image.shape, reach, length):
        spectrum = rfft2(_fill(window, image[tile.window])) * transfer(tile)
        out[tile.y, tile.x] = irfft2(spectrum, s=(length, length))[tile.inside]
    return out


def _fill(window: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """Put a piece in the corner of the window, zeros elsewhere."""
    ny, nx = piece.shape
    window[:ny, :nx] = piece
    window[ny:, :] = 0.0
    window[:ny, nx:] = 0.0
    return window


def _window_length(half: int) -> int:
    """Return a smooth transform length whose overhead stays small."""
    for length in (TILE, 384, 512, 768, 1024):
        if length >= 6 * half + 64:
            return length
    raise ValueError(f"a kernel of half-width {half} px is too wide for tiled convolution")
