"""Subtracting the template.

References
----------
Alard & Lupton 1998, ApJ 503, 325; Alard 2000, A&AS 144, 363; Reiss & Lupton 2016, LSST DMTN-021.
"""

import numpy as np

from alertprod.core.convolve import chebyshev_terms, convolve_varying
from alertprod.core.defaults import complete
from alertprod.core.errors import Rejected
from alertprod.core.exposure import Background, Exposure
from alertprod.core.masks import bits
from alertprod.core.stage import stage
from alertprod.difference.basis import choose_basis
from alertprod.difference.decorrelate import Decorrelation, plan_decorrelation, whitened_psf
from alertprod.difference.masking import (
    gaussian_taps,
    grow,
    kernel_reach,
    propagate_mask,
    smooth,
    smoothing_width,
)
from alertprod.difference.solve import Match, fit_kernel
from alertprod.difference.stamps import UNUSABLE, choose_positions, cut_stamps

#: Width of the filter that gives a squared Gaussian PSF the second moments of the square of its
#: product with a polynomial of fourth degree: sqrt(2) of the PSF's own sigma, here in FWHM.
MISMATCH_FWHM = 0.6


@stage("difference", outputs=("difference",))
def subtract_template(calexp: Exposure, template: Exposure, stars: dict, *, config: dict):
    """Match the template to a calibrated exposure, subtract it and whiten the noise.

    Parameters
    ----------
    calexp : Exposure
        nJy, background subtracted, with PSF.
    template : Exposure
        nJy, on the same pixels; ``NO_DATA`` where there is none.
    stars : dict of arrays
        Table ``stars``.
    config : dict
        Section ``difference``.

    Returns
    -------
    Exposure
        nJy on the photometric scale of `calexp`, with the PSF of a point source in it. ``meta``
        gains ``KSUM``, ``KCOND``, ``NKSTAR``, ``NKTRIED``, ``KCHI2``, ``KFLOOR``, ``KREACH``,
        ``CONVOLVD`` (template or science), ``TMPLCOV``, ``DIFFSTD``.

    Raises
    ------
    Rejected
        If the template covers too little, or too few stars match.
    """
    config = complete(config, "difference")
    coverage = 1.0 - float(np.mean(template.bad("NO_DATA")))
    if coverage < config["min_coverage"]:
        raise Rejected(
            f"the template covers {100 * coverage:.1f} % of the detector; "
            f"{100 * config['min_coverage']:.0f} % are needed"
        )
    flip = _convolve_science(calexp, template, config)
    fixed, moving = (template, calexp) if flip else (calexp, template)
    match = match_kernel(fixed, moving, calexp, stars, config)
    image, model = _subtract(fixed, moving, match)
    middle = match.kernel.at((calexp.shape[1] - 1) / 2, (calexp.shape[0] - 1) / 2)
    reach = kernel_reach(middle)
    spoiled = ((calexp.mask | template.mask) & bits(*UNUSABLE)) != 0
    variance, floor_high = _variance(fixed, moving, match, middle, model, config)
    background = _refit_background(image, variance, model, spoiled, config)
    _blank(image, calexp, template, reach)
    scale = match.scale
    decorrelation = _plan(match, fixed, moving, spoiled, template, flip, config)
    if config["decorrelate"]:
        image = decorrelation.apply(image)
    if flip:
        image *= np.float32(-1.0 / scale)
        variance *= np.float32(1.0 / scale**2)
    grown = int(config["saturation_reach"])
    if grown <= 0:
        grown = reach + int(np.ceil(1.5 * calexp.psf.fwhm()))
    mask = propagate_mask(
        calexp.mask, template.mask, reach=reach, saturation_reach=grown, edge=reach
    )
    mask[floor_high] |= bits("HIGH_VARIANCE")
    psf = whitened_psf(calexp.psf, decorrelation, matched=flip, white=bool(config["decorrelate"]))
    return Exposure(
        image,
        mask,
        variance,
        {**calexp.meta, **_report(match, image, variance, mask, coverage, reach, flip)},
        wcs=calexp.wcs,
        psf=psf,
        background=background,
        kernel=_kernel_tables(match, decorrelation, flip),
    )


def _convolve_science(calexp: Exposure, template: Exposure, config: dict) -> bool:
    """Decide which image is convolved: the sharper one."""
    choice = config["convolve"]
    if choice != "auto":
        return choice == "science"
    if template.psf is None:
        return False
    return template.psf.fwhm() > config["auto_ratio"] * calexp.psf.fwhm()


def match_kernel(fixed: Exposure, moving: Exposure, calexp: Exposure, stars, config) -> Match:
    """Choose kernel stars and fit the matching kernel.

    Parameters
    ----------
    fixed, moving : Exposure
        The image that is matched and the one that is convolved.
    calexp : Exposure
        The science image, in which the stars are chosen.
    stars : dict of arrays
        Table ``stars``.
    config : dict
        Complete section ``difference``.

    Returns
    -------
    Match
    """
    fwhm = fixed.psf.fwhm()
    basis = choose_basis(fwhm, config)
    bad = grow(((fixed.mask | moving.mask) & bits(*UNUSABLE)) != 0, 3)
    x, y = choose_positions(calexp.image, calexp.variance, bad, stars, config)
    half = int(np.clip(np.ceil(2.5 * fwhm), 7, 15))
    stamps = cut_stamps(fixed, moving, x, y, half=half, reach=basis.half)
    return fit_kernel(stamps, basis, calexp.shape, config)


