"""The tiny survey as a fixture."""

import pytest
import tiny_survey


@pytest.fixture
def survey(tmp_path):
    """A tiny survey without pixels."""
    return tiny_survey.Survey(tmp_path)
