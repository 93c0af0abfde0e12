"""Whitening the noise of a difference image.

Convolving one image with the matching kernel correlates its noise, so that a matched filter on
the difference overestimates its signal-to-noise. A second, nearly trivial filter on the
difference undoes this. Kernel and noise level vary over the image, and so does the filter.

References
----------
Reiss & Lupton 2016, LSST DMTN-021, eq. 1 (the filter); Kovacs 2021, LSST DMTN-179 (normalisation
with a photometric scale other than one); Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27.
"""

from dataclasses import dataclass

import numpy as np

from alertprod.core.convolve import (
    TILE,
    Tile,
    VaryingKernel,
    filter_tiles,
    kernel_transform,
)
from alertprod.core.psf import Psf
from alertprod.core.psfgrid import psf_through
from alertprod.core.resample import transfer_power


@dataclass
class Decorrelation:
    """A whitening filter on a grid of cells.

    Attributes
    ----------
    x, y : float64, shape (nx,) and (ny,)
        Centres of the cells [px].
    fixed, moving : float64, shape (ny, nx)
        Noise variance of the image that was not convolved, and of the other before convolution.
    transfer : float32, shape (ny, nx, TILE, TILE // 2 + 1)
        The filter; one at zero frequency.
    matched : VaryingKernel
        The matching kernel that it belongs to.
    """

    x: np.ndarray
    y: np.ndarray
    fixed: np.ndarray
    moving: np.ndarray
    transfer: np.ndarray
    matched: VaryingKernel

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Filter an image: float32, shape (ny, nx)."""

        def nearest(tile: Tile) -> np.ndarray:
            j = int(np.argmin(np.abs(self.y - tile.centre[0])))
            i = int(np.argmin(np.abs(self.x - tile.centre[1])))
            return self.transfer[j, i]

        return filter_tiles(image, nearest, REACH, TILE)

    def kernel(self, j: int, i: int, half: int = 24) -> np.ndarray:
        """Return the filter of a cell as a kernel: float64, shape (2 half + 1, 2 half + 1)."""
        from scipy.fft import irfft2

        full = np.roll(irfft2(self.transfer[j, i], s=(TILE, TILE)), (half, half), axis=(0, 1))
        return full[: 2 * half + 1, : 2 * half + 1].astype(np.float64)


REACH = 32  # px, beyond which the whitening filter is negligible


def transfer_function(kernel_power, scale: float, fixed, moving, resampled=1.0):
    """Evaluate the whitening filter.

    Parameters
    ----------
    kernel_power : array
        Squared modulus of the kernel's transform.
    scale : float
        Sum of the kernel.
    fixed, moving : float
        Noise variance of the image that was not convolved, and of the other before convolution.
    resampled : array or float
        Power that resampling has left to the white noise of the convolved image.

    Returns
    -------
    array
        ``sqrt((fixed + scale^2 moving) / (fixed + |K|^2 resampled moving))``
    """
    noise = fixed + kernel_power * resampled * moving
    return np.sqrt((fixed + scale**2 * moving) / noise)


def plan_decorrelation(
    kernel: VaryingKernel, fixed, moving, skip, cells: int, resample_order: int = 0
) -> Decorrelation:
    """Work out the whitening filter cell by cell.

    Parameters
    ----------
    kernel : VaryingKernel
    fixed, moving : float32, shape (ny, nx)
        Variance planes.
    skip : bool, shape (ny, nx)
        Pixels whose variance is not that of the sky.
    cells : int
        Along each axis.
    resample_order : int
        Lanczos order with which the convolved image was resampled twice (once in the coadd, once
        on the way to the detector); 0 for none.

    Returns
    -------
    Decorrelation
    """
    ny, nx = kernel.shape
    y_c, x_c = ((np.arange(cells) + 0.5) * n / cells - 0.5 for n in (ny, nx))
    v_fixed, v_moving = (_cell_medians(plane, skip, cells) for plane in (fixed, moving))
    transforms = kernel_transform(kernel.terms, TILE)
    resampled = _resampled_power(resample_order)
    transfer = np.empty((cells, cells, TILE, TILE // 2 + 1), np.float32)
    for j, y in enumerate(y_c):
        for i, x in enumerate(x_c):
            weights = kernel.weights(x, y)
            spectrum = np.tensordot(weights.astype(np.float32), transforms, axes=1)
            power = spectrum.real**2 + spectrum.imag**2
            scale = float(weights @ kernel.terms.sum(axis=(1, 2)))
            transfer[j, i] = transfer_function(
                power, scale, v_fixed[j, i], v_moving[j, i], resampled
            )
    return Decorrelation(x_c, y_c, v_fixed, v_moving, transfer, kernel)


def _resampled_power(order: int):
    if order <= 0:
        return np.float32(1.0)
    frequency = np.abs(np.fft.fftfreq(TILE))
    axis = transfer_power(order, frequency) ** 2
    return (axis[:, None] * axis[None, : TILE // 2 + 1]).astype(np.float32)


def _cell_medians(plane: np.ndarray, skip: np.ndarray, cells: int) -> np.ndarray:
    """Median of the usable pixels of each cell, from every fourth pixel per axis."""
    ny, nx = plane.shape
    out = np.full((cells, cells), np.nan)
    for j in range(cells):
        for i in range(cells):
            box = np.s_[ny * j // cells : ny * (j + 1) // cells : 4,
                        nx * i // cells : nx * (i + 1) // cells : 4]  # fmt: skip
            values = plane[box][~skip[box]]
            values = values[values > 0]
            if len(values):
                out[j, i] = np.median(values)
    known = np.isfinite(out)
    return np.where(known, out, np.median(out[known]) if known.any() else 1.0)


def whitened_psf(psf: Psf, decorrelation: Decorrelation, *, matched: bool, white: bool) -> Psf:
    """Convolve a PSF with what its image was convolved with.

    Parameters
    ----------
    psf : Psf
        Of the science image.
    decorrelation : Decorrelation
    matched : bool
        Whether the science image is the one that was convolved with the matching kernel.
    white : bool
        Whether the whitening filter was applied.

    Returns
    -------
    Psf
        PSF of a source in the difference, a polynomial through the cells' values.
    """
    from scipy.fft import irfft2, rfft2

    half = min(psf.size // 2 + 4, TILE // 2 - 1)
    terms = kernel_transform(decorrelation.matched.terms, TILE) if matched else None
    stamps, xs, ys = [], [], []
    for j in _sample(len(decorrelation.y)):
        for i in _sample(len(decorrelation.x)):
            x, y = decorrelation.x[i], decorrelation.y[j]
            window = np.zeros((TILE, TILE), np.float32)
            window[: psf.size, : psf.size] = psf.kernel_image(x, y)
            spectrum = rfft2(window)
            if white:
                spectrum *= decorrelation.transfer[j, i]
            if matched:
                weights = decorrelation.matched.weights(x, y).astype(np.float32)
                spectrum *= np.tensordot(weights, terms, axes=1)
            full = irfft2(spectrum, s=(TILE, TILE))
            shift = half - psf.size // 2
            full = np.roll(full, (shift, shift), axis=(0, 1))
            stamp = full[: 2 * half + 1, : 2 * half + 1].astype(np.float64)
            stamps.append(stamp / stamp.sum())
            xs.append(x)
            ys.append(y)
    return psf_through(np.array(stamps), np.array(xs), np.array(ys), psf.shape, psf.apcorr)


def _sample(n: int, limit: int = 4) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, limit)).round().astype(int))
