"""TAI, UTC and TDB are three different things: against astropy."""

import numpy as np
import pytest
from astropy.time import Time

from alertprod.core import times

MJD = np.array([51544.5, 57753.9999, 57754.0001, 58107.0648, 61333.25])


def test_scales_agree_with_astropy_to_a_microsecond():
    tai = Time(MJD, format="mjd", scale="tai")
    second = 1 / 86400
    np.testing.assert_allclose(times.tai_to_utc(MJD), tai.utc.mjd, atol=1e-6 * second)
    np.testing.assert_allclose(times.tai_to_tdb(MJD), tai.tdb.mjd, atol=1e-5 * second)
    np.testing.assert_allclose(times.utc_to_tai(times.tai_to_utc(MJD)), MJD, atol=1e-6 * second)
    np.testing.assert_allclose(times.tdb_to_tai(times.tai_to_tdb(MJD)), MJD, atol=1e-6 * second)
    np.testing.assert_allclose(times.julian_year(MJD), tai.jyear, atol=1e-9)


@pytest.mark.parametrize("mjd", [58107.0650846875, 61333.0, 51544.999999999])
def test_iso_dates_agree_with_astropy(mjd):
    assert times.mjd_to_iso(mjd) == Time(mjd, format="mjd", scale="tai").isot


def test_local_time_with_its_offset_is_the_same_moment():
    assert times.iso_to_mjd("2017-12-19T18:33:43.317-0700") == pytest.approx(
        Time("2017-12-20T01:33:43.317").mjd, abs=1e-9
    )


@pytest.mark.parametrize(
    ("utc", "night"), [("2026-10-02T03:00:00", 20261001), ("2026-10-02T13:00:00", 20261002)]
)
def test_a_night_keeps_its_date_past_midnight(utc, night):
    assert times.day_obs(Time(utc).tai.mjd) == night
