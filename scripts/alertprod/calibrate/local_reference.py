"""A dense reference catalogue made of the exposures' own stars.

Where the reference catalogue has ten stars in a field, and those saturated, its WCS is good to a
fraction of a pixel: enough to point at things, not to subtract images. The common stars of some
exposures tie them to each other a hundred times better. Their joint catalogue hangs on the
average of the exposures' own solutions and serves as an additional reference.

References
----------
Bertin 2006, ASPC 351, 112, and Padmanabhan et al. 2008, ApJ 674, 1217 (solving exposures and
stars in turn: internal calibration of positions and of fluxes).
"""

import logging
from dataclasses import dataclass

import numpy as np

from alertprod.calibrate.wcs_fit import choose_order, fit_wcs
from alertprod.core.errors import BadInput, Rejected
from alertprod.core.match import match_sky
from alertprod.core.refcat import shard_of
from alertprod.core.stage import stage
from alertprod.core.tables import Table, conform, n_rows, read_table, take
from alertprod.core.wcs import deproject, project

log = logging.getLogger("alertprod.calibrate")

CLIP = 4.0
ID_ORDER = 29


@dataclass
class _Frame:
    """The good stars of one exposure; `entry` is the row of each in the joint catalogue."""

    x: np.ndarray
    y: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    error: np.ndarray  # arcsec
    magnitude: np.ndarray
    magnitude_error: np.ndarray
    first_ra: np.ndarray
    first_dec: np.ndarray
    entry: np.ndarray


@dataclass
class _Joint:
    """The joint catalogue: mean positions, magnitudes, and how often each star was seen."""

    ra: np.ndarray
    dec: np.ndarray
    error: np.ndarray
    magnitude: np.ndarray
    magnitude_error: np.ndarray
    seen: np.ndarray


@stage("calibrate", outputs=("local_refcat",))
def build_local_reference(stars: list, *, config: dict) -> Table:
    """Join the stars of some exposures to a reference catalogue.

    Parameters
    ----------
    stars : list of path or of table
        ``stars`` tables of exposures of one field in one filter, each with its own WCS.
    config : dict
        Section ``calibrate``; ``local_reference`` has ``min_snr``, ``min_frames``,
        ``match_arcsec``, ``order``, ``rounds``.

    Returns
    -------
    dict of arrays
        The ``local_refcat`` table, in the columns of a reference shard.

    Raises
    ------
    BadInput
        If there are fewer than two exposures, or they have too few stars in common.
    """
    options = config["local_reference"]
    tables = _accepted(stars)
    if len(tables) < 2:
        raise BadInput(
            f"a local reference needs two exposures, there is {len(tables)}. Name more of them."
        )
    frames = [_frame(table, options["min_snr"]) for table in tables]
    joint = _start(frames)
    for turn in range(int(options["rounds"])):
        radius = options["match_arcsec"] / (1 if turn == 0 else 2)
        joint = _assign(frames, joint, radius)
        joint = _average(frames, len(joint.ra))
        for frame in frames:
            _tie(frame, joint, int(options["order"]))
        joint = _average(frames, len(joint.ra))
    _hang(frames, joint)
    return _table(joint, int(options["min_frames"]))


def _accepted(stars: list) -> list[Table]:
    """Read the tables, leaving rejected exposures out."""
    tables = []
    for item in stars:
        try:
            tables.append(item if isinstance(item, dict) else read_table(item))
        except Rejected as reason:
            log.info("left out: %s", reason)
    return tables


