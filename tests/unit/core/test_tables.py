"""Tables keep their types, nulls, units and what they say of themselves."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from alertprod.core import tables
from alertprod.core.errors import Rejected


def stars(n=3):
    number = np.arange(n, dtype=np.float64)
    table = tables.empty("stars")
    return {
        name: number if column.dtype.kind == "f" else np.zeros(n, column.dtype)
        for name, column in table.items()
        if column.dtype.kind != "O"
    }


def test_values_nulls_and_units_survive(tmp_path):
    table = stars()
    table["psfFlux"] = np.array([1.5, np.nan, 2.5])
    tables.write_table(tmp_path / "a.parquet", table, "stars", metadata={"token": "x"})
    back = tables.read_table(tmp_path / "a.parquet")
    np.testing.assert_array_equal(back["psfFlux"], np.float32([1.5, np.nan, 2.5]))
    stored = pq.read_table(tmp_path / "a.parquet")
    assert stored["psfFlux"].null_count == 1
    assert stored.schema.field("psfFlux").metadata[b"unit"] == b"nJy"
    assert tables.read_metadata(tmp_path / "a.parquet")["token"] == "x"


def test_the_same_table_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        tables.write_table(tmp_path / name, stars(), "stars")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_table_without_rows_is_a_valid_product(tmp_path):
    tables.write_table(tmp_path / "a.parquet", tables.empty("stars"), "stars")
    assert tables.n_rows(tables.read_table(tmp_path / "a.parquet")) == 0


def test_a_rejected_table_raises_its_reason(tmp_path):
    tables.write_rejected_table(tmp_path / "a.parquet", "no WCS", "stars")
    with pytest.raises(Rejected, match="no WCS"):
        tables.read_table(tmp_path / "a.parquet")


def test_an_unknown_column_is_a_bug():
    with pytest.raises(ValueError, match="no column typo"):
        tables.conform({"typo": np.zeros(1)}, "stars")


def test_sorting_is_by_the_first_name_first():
    table = {"a": np.array([1, 0, 1]), "b": np.array([0, 9, -1])}
    assert tables.sort_by(table, "a", "b")["b"].tolist() == [9, -1, 0]


def test_keys_are_matched_to_rows():
    assert tables.match(np.array([7, 3, 9, 3]), np.array([9, 3, 1])).tolist() == [2, 3, -1]
    assert tables.match(np.zeros(0, dtype=int), np.array([1])).tolist() == [-1]


def test_strings_booleans_and_integers_keep_their_nulls(tmp_path):
    table = tables.empty("dia_sources")
    n = 11
    rng = np.random.default_rng(1)
    for name, column in table.items():
        if column.dtype.kind == "f":
            table[name] = rng.normal(size=n).astype(column.dtype)
        elif column.dtype.kind == "b":
            table[name] = rng.random(n) < 0.5
        elif column.dtype.kind == "O":
            table[name] = np.array([["", "r", "µ"][k % 3] for k in range(n)], dtype=object)
        else:
            table[name] = rng.integers(0, 100, n).astype(column.dtype)
    tables.write_table(tmp_path / "a.parquet", table, "dia_sources")
    back = tables.read_table(tmp_path / "a.parquet")
    assert back.keys() == table.keys()
    for name, column in table.items():
        np.testing.assert_array_equal(back[name], column, err_msg=name)
        assert back[name].dtype == column.dtype
    assert pq.read_table(tmp_path / "a.parquet")["band"].null_count == 4


def test_reading_and_writing_do_not_import_pandas(tmp_path):
    import subprocess
    import sys

    lines = (
        "import sys, numpy as np; from alertprod.core import tables;"
        "t = tables.empty('dia_sources'); p = sys.argv[1];"
        "tables.write_table(p, t, 'dia_sources'); tables.read_table(p);"
        "assert 'pandas' not in sys.modules"
    )
    path = [p for p in sys.path if p.endswith("scripts")]
    subprocess.run(
        [sys.executable, "-c", lines, str(tmp_path / "a.parquet")],
        check=True,
        env={"PYTHONPATH": ":".join(path), "PATH": "/usr/bin"},
    )
