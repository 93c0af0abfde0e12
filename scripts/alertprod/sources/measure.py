"""The stage function: from a difference image to a table of DIASources."""

import logging

import numpy as np

from alertprod.core import ids
from alertprod.core.errors import BadInput
from alertprod.core.photometry import aperture_flux, psf_flux
from alertprod.core.stage import stage
from alertprod.core.tables import Table, conform
from alertprod.sources import reliability
from alertprod.sources.candidates import (
    Candidates,
    drop_unreal,
    find_dipoles,
    find_trails,
    fit_candidates,
)
from alertprod.sources.detect import check_subtraction, detect, prepare
from alertprod.sources.flags import pixel_flags
from alertprod.sources.shapes import extendedness
from alertprod.sources.sky import RAD, direction, jacobians, position_errors
from alertprod.sources.windows import Frame

log = logging.getLogger(__name__)


@stage("sources", outputs=("dia_sources",))
def measure_sources(difference, calexp, template, *, config) -> Table:
    """Detect, measure and score the sources on a difference image.

    Parameters
    ----------
    difference : Exposure
        Science minus template [nJy], white noise, with its PSF and WCS.
    calexp, template : Exposure
        The two that were subtracted, on the same pixels [nJy].
    config : dict
        Section ``sources`` of the configuration.

    Returns
    -------
    dia_sources : table
        One row per source of either sign, strongest first; columns of Rubin's DiaSource.

    Raises
    ------
    Rejected
        If the image has no usable pixels, the subtraction failed, or there are too many peaks.
    BadInput
        If the three exposures do not belong together.
    """
    _check(difference, calexp, template)
    frame, filtered = prepare(difference, calexp, config)
    check_subtraction(frame, calexp)
    peaks = detect(frame, filtered)
    del filtered
    found = fit_candidates(frame, peaks)
    found = find_trails(frame, found)
    found = find_dipoles(frame, found)
    found = drop_unreal(frame, found)
    table = _point_columns(frame, found)
    table |= _model_columns(frame, found, table)
    table |= _forced_columns(calexp, template, table)
    table |= pixel_flags(frame.difference.mask, found.peaks, table["x"], table["y"])
    table |= _shape_columns(frame, found)
    table["reliability"] = reliability.score(_features(frame, found, table), table)
    table["reliabilityVersion"] = np.full(len(found), reliability.VERSION, dtype=object)
    table |= _visit_columns(difference.meta, len(found), config)
    log.info("%d sources, %d of them negative", len(found), table["isNegative"].sum())
    return conform(table, "dia_sources")


def _check(difference, calexp, template) -> None:
    for name, other in (("science", calexp), ("template", template)):
        if other.shape != difference.shape:
            raise BadInput(
                f"the difference has {difference.shape} pixels, the {name} image {other.shape}. "
                "Make them from the same detector."
            )
    if difference.psf is None or difference.wcs is None:
        raise BadInput(
            "the difference image has no PSF or no WCS. Make it again with the stage difference."
        )


def _point_columns(frame: Frame, found: Candidates) -> Table:
    """Position and flux as a point source; a trail's position is its middle."""
    point = found.point
    x, y, x_err, y_err, xy_cov = (
        point[name].copy() for name in ("x", "y", "xErr", "yErr", "xyCov")
    )
    for row, fit in found.trails.items():
        if fit["accepted"]:
            x[row], y[row] = fit["x"], fit["y"]
            x_err[row], y_err[row] = np.sqrt(fit["cov"][1, 1]), np.sqrt(fit["cov"][2, 2])
            xy_cov[row] = fit["cov"][1, 2]
    wcs = frame.difference.wcs
    ra, dec = wcs.pix_to_sky(x, y)
    jacobian = jacobians(wcs, x, y)
    ra_err, dec_err, covariance = position_errors(jacobian, dec, x_err, y_err, xy_cov)
    circle = aperture_flux(frame.difference, x, y, frame.config["aperture_px"], bad=frame.bad)
    return {
        "x": x,
        "y": y,
        "xErr": x_err,
        "yErr": y_err,
        "ra": ra,
        "dec": dec,
        "raErr": ra_err,
        "decErr": dec_err,
        "ra_dec_Cov": covariance,
        "centroid_flag": point["flag_position"],
        "snr": np.abs(found.peaks.snr),
        "isNegative": found.peaks.snr < 0,
        "psfFlux": point["flux"],
        "psfFluxErr": point["fluxErr"],
        "psfLnL": point["lnl"],
        "psfChi2": point["chi2"],
        "psfNdata": point["ndata"],
        "psfFlux_flag": point["flag"],
        "psfFlux_flag_edge": point["flag_edge"],
        "psfFlux_flag_noGoodPixels": point["flag_noGoodPixels"],
        "apFlux": circle["flux"],
        "apFluxErr": circle["fluxErr"],
        "apFlux_flag": circle["flag"],
        "apFlux_flag_apertureTruncated": circle["flag_apertureTruncated"],
    }


