"""The moving-object database follows the files: whatever came when, the rows are the same."""

import sqlite3

import pytest

from alertprod.core import designations, tables
from alertprod.core.errors import BadInput
from alertprod.daymops.database import TABLES, dump, open_database
from alertprod.daymops.store import store_moving_objects


def store(world, *nights):
    return store_moving_objects(nights, world.database, root=world.root, ledger=world.ledger)


def query(world, text):
    with sqlite3.connect(world.database) as connection:
        rows = connection.execute(text).fetchall()
    connection.close()
    return rows


def test_every_observation_and_every_fit_comes_in_with_its_night(world, moving_world):
    assert len(store(world)) == 3
    nights = [moving_world.night_of(k) for k in range(3)]
    names = query(world, "SELECT trkSub, discoveryNight, fitNight, nObservations, status "
                  "FROM objects ORDER BY trkSub")  # fmt: skip
    assert names == [
        ("A4u00001", nights[0], nights[1], 8, "found"),
        ("A4u00002", nights[0], nights[2], 8, "found"),
        ("A4u00003", nights[1], nights[1], 6, "found"),
    ]
    fits = query(world, "SELECT trkSub, o.fitNight, o.nObs FROM orbits AS o JOIN objects "
                 "USING (ssObjectId) ORDER BY trkSub, o.fitNight")  # fmt: skip
    assert fits == [
        ("A4u00001", nights[0], 6), ("A4u00001", nights[1], 8),
        ("A4u00002", nights[0], 6), ("A4u00002", nights[2], 8), ("A4u00003", nights[1], 6),
    ]  # fmt: skip
    assert query(world, "SELECT count(*) FROM observations") == [(22,)]
    assert query(world, "SELECT count(*), sum(nDet) FROM tracklets") == [(8, 16)]
    assert query(world, "SELECT count(*) FROM tracklet_sources") == [(16,)]
    assert query(world, "SELECT count(*) FROM observations WHERE mag IS NULL") == [(6,)]


def test_a_night_stored_again_changes_nothing(world, moving_world):
    store(world)
    before = dump(world.database)
    assert store(world, *(moving_world.night_of(k) for k in range(3))) == []
    assert dump(world.database) == before


def test_a_deleted_database_comes_back_from_the_files(world, moving_world):
    for index in (1, 0, 2):  # in whatever order the nights came
        store(world, moving_world.night_of(index))
    before = dump(world.database)
    world.database.unlink()
    store(world, moving_world.night_of(2))  # the others are picked up from where they lie
    assert dump(world.database) == before


def test_a_night_run_again_replaces_itself_and_what_follows_from_it(
    world, moving_world, tmp_path_factory
):
    store(world)
    world.write(0, new=(1, 2, 4))
    world.write(1, new=(3,), seen={1: (1,), 4: (1,)})
    world.write(2, seen={2: (2,)})
    assert store(world, moving_world.night_of(0)) == [moving_world.night_of(k) for k in range(3)]
    assert query(world, "SELECT nObservations FROM objects WHERE trkSub = 'A4u00004'") == [(8,)]
    fresh = moving_world.World(tmp_path_factory.mktemp("fresh"))
    fresh.write(0, new=(1, 2, 4))
    fresh.write(1, new=(3,), seen={1: (1,), 4: (1,)})
    fresh.write(2, seen={2: (2,)})
    store(fresh)
    assert dump(world.database) == dump(fresh.database)
    # and back again: what a night no longer finds is gone
    world.write(0, new=(1, 2))
    world.write(1, new=(3,), seen={1: (1,)})
    world.write(2, seen={2: (2,)})
    store(world, *(moving_world.night_of(k) for k in range(3)))
    assert query(world, "SELECT count(*) FROM objects WHERE trkSub = 'A4u00004'") == [(0,)]
    assert query(world, "SELECT count(*) FROM designations") == [(3,)]


def test_a_source_that_two_nights_give_stays_with_the_first(world, moving_world):
    world.write(2, seen={1: (1, 2)})  # night 1 gave its source of night 1 already
    store(world)
    rows = query(world, "SELECT night, count(*) FROM observations JOIN objects USING (ssObjectId) "
                 "WHERE trkSub = 'A4u00001' GROUP BY night")  # fmt: skip
    assert rows == [(moving_world.night_of(k), n) for k, n in ((0, 6), (1, 2), (2, 2))]


