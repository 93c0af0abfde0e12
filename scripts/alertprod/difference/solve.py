"""Least-squares fit of the matching kernel and a smooth background.

The image that is matched is modelled as ``sum_i a_i(x, y) (moving * B_i) + b(x, y)`` with the
first coefficient constant (the photometric scale) and the others polynomials in position.

References
----------
Alard & Lupton 1998, ApJ 503, 325; Alard 2000, A&AS 144, 363.
"""

from dataclasses import dataclass

import numpy as np

from alertprod.core.convolve import VaryingKernel, chebyshev_powers, chebyshev_terms
from alertprod.core.errors import Rejected
from alertprod.difference.basis import Basis
from alertprod.difference.stamps import Stamps

CHUNK = 64  # stamps at a time: keeps the design matrices in the cache


@dataclass
class Match:
    """The matching kernel and how well it fits.

    Attributes
    ----------
    kernel : VaryingKernel
    background : float64, shape (n,)
        Chebyshev coefficients, in the order of `background_powers`.
    background_powers : tuple of (int, int)
    n_stars, n_tried : int
    condition : float
        Of the normal matrix, scaled to a unit diagonal.
    chi2 : float
        Median over the stars of the mean squared pull of a stamp.
    floor : float
        Error of the model as a fraction of its value, from the scatter of bright pixels.
    """

    kernel: VaryingKernel
    background: np.ndarray
    background_powers: tuple
    n_stars: int
    n_tried: int
    condition: float
    chi2: float
    floor: float

    @property
    def scale(self) -> float:
        """Sum of the kernel: the photometric ratio."""
        middle = (self.kernel.shape[1] - 1) / 2, (self.kernel.shape[0] - 1) / 2
        return float(self.kernel.at(*middle).sum())


def orders_for(n_stars: int, config: dict) -> tuple[int, int]:
    """Lower the spatial orders of kernel and background when stars are few."""
    kernel, background = int(config["kernel_order"]), int(config["background_order"])
    if n_stars < 12:
        return 0, 0
    if n_stars < 40:
        return min(kernel, 1), min(background, 1)
    return kernel, background


def fit_kernel(stamps: Stamps, basis: Basis, shape: tuple[int, int], config: dict) -> Match:
    """Fit, clip stars that do not follow, fit again.

    Parameters
    ----------
    stamps : Stamps
    basis : Basis
    shape : (ny, nx)
        Of the image.
    config : dict
        ``kernel_order``, ``background_order``, ``clip_sigma``, ``clip_iterations``,
        ``min_kernel_stars``, ``noise_floor_min``, ``noise_floor_max``.

    Returns
    -------
    Match

    Raises
    ------
    Rejected
        If fewer than ``min_kernel_stars`` stars are left.
    """
    keep = np.ones(len(stamps), bool)
    floor = float(config["noise_floor_min"])
    for _ in range(int(config["clip_iterations"]) + 1):
        _require(keep, config)
        orders = orders_for(int(keep.sum()), config)
        layout = _Layout(basis, shape, *orders)
        solution, condition = _solve(stamps, keep, layout, floor)
        chi2, ratio, ratio_error, floor = _inspect(stamps, keep, layout, solution, floor, config)
        kept = keep & _follow(chi2, ratio, ratio_error, keep, float(config["clip_sigma"]))
        if np.array_equal(kept, keep):
            break
        keep = kept
    _require(keep, config)
    kernel, background = layout.unpack(solution)
    return Match(
        kernel,
        background,
        layout.background_powers,
        int(keep.sum()),
        len(stamps),
        condition,
        float(np.median(chi2[keep])),
        floor,
    )


def _require(keep: np.ndarray, config: dict) -> None:
    if keep.sum() < int(config["min_kernel_stars"]):
        raise Rejected(
            f"{int(keep.sum())} of {len(keep)} stars can be used to match the template; "
            f"{config['min_kernel_stars']} are needed"
        )


class _Layout:
    """How the parameters of one stamp hang on those of the whole image."""

    def __init__(self, basis: Basis, shape, kernel_order: int, background_order: int):
        self.basis, self.shape = basis, shape
        self.powers = chebyshev_powers(kernel_order)
        self.background_powers = chebyshev_powers(background_order)
        self.n = 1 + (len(basis) - 1) * len(self.powers) + len(self.background_powers)

    def expand(self, x, y) -> np.ndarray:
        """Return the matrix from global to local parameters: shape (stamps, local, global)."""
        n_local, n_space = len(self.basis) + 1, len(self.powers)
        matrix = np.zeros((len(x), n_local, self.n))
        matrix[:, 0, 0] = 1.0
        space = chebyshev_terms(x, y, self.shape, self.powers).T
        for i in range(len(self.basis) - 1):
            matrix[:, i + 1, 1 + i * n_space : 1 + (i + 1) * n_space] = space
        ground = chebyshev_terms(x, y, self.shape, self.background_powers).T
        matrix[:, -1, self.n - ground.shape[1] :] = ground
        return matrix

    def unpack(self, solution: np.ndarray) -> tuple[VaryingKernel, np.ndarray]:
        """Return the kernel and the background coefficients."""
        n_space = len(self.powers)
        shapes = self.basis.images()
        split = 1 + (len(self.basis) - 1) * n_space
        coefficients = solution[1:split].reshape(-1, n_space)
        terms = np.tensordot(coefficients.T, shapes[1:], axes=1)
        terms[0] += solution[0] * shapes[0]
        return VaryingKernel(terms, self.powers, self.shape), solution[split:]


