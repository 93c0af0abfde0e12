"""What runs again after a change, and that undoing the change undoes its effects."""

import shutil
import sqlite3

import pytest

pytestmark = pytest.mark.workflow


def last_target(tiny) -> tuple[str, ...]:
    """Return the end of the fold: the alerts of the last visit, and the database."""
    return "--", f"results/20261009/{tiny.THIRD}/published.json", "results/db/apdb.sqlite"


def drop_first_row(path) -> None:
    """Take a source out of a table, as a change of its making would."""
    from alertprod.core.tables import n_rows, read_metadata, read_table, take, write_table

    facts, table = read_metadata(path), read_table(path)
    write_table(path, take(table, slice(1, n_rows(table))), "dia_sources", None, facts)


def test_changed_visit_redoes_itself_and_the_visits_after_it(night, expected, tiny, tmp_path):
    changed = night.copy(tmp_path / "night")
    path = changed.visit(tiny.SECOND) / "001" / "dia_sources.parquet"
    old = path.read_bytes()
    drop_first_row(path)
    counts = changed.plan(*last_target(tiny))
    assert counts["associate_visit"] == counts["package_alerts"] == 2
    assert not {"process_detector", "calibrate_detector"} & set(counts)
    before = (changed.visit(tiny.FIRST) / "association.parquet").stat().st_mtime_ns
    changed.run(*last_target(tiny))
    assert (changed.visit(tiny.FIRST) / "association.parquet").stat().st_mtime_ns == before
    rows = changed.database()
    assert len(rows["DiaSource"]) == len(expected[1]["DiaSource"]) - 1
    assert rows["fold"] != expected[1]["fold"]
    path.write_bytes(old)
    changed.run(*last_target(tiny))
    assert changed.products() == expected[0]
    assert changed.database() == expected[1]


def test_visit_can_be_taken_out_of_the_middle_and_put_back(night, expected, tiny, tmp_path):
    changed = night.copy(tmp_path / "night")
    rows = changed.sheet("exposures")
    changed.write_sheet("exposures", [row for row in rows if row["visit"] != tiny.SECOND])
    refused = changed.snakemake("-c2", *last_target(tiny))
    assert refused.returncode != 0
    assert "associate.allow_rollback" in refused.stdout
    assert changed.database() == expected[1]
    changed.configure(associate={"allow_rollback": True})
    changed.run(*last_target(tiny))
    visits = {row[5] for row in changed.database()["fold"]}
    assert visits == {int(tiny.FIRST), int(tiny.THIRD)}
    changed.configure()
    changed.write_sheet("exposures", rows)
    changed.run(*last_target(tiny))
    assert changed.products() == expected[0]
    assert changed.database() == expected[1]


def test_deleted_database_comes_back_by_the_plain_command(night, expected, tmp_path):
    changed = night.copy(tmp_path / "night")
    shutil.rmtree(changed.results / "db")
    assert changed.plan() == {"sync_apdb": 1, "store_moving_objects": 1, "all": 1}
    changed.run()
    assert changed.database() == expected[1]
    assert changed.moving_objects() == night.moving_objects()
    assert changed.products() == expected[0]
    assert "Nothing to be done" in changed.run()


def test_foreign_database_is_refused_in_a_sentence(night, tiny, tmp_path):
    changed = night.copy(tmp_path / "night")
    foreign = changed.folder / "foreign.sqlite"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE dinner (guest TEXT)")
    connection.close()
    changed.configure(database="sqlite:///foreign.sqlite")
    done = changed.snakemake("-c1", "--", f"results/20261008/{tiny.FIRST}/association.parquet")
    assert done.returncode != 0
    assert "foreign.sqlite has 1 tables but is no APDB" in done.stdout
    assert "most recent call last" not in done.stdout


def test_selecting_an_earlier_night_takes_no_later_one_back(night, expected, tmp_path):
    changed = night.copy(tmp_path / "night")
    changed.configure(select={"nights": ["20261008"]})
    assert set(changed.plan()) <= {"sync_apdb", "store_moving_objects", "all"}
    changed.run()
    assert changed.database() == expected[1]
    assert changed.moving_objects() == night.moving_objects()