def test_tables_are_strict_keyed_and_searchable(world):
    store(world)
    with open_database(world.database, write=False) as db:
        assert set(TABLES) <= set(db.table_names())
        assert all(db[name].strict for name in TABLES)
        assert all(db[name].pks != ["rowid"] for name in TABLES)
        assert not db.conn.execute("PRAGMA foreign_key_check").fetchall()
        assert db.conn.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        found = [row["designation"] for row in db["designations"].search("A4u*", quote=False)]
    assert sorted(found) == ["A4u00001", "A4u00002", "A4u00003"]
    connection = sqlite3.connect(world.database)
    connection.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE observations SET ssObjectId = 5")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE objects SET H = 'bright'")
    connection.close()


def test_a_rejected_night_is_a_night_without_rows(world, moving_world):
    from alertprod.core import tables

    folder = world.root / str(moving_world.night_of(2))
    for name in ("orbits", "attributed", "tracklets"):
        tables.write_rejected_table(folder / f"{name}.parquet", "no visits", name)
    store(world)
    assert query(world, "SELECT count(*) FROM nights") == [(3,)]
    assert query(world, "SELECT count(*) FROM objects") == [(3,)]


def test_a_failure_half_way_leaves_the_database_as_it_was(world, moving_world):
    store(world)
    before = dump(world.database)
    night = moving_world.night_of(1)
    (world.root / str(night) / "attributed.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(Exception, match=r"[Pp]arquet"):
        store(world, night)
    assert dump(world.database) == before


def test_a_file_that_is_no_database_of_ours_is_refused_with_a_sentence(world):
    world.database.parent.mkdir()
    world.database.write_bytes(b"x" * 4096)
    with pytest.raises(BadInput, match="Remove it; it is made again"):
        store(world)
    world.database.unlink()
    connection = sqlite3.connect(world.database)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(BadInput, match="has format 0"):
        store(world)
    world.database.unlink()
    with pytest.raises(BadInput, match="Run a night"), open_database(world.database, write=False):
        pass


def test_a_database_in_use_is_waited_for_and_then_named(world, monkeypatch):
    from alertprod.daymops import database

    store(world)
    monkeypatch.setattr(database, "WAIT_S", 0.05)
    before = dump(world.database)
    with open_database(world.database):
        assert dump(world.database) == before  # readers do not wait
        with pytest.raises(BadInput, match="end that one"), open_database(world.database):
            pass
    assert dump(world.database) == before


def test_what_orbit_fits_leave_is_stored_and_reported(linkages, tracklets, tmp_path):
    """From linkages of a simulated sky to rows: every attributed source, once, with its object."""
    from alertprod.core import tables
    from alertprod.daymops import ades, fit_orbits, report_discoveries

    night = int(linkages["visit"].max()) // 100_000
    orbits, attributed = fit_orbits(linkages, [], config={})
    folder = tmp_path / str(night)
    given = {"orbits": orbits, "attributed": attributed, "tracklets": tracklets[-1]}
    for name, table in given.items():
        tables.write_table(folder / f"{name}.parquet", table, name)
    path = tmp_path / "db" / "moving_objects.sqlite"
    store_moving_objects([night], path, root=tmp_path, ledger=tmp_path / "mpc")
    rows = dump(path)
    assert len(rows["objects"]) == tables.n_rows(orbits) > 7
    assert len(rows["observations"]) == tables.n_rows(attributed)
    assert len(rows["tracklets"]) == len(set(tracklets[-1]["trackletId"].tolist()))
    _, records = ades.read_psv(report_discoveries(orbits, attributed, config={}))
    assert {int(r["obsSubID"]) for r in records} == set(attributed["diaSourceId"].tolist())


def test_objects_of_the_catalogue_come_in_with_their_sources_and_go_with_them(world, moving_world):
    """A night recognises an object of the catalogue; run again, it does not."""
    folder = world.root / str(moving_world.night_of(1))
    plain = tables.read_table(folder / "attributed.parquet")
    store(world)
    before = dump(world.database)
    known = {name: column.copy() for name, column in plain.items()}
    mine = known["designation"] == "A4u00001"
    known["designation"][mine], known["how"][mine] = "2019 AB12", "identified"
    known["ssObjectId"][mine] = designations.ss_object_id("2019 AB12")
    tables.write_table(folder / "attributed.parquet", known, "attributed")
    store(world, moving_world.night_of(1))
    with open_database(world.database, write=False) as db:
        row = db.query(
            "SELECT o.trkSub, o.designation, o.status, o.nObservations FROM objects AS o "
            "WHERE designation = '2019 AB12'"
        )
        assert list(row) == [
            {"trkSub": "K19A12B", "designation": "2019 AB12", "status": "designated",
             "nObservations": int(mine.sum())}
        ]  # fmt: skip
    tables.write_table(folder / "attributed.parquet", plain, "attributed")
    store(world, moving_world.night_of(1))
    assert dump(world.database) == before
