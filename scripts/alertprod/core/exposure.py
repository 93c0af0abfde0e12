"""An image with what is known of it: mask, variance, WCS, PSF, background, circumstances."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alertprod.core.masks import bits
from alertprod.core.psf import Psf
from alertprod.core.wcs import Wcs

Meta = dict[str, Any]
CARD_CHARACTERS = 20  # width of a number in a FITS card


@dataclass(frozen=True, eq=False)
class Background:
    """A smooth background: values on a coarse grid that spans the image.

    Parameters
    ----------
    grid : float64, shape (gy, gx)
        Values; the first and last row and column lie on the centres of the outermost pixels
        when `centres` is not given.
    shape : (ny, nx)
        Size of the image [px].
    """

    grid: np.ndarray
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        grid = np.array(self.grid, dtype=np.float64)
        grid.setflags(write=False)
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "shape", (int(self.shape[0]), int(self.shape[1])))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Background):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.grid, other.grid)

    __hash__ = None  # type: ignore[assignment]

    def box_centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixel coordinates (y, x) of the rows and columns of the grid.

        The image is cut into gy x gx equal boxes; each value belongs to the centre of its box.
        """
        (ny, nx), (gy, gx) = self.shape, self.grid.shape
        return (np.arange(gy) + 0.5) * ny / gy - 0.5, (np.arange(gx) + 0.5) * nx / gx - 0.5

    def image(self) -> np.ndarray:
        """Evaluate on every pixel: float32, shape (ny, nx).

        A bicubic spline through the box centres (bilinear, constant for fewer than four), which
        goes on beyond the outermost centres.
        """
        rows, columns = self.box_centres()
        ny, nx = self.shape
        partial = _interpolate(columns, self.grid.T, np.arange(nx)).T
        # One pass per image row block keeps the peak memory at one frame.
        return _interpolate(rows, partial.astype(np.float32), np.arange(ny)).astype(np.float32)

    def scaled(self, factor: float) -> "Background":
        """Return the same background in another unit."""
        return Background(self.grid * factor, self.shape)


def _interpolate(knots: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Interpolate along the first axis; a matrix product with the spline's response matrix."""
    if len(knots) == 1:
        return np.repeat(values, len(at), axis=0)
    from scipy.interpolate import make_interp_spline

    degree = 3 if len(knots) >= 4 else 1
    response = make_interp_spline(knots, np.eye(len(knots)), k=degree)(at)
    return response.astype(values.dtype) @ values


@dataclass(eq=False)
class Exposure:
    """A masked image with its calibrations.

    Whatever goes in is brought to the form in which a file would return it, so that a product
    handed on in memory and one read back from disk are the same to the last bit.

    Parameters
    ----------
    image, mask, variance : float32, int32, float32, shape (ny, nx)
        Pixels, mask bits (see `alertprod.core.masks`), variance in the square of the unit.
    meta : dict
        FITS keywords (at most 8 characters) and their values; see the data-model page. Values
        that are not finite have no place in a header and are left out.
    wcs : Wcs, optional
    psf : Psf, optional
    background : Background, optional
        Background that has been subtracted, in the unit of the image.
    kernel : dict of arrays, optional
        Coefficients of a matching kernel, as named float64 arrays.
    """

    image: np.ndarray
    mask: np.ndarray
    variance: np.ndarray
    meta: Meta = field(default_factory=dict)
    wcs: Wcs | None = None
    psf: Psf | None = None
    background: Background | None = None
    kernel: dict[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        self.image = np.ascontiguousarray(self.image, dtype=np.float32)
        self.mask = np.ascontiguousarray(self.mask, dtype=np.int32)
        self.variance = np.ascontiguousarray(self.variance, dtype=np.float32)
        if not self.image.shape == self.mask.shape == self.variance.shape:
            raise ValueError(
                f"image {self.image.shape}, mask {self.mask.shape} and variance "
                f"{self.variance.shape} differ in shape"
            )
        self.meta = canonical_meta(self.meta)
        if self.kernel is not None:
            self.kernel = {
                name: np.ascontiguousarray(value, dtype=np.float64)
                for name, value in self.kernel.items()
            }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Exposure):
            return NotImplemented
        kernels = (self.kernel or {}), (other.kernel or {})
        return (
            np.array_equal(self.image, other.image, equal_nan=True)
            and np.array_equal(self.mask, other.mask)
            and np.array_equal(self.variance, other.variance, equal_nan=True)
            and self.meta == other.meta
            and self.wcs == other.wcs
            and self.psf == other.psf
            and self.background == other.background
            and kernels[0].keys() == kernels[1].keys()
            and all(np.array_equal(kernels[0][k], kernels[1][k]) for k in kernels[0])
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image.shape  # type: ignore[return-value]

    def bad(self, *planes: str) -> np.ndarray:
        """Return where any of the named mask planes is set."""
        return (self.mask & bits(*planes)) != 0

    def copy(self) -> "Exposure":
        """Return a copy with its own pixels."""
        return Exposure(
            self.image.copy(),
            self.mask.copy(),
            self.variance.copy(),
            dict(self.meta),
            self.wcs,
            self.psf,
            self.background,
            None if self.kernel is None else dict(self.kernel),
        )


def canonical_meta(meta: Meta) -> Meta:
    """Bring header values to the form in which a FITS card returns them."""
    clean: Meta = {}
    for key, value in meta.items():
        if len(key) > 8 or key != key.upper():
            raise ValueError(f"{key!r} is no FITS keyword: use at most 8 capitals")
        if isinstance(value, bool | np.bool_):
            clean[key] = bool(value)
        elif isinstance(value, int | np.integer):
            clean[key] = int(value)
        elif isinstance(value, float | np.floating):
            if np.isfinite(value):
                clean[key] = card_float(float(value))
        elif isinstance(value, str):
            clean[key] = value.rstrip()
        elif value is not None:
            raise ValueError(f"{key} = {value!r} ({type(value).__name__}) fits in no FITS card")
    return clean


def card_float(value: float) -> float:
    """Round a number to what survives in a FITS card: 15 digits, 20 characters."""
    for digits in range(15, 8, -1):
        rounded = float(f"{value:.{digits}g}")
        if len(str(rounded)) <= CARD_CHARACTERS:
            return rounded
    return rounded
