"""The geometry of a camera, from ``config/instruments/{name}.yaml``.

Sections are 0-based and half-open, ``[x0, x1, y0, y1]``. The *focal plane* has its origin at the
boresight; a detector's centre stands in degrees of field angle. See ``docs/adding_a_camera.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import yaml

from alertprod.core.errors import BadInput
from alertprod.core.wcs import Wcs

_REQUIRED = ("name", "obscode", "pixel_scale", "parity", "filters", "detectors")


@dataclass(frozen=True, slots=True)
class Section:
    """A rectangle of pixels, 0-based, half-open."""

    x0: int
    x1: int
    y0: int
    y1: int

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an image [y, x]."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


@dataclass(frozen=True, slots=True)
class Amplifier:
    """One read-out channel.

    Parameters
    ----------
    name : str
    hdu : int or str
        Index (primary = 0) or EXTNAME of the HDU that holds it.
    gain : float
        Electrons per ADU.
    read_noise : float or None
        Electrons; None: measured in the overscan of each frame.
    saturation : float
        ADU in the raw file, bias included: pixels at or above it are SAT.
    suspect : float or None
        ADU in the raw file: pixels at or above it are SUSPECT.
    data : Section
        Light-sensitive pixels in the raw HDU.
    bias : Section or None
        Serial overscan in the raw HDU; None: no overscan, `pedestal` is subtracted instead.
    detsec : Section
        Where `data` lies on the detector.
    flip_x, flip_y : bool
        Whether the raw axes run against the detector's.
    pedestal : float
        Bias level in ADU of a camera without overscan.
    linearity : tuple of float
        (c2, c3, ...): true = x + c2 x^2 + c3 x^3 ... with x in ADU above bias.
    """

    name: str
    hdu: int | str
    gain: float
    read_noise: float | None
    saturation: float
    data: Section
    bias: Section | None
    detsec: Section
    flip_x: bool = False
    flip_y: bool = False
    suspect: float | None = None
    pedestal: float = 0.0
    linearity: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Detector:
    """One chip: `nx` x `ny` trimmed pixels made of amplifiers."""

    id: int
    name: str
    nx: int
    ny: int
    centre: tuple[float, float]
    orientation: float
    amplifiers: tuple[Amplifier, ...]
    raft: str = ""
    type: str = "science"
    crosstalk: tuple[tuple[float, ...], ...] | None = None
    bad_regions: tuple[Section, ...] = ()
    #: How far charge trails from saturated pixels, px: to the left, right, down, up (SUSPECT).
    saturation_tail: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the trimmed image."""
        return self.ny, self.nx


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera: detectors, filters, site, and how its headers speak."""

    name: str
    obscode: str
    pixel_scale: float
    parity: int
    filters: dict[str, dict]
    detectors: dict[int, Detector]
    longitude: float = 0.0
    latitude: float = 0.0
    height: float = 0.0
    day_obs_rollover_hours: float = 12.0
    pointing_margin: float = 0.01
    tract_nside: int = 64
    patch_px: int = 1024
    patch_border_px: int = 64
    refcat_order: int = 5
    reader: str = "lsst"
    header: dict = field(default_factory=dict)

    def detector(self, detector_id: int) -> Detector:
        """Return a detector by its number.

        Raises
        ------
        BadInput
            If the camera has no such detector.
        """
        try:
            return self.detectors[int(detector_id)]
        except KeyError:
            raise BadInput(
                f"{self.name} has no detector {detector_id}; it has "
                f"{', '.join(str(i) for i in self.detectors)}"
            ) from None

    def filter(self, physical: str) -> dict:
        """Return ``band``, ``ref_band`` (and ``colour_term``) of a physical filter.

        Raises
        ------
        BadInput
            If the filter is not in the instrument file.
        """
        try:
            return self.filters[physical]
        except KeyError:
            raise BadInput(
                f"filter '{physical}' is not known to instrument {self.name} "
                f"({', '.join(self.filters)}); add it to filters in the instrument file"
            ) from None

    def nominal_wcs(self, detector_id: int, ra: float, dec: float, rotation: float) -> Wcs:
        """Return the WCS that geometry and commanded pointing predict, without distortion.

        Parameters
        ----------
        detector_id : int
        ra, dec : float
            Boresight [deg].
        rotation : float
            Position angle of the focal plane's +y axis, east of north [deg].

        Returns
        -------
        Wcs
            Tangent at the boresight; the reference pixel may lie off the detector.
        """
        detector = self.detector(detector_id)
        scale = self.pixel_scale / 3600.0
        turn = _rotation(detector.orientation)
        r = np.deg2rad(rotation)
        to_sky = np.array([[np.cos(r), np.sin(r)], [-np.sin(r), np.cos(r)]])
        cd = to_sky @ np.diag([-float(self.parity), 1.0]) @ turn * scale
        middle = np.array([(detector.nx - 1) / 2, (detector.ny - 1) / 2])
        crpix = middle - turn.T @ np.array(detector.centre) / scale
        return Wcs(crval=(ra, dec), crpix=crpix, cd=cd)

    def footprint(
        self, detector_id: int, ra: float, dec: float, rotation: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return right ascension and declination [deg] of the detector's four corners."""
        detector = self.detector(detector_id)
        x = np.array([-0.5, detector.nx - 0.5, detector.nx - 0.5, -0.5])
        y = np.array([-0.5, -0.5, detector.ny - 0.5, detector.ny - 0.5])
        return self.nominal_wcs(detector_id, ra, dec, rotation).pix_to_sky(x, y)