def _model_columns(frame: Frame, found: Candidates, table: Table) -> Table:
    """Trails and dipoles; null where none was accepted."""
    n, apcorr = len(found), frame.difference.psf.apcorr
    out = {name: np.full(n, np.nan) for name in _TRAIL + _DIPOLE}
    out |= {name: np.zeros(n, dtype=np.int32) for name in ("trailNdata", "dipoleNdata")}
    flags = ("trail_flag", "trail_flag_edge", "isDipole", "dipoleFitAttempted")
    out |= {name: np.zeros(n, dtype=bool) for name in flags}
    jacobian = jacobians(frame.difference.wcs, table["x"], table["y"])
    for row, fit in found.trails.items():
        out["trailNdata"][row] = fit["ndata"]
        out["trail_flag"][row] = not fit["ok"]
        if fit["accepted"]:
            _fill(out, row, _trail_values(fit, jacobian[row], table, row, apcorr))
            out["trail_flag_edge"][row] = _off(frame, fit)
    for row, fit in found.dipoles.items():
        out["dipoleFitAttempted"][row] = True
        out["dipoleNdata"][row] = fit["ndata"]
        out["isDipole"][row] = fit["accepted"]
        if fit["ok"]:
            _fill(out, row, _dipole_values(fit, jacobian[row], apcorr))
    return out


_TRAIL = (
    "trailFlux",
    "trailFluxErr",
    "trailRa",
    "trailRaErr",
    "trailDec",
    "trailDecErr",
    "trailLength",
    "trailLengthErr",
    "trailAngle",
    "trailAngleErr",
    "trailChi2",
)
_DIPOLE = (
    "dipoleMeanFlux",
    "dipoleMeanFluxErr",
    "dipoleFluxDiff",
    "dipoleFluxDiffErr",
    "dipoleLength",
    "dipoleAngle",
    "dipoleChi2",
)


def _fill(out: Table, row: int, values: dict[str, float]) -> None:
    for name, value in values.items():
        out[name][row] = value


def _off(frame: Frame, fit: dict) -> bool:
    ny, nx = frame.bad.shape
    reach = 0.5 * fit["length"] + frame.fwhm
    dx, dy = abs(reach * np.cos(fit["angle"])), abs(reach * np.sin(fit["angle"]))
    x, y = fit["x"], fit["y"]
    return bool(x - dx < 0 or y - dy < 0 or x + dx > nx - 1 or y + dy > ny - 1)


def _trail_values(fit: dict, jacobian, table: Table, row: int, apcorr: float) -> dict:
    bearing, length = direction(jacobian, fit["angle"], fit["length"])
    scale = length / fit["length"]
    return {
        "trailFlux": fit["flux"] * apcorr,
        "trailFluxErr": np.sqrt(fit["cov"][0, 0]) * apcorr,
        "trailRa": table["ra"][row],
        "trailRaErr": table["raErr"][row],
        "trailDec": table["dec"][row],
        "trailDecErr": table["decErr"][row],
        "trailLength": length,
        "trailLengthErr": np.sqrt(fit["cov"][3, 3]) * scale,
        "trailAngle": np.mod(bearing, 180.0),
        "trailAngleErr": np.sqrt(fit["cov"][4, 4]) / RAD,
        "trailChi2": fit["chi2"],
    }


