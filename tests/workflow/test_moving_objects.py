"""The moving-object database as Snakemake keeps it: after the files, and only when needed."""

import shutil

import moving_world
import pytest

from alertprod.daymops import ledger
from alertprod.daymops.database import dump

pytestmark = pytest.mark.workflow
TARGET = ("--allowed-rules", "store_moving_objects", "--", "results/db/moving_objects.sqlite")


@pytest.fixture
def world(survey):
    """Nights of found objects where the survey's results lie."""
    return moving_world.World(survey.folder / "results")


@pytest.fixture
def stored(survey, world):
    world.write(0, new=(1, 2))
    world.write(1, new=(3,), seen={1: (1,)})
    store(survey)
    return survey


def store(survey):
    done = survey.snakemake(*TARGET)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_database_follows_the_files_and_is_left_alone_between(stored, world):
    before = dump(world.database)
    assert len(before["objects"]) == 3 and len(before["nights"]) == 2
    assert "Nothing to be done" in store(stored)
    shutil.rmtree(world.database.parent)
    store(stored)
    assert dump(world.database) == before
    world.write(0, new=(1, 2, 4))
    world.write(1, new=(3,), seen={1: (1,)})
    store(stored)
    assert len(dump(world.database)["objects"]) == 4
    assert "Nothing to be done" in store(stored)


def test_night_that_is_not_selected_stays_and_comes_back(stored, world):
    before = dump(world.database)
    stored.config["select"] = {"nights": ["20261009"]}
    stored.write()
    store(stored)
    assert dump(world.database) == before
    world.database.unlink()
    store(stored)
    assert dump(world.database) == before


def test_names_from_the_ledger_come_along(stored, world):
    rows = [{"trkSub": "A4u00001", "provID": "2026 TA1"}]
    ledger.write_replies(world.ledger, rows, "2026-10-11")
    world.database.unlink()
    store(stored)
    assert "2026 TA1" in {row[4] for row in dump(world.database)["objects"]}


def test_damaged_database_is_one_sentence(stored, world):
    world.database.write_bytes(b"x" * 5000)
    world.write(1, new=(3,))
    done = stored.snakemake(*TARGET)
    assert done.returncode != 0
    assert "Remove it; it is made again" in done.stdout
    assert "most recent call last" not in done.stdout
