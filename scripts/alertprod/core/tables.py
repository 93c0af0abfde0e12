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


def sort_by(table: Table, *names: str) -> Table:
    """Return the rows in rising order of the named columns, the first one leading."""
    return take(table, np.lexsort([table[name] for name in reversed(names)]))


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


def _to_arrow(column: np.ndarray, entry: dict):
    import pyarrow as pa

    kind = entry["type"]
    if not entry.get("nullable"):
        if kind in ("f8", "f4") and np.isnan(column).any():
            raise BadInput(f"{np.isnan(column).sum()} values of a required column are NaN")
        return pa.array(column, type=_arrow_type(kind))
    if kind in ("f8", "f4"):
        missing = np.isnan(column)
    elif kind == "bool":
        missing = np.zeros(len(column), dtype=bool)
    else:
        missing = column == _null(kind)
    return pa.array(column, type=_arrow_type(kind), mask=np.asarray(missing, dtype=bool))


def _arrow_type(kind: str):
    import pyarrow as pa

    types = {"str": pa.string(), "bytes": pa.binary(), "bool": pa.bool_()}
    return types[kind] if kind in types else pa.from_numpy_dtype(np.dtype(DTYPES[kind]))


def _to_numpy(column) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_floating(kind):
        return pc.fill_null(column, float("nan")).to_numpy()
    if pa.types.is_integer(kind):
        return pc.fill_null(column, 0).to_numpy()
    if pa.types.is_boolean(kind):
        return pc.fill_null(column, False).to_numpy()
    blank: str | bytes = b"" if pa.types.is_binary(kind) else ""
    filled = [blank if v is None else v for v in column.to_pylist()]
    result = np.empty(len(filled), dtype=object)
    result[:] = filled
    return result
