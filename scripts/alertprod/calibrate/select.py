"""Choosing the stars that define the PSF.

Among bright, clean, isolated sources the stars are the smallest ones and all alike: they crowd at
one size, galaxies spread above it, cosmic rays lie below.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from alertprod.calibrate.detect import Detections, touched
from alertprod.calibrate.shapes import adaptive_moments, trace_fwhm
from alertprod.core.errors import Rejected

SIGMA_TO_FWHM = 2.3548
LOCUS_CLIP = 3.5
LOCUS_FLOOR = 0.02  # relative half-width of the locus that is always allowed, over LOCUS_CLIP
CELLS = 8


@dataclass
class Shapes:
    """Adaptive moments of all detections, and what is wrong with each.

    Arrays of shape (n,): x, y [px], ixx, iyy, ixy [px^2], fwhm [px], snr, ok (moments converge),
    clean (no bad, saturated or struck pixel within the core, not at the edge).
    """

    x: np.ndarray
    y: np.ndarray
    ixx: np.ndarray
    iyy: np.ndarray
    ixy: np.ndarray
    fwhm: np.ndarray
    snr: np.ndarray
    ok: np.ndarray
    clean: np.ndarray


def measure_shapes(found: Detections, mask: np.ndarray, variance: np.ndarray) -> Shapes:
    """Measure centroid, size and shape of every detection.

    Raises
    ------
    Rejected
        If there is no detection.
    """
    if not len(found):
        raise Rejected("no source found")
    unsaturated = ~touched(mask, found.x, found.y, 1, "SAT", "BAD", "CR", "NO_DATA")
    sizes = found.sigma[unsaturated & (found.npix >= 6)][:200]
    guess = float(np.clip(np.median(sizes) if sizes.size else 1.5, 0.8, 6.0))
    m = adaptive_moments(found.image, found.x, found.y, guess)
    fwhm = trace_fwhm(m["ixx"], m["iyy"], m["ixy"])
    area = 4 * np.pi * np.sqrt(np.maximum(m["ixx"] * m["iyy"] - m["ixy"] ** 2, 0.01))
    ny, nx = mask.shape
    ix = np.clip(np.floor(m["x"] + 0.5).astype(int), 0, nx - 1)
    iy = np.clip(np.floor(m["y"] + 0.5).astype(int), 0, ny - 1)
    sky = np.median(variance[::8, ::8])
    snr = m["flux"] / np.sqrt(sky * area + np.maximum(m["flux"], 0) * 1.0)
    reach = max(2, int(np.ceil(1.0 * guess * SIGMA_TO_FWHM)))
    planes = ("BAD", "SAT", "SUSPECT", "CR", "EDGE", "NO_DATA")
    clean = ~touched(mask, m["x"], m["y"], reach, *planes)
    clean &= (ix > reach) & (iy > reach) & (ix < nx - 1 - reach) & (iy < ny - 1 - reach)
    return Shapes(
        m["x"], m["y"], m["ixx"], m["iyy"], m["ixy"], fwhm, snr, m["ok"] & (fwhm > 0), clean
    )


def select_stars(found: Detections, shapes: Shapes, shape, config: dict) -> np.ndarray:
    """Choose the PSF stars.

    Parameters
    ----------
    found, shapes
        Detections and their moments.
    shape : (ny, nx)
        Size of the image [px].
    config : dict
        ``min_snr``, ``max_stars``, ``min_stars``.

    Returns
    -------
    int array
        Indices of the stars, rising.

    Raises
    ------
    Rejected
        If there are fewer than ``min_stars``.
    """
    least = int(config["min_stars"])
    good = shapes.ok & shapes.clean & (shapes.snr > float(config["min_snr"]))
    if good.sum() < least:
        raise Rejected(
            f"{int(good.sum())} clean sources with S/N > {config['min_snr']:g} "
            f"({len(found)} sources in all), need {least} for the PSF"
        )
    log_size = np.log(np.where(good, shapes.fwhm, 1.0))
    middle, width = star_locus(log_size[good], shapes.snr[good])
    stars = good & (np.abs(log_size - middle) < LOCUS_CLIP * width)
    typical = float(np.exp(middle))
    alone = isolated(shapes.x, shapes.y, np.maximum(found.flux, 0), 3.0 * typical)
    chosen = stars & alone & ~found.blended
    if chosen.sum() < least:
        chosen = stars & isolated(shapes.x, shapes.y, np.maximum(found.flux, 0), 1.5 * typical)
    if chosen.sum() < least:
        raise Rejected(
            f"{int(chosen.sum())} isolated stars of FWHM {typical:.2f} px, need {least} for the PSF"
        )
    return spread_out(np.flatnonzero(chosen), shapes, shape, int(config["max_stars"]))


def star_locus(log_size: np.ndarray, snr: np.ndarray) -> tuple[float, float]:
    """Return the middle and the width of the crowd of stars in log(size).

    The middle is the half-sample mode (Robertson & Cryer 1974) of the brighter half; the width
    is robust and from the smaller side too, where no galaxies are.
    """
    bright = log_size[snr >= np.median(snr)] if len(snr) >= 20 else log_size
    middle = half_sample_mode(np.sort(bright))
    width = LOCUS_FLOOR
    near = log_size[np.abs(log_size - middle) < 0.25]
    for _ in range(5):
        width = max(1.4826 * float(np.median(np.abs(near - middle))), LOCUS_FLOOR)
        kept = log_size[np.abs(log_size - middle) < LOCUS_CLIP * width]
        middle = float(np.median(kept))
        near = log_size[np.abs(log_size - middle) < max(LOCUS_CLIP * width, 0.08)]
    return middle, min(width, 0.08)


def half_sample_mode(values: np.ndarray) -> float:
    """Return the mode of sorted values: the densest half, again and again."""
    while len(values) > 3:
        half = (len(values) + 1) // 2
        spans = values[half - 1 :] - values[: len(values) - half + 1]
        start = int(np.argmin(spans))
        values = values[start : start + half]
    return float(np.mean(values))


def isolated(x, y, flux, radius: float, share: float = 0.1) -> np.ndarray:
    """Tell which sources have no neighbour within `radius` px above `share` of their flux."""
    tree = cKDTree(np.column_stack([x, y]))
    alone = np.ones(len(x), dtype=bool)
    pairs = tree.query_pairs(radius, output_type="ndarray")
    if len(pairs):
        a, b = pairs[:, 0], pairs[:, 1]
        alone[a[flux[b] > share * flux[a]]] = False
        alone[b[flux[a] > share * flux[b]]] = False
    return alone


def spread_out(index: np.ndarray, shapes: Shapes, shape, largest: int) -> np.ndarray:
    """Keep at most `largest` stars, the best of each cell of the detector in turn."""
    if len(index) <= largest:
        return index
    ny, nx = shape
    cell = np.clip((shapes.y[index] * CELLS / ny).astype(int), 0, CELLS - 1) * CELLS
    cell += np.clip((shapes.x[index] * CELLS / nx).astype(int), 0, CELLS - 1)
    order = np.lexsort([index, -shapes.snr[index]])
    rank = np.empty(len(index), dtype=int)
    seen: dict[int, int] = {}
    for k in order:
        rank[k] = seen.get(cell[k], 0)
        seen[cell[k]] = rank[k] + 1
    best = np.lexsort([index, -shapes.snr[index], rank])[:largest]
    return np.sort(index[best])
