"""From a star catalogue (CSV, VOTable, FITS, Gaia's archive) to reference-catalogue shards."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alertprod.core.errors import BadInput
from alertprod.core.files import replacing, write_bytes
from alertprod.core.refcat import ASTROMETRY, read_region, shard_of, shard_path

NAMES = {
    "source_id": ("source_id", "sourceid", "object_id", "objid", "id"),
    "ra": ("ra", "ra_deg", "raj2000", "ra_icrs", "_raj2000"),
    "dec": ("dec", "dec_deg", "dej2000", "de_icrs", "_dej2000"),
    "ra_error": ("ra_error", "e_ra_icrs"),
    "dec_error": ("dec_error", "e_de_icrs"),
    "pmra": ("pmra",),
    "pmdec": ("pmdec", "pmde"),
    "parallax": ("parallax", "plx"),
    "ref_epoch": ("ref_epoch",),
}
# Gaia DR3 Vega magnitudes to AB: zero points AB minus Vega of Riello et al. 2021, A&A 649, A3.
GAIA = {
    "G": ("phot_g_mean_mag", 25.8010 - 25.6874),
    "BP": ("phot_bp_mean_mag", 25.3540 - 25.3385),
    "RP": ("phot_rp_mean_mag", 25.1040 - 24.7479),
}
GAIA_ARCHIVE = "https://gea.esac.esa.int/tap-server/tap/sync"
Columns = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class FluxRule:
    """How a band's flux is made: ``BAND=COLUMN[,ERROR][@mag|@nJy|@mag+0.1]``."""

    band: str
    column: str
    error: str = ""
    unit: str = "mag"
    offset: float = 0.0


def parse_rule(text: str) -> FluxRule:
    """Read a flux rule as typed.

    Raises
    ------
    BadInput
        If it is not of the form.
    """
    found = re.fullmatch(r"(\w+)=([^,@]+)(?:,([^,@]+))?(?:@(mag|nJy)([+-][\d.]+)?)?", text.strip())
    if found is None:
        raise BadInput(
            f"'{text}' is no flux rule; write BAND=COLUMN, BAND=COLUMN,ERROR or "
            "BAND=COLUMN@mag+0.11 (AB magnitude = column + 0.11) or BAND=COLUMN@nJy"
        )
    band, column, error, unit, offset = found.groups()
    return FluxRule(band, column, error or "", unit or "mag", float(offset or 0.0))


def read_catalogue(path: Path) -> Columns:
    """Read all columns of a CSV, VOTable or FITS table; masked values become NaN.

    Raises
    ------
    BadInput
        If the file does not exist or is none of these.
    """
    if not path.is_file():
        raise BadInput(f"there is no catalogue {path}; give a CSV, VOTable or FITS table")
    suffixes = "".join(path.suffixes).lower()
    try:
        if ".csv" in suffixes:
            return read_csv(path.read_bytes(), gzipped=suffixes.endswith(".gz"))
        from astropy.table import Table

        kind = "fits" if ".fit" in suffixes else "votable"
        table = Table.read(path, format=kind, **({} if kind == "fits" else {"table_id": 0}))
    except (OSError, ValueError, IndexError) as error:
        raise BadInput(
            f"{path.name} cannot be read as CSV, VOTable or FITS table ({error}); "
            "its name must end in .csv, .vot, .xml or .fits"
        ) from None
    return {name: _plain(table[name]) for name in table.colnames}


def read_csv(data: bytes, *, gzipped: bool = False) -> Columns:
    """Read CSV from memory."""
    import gzip

    from pyarrow import csv

    table = csv.read_csv(io.BytesIO(gzip.decompress(data) if gzipped else data))
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _plain(column) -> np.ndarray:
    """Make an astropy column a plain array, its masked values NaN."""
    values = np.ma.asarray(column)
    if values.dtype.kind == "f":
        return np.asarray(values.filled(np.nan), dtype=np.float64)
    if values.dtype.kind in "iu" and np.ma.is_masked(values):
        return np.asarray(values.astype(np.float64).filled(np.nan))
    return np.asarray(values.filled() if np.ma.is_masked(values) else values.data)


