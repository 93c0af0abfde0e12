"""Rows in and out of the database: tables of arrays on our side, tuples on the other.

The writer leaves the same rows as `lsst.dax.apdb.Apdb.store` (a test compares them), in a third
of the time and inside the caller's transaction.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from alertprod.core.apdb.connection import Database
from alertprod.core.tables import DTYPES, Table, n_rows

HTM_LEVEL = 20
HTM_RANGES = 64
DEG = np.pi / 180.0


def pixel_ids(ra, dec) -> np.ndarray:
    """Return the HTM trixel (level 20) of positions [deg], int64, as Rubin's package does."""
    from lsst.sphgeom import HtmPixelization, LonLat, UnitVector3d

    pixels = HtmPixelization(HTM_LEVEL)
    pairs = zip(np.asarray(ra).tolist(), np.asarray(dec).tolist(), strict=True)
    found = [pixels.index(UnitVector3d(LonLat.fromDegrees(*pair))) for pair in pairs]
    return np.array(found, dtype=np.int64)


def pixel_ranges(ra: float, dec: float, radius: float) -> list[tuple[int, int]]:
    """Return ranges (first, last) of ``pixelId`` that cover a circle, at most `HTM_RANGES`.

    Parameters
    ----------
    ra, dec, radius : float
        Centre and radius [deg].
    """
    from lsst.sphgeom import Angle, Circle, HtmPixelization, LonLat, UnitVector3d

    centre = UnitVector3d(LonLat.fromDegrees(ra, dec))
    circle = Circle(centre, Angle.fromDegrees(radius))
    ranges = HtmPixelization(HTM_LEVEL).envelope(circle, HTM_RANGES).ranges()
    return [(low, high - 1) for low, high in ranges]


def unit_vectors(ra, dec) -> np.ndarray:
    """Return positions [deg] as unit vectors, shape (n, 3)."""
    a, d = np.asarray(ra, dtype=np.float64) * DEG, np.asarray(dec, dtype=np.float64) * DEG
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)


def bounding_circle(ra, dec, margin: float) -> tuple[float, float, float]:
    """Return centre and radius [deg] of a circle round all positions, widened by `margin` [deg]."""
    vectors = unit_vectors(ra, dec)
    centre = vectors.mean(axis=0)
    centre /= np.linalg.norm(centre)
    chord = np.linalg.norm(vectors - centre, axis=1).max()
    radius = 2.0 * np.arcsin(min(chord / 2.0, 1.0)) / DEG
    longitude = np.degrees(np.arctan2(centre[1], centre[0])) % 360.0
    return float(longitude), float(np.degrees(np.arcsin(centre[2]))), float(radius + margin)


def store(database: Database, table: str, data: Table, **constants) -> None:
    """Insert a table of arrays; NaN, infinities, 0 of a nullable integer and "" become NULL.

    Parameters
    ----------
    database : Database
        With an open transaction.
    table : str
        Name in the database.
    data : dict of arrays
        Columns that the database does not have are left out; ``pixelId`` is added.
    **constants
        Columns with one value for all rows.
    """
    rows = n_rows(data)
    if rows == 0:
        return
    known = database.columns(table)
    if "pixelId" in known and "pixelId" not in data:
        data = {**data, "pixelId": pixel_ids(data["ra"], data["dec"])}
    names, values = [], []
    for name, (kind, nullable) in known.items():
        if name in constants:
            names.append(name)
            values.append([constants[name]] * rows)
        elif name in data:
            names.append(name)
            values.append(to_python(data[name], kind, nullable))
    database.insert(table, names, zip(*values, strict=True))


def to_python(column: np.ndarray, kind: str, nullable: bool) -> list:
    """Return a column as Python values of a database type, with None for null."""
    column = np.asarray(column)
    if kind in ("f4", "f8"):
        column = column.astype(DTYPES[kind]).astype(np.float64)
        missing = ~np.isfinite(column)
    elif kind == "bool":
        return column.astype(bool).tolist()
    elif kind == "str":
        missing = column == ""
    else:
        column = column.astype(np.int64)
        missing = (column == 0) & nullable
    if not missing.any():
        return column.tolist()
    filled = column.astype(object)
    filled[missing] = None
    return filled.tolist()


def select(
    database: Database, table: str, names: Sequence[str], condition: str, parameters: Sequence
) -> Table:
    """Read columns as arrays; null is NaN, 0, False or "". The order is the database's."""
    listed = ", ".join(f'"{name}"' for name in names)
    rows = database.execute(f'SELECT {listed} FROM "{table}" WHERE {condition}', parameters)
    return to_arrays(rows, names, database.columns(table))


def to_arrays(rows: Iterable[tuple], names: Sequence[str], types: dict) -> Table:
    """Turn fetched rows into arrays of the types of the database columns."""
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    result: Table = {}
    for name, values in zip(names, columns, strict=True):
        kind = types[name][0]
        if kind in ("f4", "f8"):
            result[name] = np.array(values, dtype=np.float64).astype(DTYPES[kind])
        elif kind == "str":
            result[name] = np.array([value or "" for value in values], dtype=object)
        else:
            result[name] = np.array([value or 0 for value in values], dtype=DTYPES[kind])
    return result
