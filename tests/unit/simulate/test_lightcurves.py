"""What changes in brightness."""

import numpy as np
import pytest

from alertprod.simulate import lightcurves, sky

CONTENT = {
    "variables": 60,
    "variables_r_max": 20.0,
    "transients": 400,
    "transients_in_galaxies": 0.6,
    "transients_peak_r": [18.0, 21.0],
}
FIELD = {"ra": 340.0, "dec": -8.4, "radius": 0.26}


@pytest.fixture(scope="module")
def galaxies():
    content = {"galaxies_per_deg2": 5000, "galaxies_r_max": 22.5}
    return sky.make_galaxies(np.random.default_rng(1), content, FIELD)


@pytest.fixture(scope="module")
def transients(galaxies):
    everywhere = np.ones(galaxies["ra"].size, bool)
    rng = np.random.default_rng(2)
    return lightcurves.make_transients(rng, CONTENT, galaxies, everywhere, FIELD, 61322.0)


def test_variables_repeat_with_their_period_and_stay_within_their_amplitude():
    content = {"stars_per_deg2": 4500, "stars_r_min": 11.0, "stars_r_max": 22.5}
    stars = sky.make_stars(np.random.default_rng(3), content, FIELD)
    inside = stars["dec"] < -8.4
    rng = np.random.default_rng(4)
    variables = lightcurves.make_variables(rng, CONTENT, stars, inside)
    assert variables["star"].size == 60
    assert inside[variables["star"]].all() and (stars["mag_r"][variables["star"]] < 20).all()
    now = lightcurves.variation(variables, 61000.3, "r")
    one = {name: value[:1] for name, value in variables.items()}
    later = lightcurves.variation(one, 61000.3 + one["period"][0], "r")
    assert later[0] == pytest.approx(now[0], abs=1e-6)
    many = np.array([lightcurves.variation(variables, t, "r") for t in np.arange(0, 40, 0.037)])
    assert np.all(np.abs(many) <= variables["amplitude"] + 1e-12)
    # The shape's mean is near zero, so that the mean magnitude is the star's.
    short = variables["period"] < 10
    assert np.abs(many.mean(axis=0)[short] / variables["amplitude"][short]).max() < 0.2


def test_transients_are_dark_before_they_explode_and_peak_at_their_magnitude(transients):
    before = lightcurves.transient_light(transients, transients["explosion"].min() - 0.01)
    assert np.all(before == 0)
    days = np.arange(61290.0, 61450.0, 0.1)
    light = np.array([lightcurves.transient_light(transients, t) for t in days])
    np.testing.assert_allclose(light.max(axis=0), 1.0, atol=1e-3)
    rise = days[np.argmax(light, axis=0)] - transients["explosion"]
    assert np.all((rise > 3) & (rise < 15))


def test_transients_lie_in_their_hosts_as_often_as_asked(galaxies, transients):
    hosted = transients["host"] > 0
    assert hosted.mean() == pytest.approx(0.6, abs=0.08)
    row = transients["host"][hosted] - 1
    east = (transients["ra"][hosted] - galaxies["ra"][row]) * np.cos(np.deg2rad(-8.4)) * 3600
    north = (transients["dec"][hosted] - galaxies["dec"][row]) * 3600
    distance = np.hypot(east, north) / galaxies["radius"][row]
    # Half the light of an exponential disc lies within its half-light radius (fewer are further
    # out where it is inclined).
    assert 0.45 < (distance < 1).mean() < 0.75
    assert distance.max() < 8
