"""Tables: in memory a dict of equally long arrays, on disk Parquet with units and provenance.

Null is NaN for floats, 0 for nullable integers and "" for strings; on disk it is a true null.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from alertprod.core.errors import BadInput, Rejected
from alertprod.core.files import replacing
from alertprod.core.products import columns

Table = dict[str, np.ndarray]
DTYPES = {
    "f8": np.float64,
    "f4": np.float32,
    "i8": np.int64,
    "i4": np.int32,
    "i2": np.int16,
    "bool": np.bool_,
    "str": object,
    "bytes": object,
}


def n_rows(table: Table) -> int:
    """Return the number of rows."""
    return len(next(iter(table.values()))) if table else 0


def take(table: Table, index) -> Table:
    """Return the rows that `index` (mask, slice or integers) selects."""
    return {name: column[index] for name, column in table.items()}


def match(keys, wanted) -> np.ndarray:
    """Return for each of `wanted` the (last) row of `keys` that equals it, -1 where none does."""
    keys, wanted = np.asarray(keys, dtype=np.int64), np.asarray(wanted, dtype=np.int64)
    order = np.argsort(keys)
    if np.any(np.diff(keys[order]) == 0):  # only equals ask for the slower sort
        order = np.argsort(keys, kind="stable")
    row = np.r_[order, -1][np.searchsorted(keys[order], wanted, side="right") - 1]
    return np.where(np.r_[keys, 0][row] == wanted, row, -1)


def sort_by(table: Table, *names: str) -> Table:
    """Return the rows in rising order of the named columns, the first one leading."""
    if _sorted([table[name] for name in names]):
        return dict(table)
    return take(table, np.lexsort([table[name] for name in reversed(names)]))


def _sorted(columns) -> bool:
    """Whether rows are in rising order of the columns already, which is cheap to see."""
    equal = np.ones(max(len(columns[0]) - 1, 0), dtype=bool)
    for column in columns:
        below, above = column[:-1], column[1:]
        if (equal & ~(below <= above)).any():
            return False
        equal &= below == above
    return True


def stack(tables: list[Table]) -> Table:
    """Put tables with the same columns under each other."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def empty(product: str) -> Table:
    """Return a table without rows and with the right columns."""
    return conform({}, product)


def conform(table: Table, product: str) -> Table:
    """Cast to the columns of `product`: their order, types and nulls.

    Raises
    ------
    ValueError
        If a column is unknown, or one that may not be null is missing.
    """
    model = columns(product)
    unknown = sorted(set(table) - set(model))
    if unknown:
        raise ValueError(f"{product} has no column {', '.join(unknown)}; see products.yaml")
    rows = n_rows(table)
    result: Table = {}
    for name, entry in model.items():
        dtype = DTYPES[entry["type"]]
        if name in table:
            if len(table[name]) != rows:
                raise ValueError(f"{product}.{name} has {len(table[name])} rows instead of {rows}")
            result[name] = np.asarray(table[name], dtype=dtype)
        elif entry.get("nullable") or rows == 0:
            result[name] = np.full(rows, _null(entry["type"]), dtype=dtype)
        else:
            raise ValueError(f"{product} lacks the column {name}, which may not be null")
    return result


def write_table(
    path: str | os.PathLike,
    table: Table,
    product: str,
    provenance: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Write a table; the file appears whole or not at all.

    Parameters
    ----------
    path : path
    table : dict of arrays
    product : str
        Name in ``products.yaml``, which gives columns, units and descriptions.
    provenance : dict, optional
        As for images.
    metadata : dict, optional
        More that belongs to the table as a whole; comes back from `read_metadata`.
    """
    facts = {"status": "OK", "product": product, **(metadata or {})}
    if provenance:
        facts["provenance"] = provenance
    _write(path, conform(table, product), product, facts)


def write_rejected_table(
    path: str | os.PathLike, reason: str, product: str, provenance: dict[str, Any] | None = None
) -> None:
    """Write the table without rows that stands for an exposure that cannot be used."""
    facts = {"status": "REJECTED", "reason": reason, "product": product}
    if provenance:
        facts["provenance"] = provenance  # type: ignore[assignment]
    _write(path, empty(product), product, facts)


def read_table(path: str | os.PathLike, names: list[str] | None = None) -> Table:
    """Read a table, or some of its columns.

    Raises
    ------
    Rejected
        If it is a rejected product; the message is its reason.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, memory_map=False) as file:
        facts = _facts(file.schema_arrow.metadata)
        if facts.get("status") == "REJECTED":
            raise Rejected(facts.get("reason", "no reason was given"))
        arrow = file.read(columns=names, use_threads=False)
    return {name: _to_numpy(arrow.column(name)) for name in arrow.column_names}


