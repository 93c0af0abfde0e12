"""Files appear whole or not at all, and what a killed writer left goes away."""

import os
import time

import pytest

from alertprod.core.files import digest, remove_orphans, replacing


def test_product_survives_a_writer_that_fails(tmp_path):
    path = tmp_path / "stars.parquet"
    path.write_text("old")
    with pytest.raises(OSError, match="disk"), replacing(path) as temporary:
        temporary.write_text("new, but only ha")
        raise OSError("the disk is full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_product_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "stars.parquet"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("same")
        second.write_text("same")
    assert path.read_text() == "same"


def test_orphans_of_this_product_go_and_those_of_a_living_writer_stay(tmp_path):
    old = tmp_path / ".stars.parquet.4711.0badcafe.tmp"
    other = tmp_path / ".calexp.fits.4711.0badcafe.tmp"
    young = tmp_path / ".stars.parquet.4712.0badcafe.tmp"
    for path in (old, other, young):
        path.write_text("half")
    now = time.time()
    for path in (old, other):
        os.utime(path, (now - 60, now - 60))
    remove_orphans(tmp_path / "stars.parquet", now - 30)
    assert sorted(tmp_path.iterdir()) == sorted([other, young])


def test_digest_tells_where_parts_end():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab", b"c") == digest(b"ab", "c")
