"""The calibrate stage: sky, PSF, stars, WCS and zero point of one image."""

import logging
from dataclasses import dataclass, replace

import numpy as np

from alertprod.calibrate.astrometry import Solution, Star, solve_astrometry
from alertprod.calibrate.catalog import star_table
from alertprod.calibrate.detect import Detections, find_sources, touched
from alertprod.calibrate.psf_model import choose_order, cut_stamps, fit_psf
from alertprod.calibrate.reference import Reference, load_reference
from alertprod.calibrate.select import Shapes, measure_shapes, select_stars
from alertprod.calibrate.zeropoint import AB_NJY, ZeroPoint, fit_zero_point
from alertprod.core.apertures import aperture_flux
from alertprod.core.errors import Rejected
from alertprod.core.exposure import Exposure
from alertprod.core.masks import bits
from alertprod.core.photometry import fit_position, psf_flux
from alertprod.core.psf import Psf
from alertprod.core.stage import stage

log = logging.getLogger("alertprod.calibrate")

PSF_TURNS = 2
DEAD_CORE = ("BAD", "CR", "NO_DATA", "EDGE")


@dataclass
class Measured:
    """An image on its way to a calibrated exposure: what has been measured so far.

    Parameters
    ----------
    exposure : Exposure
        Background-subtracted, electrons, with its PSF.
    found : Detections
    shapes : Shapes
    fit : dict of arrays
        PSF fluxes [e-] and positions of all detections.
    aperture : dict of arrays
        Aperture fluxes [e-].
    psf_stars : int array
        Indices of the stars that made the PSF.
    saturated : bool array
        A saturated pixel in the core.
    """

    exposure: Exposure
    found: Detections
    shapes: Shapes
    fit: dict[str, np.ndarray]
    aperture: dict[str, np.ndarray]
    psf_stars: np.ndarray
    saturated: np.ndarray


@stage("calibrate", outputs=("calexp", "stars"))
def calibrate_image(isr: Exposure, camera, refcat: list, *, config: dict):
    """Calibrate one image.

    Parameters
    ----------
    isr : Exposure
        Electrons, with mask and variance; ``meta`` holds pointing, filter and time.
    camera : Camera
        Geometry and filters.
    refcat : list of path
        Shards of the reference catalogue.
    config : dict
        Section ``calibrate``.

    Returns
    -------
    calexp : Exposure
        nJy, background subtracted, with PSF, WCS and background model.
    stars : dict of arrays
        The ``stars`` table.

    Raises
    ------
    Rejected
        If the image has too few stars, no PSF, no WCS or no zero point.
    """
    measured = measure_image(isr, config)
    meta = isr.meta
    nominal = camera.nominal_wcs(meta["DETECTOR"], meta["BORERA"], meta["BOREDEC"], meta["ROTPA"])
    band = camera.filter(meta["FILTER"])
    reference = load_reference(
        refcat, nominal, isr.shape, band, meta["MJDMID"], config["astrometry"]
    )
    solution = solve_astrometry(
        astrometric_stars(measured, config["astrometry"]),
        reference,
        nominal,
        isr.shape,
        config["astrometry"],
    )
    log.info(
        "WCS of order %d: %d of %d matched stars kept, rms %.1f mas per coordinate",
        solution.order, int(solution.used.sum()), len(solution.used), solution.rms_mas,
    )  # fmt: skip
    zero = _zero_point(measured, solution, reference, band, config["photometry"])
    log.info(
        "zero point %.4f mag from %d stars, scatter %.4f mag",
        zero.magnitude, int(zero.used.sum()), zero.scatter,
    )  # fmt: skip
    calexp = _calibrated(isr, measured, solution, zero)
    return calexp, star_table(measured, solution, zero, reference)


def measure_image(isr: Exposure, config: dict) -> Measured:
    """Do all that needs no catalogue: sky, detection, PSF, fluxes and positions.

    Parameters
    ----------
    isr : Exposure
        Electrons, with sky.
    config : dict
        Section ``calibrate``.
    """
    found = find_sources(isr.image, isr.mask, config)
    level = float(np.mean(found.background.grid))
    log.info("sky %.2f e-, rms %.2f e-, %d sources", level, np.mean(found.rms.grid), len(found))
    if len(found) < config["detect"]["min_sources"]:
        raise Rejected(f"{len(found)} sources, need {config['detect']['min_sources']}")
    shapes = measure_shapes(found, isr.mask, isr.variance)
    stars = select_stars(found, shapes, isr.shape, config["psf"])
    mask = isr.mask & ~np.int32(bits("DETECTED"))
    mask |= np.where(found.segments > 0, np.int32(bits("DETECTED")), np.int32(0))
    work = Exposure(found.image, mask, isr.variance, isr.meta)
    work.psf, kept = fit_psf_in_turns(work, found.segments, shapes, stars, config["psf"])
    fit = fit_position(work, shapes.x, shapes.y)
    aperture = _apertures(work, fit, kept, config["photometry"])
    saturated = touched(mask, found.x, found.y, 2, "SAT")
    return Measured(work, found, shapes, fit, aperture, kept, saturated)


def _apertures(work: Exposure, fit: dict, psf_stars, config: dict) -> dict[str, np.ndarray]:
    """Measure aperture fluxes, brought to total fluxes by the PSF stars.

    Where the PSF is undersampled they repeat better than PSF fluxes for bright stars: a sum does
    not mind where in a pixel a star lies.
    """
    radius = max(config["aperture_fwhm"] * work.psf.fwhm(), config["aperture_px"])
    bad = work.bad("BAD", "CR", "NO_DATA")
    circle = aperture_flux(work, fit["x"], fit["y"], radius, bad=bad)
    good = psf_stars[~circle["flag"][psf_stars] & ~fit["flag"][psf_stars]]
    if len(good):
        correction = float(np.median(fit["flux"][good] / circle["flux"][good]))
        circle = circle | {name: circle[name] * correction for name in ("flux", "fluxErr")}
    return circle


