"""Finding the sources of an exposure and cleaning the sky from under them.

Detection is sep's (SExtractor's connected pixels above a threshold, with deblending).

References
----------
Bertin & Arnouts 1996, A&AS 117, 393; Barbary 2016, JOSS 1, 58 (sep).
"""

from dataclasses import dataclass

import numpy as np
import sep
from numba import njit

from alertprod.core.background import estimate_background
from alertprod.core.errors import Rejected
from alertprod.core.exposure import Background
from alertprod.core.masks import bits

DEAD = ("BAD", "NO_DATA", "EDGE")  # planes that hide the sky; SAT stays, its stars are real
PIXEL_STACK = 2_000_000


@dataclass
class Detections:
    """Sources on a background-subtracted image, the brightest first.

    Parameters
    ----------
    image : float32, shape (ny, nx)
        Background-subtracted, electrons.
    background, rms : Background
        What was subtracted, and the noise of a pixel.
    segments : int32, shape (ny, nx)
        Number of the source (from 1) that each pixel belongs to.
    label, x, y, flux, peak, npix : arrays, shape (n,)
        Number in `segments`, isophotal centroid [px], isophotal flux and peak [e-], area [px].
    sigma : array
        Geometric mean of the isophotal half axes [px].
    blended : bool array
        Deblended from a neighbour.
    """

    image: np.ndarray
    background: Background
    rms: Background
    segments: np.ndarray
    label: np.ndarray
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    peak: np.ndarray
    npix: np.ndarray
    sigma: np.ndarray
    blended: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def find_sources(image, mask, config: dict) -> Detections:
    """Subtract the sky and find sources, twice: the second sky leaves the first sources out.

    Parameters
    ----------
    image : float32, shape (ny, nx)
        Electrons, with sky.
    mask : int32, shape (ny, nx)
        Mask planes.
    config : dict
        ``background`` (box_px, filter_px) and ``detect`` (threshold, min_pixels).

    Raises
    ------
    Rejected
        If there is no sky to measure.
    """
    dead = ((mask & bits(*DEAD)) != 0) | ~np.isfinite(image)
    hidden = dead | ((mask & bits("SAT", "CR")) != 0)
    box = int(config["background"]["box_px"])
    filter_px = int(config["background"]["filter_px"])
    background, rms = estimate_background(image, hidden, box, filter_px)
    sky_free = image - background.image()
    _, segments = _extract(sky_free, dead, rms, config["detect"])
    covered = _grow(segments > 0, 2)
    if np.mean(covered | hidden) < 0.7:
        background, rms = estimate_background(image, hidden | covered, box, filter_px)
        sky_free = image - background.image()
    sky_free[dead] = 0
    objects, segments = _extract(sky_free, dead, rms, config["detect"])
    return _sorted(sky_free, background, rms, objects, segments)


def _extract(image, dead, rms: Background, config: dict):
    sep.set_extract_pixstack(max(PIXEL_STACK, image.size // 4))
    sep.set_sub_object_limit(8192)
    try:
        return sep.extract(
            image,
            float(config["threshold"]),
            err=rms.image(),
            mask=dead,
            minarea=int(config["min_pixels"]),
            filter_type="conv",
            deblend_cont=0.002,
            segmentation_map=True,
        )
    except Exception as error:  # sep raises nothing finer
        raise Rejected(f"the detection of sources gave up: {error}") from None


def _sorted(image, background, rms, objects, segments) -> Detections:
    # equal fluxes are told apart by position, so that the order never depends on sep's
    order = np.lexsort([objects["x"], objects["y"], -objects["flux"]])
    picked = objects[order]
    return Detections(
        image=image,
        background=background,
        rms=rms,
        segments=segments,
        label=(order + 1).astype(np.int32),
        x=picked["x"].astype(np.float64),
        y=picked["y"].astype(np.float64),
        flux=picked["flux"].astype(np.float64),
        peak=picked["peak"].astype(np.float64),
        npix=picked["npix"].astype(np.int64),
        sigma=np.sqrt(np.maximum(picked["a"] * picked["b"], 0.0)).astype(np.float64),
        blended=(picked["flag"] & sep.OBJ_MERGED) != 0,
    )


def _grow(mask: np.ndarray, radius: int) -> np.ndarray:
    """Dilate by a square of half-size `radius`."""
    grown = mask.copy()
    for axis in (0, 1):
        source = grown.copy()
        for step in range(1, radius + 1):
            ahead = [slice(None)] * 2
            behind = [slice(None)] * 2
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            grown[tuple(ahead)] |= source[tuple(behind)]
            grown[tuple(behind)] |= source[tuple(ahead)]
    return grown


def touched(mask: np.ndarray, x, y, radius: int, *planes: str) -> np.ndarray:
    """Tell which positions have a pixel of one of the planes within a square of `radius` px.

    Returns bool, shape (n,); false for positions that are not finite.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return _touched(mask, bits(*planes), x, y, int(radius))


@njit(cache=True)
def _touched(mask, planes, x, y, radius):
    ny, nx = mask.shape
    out = np.zeros(len(x), dtype=np.bool_)
    for k in range(len(x)):
        if not (np.isfinite(x[k]) and np.isfinite(y[k])):
            continue
        ix, iy = int(np.floor(x[k] + 0.5)), int(np.floor(y[k] + 0.5))
        for j in range(max(iy - radius, 0), min(iy + radius + 1, ny)):
            for i in range(max(ix - radius, 0), min(ix + radius + 1, nx)):
                if mask[j, i] & planes:
                    out[k] = True
    return out
