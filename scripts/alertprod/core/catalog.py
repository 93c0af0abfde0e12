"""Readers of orbit catalogues: MPCORB.DAT, the extended JSON, and plain CSV or Parquet.

A catalogue in memory is a table (dict of arrays): designation, epoch (MJD TDB), elements (n, 6) as
in `alertprod.core.orbits`, h, g, g12. The Minor Planet Center gives osculating heliocentric
elements (J2000 ecliptic) at 0h TT of the epoch; TT and TDB differ by less than 2 ms.

References
----------
Minor Planet Center, "Export Format for Minor-Planet Orbits" and "Packed Dates".
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import zlib
from pathlib import Path

import numpy as np

from alertprod.core import orbits
from alertprod.core.designations import BASE62, unpack, unpack_numbers
from alertprod.core.errors import BadInput

log = logging.getLogger(__name__)

DEFAULT_G = 0.15
SHORTEST = 103  # columns of a line of MPCORB.DAT that hold the orbit
MOST_BAD = 20  # unusable rows that are forgiven however small the catalogue is
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


def read_orbits(path: str | Path, default_g=DEFAULT_G, default_g12=None) -> dict:
    """Read an orbit catalogue by the look of its name and first bytes.

    Rows that are no usable orbit are left out and counted: a few broken lines must not stop a
    night. A catalogue that is mostly or wholly unusable does, since it is the wrong file or a
    download that was cut short.

    Parameters
    ----------
    path : str or Path
        MPCORB.DAT (optionally .gz), mpcorb_extended.json(.gz), .csv or .parquet.
    default_g : float
        Slope parameter G of orbits that give neither G nor G12.
    default_g12 : float, optional
        If it is given, such orbits follow the H,G12 system with this value.

    Returns
    -------
    dict
        designation (object), epoch (f8, MJD TDB), elements (n, 6), h, g, g12 (NaN where the H,G
        system holds), skipped (int, unusable rows), first (str, the first of them and why).

    Raises
    ------
    BadInput
        If the file is missing, of no known form, damaged, or holds hardly an orbit.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"orbit catalogue {path} does not exist; set paths.orbits to a file")
    name = path.name.lower().removesuffix(".gz")
    try:
        if name.endswith(".parquet"):
            found = _from_columns(*_parquet_columns(path))
        elif name.endswith(".csv"):
            found = _from_columns(*_csv_columns(path))
        elif name.endswith(".json"):
            found = _from_columns(*_json_columns(path))
        else:
            found = read_mpcorb(_read_bytes(path))
    except BadInput as error:
        raise BadInput(f"orbit catalogue {path}: {error}") from None
    _refuse_rubbish(path, found)
    blank = ~np.isfinite(found["g"]) & ~np.isfinite(found["g12"])
    found["g12"][blank] = np.nan if default_g12 is None else default_g12
    found["g"] = np.where(np.isfinite(found["g"]), found["g"], default_g)
    return found


def _refuse_rubbish(path, found) -> None:
    good, bad = len(found["designation"]), found["skipped"]
    if bad and (not good or bad > max(good, MOST_BAD)):
        wrong = "none" if not good else f"only {good}"
        raise BadInput(
            f"{wrong} of the {good + bad} lines of {path} is a usable orbit ({found['first']});"
            " expected MPCORB.DAT, extended JSON, or CSV/Parquet with designation,"
            " epoch_mjd_tdb, a|q, e, incl, node, argperi, mean_anomaly|peri_time"
        )


def _read_bytes(path: Path) -> bytes:
    content = path.read_bytes()
    if not path.name.lower().endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise BadInput(f"it cannot be unpacked ({error}). Download it again.") from None


def read_mpcorb(content: bytes) -> dict:
    """Parse the text of MPCORB.DAT.

    Lines that are too short, or whose numbers are unreadable or impossible, are counted in
    `skipped` and left out.

    Raises
    ------
    BadInput
        If there is a header and nothing behind it.
    """
    rule = content.find(b"\n----------")
    end = content.find(b"\n", rule + 1) if rule >= 0 else -1
    body = end + 1 if end >= 0 else (len(content) if rule >= 0 else 0)
    before = content.count(b"\n", 0, body)
    if not content[body:].strip():
        raise BadInput(
            f"it ends after the {before} lines of its header, without an orbit. Download it again."
        )
    block, where, cut = _lines(content, body)
    where, cut = where + before, [(number + before, why) for number, why in cut]
    if not len(block):
        return _catalogue(np.zeros(0, object), np.zeros(0), {}, where, cut)
    values = {name: _floats(block, *span) for name, span in _FIELDS.items()}
    names, odd = _designations(block)
    if odd:
        log.warning(
            "%d designations are none that the MPC's scheme knows and are kept as they stand, "
            "the first: line %d %r", len(odd), where[odd[0]], names[odd[0]],
        )  # fmt: skip
    return _catalogue(names, _epochs(block), values, where, cut)


