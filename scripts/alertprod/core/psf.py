"""The point-spread function of an image: basis images times Chebyshev polynomials."""

from dataclasses import dataclass

import numpy as np


def _frozen(values, dtype) -> np.ndarray:
    array = np.array(values, dtype=dtype)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Psf:
    """A PSF that varies over the image.

    The value at pixel (x, y) is ``sum_k basis[k] * T_k(x, y)``, normalised to unit sum, where
    ``T_k`` is a two-dimensional Chebyshev series over the image.

    Parameters
    ----------
    basis : float32, shape (nb, s, s)
        Basis images at the scale of the pixels, s odd, centred on the middle pixel.
    coeffs : float64, shape (nb, ny, nx)
        Chebyshev coefficients of each basis image: ``coeffs[k, j, i]`` goes with
        ``T_j(y') T_i(x')``, where x', y' run from -1 to 1 over the image.
    shape : (ny, nx)
        Size of the image [px].
    apcorr : float
        PSF flux times `apcorr` is the total flux of a star.
    """

    basis: np.ndarray
    coeffs: np.ndarray
    shape: tuple[int, int]
    apcorr: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "basis", _frozen(self.basis, np.float32))
        object.__setattr__(self, "coeffs", _frozen(self.coeffs, np.float64))
        object.__setattr__(self, "shape", (int(self.shape[0]), int(self.shape[1])))
        object.__setattr__(self, "apcorr", float(self.apcorr))
        nb, height, width = self.basis.shape
        if height != width or height % 2 == 0:
            raise ValueError(f"PSF basis images are {height} x {width}; need odd squares")
        if self.coeffs.ndim != 3 or self.coeffs.shape[0] != nb:
            raise ValueError(f"{nb} basis images but coefficients of shape {self.coeffs.shape}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Psf):
            return NotImplemented
        return (
            np.array_equal(self.basis, other.basis)
            and np.array_equal(self.coeffs, other.coeffs)
            and self.shape == other.shape
            and self.apcorr == other.apcorr
        )

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def constant(cls, kernel, shape: tuple[int, int], apcorr: float = 1.0) -> "Psf":
        """Make a PSF that is the same everywhere."""
        return cls(np.asarray(kernel)[None], np.ones((1, 1, 1)), shape, apcorr)

    @property
    def size(self) -> int:
        """Side of the PSF images [px]."""
        return self.basis.shape[1]

    def weights(self, x: float, y: float) -> np.ndarray:
        """Return the weight of each basis image at a pixel, shape (nb,)."""
        ny, nx = self.shape
        xs = 2.0 * x / max(nx - 1, 1) - 1.0
        ys = 2.0 * y / max(ny - 1, 1) - 1.0
        value = np.polynomial.chebyshev.chebval2d
        return np.array([value(ys, xs, c) for c in self.coeffs])

    def kernel_image(self, x: float, y: float) -> np.ndarray:
        """Return the PSF at (x, y), centred on the middle pixel: float32, unit sum."""
        image = np.tensordot(self.weights(x, y), self.basis.astype(np.float64), axes=1)
        return (image / image.sum()).astype(np.float32)

    def image(self, x: float, y: float) -> np.ndarray:
        """Return the PSF of a star at (x, y) on the pixels round ``(round(x), round(y))``.

        The middle pixel of the result is pixel ``(floor(x + 0.5), floor(y + 0.5))``.
        """
        kernel = self.kernel_image(x, y)
        dx, dy = x - np.floor(x + 0.5), y - np.floor(y + 0.5)
        return shift(kernel, dx, dy)

    def fwhm(self, x: float | None = None, y: float | None = None) -> float:
        """Return the full width at half maximum [px] from the area above half the peak.

        At the image centre by default. The area comes from a finely interpolated profile, so
        that an undersampled PSF has a sensible width too.
        """
        ny, nx = self.shape
        kernel = self.kernel_image(
            (nx - 1) / 2 if x is None else x, (ny - 1) / 2 if y is None else y
        ).astype(np.float64)
        fine = _upsample(kernel, 5)
        return float(2.0 * np.sqrt((fine > 0.5 * fine.max()).sum() / 25.0 / np.pi))

    def effective_area(self, x: float, y: float) -> float:
        """Return the number of pixels whose noise a PSF flux carries: 1 / sum(psf^2)."""
        kernel = self.kernel_image(x, y).astype(np.float64)
        return float(1.0 / np.square(kernel).sum())

    def to_tables(self) -> dict[str, np.ndarray]:
        """Return the exact numbers, for storage."""
        return {
            "basis": self.basis,
            "coeffs": self.coeffs,
            "shape": np.array(self.shape, dtype=np.int64),
            "apcorr": np.array([self.apcorr]),
        }

    @classmethod
    def from_tables(cls, tables: dict[str, np.ndarray]) -> "Psf":
        """Rebuild from `to_tables`."""
        shape = tuple(int(n) for n in tables["shape"])
        return cls(tables["basis"], tables["coeffs"], shape, float(tables["apcorr"][0]))  # type: ignore[arg-type]


def lanczos_weights(offset: float, order: int = 5) -> np.ndarray:
    """Return the 2*order+1 taps that move a sampled function by `offset` px (|offset| <= 0.5)."""
    taps = np.arange(-order, order + 1) - offset
    weights = np.sinc(taps) * np.sinc(taps / order)
    weights[np.abs(taps) >= order] = 0.0
    return weights / weights.sum()


def shift(kernel: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """Move a PSF image by a fraction of a pixel (separable Lanczos), keeping its sum."""
    wx, wy = lanczos_weights(dx), lanczos_weights(dy)
    padded = np.pad(np.asarray(kernel, dtype=np.float64), len(wx) // 2)
    size = kernel.shape[0]
    rows = sum(w * padded[:, k : k + size] for k, w in enumerate(wx[::-1]))
    moved = sum(w * rows[k : k + size] for k, w in enumerate(wy[::-1]))
    return (moved * (float(kernel.sum()) / moved.sum())).astype(np.float32)


def _upsample(kernel: np.ndarray, factor: int) -> np.ndarray:
    """Interpolate by zero padding in Fourier space (exact for a band-limited image)."""
    n = kernel.shape[0]
    spectrum = np.fft.fftshift(np.fft.fft2(kernel))
    pad = (factor - 1) * n // 2
    spectrum = np.pad(spectrum, pad)
    return np.real(np.fft.ifft2(np.fft.ifftshift(spectrum))) * factor**2
