"""``alertprod preflight``: what a run would miss, before it misses it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from alertprod.commands import settings
from alertprod.commands.sheet import Row, Sheet

SHOWN = 3


@dataclass
class Check:
    """One question and what was found.

    Parameters
    ----------
    name : str
        What was checked.
    total : int
        How many things.
    missing : list of str
        Those that are not in order, in words.
    advice : str
        What to do about them.
    fatal : bool
        Whether a run goes wrong with them.
    """

    name: str
    total: int = 0
    missing: list[str] = field(default_factory=list)
    advice: str = ""
    fatal: bool = True

    def lines(self) -> list[str]:
        """Return the report of this check."""
        if not self.missing:
            return [f"  ok       {self.name} ({self.total})"]
        word = "MISSING" if self.fatal else "note"
        lines = [f"  {word:<8} {self.name}: {len(self.missing)} of {self.total}"]
        lines += [f"             {text}" for text in self.missing[:SHOWN]]
        if len(self.missing) > SHOWN:
            lines.append(f"             and {len(self.missing) - SHOWN} more")
        return [*lines, f"           {self.advice}"] if self.advice else lines


def add_parser(sub) -> None:
    """Declare the command."""
    parser = sub.add_parser(
        "preflight",
        help="check for missing raws, calibrations, templates and shards before a night",
        description="Checks what the selected visits need; exit code 1 if something is missing.",
    )
    parser.add_argument("nights", nargs="*", metavar="NIGHT", help="instead of the selection")
    settings.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args) -> int:
    """Print the checks."""
    config = settings.from_arguments(args)
    if args.nights:
        config["select"] = {**config["select"], "nights": args.nights}
    sheet = Sheet(config)
    visits = sheet.selected()
    rows = [sheet.rows[visit, d] for visit in visits for d in sheet.detectors(visit)]
    print(f"Preflight of {len(visits)} visits, {len(rows)} images from {config['sheet']}")
    checks = [*check_inputs(sheet, rows), check_orbits(config), *check_fold(sheet, visits)]
    for check in checks:
        print("\n".join(check.lines()))
    return int(any(check.missing and check.fatal for check in checks) or not visits)


def check_inputs(sheet: Sheet, rows: list[Row]) -> list[Check]:
    """Check what the pixels need: the camera, raw files, calibrations, templates, shards."""
    results = settings.results(sheet.config)
    raws = {path for row in rows for path in sheet.raws(row)}
    patches = {row["visit"] + row["detector"]: sheet.patches(row, results) for row in rows}
    to_make = {p for paths in patches.values() for p in paths if not p.is_file()}
    shards = {path for row in rows for path in sheet.shards(row)}
    return [
        _check_camera(sheet, rows),
        _check_files(
            "raw files", raws, "Copy them to paths.raw; without them images are rejected."
        ),
        _check_calibrations(sheet, rows, results),
        _check_files(
            "frames for master calibrations still to be made", _frames(sheet, rows, results)
        ),
        *_check_templates(rows, patches),
        _check_files("raw files of templates still to be made", _template_raws(sheet, to_make)),
        _check_files("reference catalogue shards", shards, "Make them with alertprod refcat."),
        _without("images with a reference catalogue", rows, lambda row: row["shards"]),
    ]


def _check_files(
    name: str, paths: Iterable[Path], advice: str = "Copy them to paths.raw."
) -> Check:
    paths = sorted(paths)
    return Check(name, len(paths), [str(p) for p in paths if not p.is_file()], advice)


def _without(name: str, rows: list[Row], has) -> Check:
    missing = [f"{row['visit']}/{row['detector']}" for row in rows if not has(row)]
    advice = "The sheet names none: write it again with alertprod ingest --refcat."
    return Check(name, len(rows), missing, advice)


def _check_camera(sheet: Sheet, rows: list[Row]) -> Check:
    from alertprod.instruments.camera import read_camera

    camera = read_camera(settings.camera_path(sheet.config))
    wrong = {
        f"detector {row['detector']} (visit {row['visit']})"
        for row in rows
        if int(row["detector"]) not in camera.detectors
    }
    wrong |= {
        f"filter {row['physical_filter']} (visit {row['visit']})"
        for row in rows
        if row["physical_filter"] not in camera.filters
    }
    advice = f"Add them to config/instruments/{camera.name}.yaml, or name another instrument."
    return Check("detectors and filters of the camera", len(rows), sorted(wrong), advice)


def _check_calibrations(sheet: Sheet, rows: list[Row], results: Path) -> Check:
    missing = []
    for row in rows:
        absent = set(sheet.config["isr"]["require"]) - set(sheet.masters(row, results))
        if absent:
            names = ", ".join(sorted(absent))
            missing.append(f"{row['visit']}/{row['detector']} ({row['band']}): no {names}")
    advice = "Ingest calibration frames valid for the night, or shorten isr.require."
    return Check("images with valid calibrations", len(rows), missing, advice)


def _frames(sheet: Sheet, rows: list[Row], results: Path) -> set[Path]:
    """Return the raw frames of master calibrations that are not there yet."""
    wanted = {path for row in rows for path in sheet.masters(row, results).values()}
    todo = {path.parent for path in wanted if not path.is_file()}
    raw = Path(sheet.config["paths"]["raw"])
    return {
        raw / name
        for run, lines in sheet.runs.items()
        for line in lines
        if results / "calibs" / run / line["detector"] in todo
        for name in line["raws"].split(";")
    }


def _check_templates(rows: list[Row], patches: dict[str, list[Path]]) -> list[Check]:
    """Find images without any template, and those whose margin touches a patch without one."""
    none, some = [], []
    for row in rows:
        wanted = len(list(filter(None, row["patches"].split(";"))))
        found = len(patches[row["visit"] + row["detector"]])
        text = f"{row['visit']}/{row['detector']} ({row['band']}): {found} of {wanted} patches"
        if not found:
            none.append(text)
        elif found < wanted:
            some.append(text)
    advice = "Add template visits of that filter and field; images without any are rejected."
    partly = "Only what lies on a patch with a template is subtracted."
    return [
        Check("images with a template", len(rows), none, advice),
        Check("images with a template on all patches", len(rows), some, partly, fatal=False),
    ]


def _template_raws(sheet: Sheet, patches: set[Path]) -> set[Path]:
    """Return the raw files of the members of templates that are not there yet."""
    found = set()
    for path in patches:
        run, tract, patch, band = path.parts[-5:-1]
        for member in sheet.bins[run, tract, patch, band][path.stem]:
            for detector in member["detectors"].split(";"):
                row = sheet.rows.get((member["visit"], detector))
                found |= set(sheet.raws(row)) if row else {Path(f"visit {member['visit']}")}
    return found


def check_orbits(config: dict) -> Check:
    """Check for the catalogue of known orbits."""
    path = config["paths"]["orbits"]
    missing = [path] if path and not Path(path).is_file() else []
    return Check("orbit catalogue", int(bool(path)), missing, "Download it, or empty paths.orbits.")


def check_fold(sheet: Sheet, visits: list[str]) -> list[Check]:
    """Check how the files of the fold and the database agree, and what a run would redo.

    Parameters
    ----------
    sheet : Sheet
    visits : list of str
        Selected visits, in the order of time.
    """
    from alertprod.core.apdb import connection, fold

    url = settings.database(sheet.config)
    if not connection.exists(url):
        return [Check("visits in the database: none yet", 0)]
    with connection.Database(url) as database:
        if "fold" not in database.tables():
            what = f"{connection.shown(url)} has no record of a fold"
            return [Check("database", 1, [what], "Name another database in the configuration.")]
        states = fold.states_after(database, -1)
    known = {state.token for state in states}
    stale = [visit for visit in visits if not _done(sheet, visit, known)]
    held = {str(state.visit) for state in states}
    checks = [Check("visits in the database", len(held))]
    behind = [v for v in stale if _tokens(sheet, v) - known]
    advice = "A run replays them; `alertprod apdb sync` does so at once."
    checks.append(Check("visits whose files the database does not know", len(visits), behind,
                        advice, fatal=False))  # fmt: skip
    return checks + _check_redone(sheet, visits, stale, held)


def _check_redone(sheet: Sheet, visits: list[str], stale: list[str], held: set[str]) -> list[Check]:
    """Say which visits in the database rest on the first one that is to be associated."""
    later: list[str] = []
    if stale:
        order = sheet.fold()
        later = [v for v in order[order.index(stale[0]) + 1 :] if v in held]
    lost = [visit for visit in later if visit not in set(visits)]
    forbidden = not sheet.config["associate"]["allow_rollback"]
    advice = "Select their nights too, or set associate.allow_rollback."
    return [
        Check("later visits that will be associated again", len(held), later, "", fatal=False),
        Check("of these not selected", len(later), lost, advice, fatal=forbidden),
    ]


def _tokens(sheet: Sheet, visit: str) -> set[str]:
    """Return the tokens of the fold's products of a visit, as far as they are there."""
    from alertprod.core.apdb import fold

    folder = settings.results(sheet.config) / sheet.visits[visit]["night"] / visit
    paths = (folder / name for name in ("association.parquet", "forced.parquet"))
    return {fold.state_of(path).token for path in paths if path.is_file()}


def _done(sheet: Sheet, visit: str, known: set[str]) -> bool:
    """Say whether both steps of a visit are in the database as the files say."""
    tokens = _tokens(sheet, visit)
    return len(tokens) == 2 and tokens <= known
