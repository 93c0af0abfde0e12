"""The tiny survey as a fixture."""

import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "tiny_survey", Path(__file__).parents[1] / "tiny_survey.py"
)
tiny_survey = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tiny_survey)


@pytest.fixture
def survey(tmp_path):
    """A tiny survey without pixels."""
    return tiny_survey.Survey(tmp_path)
