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
FORGIVEN = 2.5  # times the usual error of the model may a bright star be off
BRIGHT = 20.0  # signal-to-noise per pixel, averaged over a stamp, that shows errors of the model


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
        ``kernel_order``, ``background_order``, ``fit_floor``, ``clip_sigma``, ``clip_iterations``,
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
    floor = float(config["fit_floor"])
    designs = _designs(stamps, basis)
    for _ in range(int(config["clip_iterations"]) + 1):
        _require(keep, config)
        orders = orders_for(int(keep.sum()), config)
        layout = _Layout(basis, shape, *orders)
        solution, condition = _solve(stamps, designs, keep, layout, floor)
        ratio, ratio_error, sums = _inspect(stamps, designs, layout, solution, floor)
        kept = keep & _follow(sums, ratio, ratio_error, keep, float(config["clip_sigma"]))
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
        float(np.median(sums[keep, 0] / sums[keep, 1])),
        float(
            np.clip(
                model_error(sums[keep])[1], config["noise_floor_min"], config["noise_floor_max"]
            )
        ),
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


def _designs(stamps: Stamps, basis: Basis) -> list[np.ndarray]:
    """Design matrices of all stamps, in chunks; in single precision to save memory."""
    index = np.arange(len(stamps))
    return [
        _design(stamps, index[k : k + CHUNK], basis).astype(np.float32)
        for k in range(0, len(index), CHUNK)
    ]


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


def _solve(stamps: Stamps, designs: list, keep: np.ndarray, layout: _Layout, floor: float):
    """Accumulate and solve the normal equations; returns the solution and the condition."""
    matrix, vector = np.zeros((layout.n, layout.n)), np.zeros(layout.n)
    gram = np.pad(layout.basis.gram(), ((0, 1), (0, 1)))
    noise = np.zeros_like(matrix)
    for chunk, designed in enumerate(designs):
        index = chunk * CHUNK + np.flatnonzero(keep[chunk * CHUNK : (chunk + 1) * CHUNK])
        if not len(index):
            continue
        design = designed[index - chunk * CHUNK].astype(np.float64)
        weights = _weights(stamps, index, floor)
        weighted = design * weights[:, :, None]
        local = np.matmul(weighted.transpose(0, 2, 1), design)
        data = stamps.fixed[index].reshape(len(index), -1).astype(np.float64)
        right = np.matmul(weighted.transpose(0, 2, 1), data[:, :, None])[:, :, 0]
        expand = layout.expand(stamps.x[index], stamps.y[index])
        half = np.matmul(local, expand)
        matrix += np.tensordot(expand, half, axes=((0, 1), (0, 1)))
        power = (weights * stamps.moving_variance[index][:, None]).sum(axis=1)
        half = np.matmul(power[:, None, None] * gram, expand)
        noise += np.tensordot(expand, half, axes=((0, 1), (0, 1)))
        vector += np.tensordot(expand, right, axes=((0, 1), (0, 1)))
    scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    scaled = matrix * scale[:, None] * scale[None, :]
    values, vectors = np.linalg.eigh(scaled)
    strong = values > 1e-10 * values[-1]  # what the data do not determine stays zero
    whiten = scale[:, None] * vectors[:, strong] / np.sqrt(values[strong])
    # In these coordinates the normal matrix is one; `share` is how much of it is noise.
    share, axes = np.linalg.eigh(whiten.T @ noise @ whiten)
    axes = whiten @ axes
    solution = axes @ (_undo_attenuation(share) * (axes.T @ vector))
    return solution, float(values[-1] / max(values[0], 1e-300))


def _undo_attenuation(share: np.ndarray) -> np.ndarray:
    """Factor on each mode of the solution for the noise of the convolved image.

    That noise inflates the normal matrix but not the right-hand side, and so shrinks the kernel,
    most of all where it must sharpen. A mode with a share s of noise is restored by 1 / (1 - s);
    modes that are mostly noise are left as they are (a large factor would only amplify it).

    References
    ----------
    Fuller 1987, Measurement Error Models, ch. 2 (correction for attenuation).
    """
    low, high = 0.8, 0.95
    share = np.clip(share, 0.0, None)
    restored = 1.0 / (1.0 - np.minimum(share, low))
    fade = np.clip((high - share) / (high - low), 0.0, 1.0)
    return 1.0 + (restored - 1.0) * fade


