"""From the header of a raw file to the few facts that the pipeline needs.

The default keywords are those of LSST-like files. An odd camera maps each field in its YAML::

    header:
      begin: UT-OBS                                   # another keyword
      begin: {date: DATE-OBS, time: UT-STR}           # a date and a time of day
      rotation: {value: 179.5}                        # a constant
      image_type: {key: OBS-MODE, values: {Interactive: OBJECT}}
      day_obs: {key: OBSID, pattern: '_(\\d{8})_'}    # a part of a string
      time_scale: {value: utc}                        # of begin and end; default TIMESYS or UTC
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from alertprod.core import times
from alertprod.core.errors import Rejected
from alertprod.instruments.camera import Camera

_KEYS = {
    "image_type": ("IMGTYPE", "IMAGETYP", "OBSTYPE"),
    "obs_id": ("OBSID", "FILENAME", "ORIGNAME"),
    "day_obs": ("DAYOBS", "DAY-OBS"),
    "seq_num": ("SEQNUM",),
    "group": ("GROUPID",),
    "snap": ("CURINDEX",),
    "n_snaps": ("MAXINDEX",),
    "begin": ("DATE-BEG", "MJD-BEG", "DATE-OBS", "MJD-OBS"),
    "end": ("DATE-END", "MJD-END"),
    "time_scale": ("TIMESYS",),
    "exposure": ("EXPTIME", "EXPOSURE"),
    "dark_time": ("DARKTIME",),
    "ra": ("RA",),
    "dec": ("DEC",),
    "rotation": ("ROTPA",),
    "airmass": ("AIRMASS",),
    "filter": ("FILTER",),
    "purpose": ("PURPOSE",),
    "detector": ("DETECTOR",),
}
_TIMES_OF_DAY = ("UT-STR", "UTC-OBS", "UT-OBS", "TIME-OBS", "UT")  # beside a DATE-OBS without one
_TYPES = {
    "OBJECT": "OBJECT",
    "SCIENCE": "OBJECT",
    "LIGHT": "OBJECT",
    "LIGHT FRAME": "OBJECT",
    "EXPOSE": "OBJECT",
    "SKYEXP": "OBJECT",
    "BIAS": "BIAS",
    "BIAS FRAME": "BIAS",
    "ZERO": "BIAS",
    "DARK": "DARK",
    "DARK FRAME": "DARK",
    "FLAT": "FLAT",
    "FLAT FIELD": "FLAT",
    "SKYFLAT": "FLAT",
}
MAX_SHUTTER_S = 20.0  # more than this between exposure and shutter times is no shutter


@dataclass(frozen=True, slots=True)
class Metadata:
    """What one raw file says of itself. Times MJD TAI, angles degrees, exposures seconds."""

    image_type: str
    obs_id: str
    day_obs: int | None
    seq_num: int | None
    group: str
    snap: int
    n_snaps: int
    begin: float | None
    end: float | None
    exposure: float
    dark_time: float
    ra: float | None
    dec: float | None
    rotation: float
    airmass: float | None
    filter: str
    purpose: str
    detector: int | None

    @property
    def midpoint(self) -> float | None:
        """Shutter midpoint, MJD TAI."""
        if self.begin is None:
            return None
        half = 0.5 * self.exposure / 86400.0
        if self.end is not None:
            # An end far from begin + exposure is that of the read-out, or of another time scale.
            excess = (self.end - self.begin) * 86400.0 - self.exposure
            if -1.0 < excess < MAX_SHUTTER_S:
                return 0.5 * (self.begin + self.end)
        return self.begin + half


def metadata(header: dict, camera: Camera, name: str) -> Metadata:
    """Translate a primary header.

    Parameters
    ----------
    header : dict
    camera : Camera
        Gives the header map.
    name : str
        File name, for messages.

    Raises
    ------
    Rejected
        If a value is there and cannot be understood.
    """
    get = _Lookup(header, camera.header, name)
    scale = str(get.raw("time_scale") or "UTC").strip().upper()
    exposure = get.number("exposure")
    begin = get.time("begin", scale)
    kind = str(get.raw("image_type") or "OBJECT").strip().upper()
    snap = get.integer("snap")
    detector = get.integer("detector", strict=False)
    exposure = 0.0 if exposure is None else exposure
    dark = get.number("dark_time")
    return Metadata(
        image_type=_TYPES.get(kind, kind),
        obs_id=str(get.raw("obs_id") or name).strip(),
        day_obs=get.day_obs(),
        seq_num=get.integer("seq_num"),
        group=str(get.raw("group") or "").strip(),
        snap=0 if snap is None else snap,
        n_snaps=get.integer("n_snaps") or 1,
        begin=begin,
        end=get.time("end", scale),
        exposure=exposure,
        dark_time=exposure if dark is None else dark,
        ra=get.angle("ra", hours=True),
        dec=get.angle("dec", hours=False),
        rotation=get.number("rotation") or 0.0,
        airmass=get.number("airmass", strict=False),
        filter=str(get.raw("filter") or "").strip(),
        purpose=str(get.raw("purpose") or "").strip().lower(),
        detector=detector,
    )


class _Lookup:
    """Fields of one header through a camera's map."""

    def __init__(self, header: dict, mapping: dict, name: str) -> None:
        self.header, self.mapping, self.name = header, mapping, name

    def raw(self, what: str):
        rule = self.mapping.get(what, _KEYS[what])
        if isinstance(rule, dict):
            return self._by_rule(rule)
        for key in (rule,) if isinstance(rule, str) else rule:
            value = self.header.get(key)
            if value is not None and value != "":
                return value
        return None

    def _by_rule(self, rule: dict):
        if "value" in rule:
            return rule["value"]
        if "date" in rule:
            return f"{self.header.get(rule['date'])}T{self.header.get(rule['time'])}"
        value = self.header.get(rule["key"])
        if value is None:
            return rule.get("default")
        if "pattern" in rule:
            found = re.search(rule["pattern"], str(value))
            value = None if found is None else found.group(1)
        if "values" in rule:
            value = rule["values"].get(str(value).strip(), rule.get("default"))
        return value

    def number(self, what: str, *, strict: bool = True) -> float | None:
        value = self.raw(what)
        if value is None or isinstance(value, bool):
            return None
        try:
            # Some writers print a decimal comma ('6,4E-05').
            number = float(str(value).strip().replace(",", "."))
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
        if strict:
            raise Rejected(f"{self.name}: {what} is '{value}', which is no number")
        return None

    def integer(self, what: str, *, strict: bool = True) -> int | None:
        number = self.number(what, strict=strict)
        return None if number is None else round(number)

    def angle(self, what: str, *, hours: bool) -> float | None:
        """Degrees from a number (degrees) or a sexagesimal string (hours for right ascension)."""
        value = self.raw(what)
        if value is None:
            return None
        parts = re.split(r"[:\s]+", str(value).strip())
        if len(parts) == 1:
            return self.number(what, strict=False)
        try:
            sign = -1.0 if parts[0].startswith("-") else 1.0
            total = sum(abs(float(p)) / 60.0**k for k, p in enumerate(parts))
        except ValueError:
            return None  # 'UNKNOWN' and the like: no pointing
        return sign * total * (15.0 if hours else 1.0)

    def day_obs(self) -> int | None:
        value = self.raw("day_obs")
        if value is None:
            return None
        digits = str(value).replace("-", "").strip()
        if len(digits) != 8 or not digits.isdigit():
            raise Rejected(f"{self.name}: day_obs is '{value}', not YYYYMMDD")
        return int(digits)

    def time(self, what: str, scale: str) -> float | None:
        """MJD TAI from an ISO string (with or without a zone) or an MJD number."""
        value = self.raw(what)
        if value is None:
            return None
        if isinstance(value, str) and ":" not in value:
            value = self._with_time_of_day(value)
        try:
            mjd = float(value) if not isinstance(value, str) else times.iso_to_mjd(value)
        except ValueError:
            raise Rejected(f"{self.name}: {what} is '{value}', which is no time") from None
        return to_tai(mjd, scale, self.name)

    def _with_time_of_day(self, date: str) -> str:
        """A date alone would be midnight without anybody's noticing."""
        for key in _TIMES_OF_DAY:
            if ":" in str(self.header.get(key, "")):
                return f"{date.strip()}T{str(self.header[key]).strip()}"
        raise Rejected(
            f"{self.name}: the time of observation is '{date}', a date alone; map `begin` in the "
            "instrument file's header section"
        )


def to_tai(mjd: float, scale: str, name: str) -> float:
    """Carry an MJD in UTC, TAI, TT or TDB to TAI (TDB to 2 ms, as TT)."""
    if scale == "TAI":
        return mjd
    if scale in ("TT", "TDB"):
        return mjd - 32.184 / 86400.0
    if scale != "UTC":
        raise Rejected(f"{name}: time scale '{scale}' is not UTC, TAI, TT or TDB")
    return float(times.utc_to_tai(mjd))
