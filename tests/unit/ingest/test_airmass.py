"""Airmass against astropy and against a real header."""

import numpy as np
import pytest

from alertprod.ingest.airmass import airmass


@pytest.mark.filterwarnings("ignore")
def test_airmass_is_the_secant_of_astropys_zenith_distance(tinycam):
    from astropy import units as u
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord
    from astropy.time import Time

    camera = tinycam.camera()
    site = EarthLocation.from_geodetic(
        camera.longitude * u.deg, camera.latitude * u.deg, camera.height * u.m
    )
    when = Time(61000.1, format="mjd", scale="tai")
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 40), rng.uniform(-80, 30, 40)
    place = AltAz(obstime=when, location=site)
    altitude = SkyCoord(ra * u.deg, dec * u.deg).transform_to(place).alt.deg
    compared = np.flatnonzero(altitude > 30)
    for k in compared:
        secant = 1 / np.sin(np.radians(altitude[k]))
        assert airmass(ra[k], dec[k], 61000.1, camera) == pytest.approx(secant, rel=4e-3)
    assert len(compared) > 5


def test_airmass_of_a_real_exposure_agrees_with_its_header(root):
    from alertprod.core.times import iso_to_mjd, utc_to_tai
    from alertprod.instruments.camera import read_camera

    camera = read_camera(root / "tests/data/instruments/lco_fa05.yaml")
    middle = float(utc_to_tai(iso_to_mjd("2021-10-08T01:56:04.632")))
    assert airmass(287.3248, 59.4939, middle, camera) == pytest.approx(1.15983, abs=0.002)


def test_below_the_horizon_it_stays_finite(tinycam):
    assert 30 < airmass(0.0, 89.0, 61000.1, tinycam.camera()) < 45
