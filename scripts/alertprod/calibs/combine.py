"""Reading frames of one kind and stacking them with clipping."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numba import njit

from alertprod.core.errors import Rejected
from alertprod.core.masks import bits
from alertprod.instruments.assembly import assemble
from alertprod.instruments.camera import Camera, Detector
from alertprod.instruments.metadata import Metadata
from alertprod.instruments.raw import read_raw

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of one kind and one detector that could be read.

    Parameters
    ----------
    detector : Detector
    stack : ndarray, float32, shape (n, ny, nx)
    saturated : ndarray, bool, shape (n, ny, nx)
    metadata : list of Metadata
    """

    detector: Detector
    stack: np.ndarray
    saturated: np.ndarray
    metadata: list[Metadata]


def read_frames(
    raws: list,
    camera: Camera,
    kind: str,
    *,
    config: dict,
    bias: np.ndarray | None = None,
    electrons: bool = False,
) -> Frames:
    """Read and assemble all usable frames; a bad one is left out and logged.

    Parameters
    ----------
    raws : list of path
    camera : Camera
    kind : str
        For messages, such as ``bias``.
    config : dict
        Section ``calibs``: ``require``, ``overscan``.
    bias : ndarray, optional
        Master bias to subtract, ADU.
    electrons : bool
        Multiply by the gain.

    Raises
    ------
    Rejected
        If fewer than ``require`` frames are usable.
    """
    images, saturated, infos, reasons = [], [], [], []
    detector = None
    for path in raws:
        try:
            raw = read_raw(path, camera)
            if detector is not None and raw.detector.id != detector.id:
                raise Rejected(f"{raw.name}: detector {raw.detector.id}, not {detector.id}")
            detector = raw.detector
            frame = assemble(raw, overscan=config["overscan"], bias=bias, electrons=electrons)
            images.append(frame.image)
            saturated.append((frame.mask & bits("SAT")) != 0)
            infos.append(raw.metadata)
        except Rejected as reason:
            log.warning("left out: %s", reason)
            reasons.append(str(reason))
    if detector is None or len(images) < config["require"]:
        why = f" ({reasons[0]})" if reasons else ""
        raise Rejected(
            f"{len(images)} of {len(raws)} {kind} frames are usable, calibs.require asks for "
            f"{config['require']}{why}"
        )
    return Frames(detector, np.stack(images), np.stack(saturated), infos)


def clipped_mean(stack: np.ndarray, weights, *, n_sigma: float):
    """Average frames pixel by pixel without outliers.

    A value is clipped when it lies `n_sigma` from the pixel's median, in units of the pixel's own
    scatter (median absolute deviation) or of the typical one, whichever is larger: few frames
    give some pixels a scatter that is too small by chance.

    Parameters
    ----------
    stack : ndarray, float32, shape (n, ny, nx)
    weights : array_like, shape (n,)
        Relative weights.
    n_sigma : float

    Returns
    -------
    mean : ndarray, float32, shape (ny, nx)
        NaN where no frame has a finite value.
    variance : ndarray, float32, shape (ny, nx)
        Variance of one frame of unit weight, unclipped values only.
    """
    floor = typical_scatter(stack)
    return _clipped_mean(
        stack, np.asarray(weights, dtype=np.float64), np.float32(n_sigma), np.float32(floor)
    )


def typical_scatter(stack: np.ndarray) -> float:
    """Median over pixels of the standard deviation between frames."""
    sample = stack[:, ::4, ::4].reshape(len(stack), -1)
    if len(stack) < 2:
        return 0.0
    return float(np.nanmedian(np.std(sample, axis=0, ddof=1, dtype=np.float64)))


@njit(cache=True)
def _sorted_median(values, n):  # pragma: no cover
    for i in range(1, n):
        v = values[i]
        j = i - 1
        while j >= 0 and values[j] > v:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = v
    if n % 2:
        return values[n // 2]
    return np.float32(0.5) * (values[n // 2 - 1] + values[n // 2])


@njit(cache=True)
def _clipped_mean(stack, weights, n_sigma, floor):  # pragma: no cover
    n_frames, ny, nx = stack.shape
    mean = np.empty((ny, nx), dtype=np.float32)
    variance = np.empty((ny, nx), dtype=np.float32)
    values = np.empty(n_frames, dtype=np.float32)
    for y in range(ny):
        for x in range(nx):
            n = 0
            for k in range(n_frames):
                v = stack[k, y, x]
                if np.isfinite(v):
                    values[n] = v
                    n += 1
            if n == 0:
                mean[y, x], variance[y, x] = np.nan, np.nan
                continue
            median = _sorted_median(values, n)
            for k in range(n):
                values[k] = abs(values[k] - median)
            limit = n_sigma * max(np.float32(1.4826) * _sorted_median(values, n), floor)
            total, weight, count = 0.0, 0.0, 0
            for k in range(n_frames):
                v = stack[k, y, x]
                if abs(v - median) <= limit:
                    total += weights[k] * v
                    weight += weights[k]
                    count += 1
            average = total / weight
            square = 0.0
            for k in range(n_frames):
                v = stack[k, y, x]
                if abs(v - median) <= limit:
                    square += (v - average) ** 2
            mean[y, x] = average
            variance[y, x] = square / (count - 1) if count > 1 else floor * floor
    return mean, variance
