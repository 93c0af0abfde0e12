"""Defects: pixels that no calibration can mend."""

from __future__ import annotations

import logging

import numpy as np

from alertprod.calibs.combine import read_frames
from alertprod.core.errors import Rejected
from alertprod.core.exposure import Exposure
from alertprod.core.fits import read_exposure
from alertprod.core.masks import bits
from alertprod.core.stage import stage
from alertprod.instruments.camera import Camera, Detector

log = logging.getLogger(__name__)
MAX_FRACTION = 0.05  # more defects than this are no defects but something misunderstood


@stage("calibs", outputs=("defects",))
def find_defects(
    bias: Exposure | None, dark: Exposure | None, flats: list, camera: Camera, *, config: dict
) -> Exposure:
    """Find hot, unstable and dead pixels, bad columns and the camera's bad regions.

    Parameters
    ----------
    bias, dark : Exposure or None
        Masters.
    flats : list of path
        Master flats of the same detector, one per band; rejected ones are left out.
    camera : Camera
    config : dict
        Section ``calibs``.

    Returns
    -------
    Exposure
        The mask has BAD; ``NHOT``, ``NNOISY``, ``NDEAD``, ``NCOLUMN`` count what was found.

    Raises
    ------
    Rejected
        If there is no master to find defects in, or far too many are found.
    """
    responses = _responses(flats)
    detector = _detector([bias, dark, *responses], camera)
    found = {"NHOT": _none(detector), "NNOISY": _none(detector), "NDEAD": _none(detector)}
    if dark is not None:
        found["NHOT"] = hot_pixels(dark.image, config)
    if bias is not None:
        found["NNOISY"] = noisy_pixels(bias, config)
    for flat in responses:
        found["NDEAD"] |= odd_response(flat.image, config)
    return _product(found, detector, camera, config)


@stage("calibs", outputs=("defects",))
def find_science_defects(raws: list, camera: Camera, *, config: dict) -> Exposure:
    """Find defects of a camera without darks, in frames between which the sky moves.

    The middle values in time leave what stands still on the chip: sky, vignetting and defects. A
    local median takes away all but the defects. Hot pixels are bad; those that are merely warm
    can be used once their excess is subtracted, as a dark would do.

    Parameters
    ----------
    raws : list of path
        Frames in order of time; an evenly spread part of them is used.
    camera : Camera
    config : dict
        Section ``calibs``: ``science_frames``, ``science_hot``, ``science_sigma``,
        ``science_box_px``.

    Returns
    -------
    Exposure
        The mask has BAD; the image is the dark rate of warm pixels [electron/s], else zero.

    Raises
    ------
    Rejected
        If too few frames are usable, or the field does not move and stars look like defects.
    """
    from scipy.ndimage import median_filter

    n = min(len(raws), int(config["science_frames"]))
    chosen = [raws[round(k * (len(raws) - 1) / max(n - 1, 1))] for k in range(n)]
    frames = read_frames(chosen, camera, "science", config=config, electrons=True)
    frames.stack[...] -= np.median(frames.stack, axis=(1, 2), keepdims=True)
    still = middle_mean(frames.stack)
    residual = still - median_filter(still, size=int(config["science_box_px"]), mode="nearest")
    inside = np.ones(residual.shape, dtype=bool)
    for region in frames.detector.bad_regions:
        inside[region.slices] = False
    limit = float(config["science_sigma"]) * _scatter(residual[inside])
    hot = max(float(config["science_hot"]) * _frame_noise(frames.stack), limit)
    found = {"NHOT": (residual > hot) & inside, "NDEAD": (residual < -hot) & inside}
    log.info(
        "hot above %.0f, warm above %.0f electrons over the local median of %d frames",
        hot, limit, n,
    )  # fmt: skip
    product = _product(found, frames.detector, camera, config)
    warm = (residual > limit) & ~product.bad("BAD")
    time = float(np.mean([info.dark_time for info in frames.metadata]))
    if time > 0:
        product.image = np.where(warm, residual / np.float32(time), 0).astype(np.float32)
        product.meta |= {"BUNIT": "electron/s", "NWARM": int(warm.sum())}
    return product


def middle_mean(stack: np.ndarray) -> np.ndarray:
    """Mean of the middle half of the values of each pixel: a median finer than whole numbers.

    Parameters
    ----------
    stack : float32, shape (n, ny, nx)

    Returns
    -------
    float32, shape (ny, nx)
    """
    n = len(stack)
    cut = n // 4
    out = np.empty(stack.shape[1:], dtype=np.float32)
    for y in range(out.shape[0]):  # row by row: a sorted copy of the stack would double it
        out[y] = np.sort(stack[:, y], axis=0)[cut : n - cut].mean(axis=0)
    return out