def _inspect(stamps: Stamps, designs: list, layout: _Layout, solution, floor: float):
    """Flux ratio and its error of every stamp, and the sums for `model_error`."""
    n = len(stamps)
    ratio, ratio_error = np.zeros(n), np.ones(n)
    sums = np.zeros((n, 3))
    gram = layout.basis.gram()
    for chunk, designed in enumerate(designs):
        index = np.arange(chunk * CHUNK, chunk * CHUNK + len(designed))
        design = designed.astype(np.float64)
        local = np.matmul(layout.expand(stamps.x[index], stamps.y[index]), solution)
        model = np.matmul(design[:, :, :-1], local[:, :-1, None])[:, :, 0]
        data = stamps.fixed[index].reshape(len(index), -1) - local[:, -1:]
        weights = _weights(stamps, index, floor)
        # The squared model holds the squared noise of the convolved image too.
        power = np.einsum("ni,ij,nj->n", local[:, :-1], gram, local[:, :-1])
        noise = stamps.moving_variance[index] * power * weights.sum(1)
        norm = np.maximum((weights * model**2).sum(1) - noise, 1e-300)
        ratio[index], ratio_error[index] = (weights * model * data).sum(1) / norm, norm**-0.5
        variance = stamps.variance[index].reshape(len(index), -1)
        seen = weights > 0
        for k, values in enumerate(((data - model) ** 2, variance, model**2)):
            sums[index, k] = np.where(seen, values, 0.0).sum(1)
    return ratio, ratio_error, sums


def model_error(sums: np.ndarray) -> tuple[float, float]:
    """Measure noise and error of the model from the residuals of stars.

    Parameters
    ----------
    sums : float64, shape (n, 3)
        Per star: sums of squared residuals, variance, squared model.

    Returns
    -------
    usual : float
        Mean squared pull of faint stars: one, or less because the convolution smooths the noise
        of the image that is convolved.
    floor : float
        Fractional error of the model: the root of the median of what noise leaves unexplained at
        stars bright enough to show it; 0 when there are fewer than three.
    """
    residual, noise, square = sums[sums[:, 1] > 0].T
    bright = square > BRIGHT**2 * noise
    faint = ~bright if not bright.all() else bright
    usual = float(np.median(residual[faint] / noise[faint])) if len(noise) else 1.0
    if bright.sum() < 3 or bright.all():
        return usual, 0.0
    excess = np.median((residual - usual * noise)[bright] / square[bright])
    return usual, float(np.sqrt(max(excess, 0.0)))


def _follow(sums, ratio, ratio_error, keep, clip: float) -> np.ndarray:
    """Say which stars follow the common kernel: shape by residuals, brightness by ratio.

    Bright stars show errors of the model that say nothing about the stars. To clip them would
    leave the kernel to the faint ones, and make it worse for all.
    """
    usual, floor = model_error(sums[keep])
    pull = np.log(np.maximum(sums[keep, 0] / np.maximum(sums[keep, 1], 1e-300), 1e-12))
    width = max(1.4826 * float(np.median(np.abs(pull - np.median(pull)))), 0.05)
    error = FORGIVEN * max(floor, 0.01)
    allowed = usual * np.exp(clip * width) * sums[:, 1] + error**2 * sums[:, 2]
    centre = np.median(ratio[keep])
    spread = 1.4826 * float(np.median(np.abs(ratio[keep] - centre)))
    spread = np.sqrt(spread**2 + ratio_error**2 + max(floor, 0.01) ** 2)
    return (sums[:, 0] < allowed) & (np.abs(ratio - centre) < clip * spread)
