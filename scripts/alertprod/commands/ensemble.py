"""Light curves of targets relative to an ensemble of stars of the same detector.

References
----------
Honeycutt 1992, PASP 104, 435 (ensemble photometry with stars and exposures solved in turn).
"""

from dataclasses import dataclass

import numpy as np

from alertprod.core.tables import Table

ROUNDS = 5
VARIABLE = 3.0
"""Comparison stars that scatter by so many times the usual are left out."""

SPOILED = ("saturated", "suspect", "bad", "cr", "edge", "nodata")


@dataclass
class Ensemble:
    """What the comparison stars say about each exposure.

    Parameters
    ----------
    factor : float64, shape (n_exposures,)
        Light received over that of the usual exposure; NaN where no star tells.
    error : float64, shape (n_exposures,)
        Of `factor`, from the scatter of the stars.
    n_stars : int, shape (n_exposures,)
    scatter : float64, shape (n_stars,)
        Relative scatter of each star about the others; NaN of stars that were left out.
    """

    factor: np.ndarray
    error: np.ndarray
    n_stars: np.ndarray
    scatter: np.ndarray


def choose_comparisons(
    stars: Table, ra: float, dec: float, *, count: int, faintest: float, isolation: float
) -> np.ndarray:
    """Choose comparison stars for a target among the stars of one exposure.

    Parameters
    ----------
    stars : dict of arrays
        Table ``stars``.
    ra, dec : float
        Of the target [deg].
    count : int
        How many at most.
    faintest : float
        Least flux, in that of the target.
    isolation : float
        Radius in which no other star may add more than a hundredth [px].

    Returns
    -------
    int, shape (n,)
        Rows of the table, nearest in brightness first; empty without the target in the table.
    """
    flux = stars["apFlux"].astype(np.float64)
    apart = np.hypot((stars["ra"] - ra) * np.cos(np.radians(dec)), stars["dec"] - dec) * 3600
    if not len(flux) or not np.isfinite(flux[np.argmin(apart)]):
        return np.zeros(0, dtype=np.int64)
    target = int(np.argmin(apart))
    good = np.isfinite(flux) & (flux > faintest * flux[target]) & ~stars["centroid_flag"]
    for name in SPOILED:
        good &= ~stars[f"pixelFlags_{name}"]
    good[target] = False
    rows = np.flatnonzero(good)
    rows = rows[np.argsort(np.abs(np.log(flux[rows] / flux[target])), kind="stable")]
    chosen: list[int] = []
    for row in rows:
        near = np.hypot(stars["x"] - stars["x"][row], stars["y"] - stars["y"][row]) < isolation
        near[row] = False
        if near[target] or np.nansum(np.where(near, flux, 0.0)) > 0.01 * flux[row]:
            continue
        chosen.append(int(row))
        if len(chosen) == count:
            break
    return np.array(chosen, dtype=np.int64)


def solve_ensemble(flux: np.ndarray, good: np.ndarray) -> Ensemble:
    """Solve for the transparency of each exposure and the mean flux of each star in turn.

    Parameters
    ----------
    flux : float64, shape (n_stars, n_exposures)
    good : bool, same shape

    Returns
    -------
    Ensemble
    """
    usable = good & np.isfinite(flux) & (flux > 0)
    values = np.where(usable, np.log(np.where(usable, flux, 1.0)), np.nan)
    kept = usable.sum(axis=1) >= max(2, 0.5 * flux.shape[1])
    weight = np.ones(flux.shape[0])
    scatter = np.full(flux.shape[0], np.nan)
    exposure = np.zeros(flux.shape[1])
    for _ in range(ROUNDS):
        level = _nan_median(values - exposure, axis=1)
        residual = np.where(kept[:, None], values - level[:, None], np.nan)
        exposure = _weighted(residual, weight)
        scatter = np.where(kept, _width(residual - exposure), np.nan)
        usual = np.nanmedian(scatter) if kept.any() else np.nan
        kept &= scatter < VARIABLE * usual
        weight = np.where(kept, 1.0 / np.maximum(scatter, 0.3 * usual) ** 2, 0.0)
    seen = np.isfinite(residual) & kept[:, None]
    total = (seen * weight[:, None]).sum(axis=0)
    with np.errstate(divide="ignore"):
        error = 1.0 / np.sqrt(total)
    factor = np.exp(exposure - _nan_median(exposure[None], axis=1)[0])
    factor[~seen.any(axis=0)] = np.nan
    return Ensemble(factor, factor * error, seen.sum(axis=0), np.where(kept, scatter, np.nan))


def _weighted(residual: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted mean over stars of each exposure, clipped about its median."""
    middle = _nan_median(residual, axis=0)
    width = np.maximum(_width(residual - middle), 1e-4)
    seen = np.abs(residual - middle) < 4.0 * width[:, None]
    weights = np.where(seen, weight[:, None], 0.0)
    total = weights.sum(axis=0)
    mean = (weights * np.where(seen, residual, 0.0)).sum(axis=0) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, mean, np.where(np.isfinite(middle), middle, 0.0))


def _width(residual: np.ndarray) -> np.ndarray:
    """Return the robust scatter of each row."""
    centred = residual - _nan_median(residual, axis=1)[:, None]
    return 1.4826 * _nan_median(np.abs(centred), axis=1)


def _nan_median(values: np.ndarray, axis: int) -> np.ndarray:
    """Median without NaN; NaN where there is nothing else, without a warning."""
    empty = ~np.isfinite(values).any(axis=axis, keepdims=True)
    filled = np.where(empty, 0.0, values)
    return np.where(np.squeeze(empty, axis), np.nan, np.nanmedian(filled, axis=axis))


def common_residual(
    left: np.ndarray, flux: np.ndarray, good: np.ndarray, ensemble: Ensemble
) -> np.ndarray:
    """Return what subtraction leaves of constant stars, as a fraction of their light.

    It is the error of the photometric scale of each template, common to all stars.

    Parameters
    ----------
    left, flux : float64, shape (n_stars, n_exposures)
        On difference and science images; NaN where `left` is not to be used.
    good : bool, same shape
        Of `flux`.
    ensemble : Ensemble

    Returns
    -------
    float64, shape (n_exposures,)
        Weighted mean, clipped; zero where no star tells.
    """
    usual = _nan_median(np.where(good, flux / ensemble.factor, np.nan), axis=1)
    trusted = np.isfinite(ensemble.scatter)
    share = np.where(trusted[:, None], left / (usual[:, None] * ensemble.factor), np.nan)
    width = _width(share)
    weight = np.where(trusted & (width > 0), 1.0 / np.where(width > 0, width, 1.0) ** 2, 0.0)
    # Another template may hold a star a little brighter; that is no business of this exposure.
    return _weighted(share, weight)


def relative_curve(
    flux: np.ndarray, error: np.ndarray, good: np.ndarray, ensemble: Ensemble
) -> tuple[np.ndarray, np.ndarray, float]:
    """Divide a target's flux by what its exposures received.

    Returns
    -------
    relative, error : float64, shape (n_exposures,)
        In units of the median of good exposures.
    reference : float
        That median [nJy].
    """
    corrected = flux / ensemble.factor
    usable = good & np.isfinite(corrected)
    reference = float(np.median(corrected[usable])) if usable.any() else np.nan
    relative = corrected / reference
    spread = np.hypot(error / flux, ensemble.error / ensemble.factor) * np.abs(relative)
    return relative, spread, reference
