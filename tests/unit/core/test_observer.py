"""Where the observer is: against JPL Horizons and against astropy."""

import numpy as np
import pytest

from alertprod.core import observer
from alertprod.core.errors import BadInput

AU_M = observer.AU_KM * 1e3


@pytest.mark.parametrize("code", ["X05", "W84"])
def test_station_agrees_with_horizons_to_100_m_over_ten_years(real_data, code):
    import pyarrow.parquet as pq

    rows = pq.read_table(real_data / "horizons" / f"{code}_ssb.parquet").to_pylist()
    tdb = np.array([r["time"]["days"] + r["time"]["nanos"] / 86400e9 for r in rows])
    # the file is in the ecliptic of J2000
    eps = np.deg2rad(84381.448 / 3600)
    turn = np.array([[1, 0, 0], [0, np.cos(eps), -np.sin(eps)], [0, np.sin(eps), np.cos(eps)]])
    truth = np.array([[r["x"], r["y"], r["z"]] for r in rows]) @ turn.T
    speed = np.array([[r["vx"], r["vy"], r["vz"]] for r in rows]) @ turn.T
    position, velocity = observer.observer_state(code, observer.tdb_to_tai(tdb))
    assert np.linalg.norm(position - truth, axis=1).max() * AU_M < 100.0
    assert np.linalg.norm(velocity - speed, axis=1).max() * AU_M / 86400 < 0.02  # m/s


def test_station_agrees_with_astropy_without_a_network():
    import astropy.units as u
    from astropy.coordinates import EarthLocation
    from astropy.time import Time
    from astropy.utils import iers

    tai = np.array([57000.1, 59000.6, 60310.9])
    site = EarthLocation.from_geodetic(-70.74942, -30.24463, 2663.0)
    with iers.conf.set_temp("auto_download", False):
        gcrs, speed = site.get_gcrs_posvel(Time(tai, format="mjd", scale="tai"))
    position, velocity = observer.geocentric_offset("X05", tai)
    assert np.abs(position * AU_M - gcrs.xyz.to_value(u.m).T).max() < 60.0
    assert np.abs(velocity * AU_M / 86400 - speed.xyz.to_value(u.m / u.s).T).max() < 0.02


def test_tai_utc_and_tdb_are_three_different_things():
    from astropy.time import Time

    tai = np.array([50630.3, 57754.0005, 57754.1, 60500.7])  # across the last leap second
    time = Time(tai, format="mjd", scale="tai")
    assert np.abs(observer.tai_to_utc(tai) - time.utc.mjd).max() * 86400 < 1e-5
    assert np.abs(observer.tai_to_tdb(tai) - time.tdb.mjd).max() * 86400 < 5e-5
    assert np.abs(observer.tdb_to_tai(observer.tai_to_tdb(tai)) - tai).max() * 86400 < 1e-5
    assert np.abs(observer.utc_to_tai(observer.tai_to_utc(tai)) - tai).max() * 86400 < 1e-5
    assert observer.tai_minus_utc_s(60500.0) == 37.0
    assert 32.18 < observer.tdb_minus_tai_s(60500.0) < 32.19


def test_sun_and_earth_keep_their_distance():
    tdb = np.arange(60310.0, 60676.0, 5.0)
    distance = np.linalg.norm(observer.earth_state(tdb)[0] - observer.sun_state(tdb)[0], axis=1)
    assert 0.983 < distance.min() < 0.984
    assert 1.016 < distance.max() < 1.017


def test_repeated_times_give_the_same_place():
    one, _ = observer.observer_state("X05", [60400.3])
    many, _ = observer.observer_state("X05", [60400.3, 60400.4, 60400.3])
    assert np.array_equal(many[0], one[0])
    assert np.array_equal(many[2], one[0])


@pytest.mark.parametrize("code", ["ZZ9", "C51"])
def test_unknown_and_orbiting_stations_are_refused_with_a_sentence(code):
    with pytest.raises(BadInput, match=code):
        observer.station(code)
    assert observer.known_station("X05")
