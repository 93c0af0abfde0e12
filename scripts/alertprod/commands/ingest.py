"""``alertprod ingest``: from a directory of raw files to the exposure sheet."""

from __future__ import annotations

from pathlib import Path

from alertprod.commands import settings
from alertprod.core.errors import BadInput

MAX_LINES = 10


def add_parser(sub) -> None:
    """Declare the command."""
    parser = sub.add_parser(
        "ingest",
        help="write the exposure sheet of a directory of raw files",
        description="Read the headers of all raw files below DIR and add what is new to the "
        "exposure sheet. Rows that stand there, and the members of calibration and template runs, "
        "are never changed.",
    )
    parser.add_argument("dir", type=Path, help="directory of the raw files (paths.raw)")
    parser.add_argument("--instrument", required=True, help="name or file of the instrument")
    parser.add_argument("--into", type=Path, required=True, help="directory of the sheet")
    parser.add_argument("--refcat", type=Path, help="list only shards that this catalogue has")
    settings.add_arguments(parser)
    parser.add_argument("--calib-run", help="name of the calibration run (default: its night)")
    parser.add_argument("--valid-from", help="first night it serves (default: the first found)")
    parser.add_argument("--valid-until", default="99991231", help="last night it serves")
    parser.add_argument("--template-run", help="name of the template run (template.run)")
    parser.add_argument(
        "--template-scheme",
        choices=("header", "nights", "interleaved"),
        default="header",
        help="which visits make templates: those whose header says PURPOSE = TEMPLATE; those of "
        "--template-nights; or all, every second one serving the others",
    )
    parser.add_argument(
        "--template-nights", default="", help="nights (YYYYMMDD, comma-separated) for templates"
    )
    parser.set_defaults(run=run)


def run(args) -> int:
    """Update the sheet and say what was added."""
    from alertprod.ingest import frames, sheet
    from alertprod.ingest.membership import assign
    from alertprod.instruments.camera import read_camera

    camera = read_camera(args.instrument)
    config = settings.from_arguments(args)
    found, left_out = frames.find_frames(args.dir, camera)
    visits, more = frames.group_visits(found, camera)
    left_out += more
    old = {name: sheet.read_rows(args.into, name) for name in sheet.COLUMNS}
    known = {(row["visit"], row["detector"]) for row in old["exposures"]}
    fresh = [v for v in visits if (f"{v.visit:013d}", f"{v.detector:03d}") not in known]
    rows = [sheet.exposure_row(visit, camera, args.refcat) for visit in fresh]
    name = args.template_run or config["template"]["run"]
    nights = {night for night in args.template_nights.split(",") if night}
    members = assign(rows, old["exposures"], args.template_scheme, name, nights)
    exposures = sheet.merge_exposures(old["exposures"], rows)
    templates, frozen = sheet.template_rows(
        exposures, old["templates"], members, config["template"]["airmass_edges"]
    )
    calibs, frozen_calibs = _calibrations(args, camera, config, found, visits, old["calibs"])
    if not exposures and not calibs:
        raise BadInput(_nothing(args.dir, left_out))
    sheet.write_rows(args.into, "exposures", exposures)
    sheet.write_rows(args.into, "templates", [*old["templates"], *templates])
    sheet.write_rows(args.into, "calibs", [*old["calibs"], *calibs])
    _report(args, rows, templates, calibs, left_out)
    _report_frozen(name, frozen, frozen_calibs)
    return 0


def _calibrations(args, camera, config, found, visits, old):
    """Rows of a new calibration run, from calibration frames or else from science frames."""
    from alertprod.ingest import sheet

    taken = [f for f in found if f.metadata.image_type in ("BIAS", "DARK", "FLAT")]
    nights = sorted(f.night for f in found)
    first = f"{nights[0]:08d}" if nights else "00010101"
    valid = (args.valid_from or first, args.valid_until)
    if taken:
        run_name = args.calib_run or f"{min(f.night for f in taken):08d}"
        return sheet.calibration_rows(found, old, camera, run_name, valid)
    if old or not visits:
        return [], 0
    n = int(config["calibs"]["science_frames"])
    return sheet.science_rows(visits, old, args.calib_run or first, valid, n)


def _nothing(directory, left_out: list[str]) -> str:
    why = f" (the first: {left_out[0]})" if left_out else ""
    return (
        f"none of the files below {directory} is an exposure or a calibration frame{why}; map the "
        "header's keywords in the instrument file"
    )


def _report(args, rows, templates, calibs, left_out: list[str]) -> None:
    visits = len({row["visit"] for row in rows})
    print(f"{len(rows)} new detector-visits of {visits} visits in {args.into}")
    for run_name in sorted({row["template_run"] for row in templates}):
        mine = [row for row in templates if row["template_run"] == run_name]
        n = len({row["visit"] for row in mine})
        places = len({(row["tract"], row["patch"]) for row in mine})
        print(f"new template run {run_name}: {n} visits on {places} patches")
    for row in calibs:
        n = row["raws"].count(";") + 1
        kind = f"{row['type']} {row['band']}".strip()
        print(f"new calibration run {row['calib_run']}: {n} {kind}, detector {row['detector']}")
    for line in left_out[:MAX_LINES]:
        print(f"left out: {line}")
    if len(left_out) > MAX_LINES:
        print(f"left out: {len(left_out) - MAX_LINES} more")


def _report_frozen(name: str, visits: int, calibs: int) -> None:
    if visits:
        print(
            f"template run {name} is frozen: {visits} new visits are not in it; "
            "name a new one with --template-run to use them"
        )
    if calibs:
        print(
            f"the calibration run is frozen: {calibs} new frames are not in it; "
            "name a new one with --calib-run to use them"
        )
