"""The photometric zero point: nanojansky per electron, one number per exposure."""

from dataclasses import dataclass

import numpy as np

from alertprod.core.errors import Rejected

CLIP = 3.0
ROUNDS = 10
FLOOR_MAG = 0.01  # systematic error of one star, keeps the brightest from deciding alone
AB_NJY = 31.4


@dataclass
class ZeroPoint:
    """Nanojansky per electron, and the stars behind it.

    Parameters
    ----------
    factor : float
        nJy per electron (of the whole exposure).
    magnitude : float
        AB magnitude of one electron.
    scatter : float
        Robust scatter of the stars [mag].
    used : bool array, shape (n,)
        Stars that were kept.
    """

    factor: float
    magnitude: float
    scatter: float
    used: np.ndarray


def fit_zero_point(
    flux, flux_err, ref_flux, ref_flux_err, shift, usable, *, min_stars: int
) -> ZeroPoint:
    """Fit the zero point to matched stars.

    Parameters
    ----------
    flux, flux_err : arrays, shape (n,)
        Instrumental PSF fluxes [e-].
    ref_flux, ref_flux_err : arrays, shape (n,)
        Reference fluxes [nJy]; NaN where unknown (errors too).
    shift : array, shape (n,)
        Magnitude through the instrument's filter minus that in the reference band, from the
        colour term; NaN where the colour is unknown.
    usable : bool array, shape (n,)
        Stars without flaws, the best choice.
    min_stars : int
        Fewest stars.

    Returns
    -------
    ZeroPoint

    Raises
    ------
    Rejected
        If fewer than `min_stars` stars are left.
    """
    flux, ref_flux = np.asarray(flux, dtype=np.float64), np.asarray(ref_flux, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        good = usable & (flux > 0) & (ref_flux > 0) & np.isfinite(flux_err)
        good &= np.isfinite(shift)
        offset = AB_NJY - 2.5 * np.log10(ref_flux) + shift + 2.5 * np.log10(flux)
        error = 1.0857 * np.hypot(
            flux_err / flux, np.nan_to_num(np.asarray(ref_flux_err) / ref_flux, nan=0.0)
        )
    if good.sum() < min_stars:
        raise Rejected(f"no zero point: {int(good.sum())} stars, need {min_stars}")
    weight = 1.0 / (error**2 + FLOOR_MAG**2)
    used = good.copy()
    for _ in range(ROUNDS):
        middle = weighted_median(offset[used], weight[used])
        width = 1.4826 * float(np.median(np.abs(offset[used] - middle)))
        limit = CLIP * np.maximum(width, np.sqrt(error**2 + FLOOR_MAG**2))
        kept = good & (np.abs(offset - middle) < limit)
        if kept.sum() < max(min_stars, good.sum() // 4) or np.array_equal(kept, used):
            break
        used = kept
    zero = float(np.sum(weight[used] * offset[used]) / np.sum(weight[used]))
    middle = float(np.median(offset[used]))
    scatter = 1.4826 * float(np.median(np.abs(offset[used] - middle)))
    return ZeroPoint(10 ** (0.4 * (AB_NJY - zero)), zero, scatter, used)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the value at which half of the weight is reached."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, 0.5 * cumulative[-1])])