def _subtract(fixed: Exposure, moving: Exposure, match: Match):
    """Return the plain difference and the convolved image."""
    model = convolve_varying(moving.image, match.kernel)
    image = fixed.image - model
    ny, nx = image.shape
    powers = match.background_powers
    order = max(p + q for p, q in powers)
    along_x = chebyshev_terms(np.arange(nx), 0.0 * np.arange(nx), (ny, nx),
                              [(p, 0) for p in range(order + 1)])  # fmt: skip
    along_y = chebyshev_terms(0.0 * np.arange(ny), np.arange(ny), (ny, nx),
                              [(0, q) for q in range(order + 1)])  # fmt: skip
    matrix = np.zeros((order + 1, order + 1))
    for (p, q), value in zip(powers, match.background, strict=True):
        matrix[q, p] = value
    image -= along_y.T.astype(np.float32) @ (matrix @ along_x).astype(np.float32)
    return image, model


def _variance(fixed: Exposure, moving: Exposure, match: Match, kernel, model, config):
    """Variance of the difference, with the noise of the model at bright stars.

    After whitening the noise has the power that it has at zero frequency: the variance of the
    fixed image plus that of the other times the squared kernel sum. The latter is smeared as the
    squared kernel smears it. What an imperfect kernel leaves of a star is wider than the star;
    the noise of the model has the same sum but that width, or a ring would stand out around it.
    """
    taps = gaussian_taps(smoothing_width(kernel))
    variance = smooth(moving.variance, taps)
    variance *= np.float32(match.scale**2)
    variance += fixed.variance
    floor = np.maximum(model, 0.0)
    floor *= np.float32(match.floor)
    np.square(floor, out=floor)
    floor = smooth(floor, gaussian_taps(MISMATCH_FWHM * fixed.psf.fwhm()))
    high = floor > np.float32(config["high_variance_ratio"]) * variance
    variance += floor
    return variance, high


def _refit_background(image, variance, model, spoiled, config) -> Background | None:
    """Remove what the polynomial left: medians of boxes of blank sky. Changes `image`."""
    box = int(config["background_box"])
    if box <= 0:
        return None
    ny, nx = image.shape
    gy, gx = max(1, round(ny / box)), max(1, round(nx / box))
    grid = np.full((gy, gx), np.nan)
    for j in range(gy):
        for i in range(gx):
            # Every second pixel of each axis: the median of a box needs no more.
            cut = np.s_[ny * j // gy : ny * (j + 1) // gy : 2,
                        nx * i // gx : nx * (i + 1) // gx : 2]  # fmt: skip
            noise = np.sqrt(np.maximum(variance[cut], 1e-30))
            blank = ~spoiled[cut] & (np.abs(model[cut]) < noise) & (np.abs(image[cut]) < 4 * noise)
            values = image[cut][blank]
            if len(values) > 0.1 * noise.size:
                grid[j, i] = np.median(values)
    known = np.isfinite(grid)
    if not known.any():
        return None
    grid = _fill_holes(grid, known)
    background = Background(grid, image.shape)
    image -= background.image()
    return background


def _fill_holes(grid: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Give unknown boxes the value of the nearest known one (ties by row, then column)."""
    rows, columns = np.nonzero(known)
    for j, i in zip(*np.nonzero(~known), strict=True):
        nearest = np.argmin((rows - j) ** 2 + (columns - i) ** 2)
        grid[j, i] = grid[rows[nearest], columns[nearest]]
    return grid


def _blank(image, calexp: Exposure, template: Exposure, reach: int) -> None:
    """Zero what no filter should spread: saturated, missing, hit and not repaired."""
    hard = bits("SAT", "NO_DATA")
    hit = (calexp.mask & bits("BAD", "CR")) != 0
    hit &= (calexp.mask & bits("INTRP")) == 0
    away = grow(((template.mask & hard) != 0), reach)
    image[hit | away | ((calexp.mask & hard) != 0)] = 0.0


def _plan(match: Match, fixed, moving, spoiled, template, flip: bool, config) -> Decorrelation:
    order = 0 if flip else int(template.meta.get("LANCZOS", 0))
    cells = int(config["decorrelation_cells"])
    skip = spoiled | (np.abs(fixed.image) > 3 * np.sqrt(np.maximum(fixed.variance, 0)))
    return plan_decorrelation(match.kernel, fixed.variance, moving.variance, skip, cells, order)


def _report(match: Match, image, variance, mask, coverage, reach, flip) -> dict:
    """Header values that say how well it went."""
    good = (mask[::4, ::4] == 0) & (variance[::4, ::4] > 0)
    pulls = image[::4, ::4][good] / np.sqrt(variance[::4, ::4][good])
    spread = np.nan
    if len(pulls):
        low, high = np.percentile(pulls, [15.865525, 84.134475])
        spread = 0.5 * (high - low)
    return {
        "KSUM": match.scale,
        "KCOND": match.condition,
        "NKSTAR": match.n_stars,
        "NKTRIED": match.n_tried,
        "KCHI2": match.chi2,
        "KFLOOR": match.floor,
        "KREACH": reach,
        "CONVOLVD": "science" if flip else "template",
        "TMPLCOV": coverage,
        "DIFFSTD": float(spread),
    }


def _kernel_tables(match: Match, decorrelation: Decorrelation, flip: bool) -> dict:
    """Everything needed to evaluate kernel and whitening filter again."""
    terms = match.kernel.terms
    return {
        "terms": terms.reshape(len(terms), -1),
        "powers": np.array(match.kernel.powers, float),
        "background": match.background,
        "background_powers": np.array(match.background_powers, float),
        "science_convolved": np.array([float(flip)]),
        "cell_x": decorrelation.x,
        "cell_y": decorrelation.y,
        "variance_fixed": decorrelation.fixed,
        "variance_moving": decorrelation.moving,
    }