def _dipole_values(fit: dict, jacobian, apcorr: float) -> dict:
    bearing, length = direction(jacobian, fit["angle"], fit["length"])
    return {
        "dipoleMeanFlux": fit["mean_flux"] * apcorr,
        "dipoleMeanFluxErr": fit["mean_fluxErr"] * apcorr,
        "dipoleFluxDiff": fit["flux_diff"] * apcorr,
        "dipoleFluxDiffErr": fit["flux_diffErr"] * apcorr,
        "dipoleLength": length,
        "dipoleAngle": bearing,
        "dipoleChi2": fit["chi2"],
    }


def _forced_columns(calexp, template, table: Table) -> Table:
    """Flux at the source's position on the science image and on the template."""
    science = psf_flux(calexp, table["x"], table["y"])
    psf = calexp.psf if template.psf is None else template.psf
    before = psf_flux(template, table["x"], table["y"], psf=psf)
    return {
        "scienceFlux": science["flux"],
        "scienceFluxErr": science["fluxErr"],
        "forced_PsfFlux_flag": science["flag"],
        "forced_PsfFlux_flag_edge": science["flag_edge"],
        "forced_PsfFlux_flag_noGoodPixels": science["flag_noGoodPixels"],
        "templateFlux": before["flux"],
        "templateFluxErr": before["fluxErr"],
    }


def _shape_columns(frame: Frame, found: Candidates) -> Table:
    area = frame.difference.wcs.pixel_scale() ** 2
    own, psf = found.moments * area, found.psf_moments * area
    ratio = (own[:, 0] + own[:, 1]) / (psf[:, 0] + psf[:, 1])
    settled = found.moments[:, 3] == 1
    return {
        "ixx": own[:, 0],
        "iyy": own[:, 1],
        "ixy": own[:, 2],
        "ixxPSF": psf[:, 0],
        "iyyPSF": psf[:, 1],
        "ixyPSF": psf[:, 2],
        "shape_flag": ~settled,
        "shape_flag_no_pixels": found.point["ndata"] == 0,
        "extendedness": np.where(settled, extendedness(ratio, np.abs(found.peaks.snr)), np.nan),
    }


def _features(frame: Frame, found: Candidates, table: Table) -> dict[str, np.ndarray]:
    snr = np.abs(found.peaks.snr)
    own, psf = found.moments, found.psf_moments
    trace = (own[:, 0] + own[:, 1]) / (psf[:, 0] + psf[:, 1])
    # a trail is as long as it likes
    trace = np.where(found.accepted(found.trails), 1.0, trace)
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = np.abs(np.log(trace)) / np.hypot(0.15, 2.0 / snr)
        contrast = np.abs(table["psfFlux"]) / np.maximum(np.abs(table["templateFlux"]), 1e-30)
    return {
        "significance": snr,
        "chi2": found.chi2_excess(frame.config["psf_error"]),
        "shape": shape,
        "spike": found.spike,
        "contrast": contrast,
    }


def _visit_columns(meta, n: int, config) -> Table:
    visit, detector = int(meta["VISIT"]), int(meta["DETECTOR"])
    midpoint = float(meta["MJDMID"])
    processed = midpoint
    if config.get("clock", "observation") == "wall":
        from time import time

        from alertprod.core.times import utc_to_tai

        processed = float(utc_to_tai(40587.0 + time() / 86400.0))
    return {
        "diaSourceId": ids.source_ids(visit, detector, n),
        "visit": np.full(n, visit, dtype=np.int64),
        "detector": np.full(n, detector, dtype=np.int16),
        "midpointMjdTai": np.full(n, midpoint),
        "exposureTime": np.full(n, float(meta.get("EXPTIME", np.nan))),
        "band": np.full(n, str(meta.get("BAND", "")), dtype=object),
        "timeProcessedMjdTai": np.full(n, processed),
    }
