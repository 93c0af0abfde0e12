"""Forced photometry: fluxes at the positions of DIAObjects and of named targets, in every visit.

Targets have aperture fluxes too: for the light curve of a bright star a circle is better than any
model of its PSF.
"""

import numpy as np

from alertprod.core import photometry
from alertprod.core.apdb import history
from alertprod.core.apdb.connection import Database
from alertprod.core.apdb.rows import bounding_circle
from alertprod.core.exposure import Exposure
from alertprod.core.ids import source_ids
from alertprod.core.tables import Table, conform, empty, n_rows, take

EDGE_MARGIN_DEG = 0.003
TOUCHED = ("BAD", "SAT", "CR", "NO_DATA")
"""Planes that spoil an aperture; their pixels count with the value they were repaired with."""


def objects_on(database: Database, moment: history.Moment, exposure: Exposure, least: int) -> Table:
    """Return the DIAObjects with at least `least` detections on a detector, sorted by identifier.

    Returns
    -------
    dict of arrays
        ``diaObjectId``, ``ra``, ``dec``, ``nDiaSources``.
    """
    ny, nx = exposure.shape
    corners = exposure.wcs.pix_to_sky(
        np.array([0, nx - 1, nx - 1, 0]), np.array([0, 0, ny - 1, ny - 1])
    )
    circle = bounding_circle(*corners, EDGE_MARGIN_DEG)
    names = ["diaObjectId", "ra", "dec", "nDiaSources"]
    found = history.objects_in_circle(database, moment, circle, names)
    return take(found, found["nDiaSources"] >= least)


def measure(
    objects: Table,
    targets: list[dict],
    difference: Exposure,
    calexp: Exposure,
    time: float,
    aperture: float = 0.0,
) -> Table:
    """Measure PSF fluxes on difference and science image, of targets also aperture fluxes.

    Parameters
    ----------
    objects : dict of arrays
        ``diaObjectId``, ``ra``, ``dec`` [deg], sorted by identifier.
    targets : list of dict
        ``name``, ``ra``, ``dec`` [deg].
    difference, calexp : Exposure
        Of the same detector-visit [nJy].
    time : float
        Processing time [MJD TAI].
    aperture : float
        Radius of the circle for targets [px]; 0: none.

    Returns
    -------
    dict of arrays
        Product ``forced``; only positions on the detector have a row. Targets come last and have
        no DIAObject. A flux without enough good pixels is NaN.
    """
    count = n_rows(objects)
    ra = np.concatenate([objects["ra"], [float(t["ra"]) for t in targets]]).astype(np.float64)
    dec = np.concatenate([objects["dec"], [float(t["dec"]) for t in targets]]).astype(np.float64)
    x, y = difference.wcs.sky_to_pix(ra, dec)
    ny, nx = difference.shape
    with np.errstate(invalid="ignore"):
        here = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)
    rows = np.flatnonzero(here)
    if rows.size == 0:
        return empty("forced")
    names = np.array([""] * count + [str(t["name"]) for t in targets], dtype=object)
    identifiers = np.concatenate([objects["diaObjectId"], np.zeros(len(targets), dtype=np.int64)])
    meta = difference.meta
    table = {
        "diaForcedSourceId": source_ids(meta["VISIT"], meta["DETECTOR"], rows.size),
        "diaObjectId": identifiers[rows],
        "ra": ra[rows],
        "dec": dec[rows],
        "visit": np.full(rows.size, meta["VISIT"]),
        "detector": np.full(rows.size, meta["DETECTOR"]),
        "midpointMjdTai": np.full(rows.size, meta["MJDMID"]),
        "band": np.array([meta["BAND"]] * rows.size, dtype=object),
        "timeProcessedMjdTai": np.full(rows.size, time),
        "target": names[rows],
        "x": x[rows],
        "y": y[rows],
    }
    for column, exposure in (("psfFlux", difference), ("scienceFlux", calexp)):
        found = photometry.psf_flux(exposure, x[rows], y[rows])
        failed = found["flag"] | found["flag_noGoodPixels"]
        table[column] = np.where(failed, np.nan, found["flux"])
        table[column + "Err"] = np.where(failed, np.nan, found["fluxErr"])
        table[column + "_flag"] = failed | found["flag_edge"]
    if aperture > 0 and rows[-1] >= count:
        own = rows >= count
        for column, exposure in (("apFlux", difference), ("scienceApFlux", calexp)):
            table |= _circles(column, exposure, x[rows], y[rows], own, aperture)
    return conform(table, "forced")


def circle_flux(exposure: Exposure, x, y, radius: float) -> dict[str, np.ndarray]:
    """Sum the light in circles; what a defect, a hit or an edge touched is flagged.

    Parameters
    ----------
    exposure : Exposure
    x, y : array, shape (n,)
        0-based pixel positions.
    radius : float
        [px]

    Returns
    -------
    dict of arrays, shape (n,)
        ``flux``, ``fluxErr`` [nJy], ``flag``.
    """
    found = photometry.aperture_flux(exposure, x, y, radius)
    touched = photometry.unusable(exposure, TOUCHED)
    spoiled = photometry.aperture_flux(exposure, x, y, radius, bad=touched)["flag"]
    flag = spoiled | found["flag_apertureTruncated"]
    return {"flux": found["flux"], "fluxErr": found["fluxErr"], "flag": flag}


def _circles(column: str, exposure: Exposure, x, y, own, radius: float) -> Table:
    """Return the aperture columns of one image; rows that are no targets are null."""
    found = circle_flux(exposure, x, y, radius)
    return {
        column: np.where(own, found["flux"], np.nan),
        column + "Err": np.where(own, found["fluxErr"], np.nan),
        column + "_flag": own & found["flag"],
    }