def _design(stamps: Stamps, index: np.ndarray, basis: Basis) -> np.ndarray:
    """Convolve the stamps with the basis: shape (stamps, pixels, functions + 1)."""
    size = stamps.fixed.shape[-1]
    moving = stamps.moving[index].astype(np.float64)
    across = {}
    out = np.empty((len(index), size * size, len(basis) + 1))
    for i in range(len(basis)):
        key = basis.columns[i].tobytes()
        if key not in across:
            across[key] = moving @ _toeplitz(basis.columns[i], size).T
        column = (_toeplitz(basis.rows[i], size) @ across[key]).reshape(len(index), -1)
        out[:, :, i] = column - basis.sums[i] * out[:, :, 0] if i else column
    out[:, :, -1] = 1.0
    return out


def _toeplitz(factor: np.ndarray, size: int) -> np.ndarray:
    """Matrix of a 'valid' convolution: shape (size, size + len(factor) - 1)."""
    matrix = np.zeros((size, size + len(factor) - 1))
    for i in range(size):
        matrix[i, i : i + len(factor)] = factor[::-1]
    return matrix


def _weights(stamps: Stamps, index: np.ndarray, floor: float) -> np.ndarray:
    variance = stamps.variance[index] + (floor * stamps.fixed[index].clip(min=0.0)) ** 2
    usable = stamps.usable[index]
    weights = np.where(usable, 1.0 / np.where(usable, variance, 1.0), 0.0)
    return weights.reshape(len(index), -1).astype(np.float64)


def _chunks(index: np.ndarray):
    for start in range(0, len(index), CHUNK):
        yield index[start : start + CHUNK]


def _solve(stamps: Stamps, keep: np.ndarray, layout: _Layout, floor: float):
    """Accumulate and solve the normal equations; returns the solution and the condition."""
    matrix, vector = np.zeros((layout.n, layout.n)), np.zeros(layout.n)
    for index in _chunks(np.flatnonzero(keep)):
        design = _design(stamps, index, layout.basis)
        weights = _weights(stamps, index, floor)
        weighted = design * weights[:, :, None]
        local = np.matmul(weighted.transpose(0, 2, 1), design)
        data = stamps.fixed[index].reshape(len(index), -1).astype(np.float64)
        right = np.matmul(weighted.transpose(0, 2, 1), data[:, :, None])[:, :, 0]
        expand = layout.expand(stamps.x[index], stamps.y[index])
        half = np.matmul(local, expand)
        matrix += np.tensordot(expand, half, axes=((0, 1), (0, 1)))
        vector += np.tensordot(expand, right, axes=((0, 1), (0, 1)))
    scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    scaled = matrix * scale[:, None] * scale[None, :]
    values, vectors = np.linalg.eigh(scaled)
    # What the data do not determine stays zero.
    strong = values > 1e-10 * values[-1]
    inverse = vectors[:, strong] / values[strong]
    solution = scale * (inverse @ (vectors[:, strong].T @ (scale * vector)))
    return solution, float(values[-1] / max(values[0], 1e-300))


def _inspect(stamps: Stamps, keep, layout: _Layout, solution, floor: float, config: dict):
    """Chi-square and flux ratio of every stamp; the error of the model at bright pixels."""
    n = len(stamps)
    chi2, ratio, ratio_error = np.full(n, np.inf), np.zeros(n), np.ones(n)
    squares, kept_squares = [], []
    for index in _chunks(np.arange(n)):
        design = _design(stamps, index, layout.basis)
        local = np.matmul(layout.expand(stamps.x[index], stamps.y[index]), solution)
        model = np.matmul(design[:, :, :-1], local[:, :-1, None])[:, :, 0]
        data = stamps.fixed[index].reshape(len(index), -1) - local[:, -1:]
        weights = _weights(stamps, index, floor)
        chi2[index] = (weights * (data - model) ** 2).sum(1) / np.maximum((weights > 0).sum(1), 1)
        norm = np.maximum((weights * model**2).sum(1), 1e-300)
        ratio[index], ratio_error[index] = (weights * model * data).sum(1) / norm, norm**-0.5
        variance = stamps.variance[index].reshape(len(index), -1)
        bright = (weights > 0) & (model > 10 * np.sqrt(np.maximum(variance, 1e-30)))
        bright &= keep[index][:, None]
        squares.append((((data - model)[bright]) ** 2 - variance[bright]) / model[bright] ** 2)
        kept_squares.append(((data - model)[bright]) ** 2 / variance[bright])
    return chi2, ratio, ratio_error, _noise_floor(np.concatenate(squares), config)


def _noise_floor(excess: np.ndarray, config: dict) -> float:
    """Fractional error of the model: what the photon noise of bright pixels leaves over."""
    low, high = float(config["noise_floor_min"]), float(config["noise_floor_max"])
    if len(excess) < 30:
        return low
    # The median of a squared normal deviate is 0.455 of its mean; clip the heavy tail first.
    mean = np.mean(np.sort(excess)[: max(1, int(0.95 * len(excess)))])
    return float(np.clip(np.sqrt(max(mean, 0.0)), low, high))


def _follow(chi2, ratio, ratio_error, keep, clip: float) -> np.ndarray:
    """Say which stars follow the common kernel: shape by chi-square, brightness by ratio."""
    log_chi2 = np.log(np.maximum(chi2, 1e-12))
    middle = np.median(log_chi2[keep])
    width = max(1.4826 * float(np.median(np.abs(log_chi2[keep] - middle))), 0.05)
    centre = np.median(ratio[keep])
    spread = 1.4826 * float(np.median(np.abs(ratio[keep] - centre)))
    error = np.sqrt(np.maximum(spread, 1e-4) ** 2 + ratio_error**2)
    return (log_chi2 < middle + clip * width) & (np.abs(ratio - centre) < clip * error)
