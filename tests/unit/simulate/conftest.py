"""A camera and a blank-sky observation, shared by the simulator's tests."""

import pytest

from alertprod.simulate import api


@pytest.fixture(scope="session")
def camera(root):
    """The wide simulated camera."""
    return api.read_camera(root / "config" / "instruments" / "simcam.yaml")


@pytest.fixture
def observe():
    """Make an observation of the demo's field in r, with any of its settings changed."""

    def make(**changes):
        settings = {"visit": 2026100900021, "band": "r", "ra": 340.0, "dec": -8.4}
        return api.Observation(**(settings | changes))

    return make
