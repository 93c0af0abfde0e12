"""Gaussians times polynomials: the basis of the matching kernel.

References
----------
Alard & Lupton 1998, ApJ 503, 325; Alard 2000, A&AS 144, 363 (zero-sum functions keep the
photometric scale constant while the shape varies over the image).
"""

from dataclasses import dataclass

import numpy as np

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class Basis:
    """Separable functions ``f_i(x) g_i(y)``, all but the first brought to zero sum.

    Attributes
    ----------
    columns, rows : float64, shape (n, k)
        The factor along x and the factor along y of each function.
    sums : float64, shape (n,)
        What must be subtracted, times function 0, to make the sum zero (0 for function 0).
    """

    columns: np.ndarray
    rows: np.ndarray
    sums: np.ndarray

    @property
    def half(self) -> int:
        """Half-width [px]."""
        return self.columns.shape[1] // 2

    def __len__(self) -> int:
        return len(self.sums)

    def images(self) -> np.ndarray:
        """Return the functions on pixels: float64, shape (n, k, k)."""
        raw = self.rows[:, :, None] * self.columns[:, None, :]
        return raw - self.sums[:, None, None] * raw[0]

    def gram(self) -> np.ndarray:
        """Return the scalar products of the functions: float64, shape (n, n)."""
        flat = self.images().reshape(len(self), -1)
        return flat @ flat.T


def make_basis(sigmas, degrees, half: int) -> Basis:
    """Build the basis.

    Parameters
    ----------
    sigmas : sequence of float
        Widths of the Gaussians [px].
    degrees : sequence of int
        Highest total degree of the polynomial that goes with each.
    half : int
        Half-width of the kernel [px].

    Returns
    -------
    Basis
        Function 0 is the narrowest Gaussian, with unit sum.
    """
    u = np.arange(-half, half + 1, dtype=np.float64)
    columns, rows, sums = [], [], []
    for sigma, degree in sorted(zip(sigmas, degrees, strict=True)):
        gauss = np.exp(-0.5 * (u / sigma) ** 2)
        gauss /= gauss.sum()
        factors = [gauss * (u / sigma) ** p for p in range(degree + 1)]
        for p in range(degree + 1):
            for q in range(degree + 1 - p):
                f, g = factors[p], factors[q]
                # Comparable lengths keep the normal matrix well conditioned.
                scale = 1.0 if not sums else np.sqrt(np.sum(f**2) * np.sum(g**2))
                columns.append(f / scale)
                rows.append(g)
                sums.append(0.0 if not sums else f.sum() / scale * g.sum())
    return Basis(np.array(columns), np.array(rows), np.array(sums))


def choose_basis(fwhm_fixed: float, config: dict) -> Basis:
    """Choose widths and size for the seeing of the image that is to be matched.

    Parameters
    ----------
    fwhm_fixed : float
        FWHM of the image that is not convolved [px].
    config : dict
        ``kernel_sigmas`` at a FWHM of 4 px, ``kernel_degrees``, ``kernel_half_width`` (0: 2.5
        FWHM, between 7 and 17 px).

    Returns
    -------
    Basis
    """
    scale = float(np.clip(fwhm_fixed / 4.0, 0.8, 2.5))
    half = int(config["kernel_half_width"])
    if half <= 0:
        half = int(np.clip(np.ceil(2.5 * fwhm_fixed), 7, 17))
    sigmas = [scale * float(sigma) for sigma in config["kernel_sigmas"]]
    return make_basis(sigmas, [int(d) for d in config["kernel_degrees"]], half)