def _frame(table: Table, min_snr: float) -> _Frame:
    good = (table["snr"] > min_snr) & np.isfinite(table["xErr"]) & np.isfinite(table["yErr"])
    for name in ("saturated", "suspect", "bad", "cr", "edge", "nodata"):
        good &= ~table[f"pixelFlags_{name}"]
    good &= ~table["centroid_flag"] & (table["psfFlux"] > 0)
    table = take(table, good)
    if n_rows(table) < 10:
        raise BadInput(
            f"{n_rows(table)} stars above S/N {min_snr:g} in an exposure for the local reference; "
            "choose better exposures."
        )
    flux = table["psfFlux"].astype(np.float64)
    ra, dec = table["ra"].astype(np.float64), table["dec"].astype(np.float64)
    x, y = table["x"].astype(np.float64), table["y"].astype(np.float64)
    scale = _scale(x, y, ra, dec)
    error = np.hypot(table["xErr"], table["yErr"]).astype(np.float64) / np.sqrt(2)
    return _Frame(
        x, y, ra, dec, np.maximum(error, 0.01) * scale, -2.5 * np.log10(flux),
        np.hypot(1.0857 * table["psfFluxErr"] / flux, 0.005), ra, dec,
        np.full(len(x), -1),
    )  # fmt: skip


def _scale(x, y, ra, dec) -> float:
    """Return arcsec per pixel."""
    xi, eta = project(ra, dec, (ra[0], dec[0]))
    spread = np.sqrt(np.var(xi) + np.var(eta)) / np.sqrt(np.var(x) + np.var(y))
    return float(np.degrees(spread) * 3600)


def _start(frames: list[_Frame]) -> _Joint:
    """The richest exposure is the first catalogue."""
    best = max(range(len(frames)), key=lambda k: (len(frames[k].ra), -k))
    frame = frames[best]
    return _Joint(
        frame.ra, frame.dec, frame.error, frame.magnitude, frame.magnitude_error,
        np.ones(len(frame.ra), dtype=int),
    )  # fmt: skip


def _assign(frames: list[_Frame], joint: _Joint, radius: float) -> _Joint:
    """Give each star its row of the catalogue; stars without one found new rows."""
    ra, dec, magnitude = joint.ra, joint.dec, joint.magnitude
    for frame in frames:
        mine, entry, _ = match_sky(frame.ra, frame.dec, ra, dec, radius)
        frame.entry = np.full(len(frame.ra), -1)
        frame.entry[mine] = entry
        new = np.flatnonzero(frame.entry < 0)
        frame.entry[new] = len(ra) + np.arange(len(new))
        ra, dec = np.append(ra, frame.ra[new]), np.append(dec, frame.dec[new])
        magnitude = np.append(magnitude, frame.magnitude[new])
    none = np.zeros(len(ra))
    return _Joint(ra, dec, none, magnitude, none, none)


def _average(frames: list[_Frame], count: int) -> _Joint:
    """Average positions and magnitudes of each row, outliers down-weighted by a median start."""
    entry = np.concatenate([f.entry for f in frames])
    ra, dec = (np.concatenate([getattr(f, n) for f in frames]) for n in ("ra", "dec"))
    centre = (float(ra[0]), float(np.median(dec)))
    xi, eta = project(ra, dec, centre)
    error = np.radians(np.concatenate([f.error for f in frames]) / 3600)
    east, spread_e = _clipped_mean(xi, error, entry, count)
    north, spread_n = _clipped_mean(eta, error, entry, count)
    magnitude = np.concatenate([f.magnitude for f in frames])
    mean, spread_m = _clipped_mean(
        magnitude, np.concatenate([f.magnitude_error for f in frames]), entry, count
    )
    seen = np.bincount(entry, minlength=count)
    mean_ra, mean_dec = deproject(east, north, centre)
    both = np.degrees(np.hypot(spread_e, spread_n) / np.sqrt(2)) * 3600
    return _Joint(mean_ra, mean_dec, both, mean, spread_m, seen)


