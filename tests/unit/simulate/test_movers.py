"""Asteroids: against N-body integration, astropy's ephemeris and Horizons."""

import numpy as np
import pytest

from alertprod.simulate import movers, plan

ORBIT = {
    "a": 2.6387907671,
    "e": 0.1657024660,
    "incl": 5.47386082,
    "node": 185.10092738,
    "argperi": 163.49913969,
    "mean_anomaly": 4.31875033,
    "epoch": 61323.0,
    "H": 16.5,
}


def orbits(**changes):
    return {name: np.array([value]) for name, value in (ORBIT | changes).items()}


def integrated(orbit, days):
    """Carry a massless body round the Sun with rebound; heliocentric, equatorial [au]."""
    import rebound

    sim = rebound.Simulation()
    sim.G = movers.GM
    sim.add(m=1.0)
    sim.add(
        a=orbit["a"],
        e=orbit["e"],
        inc=np.deg2rad(orbit["incl"]),
        Omega=np.deg2rad(orbit["node"]),
        omega=np.deg2rad(orbit["argperi"]),
        M=np.deg2rad(orbit["mean_anomaly"]),
    )
    sim.integrate(days)
    sun, body = sim.particles
    x, y, z = body.x - sun.x, body.y - sun.y, body.z - sun.z
    c, s = np.cos(movers.OBLIQUITY), np.sin(movers.OBLIQUITY)
    return np.array([x, c * y - s * z, s * y + c * z])


@pytest.mark.parametrize("days", [-40.0, 0.0, 3.3])
def test_orbits_are_those_of_an_integrator(days):
    place = movers.positions(orbits(), np.array([61323.0 + days]))[0]
    np.testing.assert_allclose(place, integrated(ORBIT, days), atol=2e-9)


def test_position_on_the_sky_is_that_of_an_independent_ephemeris(camera):
    """Integrator for the asteroid, astropy's analytic series for the Earth, its own iteration."""
    import astropy.units as u
    from astropy.coordinates import EarthLocation, get_body_barycentric
    from astropy.time import Time
    from astropy.utils import iers

    mjd = 61322.07
    sun, _, _ = plan.observatory(camera, mjd, 340.0, -8.4)
    seen = movers.observe(orbits(), mjd + plan.TT_MINUS_TAI, sun)
    with iers.conf.set_temp("auto_download", False):
        time = Time(mjd, format="mjd", scale="tai")
        site = EarthLocation.from_geodetic(-70.74942 * u.deg, -30.24464 * u.deg, 2662.75 * u.m)
        here = get_body_barycentric("earth", time, ephemeris="builtin").xyz
        here = here - get_body_barycentric("sun", time, ephemeris="builtin").xyz
        here = (here + site.get_gcrs(time).cartesian.xyz).to_value(u.au)
        tdb = time.tdb.mjd
    delay = 0.0
    for _ in range(5):
        line = integrated(ORBIT, tdb - ORBIT["epoch"] - delay) - here
        delay = np.linalg.norm(line) * 1.495978707e11 / 2.99792458e8 / 86400
    ra = np.rad2deg(np.arctan2(line[1], line[0])) % 360
    dec = np.rad2deg(np.arcsin(line[2] / np.linalg.norm(line)))
    assert abs(seen["ra"][0] - ra) * np.cos(np.deg2rad(dec)) * 3600 < 0.03
    assert abs(seen["dec"][0] - dec) * 3600 < 0.03


def test_observatory_is_where_horizons_puts_it(camera, real_data):
    import pyarrow.parquet as pq

    for name, index in (("X05_sun", 0), ("X05_ssb", 1)):
        rows = pq.read_table(real_data / "horizons" / f"{name}.parquet").to_pylist()[200:220:9]
        for row in rows:
            mjd = row["time"]["days"] + row["time"]["nanos"] / 86400e9
            ours = plan.observatory(camera, mjd - plan.TT_MINUS_TAI, 340.0, -8.4)[index]
            theirs = np.array([row["x"], row["y"], row["z"]])
            difference_km = (movers.to_ecliptic(ours) - theirs) * 1.495978707e8
            assert np.linalg.norm(difference_km) < 0.3


def test_elements_of_a_state_give_the_state_back():
    rng = np.random.default_rng(8)
    place = rng.normal(0, 1, (200, 3)) * 1.5
    speed = np.sqrt(movers.GM / np.linalg.norm(place, axis=1)) * rng.uniform(0.5, 1.2, 200)
    direction = rng.normal(0, 1, (200, 3))
    velocity = direction / np.linalg.norm(direction, axis=1)[:, None] * speed[:, None]
    elements = movers.elements(place, velocity, 60000.0)
    assert np.all((elements["e"] >= 0) & (elements["e"] < 1))
    at = np.full(200, 60000.0)
    np.testing.assert_allclose(movers.positions(elements, at), place, atol=1e-8)
    step = 1e-3
    ahead, back = movers.positions(elements, at + step), movers.positions(elements, at - step)
    np.testing.assert_allclose((ahead - back) / (2 * step), velocity, atol=1e-6)


def test_brightness_at_unit_distances_is_the_absolute_magnitude():
    # Face on to the Sun at 1 au from both: only possible at phase 60 degrees on an equilateral
    # triangle, where Bowell's tables give 2.5 log10 of the sum of two exponentials.
    assert movers.phase_function(np.array([0.0]))[0] == pytest.approx(0.0, abs=1e-12)
    # (1) Ceres-like G = 0.15 dims by about 0.032 mag/deg between 10 and 20 degrees.
    ten, twenty = movers.phase_function(np.deg2rad([10.0, 20.0]))
    assert (twenty - ten) / 10 == pytest.approx(0.034, abs=0.004)


def test_drawn_asteroids_stand_in_the_field_at_the_epoch(camera):
    sun, _, _ = plan.observatory(camera, 61323.07, 340.0, -8.4)
    field = {"ra": 340.0, "dec": -8.4, "radius": 0.25}
    rng = np.random.default_rng(9)
    for kind, low, high in (("main_belt", 1.4, 4.4), ("near_earth", 0.9, 1.3)):
        drawn = movers.draw_orbits(rng, 300, kind, field, 61323.07, sun)
        place = movers.positions(drawn, drawn["epoch"])
        line = place - sun
        ra = np.rad2deg(np.arctan2(line[:, 1], line[:, 0])) % 360
        dec = np.rad2deg(np.arcsin(line[:, 2] / np.linalg.norm(line, axis=1)))
        east = (ra - 340.0) * np.cos(np.deg2rad(-8.4))
        assert np.hypot(east, dec + 8.4).max() < 0.2505
        r = np.linalg.norm(place, axis=1)
        assert low < r.min() and r.max() < high