def read_camera(source: str | Path) -> Camera:
    """Read an instrument file, by path or by the name of one in ``config/instruments``.

    Raises
    ------
    BadInput
        If the file is missing or a key is; the sentence names it.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        path = Path(__file__).parents[3] / "config" / "instruments" / f"{source}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise BadInput(
            f"there is no instrument file {path.name}; known instruments: {', '.join(known)}"
        )
    stat = path.stat()
    return _load(str(path.resolve()), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _load(path: str, mtime_ns: int, size: int) -> Camera:
    with open(path, encoding="utf-8") as handle:
        text = yaml.load(handle, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return camera_from_dict(text, Path(path).name)


def camera_from_dict(text: dict, file_name: str = "instrument") -> Camera:
    """Build a camera from the parsed YAML; `file_name` is for messages."""
    missing = [key for key in _REQUIRED if key not in text]
    if missing:
        raise BadInput(f"{file_name} lacks {', '.join(missing)}; add it to the instrument file")
    if text["parity"] not in (1, -1):
        raise BadInput(f"{file_name}: parity is {text['parity']}; it must be 1 or -1")
    layouts = text.get("amplifier_layouts") or {}
    shared = text.get("amplifier_layout")
    detectors = {}
    for entry in text["detectors"]:
        try:
            detector = _detector(entry, layouts, shared)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(
                f"{file_name}: detector {entry.get('id', '?')} is not complete ({error!r}); "
                "see docs/adding_a_camera.md for its keys"
            ) from None
        _check_layout(detector, file_name)
        if detector.id in detectors:
            raise BadInput(f"{file_name}: detector {detector.id} stands there twice; number anew")
        detectors[detector.id] = detector
    plain = {
        name: text[name]
        for name in (
            "longitude",
            "latitude",
            "height",
            "day_obs_rollover_hours",
            "pointing_margin",
            "tract_nside",
            "patch_px",
            "patch_border_px",
            "refcat_order",
            "reader",
            "header",
        )
        if text.get(name) is not None
    }
    return Camera(
        name=str(text["name"]),
        obscode=str(text["obscode"]),
        pixel_scale=float(text["pixel_scale"]),
        parity=int(text["parity"]),
        filters={str(k): dict(v) for k, v in text["filters"].items()},
        detectors=dict(sorted(detectors.items())),
        **plain,
    )


def _rotation(degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s], [s, c]])


def _section(values) -> Section | None:
    return None if values is None else Section(*(int(v) for v in values))


def _detector(entry: dict, layouts: dict, shared) -> Detector:
    rows = entry.get("amplifiers") or entry.get("amplifier_layout") or shared
    if isinstance(rows, str):
        rows = layouts[rows]
    if rows is None:
        raise KeyError("amplifiers")
    linearity = entry.get("linearity") or {}
    overrides = entry.get("amplifier_values") or {}
    amplifiers = tuple(
        _amplifier({**row, **overrides.get(row["name"], {})}, linearity) for row in rows
    )
    crosstalk = entry.get("crosstalk")
    return Detector(
        id=int(entry["id"]),
        name=str(entry.get("name", entry["id"])),
        raft=str(entry.get("raft", "")),
        type=str(entry.get("type", "science")),
        nx=int(entry["nx"]),
        ny=int(entry["ny"]),
        centre=(float(entry["centre"][0]), float(entry["centre"][1])),
        orientation=float(entry.get("orientation", 0.0)),
        amplifiers=amplifiers,
        crosstalk=None if not crosstalk else tuple(tuple(map(float, row)) for row in crosstalk),
        bad_regions=tuple(Section(*map(int, s)) for s in entry.get("bad_regions") or ()),
        saturation_tail=tuple(map(int, entry.get("saturation_tail") or (0, 0, 0, 0))),
    )


def _amplifier(row: dict, linearity: dict) -> Amplifier:
    noise, suspect = row.get("read_noise"), row.get("suspect")
    return Amplifier(
        name=str(row["name"]),
        hdu=row["hdu"],
        gain=float(row["gain"]),
        read_noise=None if noise is None else float(noise),
        saturation=float(row["saturation"]),
        suspect=None if suspect is None else float(suspect),
        data=Section(*map(int, row["data"])),
        bias=_section(row.get("bias")),
        detsec=Section(*map(int, row["detsec"])),
        flip_x=bool(row.get("flip_x", False)),
        flip_y=bool(row.get("flip_y", False)),
        pedestal=float(row.get("pedestal", 0.0)),
        linearity=tuple(map(float, row.get("linearity") or linearity.get(row["name"]) or ())),
    )


def _check_layout(detector: Detector, file_name: str) -> None:
    """Amplifiers must tile the detector exactly once; anything else is a typing error."""
    area = 0
    for k, amplifier in enumerate(detector.amplifiers):
        where = f"{file_name}: amplifier {amplifier.name} of detector {detector.id}"
        d = amplifier.detsec
        if amplifier.data.shape != d.shape:
            raise BadInput(
                f"{where} reads {amplifier.data.shape} pixels into a detsec of {d.shape}; "
                "make data and detsec the same size"
            )
        if min(d.x0, d.y0) < 0 or d.x1 > detector.nx or d.y1 > detector.ny:
            raise BadInput(f"{where} lies outside {detector.nx} x {detector.ny} px; mend detsec")
        if amplifier.bias is None and amplifier.read_noise is None:
            raise BadInput(f"{where} has neither overscan nor read_noise; give one of them")
        for other in detector.amplifiers[:k]:
            o = other.detsec
            if d.x0 < o.x1 and o.x0 < d.x1 and d.y0 < o.y1 and o.y0 < d.y1:
                raise BadInput(f"{where} overlaps amplifier {other.name}; mend their detsec")
        area += d.shape[0] * d.shape[1]
    if area != detector.nx * detector.ny:
        raise BadInput(
            f"{file_name}: the amplifiers of detector {detector.id} cover {area} of "
            f"{detector.nx * detector.ny} px; mend their detsec"
        )
    n = len(detector.amplifiers)
    if detector.crosstalk is not None and (
        len(detector.crosstalk) != n or any(len(row) != n for row in detector.crosstalk)
    ):
        raise BadInput(
            f"{file_name}: the crosstalk matrix of detector {detector.id} is not {n} x {n}; "
            "give one row per amplifier"
        )
