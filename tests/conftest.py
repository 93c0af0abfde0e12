"""Fixtures shared by all tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: one BLAS thread, as in every job
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def required(name: str) -> bool:
    """Say whether ALERTPROD_REQUIRE turns a skip of `name` into a failure."""
    return name in os.environ.get("ALERTPROD_REQUIRE", "").split(",")


def skip_or_fail(name: str, why: str) -> None:
    """Skip a test that needs `name`, or fail where it is required."""
    if required(name):
        pytest.fail(f"{why}, but ALERTPROD_REQUIRE asks for {name}")
    pytest.skip(why)


@pytest.fixture(scope="session")
def root() -> Path:
    """Directory of the clone."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Directory with the real data (``ALERTPROD_REAL_DATA``)."""
    path = Path(os.environ.get("ALERTPROD_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        skip_or_fail("real", f"no real data at {path} (set ALERTPROD_REAL_DATA)")
    return path
