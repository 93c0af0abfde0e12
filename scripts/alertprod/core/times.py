"""Times. MJD TAI (float64) everywhere; UTC in headers and reports; TDB in ephemerides.

ISO rendering of the same scale needs no leap seconds and no library; changes of scale go through
ERFA.
"""

from datetime import UTC, datetime, timedelta

import numpy as np

MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)
DAY_S = 86400.0


def mjd_to_iso(mjd: float, digits: int = 3) -> str:
    """Render an MJD as ISO date and time in the same scale."""
    whole = int(np.floor(mjd))
    unit = 10**digits
    ticks = round(float(mjd - whole) * DAY_S * unit)
    date = MJD_ZERO + timedelta(days=whole, seconds=ticks // unit)
    fraction = f".{ticks % unit:0{digits}d}" if digits else ""
    return date.strftime("%Y-%m-%dT%H:%M:%S") + fraction


def iso_to_mjd(text: str) -> float:
    """Read an ISO date and time as MJD in the same scale; an offset (``-0700``) is applied."""
    moment = datetime.fromisoformat(text.strip().replace(" ", "T"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - MJD_ZERO
    return delta.days + (delta.seconds + delta.microseconds * 1e-6) / DAY_S


def now_tai() -> float:
    """Return the present moment as MJD TAI (for ``clock: wall`` only)."""
    moment = datetime.now(UTC) - MJD_ZERO
    return float(utc_to_tai(moment / timedelta(days=1)))


def utc_to_tai(mjd_utc):
    """Convert MJD UTC to MJD TAI [d]."""
    import erfa

    mjd = np.asarray(mjd_utc, dtype=np.float64)
    whole = np.floor(mjd)
    jd1, jd2 = erfa.utctai(2400000.5 + whole, mjd - whole)
    return (jd1 - 2400000.5 - whole) + jd2 + whole


def tai_to_utc(mjd_tai):
    """Convert MJD TAI to MJD UTC [d]."""
    import erfa

    mjd = np.asarray(mjd_tai, dtype=np.float64)
    whole = np.floor(mjd)
    jd1, jd2 = erfa.taiutc(2400000.5 + whole, mjd - whole)
    return (jd1 - 2400000.5 - whole) + jd2 + whole


def tai_to_tt(mjd_tai):
    """Convert MJD TAI to MJD TT [d]: TT = TAI + 32.184 s."""
    return np.asarray(mjd_tai, dtype=np.float64) + 32.184 / DAY_S


def tai_to_tdb(mjd_tai):
    """Convert MJD TAI to MJD TDB [d], at the geocentre (good to a few microseconds)."""
    import erfa

    tt = tai_to_tt(mjd_tai)
    return tt + erfa.dtdb(2400000.5, tt, 0.0, 0.0, 0.0, 0.0) / DAY_S


def tdb_to_tai(mjd_tdb):
    """Convert MJD TDB to MJD TAI [d], at the geocentre."""
    import erfa

    tdb = np.asarray(mjd_tdb, dtype=np.float64)
    return tdb - erfa.dtdb(2400000.5, tdb, 0.0, 0.0, 0.0, 0.0) / DAY_S - 32.184 / DAY_S


def julian_year(mjd_tai):
    """Return the Julian epoch (J2000.0 = MJD 51544.5 TT) of an MJD TAI."""
    return 2000.0 + (tai_to_tt(mjd_tai) - 51544.5) / 365.25


def day_obs(mjd_tai: float, rollover_utc_hours: float = 12.0) -> int:
    """Return the night as YYYYMMDD: the UTC date `rollover_utc_hours` earlier."""
    shifted = float(tai_to_utc(mjd_tai)) - rollover_utc_hours / 24.0
    return int(mjd_to_iso(np.floor(shifted), 0)[:10].replace("-", ""))