def _frame_noise(stack: np.ndarray) -> float:
    """Noise of one frame from successive differences, in which stars are rare."""
    return _scatter(np.diff(stack[:, ::4, ::4], axis=0)) / float(np.sqrt(2.0))


def hot_pixels(rate: np.ndarray, config: dict) -> np.ndarray:
    """Pixels whose dark current [electron/s] is far from the median: hot, or stuck low."""
    limit = max(float(config["hot_rate"]), float(config["hot_sigma"]) * _scatter(rate))
    return np.abs(rate - np.median(rate)) > limit


def noisy_pixels(bias: Exposure, config: dict) -> np.ndarray:
    """Pixels whose scatter between bias frames is far above that of most."""
    scatter = np.sqrt(bias.variance)
    typical = float(np.median(scatter))
    # With few frames a sample scatter varies by 1 / sqrt(2 (n - 1)) of itself.
    n = max(int(bias.meta.get("NFRAMES", 2)), 2)
    limit = typical * (1 + float(config["noisy_sigma"]) / np.sqrt(2 * (n - 1)))
    return scatter > limit if typical > 0 else np.zeros(scatter.shape, dtype=bool)


def odd_response(flat: np.ndarray, config: dict, box: int = 16) -> np.ndarray:
    """Pixels whose response is far from the median of their block of ``box`` x ``box`` px."""
    ny, nx = flat.shape
    local = np.empty_like(flat)
    for y in range(0, ny, box):
        for x in range(0, nx, box):
            block = flat[y : y + box, x : x + box]
            local[y : y + box, x : x + box] = np.median(block)
    ratio = flat / np.where(local > 0, local, 1.0)
    low, high = float(config["dead_response"]), float(config["bright_response"])
    return ~((ratio > low) & (ratio < high))


def bad_columns(bad: np.ndarray, detector: Detector, fraction: float) -> np.ndarray:
    """Whole columns of an amplifier of which more than a fraction is bad."""
    out = np.zeros_like(bad)
    for amplifier in detector.amplifiers:
        part = bad[amplifier.detsec.slices]
        out[amplifier.detsec.slices][:, part.mean(axis=0) > fraction] = True
    return out


def _scatter(values: np.ndarray) -> float:
    """Clipped standard deviation; a median absolute deviation of integers would be quantised."""
    sample = values.ravel().astype(np.float64)
    centre = np.median(sample)
    low, high = np.percentile(sample, [2.5, 97.5])
    width = max((high - low) / 4, 1e-12)
    for _ in range(5):
        keep = np.abs(sample - centre) < 4 * width
        new = float(np.sqrt(np.mean((sample[keep] - centre) ** 2)))
        if not keep.any() or abs(new - width) <= 1e-3 * width:
            break
        width = new
    return max(width, 1e-12)


def _none(detector: Detector) -> np.ndarray:
    return np.zeros(detector.shape, dtype=bool)


def _responses(flats: list) -> list[Exposure]:
    """Read master flats; a rejected one says nothing of defects."""
    found = []
    for path in flats:
        try:
            found.append(read_exposure(path))
        except Rejected as reason:
            log.warning("left out: %s: %s", path, reason)
    return found


def _detector(masters: list, camera: Camera) -> Detector:
    for master in masters:
        if master is not None:
            return camera.detector(master.meta["DETECTOR"])
    raise Rejected("no master bias, dark or flat to find defects in")


def _product(found: dict, detector: Detector, camera: Camera, config: dict) -> Exposure:
    bad = np.zeros(detector.shape, dtype=bool)
    meta = {"INSTRUME": camera.name, "DETECTOR": detector.id, "BUNIT": "1"}
    for name, where in found.items():
        meta[name] = int(where.sum())
        bad |= where
    columns = bad_columns(bad, detector, float(config["column_fraction"])) & ~bad
    meta["NCOLUMN"] = int(columns.sum())
    bad |= columns
    fraction = float(bad.mean())
    if fraction > MAX_FRACTION:
        raise Rejected(
            f"{fraction:.1%} of detector {detector.id} look defective ({found_text(meta)}): "
            "the frames do not show its defects"
        )
    for region in detector.bad_regions:
        bad[region.slices] = True
    meta["NBAD"] = int(bad.sum())
    log.info("detector %d: %s", detector.id, found_text(meta))
    mask = np.where(bad, bits("BAD"), 0).astype(np.int32)
    return Exposure(
        image=bad.astype(np.float32), mask=mask, variance=np.ones(bad.shape, np.float32), meta=meta
    )


def found_text(meta: dict) -> str:
    """Counts of a defect map in words."""
    words = {"NHOT": "hot", "NNOISY": "unstable", "NDEAD": "dead", "NCOLUMN": "in bad columns"}
    return ", ".join(f"{meta[k]} {word}" for k, word in words.items() if k in meta)