def _own_fluxes(lower: dict[str, str]) -> list[FluxRule]:
    """Recognise fluxes that already have the names of a shard."""
    return [
        FluxRule(name[5:], name, lower.get(f"fluxerr_{key[5:]}", ""), "nJy", 0.0)
        for key, name in lower.items()
        if key.startswith("flux_")
    ]


def standard_columns(table: Columns, rules: list[FluxRule], renamed: dict[str, str]) -> Columns:
    """Bring a catalogue to the columns of a shard.

    Parameters
    ----------
    table : dict of ndarray
    rules : list of FluxRule
        Empty: columns with the names of a shard (``flux_r``, ``fluxErr_r`` [nJy]), else those
        of Gaia, if they are there.
    renamed : dict
        Standard name -> name in the catalogue, for what `NAMES` does not know.

    Returns
    -------
    dict of ndarray
        Rows without a position are dropped; sorted by ``source_id``.

    Raises
    ------
    BadInput
        If a position or a named column is missing, or there is no flux at all.
    """
    lower = {name.lower(): name for name in table}
    out: Columns = {}
    n = len(next(iter(table.values()))) if table else 0
    for name, aliases in NAMES.items():
        wanted = (renamed[name],) if name in renamed else aliases
        match = next((lower[a.lower()] for a in wanted if a.lower() in lower), None)
        if match is None and (name in ("ra", "dec") or name in renamed):
            raise BadInput(
                f"the catalogue has no column for {name} among {', '.join(table)}; "
                f"name it with --column {name}=..."
            )
        if name == "source_id":
            out[name] = _identifiers(None if match is None else table[match], n)
        else:
            out[name] = np.full(n, np.nan) if match is None else _floats(table[match], match)
    rules = rules or _own_fluxes(lower)
    if not rules:
        rules = [FluxRule(b, c, "", "mag", o) for b, (c, o) in GAIA.items() if c in lower]
    if not rules:
        raise BadInput(
            f"no flux: name the columns with --flux BAND=COLUMN; there are {', '.join(table)}"
        )
    for rule in rules:
        out |= _flux(table, lower, rule)
    good = np.isfinite(out["ra"]) & np.isfinite(out["dec"]) & (np.abs(out["dec"]) <= 90)
    rows = np.flatnonzero(good)
    rows = rows[np.argsort(out["source_id"][rows], kind="stable")]
    out["ra"] = out["ra"] % 360.0
    return {name: column[rows] for name, column in out.items()}


def _identifiers(column: np.ndarray | None, n: int) -> np.ndarray:
    """Integers as they are, decimal strings read, anything else numbered by row."""
    if column is None:
        return np.arange(1, n + 1, dtype=np.int64)
    if column.dtype.kind in "iu":
        return column.astype(np.int64)
    try:
        return np.array([int(value) for value in column], dtype=np.int64)
    except (TypeError, ValueError):
        return np.arange(1, n + 1, dtype=np.int64)


def _floats(column: np.ndarray, name: str) -> np.ndarray:
    try:
        return np.array(
            [np.nan if v is None or v == "" else v for v in column.tolist()], dtype=np.float64
        )
    except (TypeError, ValueError):
        raise BadInput(
            f"column {name} of the catalogue holds something that is no number"
        ) from None


def _flux(table: Columns, lower: dict[str, str], rule: FluxRule) -> Columns:
    for name in (rule.column, rule.error):
        if name and name.lower() not in lower:
            raise BadInput(f"the catalogue has no column {name}; there are {', '.join(table)}")
    values = _floats(table[lower[rule.column.lower()]], rule.column)
    errors = np.full(len(values), np.nan)
    if rule.error:
        errors = _floats(table[lower[rule.error.lower()]], rule.error)
    if rule.unit == "mag":
        values = 10.0 ** ((31.4 - (values + rule.offset)) / 2.5)
        errors = values * errors * np.log(10.0) / 2.5
    return {f"flux_{rule.band}": values, f"fluxErr_{rule.band}": errors}


