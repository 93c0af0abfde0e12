"""Find raw files and group them into visits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alertprod.core import times
from alertprod.core.errors import BadInput, Rejected
from alertprod.core.ids import visit_id
from alertprod.ingest.airmass import airmass
from alertprod.instruments.camera import Camera
from alertprod.instruments.metadata import Metadata
from alertprod.instruments.raw import read_metadata

SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fits.fz", ".fz")
CALIBRATION = ("BIAS", "DARK", "FLAT")


@dataclass(frozen=True, slots=True)
class Found:
    """A raw file, relative to the raw directory, and what its header says."""

    path: str
    metadata: Metadata
    detector: int
    night: int


@dataclass(frozen=True, slots=True)
class Visit:
    """One detector of one visit."""

    visit: int
    night: int
    detector: int
    band: str
    filter: str
    midpoint: float
    exposure: float
    ra: float
    dec: float
    rotation: float
    airmass: float
    purpose: str
    paths: tuple[str, ...]


def find_frames(root: Path, camera: Camera) -> tuple[list[Found], list[str]]:
    """Read the headers of all FITS files below a directory.

    Returns
    -------
    frames : list of Found
        Sorted by path.
    left_out : list of str
        A sentence per file that could not be used.

    Raises
    ------
    BadInput
        If the directory does not exist or holds no FITS file.
    """
    if not root.is_dir():
        raise BadInput(f"{root} is no directory; give the one that holds the raw files")
    paths = sorted(p for p in root.rglob("*") if p.name.lower().endswith(SUFFIXES) and p.is_file())
    if not paths:
        raise BadInput(f"no FITS file below {root}; raw files end in {', '.join(SUFFIXES)}")
    frames, left_out = [], []
    for path in paths:
        try:
            frames.append(_found(path, root, camera))
        except Rejected as reason:
            left_out.append(str(reason))
    return frames, left_out


def _found(path: Path, root: Path, camera: Camera) -> Found:
    info = read_metadata(path, camera)
    if len(camera.detectors) == 1:
        detector = next(iter(camera.detectors))
    elif info.detector is None:
        raise Rejected(f"{path.name}: the header does not say which detector it is")
    elif info.detector not in camera.detectors:
        raise Rejected(f"{path.name}: {camera.name} has no detector {info.detector}")
    else:
        detector = info.detector
    if info.begin is None:
        raise Rejected(f"{path.name}: the header has no time of observation")
    night = info.day_obs or times.day_obs(info.begin, camera.day_obs_rollover_hours)
    return Found(path.relative_to(root).as_posix(), info, detector, night)


def group_visits(frames: list[Found], camera: Camera) -> tuple[list[Visit], list[str]]:
    """Group the snaps of visits; one entry per visit and detector, in order of time.

    Returns
    -------
    visits : list of Visit
    left_out : list of str
        A sentence per group that cannot be used.

    Raises
    ------
    BadInput
        If two visits have the same number or the same midpoint: their order would be undefined.
    """
    groups: dict[tuple, list[Found]] = {}
    for frame in frames:
        if frame.metadata.image_type == "OBJECT":
            name = frame.metadata.group or frame.path
            groups.setdefault((frame.night, name, frame.detector), []).append(frame)
    visits, left_out, owner = [], [], {}
    for (night, name, _), members in sorted(groups.items()):
        members.sort(key=lambda f: (f.metadata.snap, f.metadata.begin, f.path))
        try:
            visit = _visit(members, camera)
        except Rejected as reason:
            left_out.append(str(reason))
            continue
        other = owner.setdefault(visit.visit, (night, name))
        if other != (night, name):
            raise BadInput(
                f"'{other[1]}' and '{name}' would both be visit {visit.visit}; map seq_num or "
                "group in the instrument file's header section so that they differ"
            )
        visits.append(visit)
    check_midpoints([(v.visit, v.midpoint) for v in visits])
    return sorted(visits, key=lambda v: (v.midpoint, v.visit, v.detector)), left_out


def check_midpoints(pairs: list[tuple[int, float]]) -> None:
    """Refuse two visits of one moment: association goes strictly by time."""
    seen: dict[float, int] = {}
    for visit, midpoint in sorted(set(pairs)):
        if midpoint in seen and seen[midpoint] != visit:
            raise BadInput(
                f"visits {seen[midpoint]} and {visit} have the same midpoint, MJD {midpoint:.8f} "
                "TAI; mend the times or leave one of them out"
            )
        seen[midpoint] = visit


def _visit(members: list[Found], camera: Camera) -> Visit:
    first = members[0]
    info, name = first.metadata, first.path
    if len(members) > 2:
        raise Rejected(f"{name}: {len(members)} files of one visit and detector; expected 1 or 2")
    if info.ra is None or info.dec is None or not -90 <= info.dec <= 90:
        raise Rejected(f"{name}: no pointing in the header (RA {info.ra}, DEC {info.dec})")
    try:
        band = str(camera.filter(info.filter)["band"])
    except BadInput as error:
        raise Rejected(f"{name}: {error}") from None
    if len({f.metadata.filter for f in members}) > 1:
        raise Rejected(f"{name}: the snaps of this visit were taken through different filters")
    # Through tenths of a microsecond, as the sheet writes it, so that all detectors agree.
    midpoint = round(sum(f.metadata.midpoint for f in members) / len(members), 10)
    given = [f.metadata.airmass for f in members if f.metadata.airmass is not None]
    air = sum(given) / len(given) if given else airmass(info.ra, info.dec, midpoint, camera)
    return Visit(
        visit=_number(first, camera),
        night=first.night,
        detector=first.detector,
        band=band,
        filter=info.filter,
        midpoint=midpoint,
        exposure=sum(f.metadata.exposure for f in members),
        ra=info.ra % 360.0,
        dec=info.dec,
        rotation=info.rotation,
        airmass=air,
        purpose=info.purpose if info.purpose in ("template", "science") else "",
        paths=tuple(f.path for f in members),
    )


def _number(first: Found, camera: Camera) -> int:
    """YYYYMMDDNNNNN: header's sequence number, else seconds since the night began."""
    if first.metadata.seq_num is not None:
        return visit_id(first.night, first.metadata.seq_num)
    shifted = float(times.tai_to_utc(first.metadata.begin)) - camera.day_obs_rollover_hours / 24.0
    return visit_id(first.night, int((shifted % 1.0) * 86400.0))
