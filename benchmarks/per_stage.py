"""Time and memory of every stage, for a detector of simcam and one of simlsst.

    python benchmarks/per_stage.py [simcam] [simlsst]

The frames are simulated where they are not there yet. Each detector-visit is measured three times:
stage by stage in a fresh process (compiled code in the cache), as one job of the rule
`process_detector` (its ``benchmark:`` file), and, for what else has run, from all benchmark files.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import yaml
from measuring import ROOT, measured, publish, succeeded

sys.path.insert(0, str(ROOT / "scripts"))
CPU_S, PEAK_MB = 20.0, 3000.0
SNAKEMAKE = [sys.executable, "-m", "snakemake", "-c1"]
QUIET = ["--quiet", "all"]
ALERTPROD = [sys.executable, "-m", "alertprod.cli"]


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cameras", nargs="*", default=["simcam", "simlsst"])
    parser.add_argument("--data", type=Path, default=Path("data"), help="where simulated data are")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(stage_by_stage(*args.child)))
        return 0
    tables, verdicts = {}, {}
    for camera in args.cameras:
        overlay = prepare(camera, args.data)
        visit, detector = choose(overlay)
        make_inputs(overlay, [(visit, detector)])
        tables[f"{camera}: stage by stage"] = run_child(overlay, visit, detector)
        job = run_job(overlay, visit, detector)
        tables[f"{camera}: one job"] = [job]
        tables[f"{camera}: rules so far"] = rules_so_far(overlay)
        verdicts[f"{camera}: raw to dia_sources in {CPU_S:.0f} CPU s"] = job["CPU s"] <= CPU_S
        verdicts[f"{camera}: and in {PEAK_MB:.0f} MB"] = job["peak MB"] <= PEAK_MB
    return publish("per_stage", tables, verdicts)


def prepare(camera: str, data: Path) -> Path:
    """Simulate the frames of a camera where they are missing; return its configuration."""
    simulation = (
        ROOT / "config/simulate" / ("demo.yaml" if camera == "simcam" else f"{camera}.yaml")
    )
    with open(simulation, encoding="utf-8") as handle:
        out = data / Path(yaml.safe_load(handle)["out"]).name
    command = [*SNAKEMAKE, *QUIET, "-s", "workflow/simulate.smk", "--configfile", str(simulation)]
    succeeded(measured([*command, "--config", f"out={out}"]), "simulating")
    settings = {
        "instrument": camera,
        "sheet": str(out / "sheet"),
        "paths": {name: str(out / name) for name in ("raw", "refcat")}
        | {"orbits": str(out / "orbits.csv")},
        "pathvars": {"results": str(out / "results")},
    }
    overlay = ROOT / out / "benchmark.yaml"
    overlay.write_text(yaml.safe_dump(settings), encoding="utf-8")
    ingest = [*ALERTPROD, "ingest", str(out / "raw"), "--instrument", camera]
    ingest += ["--into", str(out / "sheet"), "--refcat", str(out / "refcat")]
    succeeded(measured(ingest, PYTHONPATH=str(ROOT / "scripts")), "ingest")
    return overlay


def read_sheet(overlay: Path):
    """Read the sheet of a configuration."""
    from alertprod.commands import settings
    from alertprod.commands.sheet import Sheet

    return Sheet(settings.load([overlay]))


def choose(overlay: Path) -> tuple[str, str]:
    """Return the last science visit and its first detector."""
    sheet = read_sheet(overlay)
    visit = [v for v in sheet.fold() if sheet.visits[v]["purpose"] == "science"][-1]
    return visit, sheet.detectors(visit)[0]


def make_inputs(overlay: Path, images: list[tuple[str, str]]) -> None:
    """Make the master calibrations and templates of some (visit, detector)."""
    from alertprod.commands import settings

    sheet = read_sheet(overlay)
    results = settings.results(sheet.config)
    rows = [sheet.row(*image) for image in images]
    wanted = {path for row in rows for path in sheet.masters(row, results).values()}
    wanted |= {path for row in rows for path in sheet.patches(row, results)}
    command = [*SNAKEMAKE, *QUIET, "--rerun-triggers", "mtime", "--configfile", str(overlay), "--"]
    command += sorted(map(str, wanted))
    succeeded(measured(command), "making masters and templates")


def run_child(overlay: Path, visit: str, detector: str) -> list[dict]:
    """Run the stages in a fresh process, twice: the first fills the cache of compiled code."""
    rows: list[dict] = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            child = ["--child", str(overlay), visit, detector, f"{folder}/bench"]
            command = [sys.executable, __file__, *child]
            result = succeeded(measured(command), "the stages")
        rows = json.loads(result["text"].splitlines()[-1])
    return rows


def stage_by_stage(overlay: str, visit: str, detector: str, into: str) -> list[dict]:
    """Run the stages one after the other in this process and weigh each."""
    from alertprod.commands.debug import Bench, choose_steps, gather

    rows = [weighed("start and imports", (0.0, 0.0))]
    sheet = read_sheet(Path(overlay))
    row = sheet.row(visit, detector)
    folder = Path(into)
    folder.mkdir()
    steps = choose_steps(row["purpose"], None, None)
    bench = Bench(sheet.config, gather(sheet, row, folder / "inputs", False), folder)
    for function in steps:
        before = (time.perf_counter(), used())
        bench.step(function)
        rows.append(weighed(function.__name__, before))
    total = weighed("all", (0.0, 0.0))
    total["wall s"] = None
    return [*rows, total]


def used() -> float:
    """Return the CPU time of this process so far [s]."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def weighed(what: str, before: tuple[float, float]) -> dict:
    """Return a row: what has been used since `before`, and the highest memory so far."""
    wall = time.perf_counter() - before[0] if before[0] else None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"stage": what, "wall s": wall, "CPU s": used() - before[1], "peak MB so far": peak}


