"""Airmass from pointing, time and site, for headers that do not give it."""

from __future__ import annotations

import math

from alertprod.core import times
from alertprod.instruments.camera import Camera


def airmass(ra: float, dec: float, mjd_tai: float, camera: Camera) -> float:
    """Return the airmass of a direction.

    Parameters
    ----------
    ra, dec : float
        ICRS [deg].
    mjd_tai : float
    camera : Camera
        Gives the site.

    Returns
    -------
    float
        1 at the zenith; the horizon's value for directions below it.

    References
    ----------
    Pickering 2002, DIO 12, 20 (footnote 39); place of the star: ERFA ``atco13``, no refraction.
    """
    import erfa

    utc = float(times.tai_to_utc(mjd_tai))
    # UT1 - UTC < 0.9 s moves a star by 13", which is nothing here.
    zenith = erfa.atco13(
        *(math.radians(ra), math.radians(dec), 0.0, 0.0, 0.0, 0.0),
        *(2400000.5, utc, 0.0),
        *(math.radians(camera.longitude), math.radians(camera.latitude), camera.height),
        *(0.0, 0.0, 0.0, 0.0, 0.0, 0.5),
    )[1]
    altitude = max(90.0 - math.degrees(float(zenith)), 0.0)
    return 1.0 / math.sin(math.radians(altitude + 244.0 / (165.0 + 47.0 * altitude**1.1)))