def join(columns: Columns, base: Path) -> Columns:
    """Put stars beside those of a catalogue that is in shards already.

    Parameters
    ----------
    columns : dict of ndarray
    base : path
        Directory of the other catalogue; columns that one of the two lacks are null.

    Raises
    ------
    BadInput
        If there are no shards in `base`.
    """
    shards = sorted(base.glob("Norder=*/Dir=*/Npix=*.parquet"))
    if not shards:
        raise BadInput(f"{base} has no shards; make them first with alertprod refcat")
    other = read_region(shards, 0.0, 0.0, 360.0)
    out = {}
    for name in [*columns, *sorted(set(other) - set(columns))]:
        parts = [
            part[name] if name in part else np.full(len(part["ra"]), np.nan)
            for part in (other, columns)
        ]
        out[name] = np.concatenate(parts)
    order = np.argsort(out["source_id"], kind="stable")
    return {name: column[order] for name, column in out.items()}


def write_shards(columns: Columns, out: Path, order: int, *, replace: bool = False) -> list[str]:
    """Write shards and ``partition_info.csv``; return the shards' relative paths.

    Raises
    ------
    BadInput
        If there are shards already: two catalogues in one directory would mix.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    present = sorted(out.glob("Norder=*/Dir=*/Npix=*.parquet"))
    if present and not replace:
        raise BadInput(
            f"{out} has {len(present)} shards already; choose another directory or add --replace"
        )
    for path in present:
        path.unlink()
    fields = [_field(pa, name) for name in columns]
    pixels = shard_of(order, columns["ra"], columns["dec"])
    paths, listing = [], ["Norder,Npix,num_rows"]
    for pixel in np.unique(pixels):
        rows = np.flatnonzero(pixels == pixel)
        arrays = [
            pa.array(column[rows], type=field.type, from_pandas=True)
            for column, field in zip(columns.values(), fields, strict=True)
        ]
        relative = shard_path(order, int(pixel))
        (out / relative).parent.mkdir(parents=True, exist_ok=True)
        with replacing(out / relative) as temporary:
            pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), temporary)
        paths.append(relative)
        listing.append(f"{order},{pixel},{len(rows)}")
    write_bytes(out / "partition_info.csv", ("\n".join(listing) + "\n").encode())
    return paths


def _field(pa, name: str):
    """Column type and unit."""
    units = {"ra": "deg", "dec": "deg", **ASTROMETRY}
    unit = units.get(name, "nJy" if name.startswith("flux") else "")
    kind = pa.int64() if name == "source_id" else pa.float64()
    return pa.field(name, kind, metadata={"unit": unit} if unit else None)


def query_gaia(ra: float, dec: float, radius: float, faintest: float) -> Columns:
    """Ask Gaia's archive for the stars in a circle (TAP, synchronous, DR3).

    Raises
    ------
    BadInput
        If the archive cannot be reached or does not answer with a table.
    """
    from urllib.error import URLError
    from urllib.parse import urlencode
    from urllib.request import urlopen

    names = ["source_id", "ra", "dec", "ra_error", "dec_error", "pmra", "pmdec", "parallax"]
    names += ["ref_epoch", *(column for column, _ in GAIA.values())]
    query = (
        f"SELECT {', '.join(names)} FROM gaiadr3.gaia_source WHERE 1 = CONTAINS(POINT(ra, dec), "
        f"CIRCLE({ra:.7f}, {dec:.7f}, {radius:.5f})) AND phot_g_mean_mag < {faintest:.3f}"
    )
    form = {"REQUEST": "doQuery", "LANG": "ADQL", "FORMAT": "csv", "QUERY": query}
    try:
        with urlopen(GAIA_ARCHIVE, urlencode(form).encode(), timeout=120) as answer:
            data = answer.read()
    except (URLError, OSError, TimeoutError) as error:
        raise BadInput(
            f"Gaia's archive did not answer ({error}); without a network, give a catalogue file"
        ) from None
    if not data.startswith(b"source_id"):
        raise BadInput(
            f"Gaia's archive answered '{data[:80].decode('latin-1')}'; ask for a smaller circle"
        )
    return read_csv(data)
