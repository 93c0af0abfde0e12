"""The tiny surveys as fixtures: one without pixels to plan, one with pixels to run."""

import pytest
import tiny_night
import tiny_survey


@pytest.fixture
def survey(tmp_path):
    """A tiny survey without pixels."""
    return tiny_survey.Survey(tmp_path)


@pytest.fixture(scope="session")
def tiny():
    """The module that simulates and runs a tiny survey."""
    return tiny_night


@pytest.fixture(scope="session")
def frames(tiny, tmp_path_factory):
    """The simulated survey: raw files, catalogues, exposure sheet, and the truth."""
    folder = tmp_path_factory.mktemp("survey")
    tiny.simulate(folder)
    return folder


@pytest.fixture(scope="session")
def other(tiny, frames, tmp_path_factory):
    """The same survey in another directory, on one core, step by step; it runs beside the tests."""
    folder = tmp_path_factory.mktemp("other") / "somewhere" / "else"
    folder.mkdir(parents=True)
    night = tiny.Night.from_survey(frames, folder)
    night.configure(granularity="step")
    process = night.start("-c1")
    yield night, process
    if process.poll() is None:
        tiny.kill(process, group=True)


@pytest.fixture(scope="session")
def stepwise(other, tiny):
    """The other directory when its run has ended."""
    night, process = other
    assert process.wait(tiny.LIMIT_S) == 0, night.words()
    return night


@pytest.fixture(scope="session")
def watched(tiny, frames, other, tmp_path_factory):
    """A finished night, and what was opened below the truth meanwhile. Copy it to change it."""
    watch = tiny.Watch(frames / "truth")
    folder = tmp_path_factory.mktemp("night") / "night"
    folder.mkdir()
    night = tiny.Night.from_survey(frames, folder)
    night.first_words = night.run()
    opened = watch.opened()
    watch.close()
    return night, opened


@pytest.fixture(scope="session")
def night(watched):
    """A finished night. Copy it to change it."""
    return watched[0]


@pytest.fixture(scope="session")
def expected(night):
    """The products and the database of an undisturbed night."""
    return night.products(), night.database()
