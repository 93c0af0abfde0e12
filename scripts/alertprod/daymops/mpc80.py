"""The Minor Planet Center's 80-column format of optical observations: reader and writer.

For exchange with programs that know nothing newer; it rounds times to 0.05 s (six digits of a day)
and positions to 0.015" in right ascension, so reports go out as ADES.

References
----------
Minor Planet Center, "Format for Optical Astrometric Observations".
"""

from __future__ import annotations

import numpy as np

from alertprod.core import designations, observer
from alertprod.core.times import iso_to_mjd, mjd_to_iso

# second lines of satellite and roving observations, radar: no position of their own
_NOT_OPTICAL = frozenset("srvVR")


def read_mpc80(text: str) -> tuple[dict, int]:
    """Parse 80-column lines.

    Parameters
    ----------
    text : str

    Returns
    -------
    table : dict of arrays
        name (packed number or designation), mjd_utc, ra, dec [deg], mag, band, station,
        note (column 15: C is a CCD).
    skipped : int
        Lines that are not positions, or unreadable.
    """
    rows, skipped = [], 0
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            rows.append(_parse(line))
        except (ValueError, IndexError):
            skipped += 1
    names = ("name", "mjd_utc", "ra", "dec", "mag", "band", "station", "note")
    kinds = (object, float, float, float, float, object, object, object)
    columns = zip(*rows, strict=True) if rows else [[]] * len(names)
    table = {n: np.array(list(c), dtype=k) for n, c, k in zip(names, columns, kinds, strict=True)}
    return table, skipped


def _parse(line):
    line = line.rstrip("\n").ljust(80)
    if line[14] in _NOT_OPTICAL:
        raise ValueError("no optical position")
    year, month, day = line[15:19], line[20:22], line[23:32]
    whole = iso_to_mjd(f"{int(year):04d}-{int(month):02d}-{int(float(day)):02d}T00:00:00")
    mjd = whole + float(day) % 1.0
    ra = 15.0 * _sexagesimal(line[32:44])
    sign = -1.0 if line[44] == "-" else 1.0
    dec = sign * _sexagesimal(line[45:56])
    if not (0.0 <= ra < 360.0 and -90.0 <= dec <= 90.0):
        raise ValueError("no position on the sky")
    magnitude = line[65:70].strip()
    name = line[:5].strip() or line[5:12].strip()
    return (name, mjd, ra, dec, float(magnitude) if magnitude else np.nan, line[70].strip(),
            line[77:80].strip(), line[14].strip())  # fmt: skip


def _sexagesimal(text):
    parts = [float(p) for p in text.split()]
    if not 1 <= len(parts) <= 3:
        raise ValueError(text)
    return sum(p / 60.0**k for k, p in enumerate(parts))


def write_mpc80(detections: dict, names, obscode: str) -> str:
    """Write detections (columns as of ``linkages``) as 80-column lines.

    Parameters
    ----------
    detections : table
        midpointMjdTai, ra, dec, mag, band.
    names : sequence of str
        Of each row: a packed or temporary designation of at most seven characters, or all twelve
        columns (`name_field`).
    obscode : str

    Raises
    ------
    ValueError
        If a name is too long.
    """
    lines = []
    for k, name in enumerate(names):
        if len(name) > 7 and len(name) != 12:
            raise ValueError(f"{name!r} has more than the seven characters of this format")
        utc = float(observer.tai_to_utc(detections["midpointMjdTai"][k]))
        whole, ticks = divmod(round(utc * 1e6), 1_000_000)
        iso = mjd_to_iso(whole, 0)
        day = f"{iso[8:10]}.{ticks:06d}"
        mag = float(detections["mag"][k])
        shown = f"{mag:5.1f}" if np.isfinite(mag) else " " * 5
        band = str(detections["band"][k])[:1] if np.isfinite(mag) else " "
        lines.append(
            f"{name if len(name) == 12 else f'     {name:<7}'}  C{iso[:4]} {iso[5:7]} {day}"
            f"{_hours(float(detections['ra'][k]))}{_degrees(float(detections['dec'][k]))}"
            f"{'':9}{shown}{band or ' '}{'':6}{obscode}"
        )
    return "\n".join(lines) + ("\n" if lines else "")


def name_field(designation: str) -> str:
    """Columns 1 to 12 of an object.

    Our own names have eight characters, one too many; their first, the same in all, is left out.
    """
    try:
        packed = designations.pack(designation)
    except ValueError:
        packed = designation[-7:]
    return f"{packed:<12}" if len(packed) == 5 and designation.isdigit() else f"     {packed:<7}"


def _hours(ra):
    ticks = round(ra / 15.0 * 3600.0 * 1000.0) % (24 * 3600 * 1000)
    seconds, ms = divmod(ticks, 1000)
    return f"{seconds // 3600:02d} {seconds // 60 % 60:02d} {seconds % 60:02d}.{ms:03d}"


def _degrees(dec):
    ticks = round(abs(dec) * 3600.0 * 100.0)
    seconds, cs = divmod(ticks, 100)
    sign = "-" if dec < 0 else "+"
    return f"{sign}{seconds // 3600:02d} {seconds // 60 % 60:02d} {seconds % 60:02d}.{cs:02d}"
