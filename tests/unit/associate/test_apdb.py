"""The database itself: Rubin's schema and rows, and nobody else's data."""

import sqlite3

import numpy as np
import pytest

from alertprod.core.apdb import fold, history, replay, rows
from alertprod.core.apdb.connection import Database, shown
from alertprod.core.apdb.create import open_database
from alertprod.core.errors import BadInput
from alertprod.core.tables import empty, read_table, take


def frame(table, database, name):
    """Return a pandas frame as a caller of Apdb.store would make it."""
    import pandas

    types = database.columns(name)
    columns = {
        column: pandas.Series(rows.to_python(values, *types[column]), dtype=object)
        for column, values in table.items()
        if column in types
    }
    return pandas.DataFrame(columns)


def test_rows_equal_those_of_rubins_own_writer(night, survey, tmp_path):
    import astropy.time
    from lsst.dax.apdb.sql import ApdbSql

    theirs = tmp_path / "theirs.sqlite"
    config = ApdbSql.init_database(db_url=f"sqlite:///{theirs}", dia_object_index="baseline")
    apdb = ApdbSql(config)
    with Database(night.database) as ours:
        for index in range(3):
            association = take(read_table(night.path(index, "association.parquet")), np.arange(9))
            association["psfLnL"][2] = np.nan
            association["ssObjectId"][3] = 0
            objects = replay.object_versions(association)
            objects.pop("validityStartMjdTai")
            visit_time = astropy.time.Time(survey.midpoint(index), format="mjd", scale="tai")
            forced = empty("forced")
            forced = {
                name: np.resize(np.ones(1, values.dtype), 4)
                if values.dtype != object
                else np.array(["r"] * 4, dtype=object)
                for name, values in forced.items()
            } | {"diaForcedSourceId": np.arange(4), "visit": np.full(4, index)}
            forced["diaObjectId"] = np.arange(4) + 1
            apdb.store(
                visit_time,
                frame(objects, ours, "DiaObject"),
                frame(association, ours, "DiaSource"),
                frame(forced, ours, "DiaForcedSource"),
            )
            if index == 0:
                ours.execute('DELETE FROM "DiaObject"')
                ours.execute('DELETE FROM "DiaSource"')
            replay.store_association(ours, association, survey.midpoint(index))
            replay.store_forced(ours, forced)
    mine, other = survey.dump(night.database), survey.dump(str(theirs))
    for name in ("DiaSource", "DiaObject", "DiaForcedSource"):
        assert len(mine[name]) >= 12
        assert mine[name] == other[name]


def test_the_trixels_are_rubins(survey):
    from lsst.sphgeom import HtmPixelization, LonLat, UnitVector3d

    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 50), np.degrees(np.arcsin(rng.uniform(-1, 1, 50)))
    pixels = HtmPixelization(20)
    expected = [
        pixels.index(UnitVector3d(LonLat.fromDegrees(*p))) for p in zip(ra, dec, strict=True)
    ]
    assert rows.pixel_ids(ra, dec).tolist() == expected


def test_a_circle_finds_all_that_lies_in_it():
    rng = np.random.default_rng(2)
    for ra0, dec0 in ((0.01, 10.0), (200.0, -89.9)):
        angle, r = rng.uniform(0, 2 * np.pi, 200), 0.3 * np.sqrt(rng.uniform(0, 1, 200))
        centre = rows.unit_vectors(ra0, dec0)
        east = np.array([-np.sin(np.radians(ra0)), np.cos(np.radians(ra0)), 0])
        north = np.cross(centre, east)
        offset = np.cos(angle)[:, None] * east + np.sin(angle)[:, None] * north
        vectors = centre + np.radians(r)[:, None] * offset
        vectors /= np.linalg.norm(vectors, axis=1)[:, None]
        ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
        dec = np.degrees(np.arcsin(vectors[:, 2]))
        found_ra, found_dec, radius = rows.bounding_circle(ra, dec, 0.0)
        assert abs(found_dec - dec0) < 0.05 and 0.25 < radius < 0.35
        low, high = np.array(rows.pixel_ranges(found_ra, found_dec, radius)).T
        ids = rows.pixel_ids(ra, dec)
        assert all(((low <= pixel) & (pixel <= high)).any() for pixel in ids)


