"""From segments to a trimmed detector image: overscan, saturation, crosstalk, linearity, flips.

Both the makers of master calibrations and the signature removal need it, and neither may import
the other; so it stands with the cameras, whose geometry it applies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from alertprod.core.errors import Rejected
from alertprod.core.masks import bits
from alertprod.instruments.camera import Amplifier
from alertprod.instruments.raw import Raw

DEFAULT_OVERSCAN = {"method": "row", "skip_columns": 2, "order": 3}


@dataclass(frozen=True, slots=True)
class Frame:
    """A detector image above bias level.

    Parameters
    ----------
    image : ndarray, float32, shape (ny, nx)
        ADU, or electrons if a gain was applied.
    mask : ndarray, int32, shape (ny, nx)
        SAT, SUSPECT and CROSSTALK.
    read_noise : ndarray, float64, shape (n_amplifiers,)
        Electrons; the YAML's, else the overscan's.
    """

    image: np.ndarray
    mask: np.ndarray
    read_noise: np.ndarray


def assemble(
    raw: Raw,
    *,
    overscan: dict | None = None,
    bias: np.ndarray | None = None,
    electrons: bool = False,
) -> Frame:
    """Subtract the overscan, cut it off and put the amplifiers together.

    Parameters
    ----------
    raw : Raw
    overscan : dict, optional
        ``method``: ``row`` (midmean of each row), ``poly`` (Chebyshev polynomial of ``order``
        through the rows) or ``constant``; ``skip_columns``: first overscan columns not used, for
        charge that trails into them.
    bias : ndarray, float32, shape (ny, nx), optional
        Master bias, ADU, subtracted.
    electrons : bool
        Multiply by the gain.

    Returns
    -------
    Frame

    Raises
    ------
    Rejected
        If an overscan holds no usable pixel.
    """
    detector = raw.detector
    image = np.empty(detector.shape, dtype=np.float32)
    mask = np.zeros(detector.shape, dtype=np.int32)
    noise = np.empty(len(detector.amplifiers))
    setting = {**DEFAULT_OVERSCAN, **(overscan or {})}
    levels = []
    for k, amplifier in enumerate(detector.amplifiers):
        level, rms = overscan_level(raw.segments[k], amplifier, setting)
        if not np.isfinite(level).all():
            raise Rejected(f"{raw.name}: the overscan of amplifier {amplifier.name} is not finite")
        levels.append(level)
        noise[k] = rms * amplifier.gain if amplifier.read_noise is None else amplifier.read_noise
    induced = _crosstalk(raw, levels) if detector.crosstalk is not None else None
    for k, amplifier in enumerate(detector.amplifiers):
        d, s = amplifier.detsec, amplifier.data
        _place(
            raw.segments[k][s.slices],
            levels[k],
            _NOTHING if induced is None else induced[k],
            _NOTHING if bias is None else bias[d.slices],
            _parameters(amplifier, electrons),
            _bits(),
            (-1 if amplifier.flip_x else 1, -1 if amplifier.flip_y else 1),
            image[d.slices],
            mask[d.slices],
        )
    return Frame(image, mask, noise)


def overscan_level(segment: np.ndarray, amplifier: Amplifier, setting: dict):
    """Return the bias level of each data row [ADU] and the overscan's rms [ADU].

    A row's level is its *midmean*, the mean of the middle half of its sorted pixels: it shrugs off
    outliers as the median does, but is a tenth less noisy and not quantised to half an ADU.

    References
    ----------
    Rosenberger & Gasko 1983, in Understanding Robust and Exploratory Data Analysis, ch. 10.
    """
    ny = amplifier.data.shape[0]
    b = amplifier.bias
    if b is None:
        return np.full(ny, amplifier.pedestal, dtype=np.float32), float("nan")
    columns = slice(min(b.x0 + setting["skip_columns"], b.x1 - 1), b.x1)
    sample = segment[b.y0 : b.y1, columns].astype(np.float32)
    ordered = np.sort(sample, axis=1)
    n = ordered.shape[1]
    cut = n // 4
    rows = ordered[:, cut : n - cut].mean(axis=1, dtype=np.float64)
    # Within a row, so that a gradient along the columns is not taken for noise.
    low, high = ordered[:, round(0.16 * (n - 1))], ordered[:, round(0.84 * (n - 1))]
    rms = _rms(sample, rows, float(np.median(high - low)) / 2 + 1.0)
    level = np.empty(ny)
    first = amplifier.data.y0 - b.y0  # data rows without overscan take the nearest one that has
    level[:] = rows[np.clip(np.arange(ny) + first, 0, len(rows) - 1)]
    if setting["method"] == "poly":
        level = _smooth(level, setting["order"])
    elif setting["method"] == "constant":
        level[:] = np.median(level)
    elif setting["method"] != "row":
        raise ValueError(f"overscan method {setting['method']!r} is not row, poly or constant")
    return level.astype(np.float32), rms


def _rms(sample: np.ndarray, rows: np.ndarray, width: float) -> float:
    """Standard deviation about the row levels, without what lies 5 widths off."""
    residual = sample - rows[:, None]
    keep = np.abs(residual) < 5 * width
    n = int(keep.sum())
    if n < 2:
        return float("nan")
    # A row's midmean m of n pixels has variance 1.19/n and covariance 1/n with each pixel, so that
    # the residuals have the variance 1 - 0.81/n.
    freedom = max(1.0, n - 0.81 * sample.shape[0])
    return float(np.sqrt((residual[keep].astype(np.float64) ** 2).sum() / freedom))


def _smooth(level: np.ndarray, order: int) -> np.ndarray:
    """Clipped Chebyshev fit through the rows."""
    t = np.linspace(-1, 1, len(level))
    keep = np.ones(len(level), dtype=bool)
    model = level
    for _ in range(3):
        design = np.polynomial.chebyshev.chebvander(t, order)
        model = design @ np.linalg.lstsq(design[keep], level[keep], rcond=None)[0]
        residual = level - model
        sigma = 1.4826 * np.median(np.abs(residual[keep]))
        keep = np.abs(residual) <= 4 * max(sigma, 1e-6)
    return model


def _crosstalk(raw: Raw, levels: list[np.ndarray]) -> list[np.ndarray]:
    """Return the ADU that the other amplifiers induce in each, in read-out order.

    All channels are sampled at the same moment, so the source of a ghost is the pixel with the
    same indices in another segment.
    """
    detector = raw.detector
    matrix = np.asarray(detector.crosstalk, dtype=np.float32)
    signal = [
        raw.segments[k][a.data.slices].astype(np.float32) - levels[k][:, None]
        for k, a in enumerate(detector.amplifiers)
    ]
    induced = []
    for victim in range(len(signal)):
        total = np.zeros_like(signal[victim])
        for source in range(len(signal)):
            if source != victim and matrix[victim, source] != 0:
                total += matrix[victim, source] * signal[source]
        induced.append(total)
    return induced


_NOTHING = np.zeros((0, 0), dtype=np.float32)


def _parameters(amplifier: Amplifier, electrons: bool) -> np.ndarray:
    """(saturation, suspect, gain, c2, c3, ...) as one vector for the kernel."""
    suspect = np.inf if amplifier.suspect is None else amplifier.suspect
    gain = amplifier.gain if electrons else 1.0
    return np.array([amplifier.saturation, suspect, gain, *amplifier.linearity], dtype=np.float32)


def _bits() -> np.ndarray:
    return np.array([bits("SAT"), bits("SUSPECT"), bits("CROSSTALK")], dtype=np.int32)


CROSSTALK_ADU = 10.0  # a ghost brighter than this is worth a flag


@njit(cache=True)
def _place(pixels, level, induced, bias, parameters, flags, signs, image, mask):  # pragma: no cover
    """Carry one segment into its place, with everything that is done pixel by pixel."""
    ny, nx = pixels.shape
    saturation, suspect, gain = parameters[0], parameters[1], parameters[2]
    n_terms = parameters.size - 3
    for j in range(ny):
        y = j if signs[1] > 0 else ny - 1 - j
        for i in range(nx):
            x = i if signs[0] > 0 else nx - 1 - i
            raw = np.float32(pixels[j, i])
            if raw >= saturation:
                mask[y, x] |= flags[0]
            if raw >= suspect:
                mask[y, x] |= flags[1]
            value = raw - level[j]
            if induced.size > 0:
                value -= induced[j, i]
                if abs(induced[j, i]) > CROSSTALK_ADU:
                    mask[y, x] |= flags[2]
            if n_terms > 0:
                power = value * value
                linear = value
                for k in range(n_terms):
                    linear += parameters[3 + k] * power
                    power *= value
                value = linear
            if bias.size > 0:
                value -= bias[y, x]
            image[y, x] = value * gain
