"""Reference stars around an exposure, at the exposure's epoch."""

from dataclasses import dataclass

import numpy as np

from alertprod.core.errors import Rejected
from alertprod.core.refcat import at_epoch, read_region

MAS_PER_DEG = 3.6e6


@dataclass
class Reference:
    """Reference stars at the epoch of the exposure, the brightest first.

    Parameters
    ----------
    source_id : int64
        Identifier in the catalogue.
    ra, dec : float64
        Position at the epoch [deg].
    error : float64
        Error per coordinate [mas]; the configured default where the catalogue gives none.
    flux, flux_err : float64
        In the exposure's reference band [nJy]; NaN where unknown.
    colour : float64
        Colour of the colour term [mag]; 0 without a colour term, NaN where unknown.
    """

    source_id: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    error: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray
    colour: np.ndarray

    def __len__(self) -> int:
        return len(self.ra)


def load_reference(paths, wcs, shape, band: dict, mjd_tai: float, config: dict) -> Reference:
    """Read the reference stars that may lie on a detector.

    Parameters
    ----------
    paths : list of path
        Shards of the catalogue.
    wcs : Wcs
        Nominal system of the detector.
    shape : (ny, nx)
        Size of the image [px].
    band : dict
        Filter entry of the instrument file: ``ref_band`` and perhaps ``colour_term``
        (``{bands: [g, r], coefficient: c}``).
    mjd_tai : float
        Midpoint of the exposure.
    config : dict
        Section ``astrometry``.

    Raises
    ------
    Rejected
        If the catalogue has no star there.
    """
    ny, nx = shape
    corners_x, corners_y = np.array([0, nx - 1, nx - 1, 0]), np.array([0, 0, ny - 1, ny - 1])
    ra0, dec0 = (float(v) for v in wcs.pix_to_sky((nx - 1) / 2, (ny - 1) / 2))
    edge = _separation(ra0, dec0, *wcs.pix_to_sky(corners_x, corners_y)).max()
    radius = edge * 1.02 + config["pointing_error_arcsec"] / 3600
    table = read_region(paths, ra0, dec0, radius)
    if not len(table["ra"]):
        raise Rejected(f"no reference star within {radius:.2f} deg of ra {ra0:.4f} dec {dec0:.4f}")
    ra, dec = at_epoch(table, mjd_tai)
    flux, flux_err = _fluxes(table, band["ref_band"])
    error = np.hypot(_column(table, "ra_error"), _column(table, "dec_error")) / np.sqrt(2)
    error = np.where(np.isfinite(error), error, config["default_error_mas"])
    order = np.lexsort([table["source_id"], -np.nan_to_num(flux, nan=-1.0)])
    columns = (table["source_id"], ra, dec, error, flux, flux_err, _colour(table, band))
    return Reference(*(np.asarray(c)[order] for c in columns))


def _fluxes(table, ref_band: str) -> tuple[np.ndarray, np.ndarray]:
    """Return fluxes of the reference band; a local reference has them in a band of its own."""
    flux, error = _column(table, f"flux_{ref_band}"), _column(table, f"fluxErr_{ref_band}")
    local = np.isnan(flux)
    own, own_error = _column(table, "flux"), _column(table, "fluxErr")
    return np.where(local, own, flux), np.where(local, own_error, error)


def _column(table, name: str) -> np.ndarray:
    if name not in table:
        return np.full(len(table["ra"]), np.nan)
    return np.asarray(table[name], dtype=np.float64)


def _colour(table, band: dict) -> np.ndarray:
    term = band.get("colour_term")
    if not term:
        return np.zeros(len(table["ra"]))
    blue, red = (_column(table, f"flux_{name}") for name in term["bands"])
    usable = (blue > 0) & (red > 0)
    ratio = np.where(usable, blue, 1.0) / np.where(usable, red, 1.0)
    return np.where(usable, -2.5 * np.log10(ratio), np.nan)


def _separation(ra0, dec0, ra, dec) -> np.ndarray:
    """Return angular distances [deg]."""
    a, d, d0 = np.radians(np.asarray(ra) - ra0), np.radians(dec), np.radians(dec0)
    haversine = np.sin((d - d0) / 2) ** 2 + np.cos(d) * np.cos(d0) * np.sin(a / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(haversine)))