def read_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """Read what a table says of itself: status, reason, provenance, metadata."""
    import pyarrow.parquet as pq

    return _facts(pq.read_schema(path).metadata)


def _facts(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    return json.loads((metadata or {}).get(b"alertprod", b"{}"))


def _null(kind: str):
    if kind in ("f8", "f4"):
        return np.nan
    return {"str": "", "bytes": b"", "bool": False}.get(kind, 0)


def _write(path, table: Table, product: str, facts: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays, fields = [], []
    for name, entry in columns(product).items():
        array = _to_arrow(table[name], entry)
        notes = {"unit": entry.get("unit", ""), "description": entry.get("doc", "")}
        arrays.append(array)
        fields.append(pa.field(name, array.type, bool(entry.get("nullable")), notes))
    text = json.dumps(facts, sort_keys=True)
    schema = pa.schema(fields, metadata={"alertprod": text})
    with replacing(Path(path)) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), temporary, compression="zstd")


# Arrow arrays are made of and cut into plain buffers: the convenient calls import pandas.


def _to_arrow(column: np.ndarray, entry: dict):
    import pyarrow as pa

    kind, nullable = entry["type"], bool(entry.get("nullable"))
    missing = _missing(column, kind)
    if not nullable and kind in ("f8", "f4") and missing.any():
        raise BadInput(f"{missing.sum()} values of a column that may not be null are NaN")
    valid = pa.py_buffer(_bitmap(~missing)) if nullable and missing.any() else None
    if kind in ("str", "bytes"):
        items = [item.encode() if isinstance(item, str) else item for item in column]
        ends = np.cumsum([0, *map(len, items)], dtype=np.int32)
        buffers = [valid, pa.py_buffer(ends), pa.py_buffer(b"".join(items))]
    elif kind == "bool":
        buffers = [valid, pa.py_buffer(_bitmap(column))]
    else:
        buffers = [valid, pa.py_buffer(np.ascontiguousarray(column))]
    return pa.Array.from_buffers(_arrow_type(kind), len(column), buffers)


def _missing(column: np.ndarray, kind: str) -> np.ndarray:
    if kind in ("f8", "f4"):
        return np.isnan(column)
    if kind == "bool":
        return np.zeros(len(column), dtype=bool)
    blank = _null(kind)
    return np.fromiter((item == blank for item in column), bool, len(column))


def _bitmap(flags: np.ndarray) -> np.ndarray:
    return np.packbits(np.asarray(flags, dtype=bool), bitorder="little")


def _arrow_type(kind: str):
    import pyarrow as pa

    return {
        "f8": pa.float64(),
        "f4": pa.float32(),
        "i8": pa.int64(),
        "i4": pa.int32(),
        "i2": pa.int16(),
        "bool": pa.bool_(),
        "str": pa.string(),
        "bytes": pa.binary(),
    }[kind]


def _to_numpy(column) -> np.ndarray:
    parts = [_chunk_to_numpy(chunk) for chunk in column.chunks]
    if len(parts) == 1:
        return parts[0]
    empty_one = np.empty(0, dtype=_numpy_type(column.type))
    return np.concatenate(parts) if parts else empty_one


def _chunk_to_numpy(chunk) -> np.ndarray:
    import pyarrow as pa

    kind, n, offset = chunk.type, len(chunk), chunk.offset
    if not (pa.types.is_primitive(kind)):
        blank: str | bytes = b"" if pa.types.is_binary(kind) else ""
        result = np.empty(n, dtype=object)
        result[:] = [blank if item is None else item for item in chunk.to_pylist()]
        return result
    valid, data = chunk.buffers()
    if pa.types.is_boolean(kind):
        values = _bits(data, offset, n)
    else:
        dtype = _numpy_type(kind)
        values = np.frombuffer(data, dtype, n, offset * np.dtype(dtype).itemsize).copy()
    if valid is not None and chunk.null_count:
        values[~_bits(valid, offset, n)] = np.nan if values.dtype.kind == "f" else 0
    return values


def _bits(buffer, offset: int, n: int) -> np.ndarray:
    flags = np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")
    return flags[offset : offset + n].astype(bool)


def _numpy_type(kind) -> Any:
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return np.bool_
    if not pa.types.is_primitive(kind):
        return object
    return {
        pa.float64(): np.float64,
        pa.float32(): np.float32,
        pa.int64(): np.int64,
        pa.int32(): np.int32,
        pa.int16(): np.int16,
        pa.uint8(): np.uint8,
        pa.int8(): np.int8,
    }[kind]
