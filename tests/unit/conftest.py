"""Fixtures of the unit tests."""

import importlib.util
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def tinycam():
    """The module that makes a tiny camera and its raw files."""
    spec = importlib.util.spec_from_file_location("tinycam", ROOT / "tests" / "tinycam.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def default_config() -> dict:
    """The default configuration, fresh for every test."""
    with open(ROOT / "config" / "default.yaml", encoding="utf-8") as handle:
        return yaml.safe_load(handle)
