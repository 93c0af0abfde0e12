"""Where the exposure points: pattern match, then a TAN-SIP fit with clipping."""

from dataclasses import dataclass

import numpy as np

from alertprod.calibrate.reference import Reference
from alertprod.calibrate.wcs_fit import choose_order, fit_wcs
from alertprod.core.errors import Rejected
from alertprod.core.match import Search, match_pattern, match_pixels
from alertprod.core.wcs import Wcs

MAS_PER_DEG = 3.6e6
ROUNDS = 12
CLIP = 3.5
LEAST_WIDTH = 0.3  # of the errors: pairs that agree better than this are not told apart
FLOOR_PX = 0.005  # systematic error of a good centroid, for weights


@dataclass
class Star:
    """What astrometry needs to know of the stars of an image, the brightest first.

    Parameters
    ----------
    x, y : float64
        Positions [px].
    error : float64
        Error per axis [px].
    bright : bool
        Real and bright enough to take part in the pattern match, saturated or not.
    """

    x: np.ndarray
    y: np.ndarray
    error: np.ndarray
    bright: np.ndarray


@dataclass
class Solution:
    """The fitted system and the pairs that made it.

    Parameters
    ----------
    wcs : Wcs
        Pixels to ICRS at the exposure's epoch.
    star, reference : int arrays
        Indices of all matched pairs.
    used : bool array
        Pairs that the fit kept.
    east, north : float64 arrays
        Residuals, image minus reference [mas].
    order : int
        Order of the polynomial.
    rms_mas : float
        Root mean square residual per coordinate of the pairs kept.
    """

    wcs: Wcs
    star: np.ndarray
    reference: np.ndarray
    used: np.ndarray
    east: np.ndarray
    north: np.ndarray
    order: int
    rms_mas: float


def solve_astrometry(
    stars: Star, reference: Reference, nominal: Wcs, shape: tuple[int, int], config: dict
) -> Solution:
    """Find the world coordinate system of an image.

    Parameters
    ----------
    stars : Star
        Stars of the image.
    reference : Reference
        Reference stars at the epoch of the exposure.
    nominal : Wcs
        What the telescope believed.
    shape : (ny, nx)
        Size of the image [px].
    config : dict
        ``pointing_error_arcsec``, ``rotation_error_deg``, ``scale_error``, ``tolerance_px``,
        ``order``, ``min_stars``, ``max_rms_px``.

    Raises
    ------
    Rejected
        If no pattern matches, too few pairs are left, or they agree badly.
    """
    scale = nominal.pixel_scale()
    search = Search(
        shift=config["pointing_error_arcsec"] / scale,
        rotation=config["rotation_error_deg"],
        scale=config["scale_error"],
        tolerance=config["tolerance_px"],
        minimum=int(config["min_stars"]),
    )
    bright = np.flatnonzero(stars.bright)
    predicted = nominal.sky_to_pix(reference.ra, reference.dec)
    found = match_pattern((stars.x[bright], stars.y[bright]), predicted, shape, search)
    if found is None:
        raise Rejected(
            f"no WCS: the pattern of {len(bright)} stars matches none of {len(reference)} "
            f"reference stars within {config['pointing_error_arcsec']:g} arcsec"
        )
    crpix = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    star, ref = bright[found.measured], found.predicted
    try:
        wcs = fit_wcs(
            stars.x[star], stars.y[star], reference.ra[ref], reference.dec[ref],
            np.ones(len(star)), crpix=crpix, order=1,
        )  # fmt: skip
        return refine(stars, reference, wcs, shape, config)
    except np.linalg.LinAlgError as error:
        raise Rejected(f"no WCS: {len(star)} matched stars fix no plane ({error})") from None


def refine(stars: Star, reference: Reference, wcs: Wcs, shape, config: dict) -> Solution:
    """Match and fit again and again, with a radius that follows the residuals.

    Parameters as in `solve_astrometry`; `wcs` is good to ``tolerance_px`` over the image.
    """
    crpix = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    least, scale = int(config["min_stars"]), wcs.pixel_scale()
    radius, order, previous = 1.5 * config["tolerance_px"], 1, None
    ref_error = reference.error / 1000 / scale
    for turn in range(ROUNDS):
        px, py = wcs.sky_to_pix(reference.ra, reference.dec)
        star, ref, _ = match_pixels(stars.x, stars.y, px, py, radius)
        if len(star) < least:
            raise Rejected(f"no WCS: {len(star)} stars match within {radius:.1f} px, need {least}")
        error = np.sqrt(stars.error[star] ** 2 + ref_error[ref] ** 2 + FLOOR_PX**2)
        residual = np.hypot(stars.x[star] - px[ref], stars.y[star] - py[ref])
        used = _clip(residual / error, least)
        order = min(turn + 1, choose_order(stars.x[star[used]], stars.y[star[used]], shape,
                                           int(config["order"])))  # fmt: skip
        s, r = star[used], ref[used]
        wcs = fit_wcs(
            stars.x[s], stars.y[s], reference.ra[r], reference.dec[r], error[used] ** -2.0,
            crpix=crpix, order=order,
        )  # fmt: skip
        spread = 1.4826 * float(np.median(residual[used])) / 1.1774
        radius = min(radius, max(5 * spread, 0.2 * config["tolerance_px"], 0.5))
        state = (order, tuple(s), tuple(r))
        if turn > order and state == previous:
            break
        previous = state
    return _judge(stars, reference, wcs, (star, ref, used), order, config)


def _clip(normalised: np.ndarray, least: int) -> np.ndarray:
    """Keep pairs within CLIP robust widths, but never fewer than `least` or half of them."""
    # a Rayleigh distribution has its median at 1.1774 sigma
    width = max(float(np.median(normalised)) / 1.1774, LEAST_WIDTH)
    limit = max(CLIP * width, float(np.sort(normalised)[max(least, len(normalised) // 2) - 1]))
    return normalised <= limit


def _judge(stars, reference, wcs, pairs, order, config) -> Solution:
    star, ref, used = pairs
    ra, dec = wcs.pix_to_sky(stars.x[star], stars.y[star])
    turn = np.mod(ra - reference.ra[ref] + 180.0, 360.0) - 180.0
    east = turn * np.cos(np.radians(dec)) * MAS_PER_DEG
    north = (dec - reference.dec[ref]) * MAS_PER_DEG
    rms = float(np.sqrt(np.mean(np.square(east[used]) + np.square(north[used])) / 2))
    rms_px = rms / 1000 / wcs.pixel_scale()
    if rms_px > config["max_rms_px"]:
        raise Rejected(
            f"no WCS: {int(used.sum())} stars agree with the catalogue to {rms_px:.2f} px only "
            f"(limit {config['max_rms_px']:g})"
        )
    return Solution(wcs, star, ref, used, east, north, order, rms)