def _clipped_mean(values, error, entry, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean of each group and its error, after one clipping about the group's median."""
    order = np.lexsort([values, entry])
    sorted_entry = entry[order]
    first = np.searchsorted(sorted_entry, np.arange(count))
    size = np.bincount(entry, minlength=count)
    safe = np.minimum(first + size // 2, len(values) - 1)
    low = np.minimum(first + np.maximum(size - 1, 0) // 2, len(values) - 1)
    median = 0.5 * (values[order][safe] + values[order][low])
    deviation = np.abs(values - median[entry]) / error
    width = max(float(np.median(deviation[size[entry] > 2])) * 1.4826, 1.0) if (
        size > 2
    ).any() else 1.0  # fmt: skip
    weight = np.where(deviation < CLIP * width, error**-2.0, 1e-6 * error**-2.0)
    total = np.bincount(entry, weight, minlength=count)
    total_safe = np.where(total > 0, total, 1.0)
    # offsets from the median keep the digits of the sum
    shift = np.bincount(entry, weight * (values - median[entry]), minlength=count)
    return median + shift / total_safe, width / np.sqrt(total_safe)


def _tie(frame: _Frame, joint: _Joint, order: int) -> None:
    """Fit the exposure's WCS and zero point to rows that other exposures have seen too."""
    known = joint.seen[frame.entry] > 1
    if known.sum() < 10:
        return
    rows = frame.entry[known]
    x, y = frame.x[known], frame.y[known]
    shape = (float(frame.y.max()) + 1, float(frame.x.max()) + 1)
    crpix = (shape[1] / 2, shape[0] / 2)
    good = np.ones(len(x), dtype=bool)
    for _ in range(5):
        fitted = fit_wcs(
            x[good], y[good], joint.ra[rows[good]], joint.dec[rows[good]],
            frame.error[known][good] ** -2.0,
            crpix=crpix, order=choose_order(x[good], y[good], shape, order),
        )  # fmt: skip
        px, py = fitted.sky_to_pix(joint.ra[rows], joint.dec[rows])
        distance = np.hypot(px - x, py - y) / frame.error[known]
        good = distance < CLIP * max(float(np.median(distance[good])) / 1.1774, 1e-6)
    frame.ra, frame.dec = fitted.pix_to_sky(frame.x, frame.y)
    offset = joint.magnitude[rows] - frame.magnitude[known]
    frame.magnitude = frame.magnitude + float(np.median(offset))


def _hang(frames: list[_Frame], joint: _Joint) -> None:
    """Move the catalogue onto the average of the solutions that the exposures came with."""
    entry = np.concatenate([f.entry for f in frames])
    centre = (float(joint.ra[0]), float(np.median(joint.dec)))
    xi, eta = project(joint.ra, joint.dec, centre)
    first = project(
        np.concatenate([f.first_ra for f in frames]),
        np.concatenate([f.first_dec for f in frames]),
        centre,
    )
    design = np.column_stack([np.ones(len(entry)), xi[entry], eta[entry]])
    weight = 1.0 / np.concatenate([f.error for f in frames])[:, None]
    solution, *_ = np.linalg.lstsq(design * weight, np.column_stack(first) * weight, rcond=None)
    moved = np.column_stack([np.ones(len(xi)), xi, eta]) @ solution
    joint.ra, joint.dec = deproject(moved[:, 0], moved[:, 1], centre)


def _table(joint: _Joint, min_frames: int) -> Table:
    keep = np.flatnonzero(joint.seen >= min_frames)
    if len(keep) < 10:
        raise BadInput(
            f"{len(keep)} stars were seen in {min_frames} exposures of the local reference; "
            "choose exposures that overlap more."
        )
    ra, dec = joint.ra[keep], joint.dec[keep]
    flux = 10 ** (-0.4 * joint.magnitude[keep])
    table = {
        "source_id": shard_of(ID_ORDER, ra, dec),
        "ra": ra,
        "dec": dec,
        "ra_error": joint.error[keep] * 1000,
        "dec_error": joint.error[keep] * 1000,
        "flux": flux,
        "fluxErr": flux * joint.magnitude_error[keep] / 1.0857,
        "n_frames": joint.seen[keep],
    }
    return conform(take(table, np.argsort(table["source_id"], kind="stable")), "local_refcat")