def fit_psf_in_turns(
    work: Exposure, segments, shapes: Shapes, stars, config: dict
) -> tuple[Psf, np.ndarray]:
    """Fit the PSF with moment centroids, then again with the positions that this PSF gives.

    Returns the PSF and the indices of the stars that were not clipped.
    """
    fwhm = float(np.median(shapes.fwhm[stars]))
    half = int(np.clip(np.ceil(config["radius_fwhm"] * fwhm), 10, 25))
    bad = work.bad("BAD", "SAT", "CR", "NO_DATA", "EDGE")
    x, y = shapes.x[stars].copy(), shapes.y[stars].copy()
    for turn in range(PSF_TURNS):
        stamps, inside = cut_stamps(work, bad, segments, x, y, 2 * half + 1)
        if len(inside) < config["min_stars"]:
            raise Rejected(f"{len(inside)} PSF stars clear of the edge, need {config['min_stars']}")
        order = choose_order(len(inside), int(config["order"]))
        psf, kept = fit_psf(stamps, work.shape, order, fwhm)
        if kept.sum() < config["min_stars"]:
            raise Rejected(f"{int(kept.sum())} stars agree on the PSF, need {config['min_stars']}")
        if turn + 1 < PSF_TURNS:
            fit = fit_position(replace(work, psf=psf), x, y)
            fine = ~fit["flag"] & ~fit["flag_position"]
            x, y = np.where(fine, fit["x"], x), np.where(fine, fit["y"], y)
    log.info(
        "PSF of order %d from %d of %d stars, FWHM %.2f px",
        order, int(kept.sum()), len(stars), psf.fwhm(),
    )  # fmt: skip
    return psf, stars[inside[kept]]


def astrometric_stars(measured: Measured, config: dict) -> Star:
    """Give astrometry the best position of each source, saturated ones with a large error."""
    fit, found = measured.fit, measured.found
    fine = ~fit["flag"] & ~fit["flag_position"] & ~measured.saturated
    error = np.hypot(fit["xErr"], fit["yErr"]) / np.sqrt(2)
    dead = touched(measured.exposure.mask, found.x, found.y, 1, *DEAD_CORE)
    trusted = fine & np.isfinite(error) & ~dead
    x, y = np.where(trusted, fit["x"], found.x), np.where(trusted, fit["y"], found.y)
    error = np.where(trusted, error, config["saturated_error_px"])
    # a struck or dead core has no position at all
    lost = dead & ~measured.saturated
    x, y = np.where(lost, np.nan, x), np.where(lost, np.nan, y)
    real = measured.saturated | (measured.shapes.fwhm > 0.6 * measured.exposure.psf.fwhm())
    return Star(x, y, error, ~lost & real)


def _zero_point(
    measured: Measured, solution: Solution, reference: Reference, band: dict, config: dict
) -> ZeroPoint:
    """Fit the zero point to clean stars; where there are too few, to saturated ones.

    A saturated star is measured at its catalogue position by the pixels that are not saturated;
    that is good to a few per cent, enough for an absolute scale.
    """
    star, ref = solution.star, solution.reference
    fit = {name: measured.fit[name][star] for name in ("flux", "fluxErr", "flag", "flag_position")}
    saturated = measured.saturated[star]
    usable = (
        ~fit["flag"] & ~fit["flag_position"] & (fit["flux"] > fit["fluxErr"] * config["min_snr"])
    )
    clean = usable & measured.shapes.clean[star] & ~saturated
    if clean.sum() < config["min_stars"] and config["allow_saturated"]:
        x, y = solution.wcs.sky_to_pix(reference.ra[ref], reference.dec[ref])
        wings = psf_flux(measured.exposure, x, y)
        for name in ("flux", "fluxErr"):
            fit[name] = np.where(saturated, wings[name], fit[name])
        clean |= saturated & ~wings["flag"] & (wings["flux"] > 0)
        log.warning("zero point from %d saturated stars", int((clean & saturated).sum()))
    term = band.get("colour_term") or {}
    return fit_zero_point(
        fit["flux"],
        fit["fluxErr"],
        reference.flux[ref],
        reference.flux_err[ref],
        float(term.get("coefficient", 0.0)) * reference.colour[ref],
        clean,
        min_stars=int(config["min_stars"]),
    )


def _calibrated(isr: Exposure, measured: Measured, solution: Solution, zero: ZeroPoint) -> Exposure:
    work, factor = measured.exposure, np.float32(zero.factor)
    psf = work.psf
    ny, nx = work.shape
    rms = float(np.median(measured.found.rms.grid))
    area = psf.effective_area((nx - 1) / 2, (ny - 1) / 2)
    limit = 5 * rms * np.sqrt(area) * zero.factor
    meta = dict(isr.meta) | {
        "BUNIT": "nJy",
        "FLUXCAL": zero.factor,
        "ZEROPNT": zero.magnitude,
        "SKYLEVEL": float(np.mean(measured.found.background.grid)),
        "SKYSIG": rms,
        "SEEING": psf.fwhm(),
        "NPSFSTAR": len(measured.psf_stars),
        "NWCSSTAR": int(solution.used.sum()),
        "NPHOSTAR": int(zero.used.sum()),
        "WCSRMS": solution.rms_mas,
        "LIMMAG": AB_NJY - 2.5 * np.log10(limit),
    }
    return Exposure(
        work.image * factor,
        work.mask,
        work.variance * factor**2,
        meta,
        solution.wcs.with_inverse(work.shape),
        psf,
        measured.found.background.scaled(zero.factor),
    )
