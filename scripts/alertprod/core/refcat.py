"""The reference catalogue: HEALPix shards, read by region and carried to an epoch.

Shards are Parquet files ``Norder={k}/Dir={d}/Npix={pixel}.parquet`` (nested order; the directory
holds ten thousand pixels), the layout of HATS. Columns: ``source_id``; ``ra``, ``dec`` [deg, ICRS
at ``ref_epoch``]; ``ra_error``, ``dec_error`` [mas]; ``pmra`` (with cos dec), ``pmdec`` [mas/yr];
``parallax`` [mas]; ``ref_epoch`` [Julian year]; ``flux_{band}``, ``fluxErr_{band}`` [nJy]. All but
the first three may be null.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alertprod.core.errors import BadInput
from alertprod.core.skymap import _cell_of, _fill_quadrilateral

ASTROMETRY = {
    "ra_error": "mas",
    "dec_error": "mas",
    "pmra": "mas/yr",
    "pmdec": "mas/yr",
    "parallax": "mas",
    "ref_epoch": "yr",
}
MAS = np.pi / 180.0 / 3.6e6


def shard_path(order: int, pixel: int) -> str:
    """Return where a shard lies, relative to the catalogue's directory."""
    return f"Norder={order}/Dir={pixel // 10000 * 10000}/Npix={pixel}.parquet"


def shard_of(order: int, ra, dec) -> np.ndarray:
    """Return the nested HEALPix pixel of sky positions [deg]."""
    return _cell_of(2**order, np.asarray(ra, float), np.asarray(dec, float)).astype(np.int64)


def shards_touching(ra_corners, dec_corners, order: int, margin_deg: float = 0.0) -> list[int]:
    """Return the pixels that a footprint with a margin touches, sorted.

    Parameters
    ----------
    ra_corners, dec_corners : array_like, shape (4,)
        Corners in order round the footprint [deg].
    order : int
        HEALPix order of the shards.
    margin_deg : float
        Distance by which each side is moved outwards.
    """
    cell = np.degrees(np.sqrt(4 * np.pi / 12)) / 2**order
    ra, dec = _fill_quadrilateral(
        np.asarray(ra_corners, float), np.asarray(dec_corners, float), margin_deg, step=cell / 32
    )
    return [int(pixel) for pixel in np.unique(shard_of(order, ra, dec))]


def read_region(paths: list, ra: float, dec: float, radius: float) -> dict[str, np.ndarray]:
    """Read the rows of shards within a circle.

    Parameters
    ----------
    paths : list of path
    ra, dec, radius : float
        Centre and radius [deg].

    Returns
    -------
    dict of ndarray
        All columns that any shard has, float64 with NaN for null (``source_id`` int64), sorted by
        ``source_id``.

    Raises
    ------
    BadInput
        If a shard lacks a column that it must have.
    """
    import pyarrow.parquet as pq

    tables = []
    for path in paths:
        table = pq.read_table(path, partitioning=None)
        missing = [n for n in ("source_id", "ra", "dec") if n not in table.column_names]
        if missing:
            raise BadInput(
                f"shard {Path(path).name} lacks {', '.join(missing)}; make the reference "
                "catalogue again with alertprod refcat"
            )
        tables.append(table)
    names = ["source_id", "ra", "dec", *ASTROMETRY]
    names += sorted({n for t in tables for n in t.column_names} - set(names))
    out = {name: np.concatenate([_column(t, name) for t in tables] or [_empty(name)]) for name in
           names}  # fmt: skip
    inside = _separation(out["ra"], out["dec"], ra, dec) <= np.radians(radius)
    rows = np.flatnonzero(inside)
    rows = rows[np.argsort(out["source_id"][rows], kind="stable")]
    return {name: column[rows] for name, column in out.items()}


def at_epoch(
    table: dict[str, np.ndarray], mjd_tai: float, *, parallax: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Carry positions to an epoch by proper motion and parallax.

    Uniform motion in space without radial velocity; the observer is the geocentre (the Earth's
    radius is 1/23,000 of the parallax's baseline). Null motions and parallaxes count as zero,
    null epochs as the epoch asked for.

    Parameters
    ----------
    table : dict of ndarray
        With ``ra``, ``dec`` and whichever of `ASTROMETRY` there are.
    mjd_tai : float
    parallax : bool
        False: the position seen from the solar-system barycentre.

    Returns
    -------
    ra, dec : ndarray, float64
        ICRS directions [deg], without aberration and light deflection.

    References
    ----------
    Lindegren et al. 2012, A&A 538, A78, equation 4.
    """
    ra, dec = np.radians(table["ra"]), np.radians(table["dec"])
    n = len(ra)
    years = _julian_year(mjd_tai) - _or_zero(table, "ref_epoch", n)
    years = np.where(_or_zero(table, "ref_epoch", n) > 0, years, 0.0)
    cos_ra, sin_ra, cos_dec, sin_dec = np.cos(ra), np.sin(ra), np.cos(dec), np.sin(dec)
    radial = np.stack([cos_dec * cos_ra, cos_dec * sin_ra, sin_dec], axis=1)
    east = np.stack([-sin_ra, cos_ra, np.zeros(n)], axis=1)
    north = np.stack([-sin_dec * cos_ra, -sin_dec * sin_ra, cos_dec], axis=1)
    motion = (
        east * (_or_zero(table, "pmra", n) * MAS)[:, None]
        + north * (_or_zero(table, "pmdec", n) * MAS)[:, None]
    )
    moved = radial + motion * years[:, None]
    if parallax:
        earth = _earth(mjd_tai)
        moved -= (_or_zero(table, "parallax", n) * MAS)[:, None] * earth
    out_ra = np.degrees(np.arctan2(moved[:, 1], moved[:, 0])) % 360.0
    out_dec = np.degrees(np.arctan2(moved[:, 2], np.hypot(moved[:, 0], moved[:, 1])))
    return out_ra, out_dec


def _or_zero(table: dict, name: str, n: int) -> np.ndarray:
    return np.nan_to_num(np.asarray(table[name], float)) if name in table else np.zeros(n)


def _julian_year(mjd_tai: float) -> float:
    return 2000.0 + (mjd_tai + 32.184 / 86400.0 - 51544.5) / 365.25


def _earth(mjd_tai: float) -> np.ndarray:
    """Barycentric geocentre, au (ERFA's series: 1e-7 au)."""
    import erfa

    _, barycentric = erfa.epv00(2400000.5, mjd_tai + 32.184 / 86400.0)
    return np.asarray(barycentric["p"], dtype=float)


def _column(table, name: str) -> np.ndarray:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    column = table.column(name).to_numpy()
    return column.astype(np.int64 if name == "source_id" else np.float64)


def _empty(name: str) -> np.ndarray:
    return np.empty(0, dtype=np.int64 if name == "source_id" else np.float64)


def _separation(ra, dec, ra0: float, dec0: float) -> np.ndarray:
    """Angle [rad] by the haversine, good at all distances."""
    ra, dec, ra0, dec0 = np.radians(ra), np.radians(dec), np.radians(ra0), np.radians(dec0)
    h = np.sin((dec - dec0) / 2) ** 2 + np.cos(dec) * np.cos(dec0) * np.sin((ra - ra0) / 2) ** 2
    return 2 * np.arcsin(np.sqrt(np.clip(h, 0, 1)))
