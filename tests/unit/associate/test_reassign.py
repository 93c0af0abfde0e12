"""Sources that turn out to be asteroids move, and everything can be taken back."""

import os

import numpy as np
import pytest

from alertprod.associate import sync_apdb
from alertprod.core.apdb.connection import Database
from alertprod.core.tables import read_table, take

ASTEROID = 4711
COLUMNS = ("validityStartMjdTai", "validityEndMjdTai", "nDiaSources")


@pytest.fixture
def story(world):
    """Three visits; after the second one two sources turn out to be one asteroid's.

    The last place of the sky is seen once, so its DIAObject ends; another place was seen twice,
    and its second source was the asteroid.
    """
    world.observe(0, slice(0, 8))
    world.observe(1)
    world.observe(2, slice(0, 8))
    world.run(range(2), images={})
    return world


def moves(world):
    seen = read_table(world.path(1, "association.parquet"))
    new = seen["diaObjectId"] == seen["diaSourceId"]
    assert new.sum() == 1
    once = int(seen["diaSourceId"][new][0])
    twice = int(seen["diaSourceId"][~new][0])
    return once, twice


def cells(world, table, names, key, value):
    listed = ", ".join(f'"{name}"' for name in names)
    with Database(world.database) as database:
        return database.execute(
            f'SELECT {listed} FROM "{table}" WHERE "{key}" = ? ORDER BY 1', (value,)
        )


def test_a_source_moves_and_its_empty_object_ends(story, survey):
    once, twice = moves(story)
    owner = cells(story, "DiaSource", ["diaObjectId"], "diaSourceId", twice)[0][0]
    moved = story.reassign(1, {once: ASTEROID, twice: ASTEROID})
    after = survey.midpoint(1) + 0.5 / 86400
    assert moved["diaSourceId"].tolist() == sorted([once, twice])
    assert dict(zip(moved["diaSourceId"].tolist(), moved["closed"].tolist(), strict=True)) == {
        once: True,
        twice: False,
    }
    names = ["diaObjectId", "ssObjectId", "ssObjectReassocTimeMjdTai"]
    for source in (once, twice):
        row = cells(story, "DiaSource", names, "diaSourceId", source)[0]
        assert row[:2] == (None, ASTEROID)
        assert row[2] == pytest.approx(after, abs=1e-9)
    assert cells(story, "DiaObject", COLUMNS, "diaObjectId", once) == [
        (survey.midpoint(1), pytest.approx(after, abs=1e-9), 0)
    ]
    versions = cells(story, "DiaObject", COLUMNS, "diaObjectId", owner)
    assert [row[2] for row in versions] == [1, 1] and versions[-1][1] is None


def test_later_visits_see_the_new_state_and_earlier_ones_the_old(story, survey):
    once, twice = moves(story)
    before = [story.path(k, "association.parquet").read_bytes() for k in (0, 1)]
    owner = cells(story, "DiaSource", ["diaObjectId"], "diaSourceId", twice)[0][0]
    story.reassign(1, {once: ASTEROID, twice: ASTEROID})
    table = story.associate(2, story.path(1, "reassigned.parquet"))
    row = np.flatnonzero(table["diaObjectId"] == owner)
    assert table["diaObject_nDiaSources"][row].tolist() == [2]  # of three seen one has left
    story.package(2, {})
    for index, previous in ((0, None), (1, 0)):  # made again, as of then
        story.associate(index, previous)
        assert story.path(index, "association.parquet").read_bytes() == before[index]


def test_the_same_again_changes_nothing_and_taking_back_restores(story, survey):
    rows = survey.dump(story.database)
    chosen = dict.fromkeys(moves(story), ASTEROID)
    story.reassign(1, chosen)
    moved, product = survey.dump(story.database), story.path(1, "reassigned.parquet")
    written = product.read_bytes()
    story.associate(2, product)
    story.package(2, {})
    story.reassign(1, chosen)
    assert product.read_bytes() == written
    story.associate(2, 1)  # without the reassignment
    story.package(2, {})
    story.reassign(1, chosen)
    assert survey.dump(story.database) == moved
    story.package(1, {})
    story.reassign(1, {})
    same = survey.dump(story.database)
    assert {k: v for k, v in same.items() if "fold" not in k} == {
        k: v for k, v in rows.items() if "fold" not in k
    }


def test_a_deleted_database_comes_back_with_its_reassignments(story, survey):
    story.reassign(1, dict.fromkeys(moves(story), ASTEROID))
    product = story.path(1, "reassigned.parquet")
    story.associate(2, product)
    story.package(2, {})
    rows = survey.dump(story.database)
    os.unlink(story.database)
    options = {"root": str(story.root), "instrument": "simcam"}
    state = sync_apdb([product], story.database, **options)
    assert state.step == "reassign"
    sync_apdb([product, story.path(2, "forced.parquet")], story.database, **options)
    assert survey.dump(story.database) == rows


def test_a_source_that_has_its_asteroid_already_stays(story):
    once, _ = moves(story)
    story.reassign(1, {once: ASTEROID})
    story.associate(2, story.path(1, "reassigned.parquet"))
    story.package(2, {})
    again = story.reassign(2, {once: ASTEROID + 1})
    assert len(again["diaSourceId"]) == 0
    assert len(take(again, slice(0, 0))["closed"]) == 0
