"""Fixtures of the unit tests."""

import shutil
from pathlib import Path

import fold_world
import pytest
import tinycam
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", name="tinycam")
def tinycam_module():
    """The module that makes a tiny camera and its raw files."""
    return tinycam


@pytest.fixture
def default_config() -> dict:
    """The default configuration, fresh for every test."""
    with open(ROOT / "config" / "default.yaml", encoding="utf-8") as handle:
        return yaml.safe_load(handle)


@pytest.fixture(scope="session")
def survey():
    """The module that makes a tiny survey without pixels, and runs its fold."""
    return fold_world


@pytest.fixture(scope="session")
def blank(tmp_path_factory):
    """A database without rows (making one costs half a second)."""
    from alertprod.core.apdb.create import open_database

    path = tmp_path_factory.mktemp("blank") / "apdb.sqlite"
    open_database(str(path), "simcam").close()
    return path


@pytest.fixture(scope="session")
def five_visits(tmp_path_factory, blank):
    """Results of five visits, associated and packaged without images."""
    world = fold_world.World(tmp_path_factory.mktemp("night"), blank=blank)
    for index in range(5):
        world.observe(index)
    world.run(range(5), images={})
    return world.root


@pytest.fixture
def world(tmp_path, blank):
    """A results directory with an empty database."""
    return fold_world.World(tmp_path, blank=blank)


@pytest.fixture
def night(tmp_path, five_visits):
    """Five visits to play with."""
    shutil.copytree(five_visits, tmp_path / "night")
    return fold_world.World(tmp_path / "night")
