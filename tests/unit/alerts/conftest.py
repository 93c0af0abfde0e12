"""The tiny survey as fixtures."""

import importlib.util
import shutil
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "fold_world", Path(__file__).parents[2] / "fold_world.py"
)
fold_world = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fold_world)


@pytest.fixture(scope="session")
def survey():
    """The module with the helpers."""
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
