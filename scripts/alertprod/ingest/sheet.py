"""The exposure sheet: three CSV files in one directory; what stands there is never changed."""

from __future__ import annotations

import csv
import io
from bisect import bisect_right
from pathlib import Path

from alertprod.core.errors import BadInput
from alertprod.core.files import write_bytes
from alertprod.core.refcat import shard_path, shards_touching
from alertprod.core.skymap import SkyMap
from alertprod.ingest.frames import CALIBRATION, Found, Visit, check_midpoints
from alertprod.instruments.camera import Camera

COLUMNS = {
    "exposures": (
        "visit detector night purpose instrument band physical_filter midpoint_mjd_tai exposure_s "
        "ra dec rotation airmass snaps patches shards template_run"
    ).split(),
    "calibs": "calib_run valid_from valid_until type band detector raws".split(),
    "templates": "template_run tract patch band airmass_bin visit detectors".split(),
}
FOREVER = "99991231"
Row = dict[str, str]


def read_rows(directory: Path, name: str) -> list[Row]:
    """Read one file of the sheet; none if it does not exist."""
    path = directory / f"{name}.csv"
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    if rows:
        missing = [c for c in COLUMNS[name] if c not in rows[0]]
        if missing:
            raise BadInput(
                f"{path} lacks the columns {', '.join(missing)}; is it another program's file?"
            )
    return rows


def write_rows(directory: Path, name: str, rows: list[Row]) -> None:
    """Write one file of the sheet, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS[name], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(directory / f"{name}.csv", text.getvalue().encode())


def exposure_row(visit: Visit, camera: Camera, refcat: Path | None) -> Row:
    """Make the row of one detector-visit.

    Parameters
    ----------
    visit : Visit
    camera : Camera
        Gives footprint, sky map and margin.
    refcat : Path or None
        Reference catalogue: shards that it does not have are left out. None: all are listed.
    """
    corners = camera.footprint(visit.detector, visit.ra, visit.dec, visit.rotation)
    patches = sky_map(camera).patches_touching(*corners, camera.pointing_margin)
    pixels = shards_touching(*corners, camera.refcat_order, camera.pointing_margin)
    shards = [shard_path(camera.refcat_order, pixel) for pixel in pixels]
    if refcat is not None:
        shards = [path for path in shards if (refcat / path).is_file()]
    return {
        "visit": f"{visit.visit:013d}",
        "detector": f"{visit.detector:03d}",
        "night": f"{visit.night:08d}",
        "purpose": visit.purpose,
        "instrument": camera.name,
        "band": visit.band,
        "physical_filter": visit.filter,
        "midpoint_mjd_tai": f"{visit.midpoint:.10f}",
        "exposure_s": f"{visit.exposure:.3f}",
        "ra": f"{visit.ra:.7f}",
        "dec": f"{visit.dec:.7f}",
        "rotation": f"{visit.rotation:.6f}",
        "airmass": f"{visit.airmass:.4f}",
        "snaps": ";".join(visit.paths),
        "patches": ";".join(patches),
        "shards": ";".join(shards),
        "template_run": "",
    }


def sky_map(camera: Camera) -> SkyMap:
    """Return the sky map of a camera."""
    return SkyMap(camera.tract_nside, camera.patch_px, camera.pixel_scale, camera.patch_border_px)


def merge_exposures(old: list[Row], new: list[Row]) -> list[Row]:
    """Add rows that are not there yet, in order of time.

    Raises
    ------
    BadInput
        If a new visit has the midpoint of another one.
    """
    rows = {(row["visit"], row["detector"]): row for row in [*new, *old]}
    check_midpoints([(int(r["visit"]), float(r["midpoint_mjd_tai"])) for r in rows.values()])
    return sorted(
        rows.values(), key=lambda r: (float(r["midpoint_mjd_tai"]), r["visit"], r["detector"])
    )


def calibration_rows(
    frames: list[Found], old: list[Row], camera: Camera, run: str, valid: tuple[str, str]
) -> tuple[list[Row], int]:
    """Make the rows of a new calibration run from frames that no run has yet.

    Returns
    -------
    rows : list of dict
        Empty if the run exists already: its membership is frozen.
    left : int
        Frames left out for that reason.
    """
    known = {path for row in old for path in row["raws"].split(";")}
    groups: dict[tuple[str, str, int], list[str]] = {}
    for frame in frames:
        kind = frame.metadata.image_type
        if kind not in CALIBRATION or frame.path in known:
            continue
        band = ""
        if kind == "FLAT":
            if frame.metadata.filter not in camera.filters:
                continue  # a flat through a filter that the pipeline does not use
            band = str(camera.filter(frame.metadata.filter)["band"])
        groups.setdefault((kind.lower(), band, frame.detector), []).append(frame.path)
    return _new_run(groups, old, run, valid)


def science_rows(
    visits: list[Visit], old: list[Row], run: str, valid: tuple[str, str], n_frames: int
) -> tuple[list[Row], int]:
    """Make the rows of a calibration run that finds defects in science frames."""
    groups: dict[tuple[str, str, int], list[str]] = {}
    for visit in visits:
        groups.setdefault(("science", "", visit.detector), []).append(visit.paths[0])
    for key, paths in groups.items():
        n = min(n_frames, len(paths))
        groups[key] = [paths[round(k * (len(paths) - 1) / max(n - 1, 1))] for k in range(n)]
    return _new_run(groups, old, run, valid)


def _new_run(groups: dict, old: list[Row], run: str, valid: tuple[str, str]):
    if any(row["calib_run"] == run for row in old):
        return [], sum(len(paths) for paths in groups.values())
    rows = [
        {
            "calib_run": run,
            "valid_from": valid[0],
            "valid_until": valid[1],
            "type": kind,
            "band": band,
            "detector": f"{detector:03d}",
            "raws": ";".join(paths),
        }
        for (kind, band, detector), paths in sorted(groups.items())
    ]
    return rows, 0


def template_rows(
    rows: list[Row], old: list[Row], members: dict[str, str], edges: list[float]
) -> tuple[list[Row], int]:
    """Make the rows of new template runs.

    Parameters
    ----------
    rows : list of dict
        Exposure rows.
    old : list of dict
        Rows of ``templates.csv``; their runs are frozen.
    members : dict
        Visit -> template run that it belongs to.
    edges : list of float
        Airmasses between the bins, rising.

    Returns
    -------
    rows : list of dict
    left : int
        Visits left out because their run is frozen.
    """
    frozen = {row["template_run"] for row in old}
    known = {(row["template_run"], row["visit"]) for row in old}
    groups: dict[tuple, list[str]] = {}
    left = set()
    for row in rows:
        run = members.get(row["visit"])
        if run is None or (run, row["visit"]) in known:
            continue
        if run in frozen:
            left.add(row["visit"])
            continue
        number = bisect_right(edges, float(row["airmass"]))
        for place in filter(None, row["patches"].split(";")):
            tract, patch = place.split("/")
            key = (run, int(tract), int(patch), row["band"], number, row["visit"])
            groups.setdefault(key, []).append(row["detector"])
    out = [
        dict(
            zip(
                COLUMNS["templates"],
                [*(str(part) for part in key), ";".join(sorted(detectors))],
                strict=True,
            )
        )
        for key, detectors in sorted(groups.items())
    ]
    return out, len(left)
