"""Readers of orbit catalogues: MPCORB.DAT, the extended JSON, and plain CSV or Parquet.

A catalogue in memory is a table (dict of arrays): designation, epoch (MJD TDB), elements (n, 6) as
in `alertprod.core.orbits`, h, g. The Minor Planet Center gives osculating heliocentric elements
(J2000 ecliptic) at 0h TT of the epoch; TT and TDB differ by less than 2 ms.

References
----------
Minor Planet Center, "Export Format for Minor-Planet Orbits" and "Packed Dates".
"""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np

from alertprod.core import orbits
from alertprod.core.designations import BASE62, unpack
from alertprod.core.errors import BadInput

DEFAULT_G = 0.15
DEFAULT_H = 99.0  # no brightness known: never brighter than a limit, still predicted
# first and last column (0-based, half open) of the fields of MPCORB.DAT
_FIELDS = {
    "h": (8, 13),
    "g": (14, 19),
    "mean_anomaly": (26, 35),
    "argperi": (37, 46),
    "node": (48, 57),
    "incl": (59, 68),
    "e": (70, 79),
    "a": (92, 103),
}


def read_orbits(path: str | Path) -> dict:
    """Read an orbit catalogue by the look of its name and first bytes.

    Parameters
    ----------
    path : str or Path
        MPCORB.DAT (optionally .gz), mpcorb_extended.json(.gz), .csv or .parquet.

    Returns
    -------
    dict
        designation (object), epoch (f8, MJD TDB), elements (n, 6), h, g, skipped (int, unusable
        rows).

    Raises
    ------
    BadInput
        If the file is missing, of no known form, or holds no usable orbit.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"orbit catalogue {path} does not exist; set ephemerides.orbits to a file")
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        found = _from_columns(_parquet_columns(path))
    elif name.endswith(".csv"):
        found = _from_columns(_csv_columns(path))
    elif name.endswith(".json"):
        found = _from_columns(_json_columns(path))
    else:
        found = read_mpcorb(_read_bytes(path))
    if not len(found["designation"]) and found["skipped"]:
        raise BadInput(
            f"none of the {found['skipped']} lines of {path} is a usable orbit;"
            " expected MPCORB.DAT, extended JSON, or CSV/Parquet with designation,"
            " epoch_mjd_tdb, a|q, e, incl, node, argperi, mean_anomaly|peri_time"
        )
    return found


def _read_bytes(path: Path) -> bytes:
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as stream:
            return stream.read()
    return path.read_bytes()


def read_mpcorb(content: bytes) -> dict:
    """Parse the text of MPCORB.DAT.

    Lines that are too short, or whose numbers are unreadable or impossible, are counted in
    `skipped` and left out: a truncated download must not stop a night.
    """
    header = content.find(b"\n----------")
    if header >= 0:
        content = content[content.index(b"\n", header + 1) + 1 :]
    every = content.split(b"\n")
    lines = [line for line in every if len(line.rstrip()) >= 103]
    skipped = sum(1 for line in every if line.strip()) - len(lines)
    if not lines:
        return _catalogue(np.zeros(0, object), np.zeros(0), {}, skipped)
    width = 194
    block = np.frombuffer(
        b"".join(line[:width].ljust(width) for line in lines), dtype="S1"
    ).reshape(len(lines), width)
    values = {name: _floats(block, *span) for name, span in _FIELDS.items()}
    epoch = _epochs(block)
    names = _designations(block)
    return _catalogue(names, epoch, values, skipped)


def _texts(block, first, last):
    return np.ascontiguousarray(block[:, first:last]).view(f"S{last - first}")[:, 0]


def _floats(block, first, last):
    """Numbers of one fixed-width field; NaN where it is blank or unreadable."""
    text = np.char.strip(_texts(block, first, last))
    try:
        return np.where(text == b"", b"nan", text).astype(float)
    except ValueError:
        return np.array([_float(t) for t in text])


def _float(text) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")


def _epochs(block):
    """MJD of packed dates (K24A1 = 2024 Oct 1); NaN where unreadable."""
    text = _texts(block, 20, 25)
    unique, back = np.unique(text, return_inverse=True)
    return np.array([unpack_epoch(t.decode("ascii", "replace")) for t in unique])[back]


def unpack_epoch(text: str) -> float:
    """MJD of 0h of a packed date; NaN if it is none."""
    try:
        year = BASE62.index(text[0]) * 100 + int(text[1:3])
        day = np.datetime64(f"{year:04d}-{BASE62.index(text[3]):02d}-{BASE62.index(text[4]):02d}")
    except (ValueError, IndexError):
        return float("nan")
    return float((day - np.datetime64("1858-11-17")).astype(int))


def _designations(block):
    names = []
    for text in _texts(block, 0, 7).tolist():
        packed = text.decode("ascii", "replace").strip()
        try:
            names.append(unpack(packed))
        except ValueError:
            names.append(packed)
    return np.array(names, dtype=object)


def _catalogue(names, epoch, values, skipped):
    """Common form of all readers; rows without a possible orbit are dropped and counted."""
    n = len(names)
    column = {key: np.asarray(value, float) for key, value in values.items()}
    missing = np.full(n, np.nan)
    e = column.get("e", missing)
    with np.errstate(invalid="ignore", divide="ignore"):
        q = column.get("q", missing)
        q = np.where(np.isfinite(q), q, column.get("a", missing) * (1.0 - e))
        a = q / (1.0 - e)
        peri = column.get("peri_time", missing)
        ellipse = (e >= 0.0) & (e < 1.0) & (a > 0.0)
        from_anomaly = orbits.perihelion_time(
            np.where(ellipse, a, 1.0), e, column.get("mean_anomaly", missing), epoch
        )
        peri = np.where(np.isfinite(peri), peri, np.where(ellipse, from_anomaly, np.nan))
    elements = np.stack(
        [q, e, column.get("incl", missing), column.get("node", missing),
         column.get("argperi", missing), peri], axis=-1,
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        good = np.isfinite(elements).all(axis=1) & np.isfinite(epoch) & (q > 0.0) & (e >= 0.0)
        good &= (epoch > -100_000.0) & (epoch < 200_000.0)
    h = column.get("h", missing)
    g = column.get("g", missing)
    return {
        "designation": names[good],
        "epoch": epoch[good],
        "elements": elements[good],
        "h": np.where(np.isfinite(h), h, DEFAULT_H)[good],
        "g": np.where(np.isfinite(g), g, DEFAULT_G)[good],
        "skipped": int(skipped + np.sum(~good)),
    }


_ALIASES = {
    "epoch_mjd_tdb": ("epoch_mjd_tdb", "epochMjdTdb", "epoch_mjd", "epoch"),
    "incl": ("incl", "inc", "i"),
    "argperi": ("argperi", "argPeri", "peri", "w"),
    "mean_anomaly": ("mean_anomaly", "meanAnomaly", "M"),
    "peri_time": ("peri_time", "periTime", "t_p_mjd_tdb"),
    "h": ("H", "h"),
    "g": ("G", "g"),
    **{name: (name,) for name in ("q", "a", "e", "node")},
}


def _from_columns(columns) -> dict:
    """Catalogue from named columns (lists or arrays of anything float() takes)."""
    if "designation" not in columns:
        raise BadInput(
            f"the orbit catalogue has columns {sorted(columns)} but no 'designation';"
            " see config/README.md for the columns it needs"
        )
    names = np.array([str(v) for v in columns["designation"]], dtype=object)
    values = {}
    for name, aliases in _ALIASES.items():
        for alias in aliases:
            if alias in columns:
                values[name] = np.array([_float(v) for v in columns[alias]])
                break
    epoch = values.pop("epoch_mjd_tdb", np.full(len(names), np.nan))
    return _catalogue(names, epoch, values, 0)


def _csv_columns(path):
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    keys = rows[0].keys() if rows else ["designation"]
    return {key.strip(): [row[key] for row in rows] for key in keys}


def _parquet_columns(path):
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pydict()


def _json_columns(path):
    """Columns of MPC's extended JSON (epochs are Julian dates there)."""
    rows = json.loads(_read_bytes(path))
    columns = {
        key: [row.get(name) for row in rows]
        for key, name in (
            ("H", "H"), ("G", "G"), ("a", "a"), ("e", "e"), ("incl", "i"),
            ("node", "Node"), ("argperi", "Peri"), ("mean_anomaly", "M"),
        )
    }  # fmt: skip
    columns["epoch_mjd_tdb"] = [_float(row.get("Epoch")) - 2400000.5 for row in rows]
    columns["designation"] = [
        str(row.get("Number", "")).strip("()") or row.get("Principal_desig", "?") for row in rows
    ]
    return columns