def run_job(overlay: Path, visit: str, detector: str) -> dict:
    """Run the rule, and take off what Snakemake itself costs in a dry run.

    The CPU time in a ``benchmark:`` file is that of the last sample, up to 30 s before the end of
    the job; the peak of the memory is sampled, too. Hence the system's own account here.
    """
    from alertprod.commands import settings

    config = settings.load([overlay])
    place = Path(visit[:8]) / visit / detector
    target = str(settings.results(config) / place / "dia_sources.parquet")
    command = [*SNAKEMAKE, *QUIET, "--configfile", str(overlay), "--rerun-triggers", "mtime"]
    command += ["--allowed-rules", "process_detector", "--forcerun", "process_detector"]
    plan = succeeded(measured([*command, "-n", "--", target]), "planning process_detector")
    done = succeeded(measured([*command, "--", target]), "process_detector")
    path = Path(config["pathvars"]["benchmarks"]) / place / "process_detector.tsv"
    with open(ROOT / path, newline="", encoding="utf-8") as handle:
        (row,) = csv.DictReader(handle, delimiter="\t")
    return {
        "rule": "process_detector",
        "wall s": float(row["s"]),
        "CPU s": done["cpu_s"] - plan["cpu_s"],
        "peak MB": done["peak_mb"],
        "peak MB (benchmark)": float(row["max_rss"]),
    }


def rules_so_far(overlay: Path) -> list[dict]:
    """Read all benchmark files of these results."""
    from alertprod.commands import settings
    from alertprod.quality.durations import read_durations

    rows = read_durations(ROOT / settings.load([overlay])["pathvars"]["benchmarks"])
    return [
        {
            "rule": row["rule"],
            "jobs": row["jobs"],
            "median s": row["median_s"],
            "peak MB": row["peak_mb"],
        }
        for row in rows
    ]


if __name__ == "__main__":
    sys.exit(main())
