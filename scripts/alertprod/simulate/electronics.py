"""From electrons in pixels to integers in a file: cosmic rays, full wells, bleeding, read-out."""

from __future__ import annotations

import numpy as np

from alertprod.simulate.camera import Amplifier, Camera, Detector
from alertprod.simulate.hardware import bias_structure, full_well


def add_cosmic_rays(image: np.ndarray, rng, number: int) -> np.ndarray:
    """Add cosmic-ray hits in place; return a map of the electrons that they left.

    Three kinds: short oblique tracks, spots, and the winding paths of low-energy electrons. They
    are sharper than any star, which is how they are told apart.
    """
    hits = np.zeros(image.shape, np.float32)
    ny, nx = image.shape
    for _ in range(number):
        x, y = rng.uniform(0, nx), rng.uniform(0, ny)
        kind = rng.random()
        charge = rng.lognormal(np.log(900.0), 0.7)  # e- per px of path
        if kind < 0.6:
            length, turning = min(1 + rng.exponential(10.0), 80.0), 0.0
        elif kind < 0.9:
            length, turning = rng.uniform(0.5, 2.0), 0.0
        else:
            length, turning = rng.uniform(5, 25), 0.35
        steps = max(int(length * 5), 2)
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(turning * rng.normal(0, 1, steps))
        px = np.rint(x + np.cumsum(np.cos(angle)) / 5).astype(int)
        py = np.rint(y + np.cumsum(np.sin(angle)) / 5).astype(int)
        inside = (px >= 0) & (px < nx) & (py >= 0) & (py < ny)
        np.add.at(hits, (py[inside], px[inside]), np.float32(charge / 5))
    image += hits
    return hits


def bleed(image: np.ndarray, well: np.ndarray) -> np.ndarray:
    """Clip pixels at the full well in place and pour the excess along the columns.

    Parameters
    ----------
    image : ndarray, float32, shape (ny, nx)
        Electrons.
    well : ndarray, shape (ny, nx)
        Full well of each pixel.

    Returns
    -------
    ndarray, bool
        Pixels that are full.
    """
    over = image > well
    for x in np.flatnonzero(over.any(axis=0)):
        column, limit = image[:, x], well[:, x]
        rows = np.flatnonzero(over[:, x])
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
            _pour(column, limit, int(run[0]), int(run[-1]))
    return image >= well


def _pour(column, limit, low, high):
    """Spread the excess of rows low..high to the nearest rows with room, up and down in turn."""
    rows = slice(low, high + 1)
    excess = float(np.sum(np.maximum(column[rows] - limit[rows], 0.0)))
    column[rows] = np.minimum(column[rows], limit[rows])
    up, down = high + 1, low - 1
    while excess > 0 and (up < column.size or down >= 0):
        for row in (up, down):
            if 0 <= row < column.size and excess > 0:
                taken = min(max(float(limit[row] - column[row]), 0.0), excess)
                column[row] += taken
                excess -= taken
        up, down = up + 1, down - 1


def wells(detector: Detector) -> np.ndarray:
    """Return the full well of every pixel [e-]."""
    out = np.empty((detector.ny, detector.nx), np.float32)
    for amplifier in detector.amplifiers:
        x0, x1, y0, y1 = amplifier.detsec
        out[y0:y1, x0:x1] = full_well(amplifier)
    return out


def read_out(camera: Camera, detector: Detector, electrons: np.ndarray, rng) -> list[np.ndarray]:
    """Read a detector.

    Parameters
    ----------
    electrons : ndarray, float32, shape (ny, nx)
        Charge in the trimmed pixels.
    rng : numpy.random.Generator

    Returns
    -------
    list of ndarray, uint16
        The raw HDU of each amplifier [adu], prescan and overscan included.
    """
    out = []
    signals = _crosstalk(detector, [_signal(a, electrons) for a in detector.amplifiers])
    for index, amplifier in enumerate(detector.amplifiers):
        x0, x1, y0, y1 = amplifier.data
        shape = raw_shape(detector, index)
        raw = rng.standard_normal(shape, dtype=np.float32)
        raw *= np.float32(amplifier.read_noise / amplifier.gain)
        columns, rows = bias_structure(camera, detector, index, shape)
        raw += columns
        raw += (rows + _drift(rng, shape[0]))[:, None]
        raw[y0:y1, x0:x1] += signals[index]
        out.append(np.clip(np.rint(raw), 0, 65535).astype(np.uint16))
    return out


def _signal(amplifier: Amplifier, electrons: np.ndarray) -> np.ndarray:
    """Return what an amplifier makes of its charge, in read-out order [adu above bias]."""
    a0, a1, b0, b1 = amplifier.detsec
    charge = electrons[b0:b1, a0:a1]
    charge = charge[:: -1 if amplifier.flip_y else 1, :: -1 if amplifier.flip_x else 1]
    true = charge / np.float32(amplifier.gain)
    if amplifier.linearity == 0:
        return true
    # The root of x + c2 x^2 = true, written so that it does not cancel for small signals.
    return 2 * true / (1 + np.sqrt(1 + np.float32(4 * amplifier.linearity) * true))


def _crosstalk(detector: Detector, signals: list[np.ndarray]) -> list[np.ndarray]:
    """Add the ghosts of all amplifiers, read at the same moment, to each other's signals."""
    if detector.crosstalk is None:
        return signals
    out = []
    for victim, row in enumerate(detector.crosstalk):
        total = signals[victim].copy()
        for source, share in enumerate(row):
            if source != victim and share != 0:
                total += np.float32(share) * signals[source]
        out.append(total)
    return out


def raw_shape(detector: Detector, index: int) -> tuple[int, int]:
    """Return (ny, nx) of an amplifier's HDU: a few overscan rows follow the data."""
    amplifier = detector.amplifiers[index]
    return amplifier.data[3] + (8 if detector.ny <= 2048 else 48), amplifier.bias[1]


def _drift(rng, rows: int) -> np.ndarray:
    """Return how the bias level wanders from row to row in one exposure [adu]."""
    phase, cycles = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 2)
    wave = rng.normal(0, 0.6) * np.sin(phase + 2 * np.pi * cycles * np.arange(rows) / rows)
    return (rng.normal(0, 2.5) + wave).astype(np.float32)
