"""The ``stars`` table of a calibrated exposure."""

import numpy as np

from alertprod.calibrate.detect import touched
from alertprod.core.tables import Table, conform

FLAG_PLANES = {
    "bad": "BAD",
    "cr": "CR",
    "edge": "EDGE",
    "nodata": "NO_DATA",
    "interpolated": "INTRP",
    "saturated": "SAT",
    "suspect": "SUSPECT",
}


def star_table(measured, solution, zero, reference) -> Table:
    """Build the table of all sources of an image, the brightest first.

    Parameters
    ----------
    measured : Measured
        Fluxes [e-], positions and shapes.
    solution : Solution
        WCS and matches.
    zero : ZeroPoint
        nJy per electron, and the stars used.
    reference : Reference
        Reference stars at the epoch of the exposure.

    Returns
    -------
    dict of arrays
        Columns of ``stars`` in products.yaml.
    """
    fit, shapes, found = measured.fit, measured.shapes, measured.found
    n = len(found)
    lost = fit["flag"] | fit["flag_position"] | measured.saturated
    x = np.where(lost, found.x, fit["x"])
    y = np.where(lost, found.y, fit["y"])
    ra, dec = solution.wcs.pix_to_sky(x, y)
    factor = zero.factor
    table = {
        "starId": np.arange(1, n + 1),
        "x": x,
        "y": y,
        "xErr": np.where(lost, np.nan, fit["xErr"]),
        "yErr": np.where(lost, np.nan, fit["yErr"]),
        "ra": ra,
        "dec": dec,
        "psfFlux": np.where(fit["flag"], np.nan, fit["flux"]) * factor,
        "psfFluxErr": np.where(fit["flag"], np.nan, fit["fluxErr"]) * factor,
        "psfChi2": fit["chi2"],
        "psfNdata": fit["ndata"],
        "apFlux": measured.aperture["flux"] * factor,
        "apFluxErr": measured.aperture["fluxErr"] * factor,
        "peak": found.peak * factor,
        "isBlended": found.blended,
        "snr": fit["flux"] / fit["fluxErr"],
    }
    for name in ("ixx", "iyy", "ixy", "fwhm"):
        table[name] = np.where(shapes.ok, getattr(shapes, name), np.nan)
    table |= _flags(measured, x, y)
    table |= _matches(n, measured, solution, zero, reference)
    return conform(table, "stars")


def _flags(measured, x, y) -> Table:
    mask = measured.exposure.mask
    reach = max(2, int(np.ceil(measured.exposure.psf.fwhm())))
    flags = {
        f"pixelFlags_{name}": touched(mask, x, y, reach, plane)
        for name, plane in FLAG_PLANES.items()
    }
    flags["pixelFlags_saturatedCenter"] = touched(mask, x, y, 1, "SAT")
    flags["pixelFlags_crCenter"] = touched(mask, x, y, 1, "CR")
    flags["centroid_flag"] = measured.fit["flag"] | measured.fit["flag_position"]
    return flags


def _matches(n: int, measured, solution, zero, reference) -> Table:
    star, ref = solution.star, solution.reference
    table: Table = {
        "isPsfStar": np.zeros(n, dtype=bool),
        "isAstrometryStar": np.zeros(n, dtype=bool),
        "isPhotometryStar": np.zeros(n, dtype=bool),
        "refId": np.zeros(n, dtype=np.int64),
        "refFlux": np.full(n, np.nan),
        "refDRa": np.full(n, np.nan),
        "refDDec": np.full(n, np.nan),
    }
    table["isPsfStar"][measured.psf_stars] = True
    table["isAstrometryStar"][star[solution.used]] = True
    table["isPhotometryStar"][star[zero.used]] = True
    table["refId"][star] = reference.source_id[ref]
    table["refFlux"][star] = reference.flux[ref]
    table["refDRa"][star] = solution.east
    table["refDDec"][star] = solution.north
    return table