def test_infinities_and_nulls_do_not_reach_the_database(world):
    table = {
        "diaForcedSourceId": np.arange(1, 3),
        "diaObjectId": np.array([5, 6]),
        "ra": np.array([1.0, 2.0]),
        "dec": np.array([1.0, 2.0]),
        "visit": np.array([1, 1]),
        "detector": np.array([0, 0]),
        "psfFlux": np.array([np.inf, 2.5]),
        "psfFluxErr": np.array([np.nan, 1.0]),
        "midpointMjdTai": np.array([1.0, 1.0]),
        "band": np.array(["r", ""], dtype=object),
        "timeProcessedMjdTai": np.array([1.0, 1.0]),
    }
    with Database(world.database) as database:
        rows.store(database, "DiaForcedSource", table)
        names = '"psfFlux", "psfFluxErr", band'
        found = database.execute(f'SELECT {names} FROM "DiaForcedSource" ORDER BY "diaObjectId"')
        back = rows.select(database, "DiaForcedSource", ["psfFlux", "band"], "1 = 1", ())
    assert found == [(None, None, "r"), (2.5, 1.0, None)]
    assert np.isnan(back["psfFlux"][0]) and back["psfFlux"].dtype == np.float32
    assert back["band"].tolist() == ["r", ""]


@pytest.mark.parametrize("what", ["text", "other tables", "rows of another", "other schema"])
def test_a_foreign_database_is_refused_with_one_sentence(world, night, what):
    path = world.database
    if what == "text":
        with open(path, "wb") as handle:
            handle.write(b"not a database at all, but long enough to look at" * 100)
        message = "is not an SQLite database"
    else:
        with sqlite3.connect(path) as connection:
            if what == "other tables":
                connection.execute('DROP TABLE "DiaSource"')
                message = "is no APDB"
            elif what == "rows of another":
                connection.execute(f"ATTACH '{night.database}' AS n")
                connection.execute('INSERT INTO "DiaSource" SELECT * FROM n."DiaSource"')
                connection.execute("DROP TABLE fold")
                message = "holds 45 DIASources that this pipeline did not write"
            else:
                connection.execute("UPDATE metadata SET value = '9.1.0' WHERE name LIKE '%schema'")
                message = "APDB schema 9"
        connection.close()
    with pytest.raises(BadInput, match=message):
        open_database(path, "simcam")


@pytest.mark.parametrize("what", ["instrument", "chain"])
def test_the_database_of_another_survey_is_refused(night, what):
    names = {"instrument": "simcam", "chain": ""} | {what: "other"}
    with pytest.raises(BadInput, match=f"belongs to the {what}"):
        open_database(night.database, **names)


def test_an_empty_apdb_of_rubins_tools_is_taken_as_ours(world):
    with sqlite3.connect(world.database) as connection:
        connection.executescript(
            "DROP TABLE fold; DROP TABLE fold_ledger; DROP TABLE fold_undo; "
            "DELETE FROM metadata WHERE name LIKE 'alertprod%'"
        )
    connection.close()
    open_database(world.database, "simcam").close()
    with Database(world.database) as database:
        assert {"fold", "fold_undo", "fold_ledger"} <= database.tables()


def test_rubins_reader_finds_our_rows(night, survey):
    from lsst.dax.apdb.sql import ApdbSql
    from lsst.dax.apdb.sql.config import ApdbSqlConfig
    from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d

    apdb = ApdbSql(ApdbSqlConfig(db_url=f"sqlite:///{night.database}"))
    circle = Circle(UnitVector3d(LonLat.fromDegrees(53.0, -28.0)), Angle.fromDegrees(0.01))
    objects = apdb.getDiaObjects(circle)
    last = read_table(night.path(4, "association.parquet"))
    assert sorted(objects["diaObjectId"]) == sorted(last["diaObjectId"])
    assert set(objects["nDiaSources"]) == {5}
    assert apdb.containsVisitDetector(survey.visit_number(3), 0, None, None)


def test_reads_and_roll_back_use_the_indexes(night, survey, monkeypatch):
    plans = []
    execute = Database.execute

    def explained(database, statement, parameters=()):
        if "DiaObject" in statement and "PRAGMA" not in statement:
            plans.append(str(execute(database, "EXPLAIN QUERY PLAN " + statement, parameters)))
        return execute(database, statement, parameters)

    monkeypatch.setattr(Database, "execute", explained)
    with Database(night.database) as database:
        moment = history.Moment(10, 1e5, 1e5)
        history.objects_in_circle(database, moment, (53.0, -28.0, 0.5), ["diaObjectId", "ra"])
        database.begin()
        fold.undo_after(database, 8, fold.Settings(night.root))
    text = " ".join(plans)
    assert "SCAN DiaObject" not in text
    assert "SEARCH DiaObject USING INDEX alertprod_open_versions (pixelId>? AND pixelId<?)" in text
    assert "alertprod_validityEnd (validityEndMjdTai=?)" in text


def test_messages_do_not_show_passwords():
    assert shown("postgresql://me:secret@host/db") == "postgresql://...@host/db"
    assert take({"a": np.arange(3)}, [1])["a"].tolist() == [1]
