"""Master bias, dark and flat."""

from __future__ import annotations

import numpy as np

from alertprod.calibs.combine import Frames, clipped_mean, read_frames
from alertprod.core.errors import Rejected
from alertprod.core.exposure import Exposure
from alertprod.core.masks import bits
from alertprod.core.stage import stage
from alertprod.instruments.camera import Camera


@stage("calibs", outputs=("bias",))
def build_bias(raws: list, camera: Camera, *, config: dict) -> Exposure:
    """Average bias frames.

    Parameters
    ----------
    raws : list of path
        Bias frames of one detector.
    camera : Camera
    config : dict
        Section ``calibs``.

    Returns
    -------
    Exposure
        ADU above the overscan level; ``variance`` is that of the mean; ``READNOIS`` is the
        read noise in electrons that the scatter between the frames shows.

    Raises
    ------
    Rejected
        If too few frames are usable.
    """
    frames = read_frames(raws, camera, "bias", config=config)
    n = len(frames.stack)
    mean, variance = clipped_mean(frames.stack, np.ones(n), n_sigma=config["n_sigma"])
    noise = [
        np.sqrt(np.median(variance[a.detsec.slices])) * a.gain for a in frames.detector.amplifiers
    ]
    meta = _meta(camera, frames, "BIAS", "adu")
    meta["READNOIS"] = float(np.mean(noise))
    return _exposure(mean, variance / n, meta)


@stage("calibs", outputs=("dark",))
def build_dark(raws: list, camera: Camera, bias: Exposure | None, *, config: dict) -> Exposure:
    """Average dark frames, long ones with more weight.

    Parameters
    ----------
    raws : list of path
        Dark frames of one detector; their times may differ.
    camera : Camera
    bias : Exposure or None
        Master bias.
    config : dict
        Section ``calibs``.

    Returns
    -------
    Exposure
        Dark current, electrons per second.

    Raises
    ------
    Rejected
        If too few frames are usable, or a frame has no dark time.
    """
    frames = read_frames(raws, camera, "dark", config=config, bias=_pixels(bias), electrons=True)
    times = np.array([info.dark_time for info in frames.metadata])
    if (times <= 0).any():
        raise Rejected(f"a dark frame has a dark time of {times.min()} s; it must be positive")
    stack = frames.stack
    stack /= times[:, None, None].astype(np.float32)
    mean, variance = clipped_mean(stack, times, n_sigma=config["n_sigma"])
    meta = _meta(camera, frames, "DARK", "electron/s")
    meta["DARKTIME"] = float(times.sum())
    return _exposure(mean, variance / len(times), meta)


@stage("calibs", outputs=("flat",))
def build_flat(
    raws: list, camera: Camera, bias: Exposure | None, dark: Exposure | None, *, config: dict
) -> Exposure:
    """Average flat frames, each scaled to its own median, and normalise to one.

    Parameters
    ----------
    raws : list of path
        Flat frames of one detector through one filter.
    camera : Camera
    bias, dark : Exposure or None
        Masters.
    config : dict
        Section ``calibs``.

    Returns
    -------
    Exposure
        Response in electrons (gains are already out of it), mean 1 over the good pixels.

    Raises
    ------
    Rejected
        If too few frames are usable, filters differ, or a frame holds no light.
    """
    frames = read_frames(raws, camera, "flat", config=config, bias=_pixels(bias), electrons=True)
    filters = sorted({info.filter for info in frames.metadata})
    if len(filters) > 1:
        raise Rejected(f"flat frames of {len(filters)} filters ({', '.join(filters)}) do not mix")
    stack, levels = normalised_flats(frames, dark)
    stack[frames.saturated] = np.nan
    mean, variance = clipped_mean(stack, levels, n_sigma=config["n_sigma"])
    good = np.isfinite(mean) & (mean > 0)
    scale = mean[good].mean(dtype=np.float64)
    meta = _meta(camera, frames, "FLAT", "1")
    meta["FILTER"] = filters[0]
    meta["BAND"] = str(camera.filter(filters[0])["band"]) if filters[0] in camera.filters else ""
    return _exposure(
        (mean / scale).astype(np.float32), variance / scale**2 / len(levels), meta, ~good
    )


def normalised_flats(frames: Frames, dark: Exposure | None):
    """Return dark-subtracted flats over their medians (in place), and the medians [electrons]."""
    stack = frames.stack
    levels = np.empty(len(stack))
    for k, info in enumerate(frames.metadata):
        if dark is not None:
            stack[k] -= dark.image * np.float32(info.dark_time)
        levels[k] = np.median(stack[k])
        if not levels[k] > 0:
            raise Rejected(f"{info.obs_id}: this flat has a median of {levels[k]:.1f} electrons")
        stack[k] /= np.float32(levels[k])
    return stack, levels


def _pixels(master: Exposure | None) -> np.ndarray | None:
    return None if master is None else master.image


def _exposure(mean, variance, meta: dict, bad: np.ndarray | None = None) -> Exposure:
    """Wrap a master; pixels without a value are BAD and NO_DATA."""
    lost = ~np.isfinite(mean)
    if bad is not None:
        lost = lost | bad
    mask = np.zeros(mean.shape, dtype=np.int32)
    mask[lost] = bits("BAD", "NO_DATA")
    mean, variance = mean.copy(), np.asarray(variance, dtype=np.float32).copy()
    fill = ~np.isfinite(mean)
    mean[fill] = 0.0
    variance[~np.isfinite(variance)] = 0.0
    return Exposure(image=mean, mask=mask, variance=variance, meta=meta)


def _meta(camera: Camera, frames: Frames, kind: str, unit: str) -> dict:
    begins = [info.begin for info in frames.metadata if info.begin is not None]
    meta = {
        "INSTRUME": camera.name,
        "DETECTOR": frames.detector.id,
        "IMGTYPE": kind,
        "BUNIT": unit,
        "NFRAMES": len(frames.stack),
    }
    if begins:
        meta["MJD-BEG"], meta["MJD-END"] = float(min(begins)), float(max(begins))
    return meta