def _lines(content: bytes, body: int):
    """Lines behind the header that are long enough for an orbit.

    Returns
    -------
    block : ndarray of S1, shape (n, SHORTEST)
    where : ndarray of int
        Their numbers, from 1 for the first line behind the header.
    cut : list of (int, str)
        Numbers of the others, but blank ones, and what is wrong with them.
    """
    text = np.frombuffer(content, dtype="S1")[body:]
    stop = np.flatnonzero(text == b"\n")
    if not len(stop) or stop[-1] != len(text) - 1:
        stop = np.r_[stop, len(text)]
    start = np.r_[0, stop[:-1] + 1]
    full = stop - start >= SHORTEST
    cut = []
    for k in np.flatnonzero(~full).tolist():
        length = len(content[body + start[k] : body + stop[k]].rstrip())
        if length:
            cut.append((k + 1, f"has {length} of {SHORTEST} columns"))
    long = np.flatnonzero(full)
    if not len(long):
        return np.zeros((0, SHORTEST), "S1"), long, cut
    rows = np.lib.stride_tricks.sliding_window_view(text, SHORTEST)
    return rows[start[long]], long + 1, cut


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
    """Unpacked designations, and the rows of those that are in no known form."""
    packed = np.char.strip(_texts(block, 0, 7))
    names, odd = np.empty(len(packed), dtype=object), []
    number = unpack_numbers(packed)
    short = number > 0
    names[short] = number[short].astype(str)
    for k in np.flatnonzero(~short).tolist():
        text = packed[k].decode("ascii", "replace")
        try:
            names[k] = unpack(text)
        except ValueError:
            if text:
                odd.append(k)
            names[k] = text
    return names, odd


def _catalogue(names, epoch, values, where, cut=()):
    """Common form of all readers; rows without a possible orbit are dropped and counted.

    Parameters
    ----------
    names, epoch : ndarray
    values : dict of arrays
        Columns by their names here.
    where : ndarray
        Number of each row in its file.
    cut : list of (int, str)
        Rows that were left out before, and why.
    """
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
        checks = {
            "has no designation": np.array([bool(name) for name in names], dtype=bool),
            "has no date as its epoch": np.isfinite(epoch) & (np.abs(epoch - 5e4) < 1.5e5),
            "lacks a readable e": np.isfinite(e),
            "has an impossible a, q or e": np.isfinite(q) & (q > 0.0) & (e >= 0.0),
            "lacks a readable element": np.isfinite(elements).all(axis=1),
        }
    good = np.logical_and.reduce(list(checks.values()))
    left_out = sorted([*cut, *_reasons(checks, good, where)])
    h = column.get("h", missing)
    return {
        "designation": names[good],
        "epoch": epoch[good],
        "elements": elements[good],
        "h": np.where(np.isfinite(h), h, DEFAULT_H)[good],
        "g": column.get("g", missing)[good],
        "g12": column.get("g12", missing)[good],
        "skipped": len(left_out),
        "first": f"line {left_out[0][0]} {left_out[0][1]}" if left_out else "",
    }


def _reasons(checks, good, where):
    """(row, why) of the rows that fail a check; the first check that fails counts."""
    found = []
    for k in np.flatnonzero(~good):
        why = next(why for why, passed in checks.items() if not passed[k])
        found.append((int(where[k]), why))
    return found


_ALIASES = {
    "epoch_mjd_tdb": ("epoch_mjd_tdb", "epochMjdTdb", "epoch_mjd", "epoch"),
    "incl": ("incl", "inc", "i"),
    "argperi": ("argperi", "argPeri", "peri", "w"),
    "mean_anomaly": ("mean_anomaly", "meanAnomaly", "M"),
    "peri_time": ("peri_time", "periTime", "t_p_mjd_tdb"),
    "h": ("H", "h"),
    "g": ("G", "g"),
    "g12": ("G12", "g12"),
    **{name: (name,) for name in ("q", "a", "e", "node")},
}


_NEEDED = (("e",), ("incl",), ("node",), ("argperi",), ("q", "a"), ("peri_time", "mean_anomaly"))


def _from_columns(columns, first: int) -> dict:
    """Catalogue from named columns (lists of anything float() takes).

    Parameters
    ----------
    columns : dict of lists
    first : int
        Number of the first row in its file.
    """
    if "designation" not in columns:
        raise BadInput(
            f"it has columns {sorted(columns)} but no 'designation';"
            " see config/README.md for the columns it needs"
        )
    names = np.array([_name(v) for v in columns["designation"]], dtype=object)
    values = {}
    for name, aliases in _ALIASES.items():
        for alias in aliases:
            if alias in columns:
                values[name] = np.array([_float(v) for v in columns[alias]])
                break
    for choice in (("epoch_mjd_tdb",), *_NEEDED):
        if not any(name in values for name in choice):
            raise BadInput(
                f"it has columns {sorted(columns)} but no {' or '.join(choice)}. Add it."
            )
    epoch = values.pop("epoch_mjd_tdb")
    return _catalogue(names, epoch, values, first + np.arange(len(names)))


def _name(value) -> str:
    return "" if value is None else str(value).strip()


def _csv_columns(path):
    try:
        rows = csv.DictReader(io.StringIO(_read_bytes(path).decode("utf-8-sig")))
        keys = [key for key in rows.fieldnames or () if key]
        body = list(rows)
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"it is no CSV in UTF-8 ({error}).") from None
    return {key.strip(): [row[key] for row in body] for key in keys}, 2


def _parquet_columns(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pydict(), 1
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"it is no readable Parquet ({str(error).splitlines()[0]}).") from None


def _json_columns(path):
    """Columns of MPC's extended JSON (epochs are Julian dates there)."""
    try:
        rows = json.loads(_read_bytes(path))
    except ValueError as error:
        raise BadInput(f"it is no valid JSON ({error}). Download it again.") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput("it is JSON, but not a list of orbits as mpcorb_extended.json is.")
    columns = {
        key: [row.get(name) for row in rows]
        for key, name in (
            ("H", "H"), ("G", "G"), ("G12", "G12"), ("a", "a"), ("e", "e"), ("incl", "i"),
            ("node", "Node"), ("argperi", "Peri"), ("mean_anomaly", "M"),
        )
    }  # fmt: skip
    columns["epoch_mjd_tdb"] = [_float(row.get("Epoch")) - 2400000.5 for row in rows]
    columns["designation"] = [
        str(row.get("Number") or "").strip("()") or row.get("Principal_desig") for row in rows
    ]
    return columns, 1
