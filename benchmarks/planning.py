"""What Snakemake itself costs: planning a large night, having nothing to do, importing scripts.

    python benchmarks/planning.py [--visits 100] [--detectors 189]

The night is a sheet without pixels: raw files are empty, nothing runs.
"""

from __future__ import annotations

import argparse
import ast
import csv
import re
import sys
import tempfile
from pathlib import Path

import measuring
import yaml
from measuring import ROOT, publish, succeeded

SNAKEMAKE = [sys.executable, "-m", "snakemake"]
TEMPLATE_NIGHT, NIGHT = "20260910", "20261009"
NOTHING_TO_DO_S, PLAN_S, PLAN_MB, IMPORT_S, ASSOCIATE_S = 1.5, 240.0, 2500.0, 1.5, 5.0


def main() -> int:
    """Measure all three and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visits", type=int, default=100)
    parser.add_argument("--detectors", type=int, default=189)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        night = plan_night(Path(folder), args.visits, args.detectors)
    with tempfile.TemporaryDirectory() as folder:
        idle = nothing_to_do(Path(folder), 18, 4)
    imports = import_times()
    slowest = max(row["CPU s"] for row in imports if row["script"] != "associate_visit.py")
    associate = max(row["CPU s"] for row in imports if row["script"] == "associate_visit.py")
    verdicts = {
        f"planning takes at most {PLAN_S:.0f} s": night["wall s"] <= PLAN_S,
        f"planning takes at most {PLAN_MB:.0f} MB": night["peak MB"] <= PLAN_MB,
        f"nothing to do costs at most {NOTHING_TO_DO_S} CPU s more than --version": idle[-1][
            "CPU s"
        ]
        <= NOTHING_TO_DO_S,
        f"imports of a script take at most {IMPORT_S} CPU s": slowest <= IMPORT_S,
        f"imports of association take at most {ASSOCIATE_S} CPU s": associate <= ASSOCIATE_S,
    }
    tables = {"Planning a night": [night], "Nothing to do": idle, "Imports of scripts": imports}
    return publish("planning", tables, verdicts)


def plan_night(folder: Path, visits: int, detectors: int) -> dict:
    """Plan a night of which nothing is done."""
    make_survey(folder, visits, detectors)
    result = succeeded(snakemake(folder, "-n", "--quiet", "rules"), "planning")
    jobs = int(re.search(r"^total\s+(\d+)", result["text"], re.M).group(1))
    return {
        "visits": visits,
        "detectors": detectors,
        "jobs": jobs,
        "wall s": result["wall_s"],
        "CPU s": result["cpu_s"],
        "peak MB": result["peak_mb"],
        "CPU ms/job": 1e3 * result["cpu_s"] / jobs,
        "kB/job": 1024 * result["peak_mb"] / jobs,
    }


def nothing_to_do(folder: Path, visits: int, detectors: int) -> list[dict]:
    """Compare a dry run of a finished night with ``snakemake --version``."""
    make_survey(folder, visits, detectors)
    plan = succeeded(snakemake(folder, "-n"), "planning")
    for line in re.findall(r"^    output: (.*)$", plan["text"], re.M):
        for name in line.split(", "):
            path = folder / name.removesuffix(" (update)")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if path.suffix else path.mkdir(exist_ok=True)
    succeeded(snakemake(folder, "--touch", "--quiet", "all"), "touching")
    done = succeeded(snakemake(folder, "-n"), "planning")
    if "Nothing to be done" not in done["text"]:
        sys.exit(f"the touched night is not done:\n{done['text'][-3000:]}")
    version = succeeded(measuring.measured([*SNAKEMAKE, "--version"]), "snakemake --version")
    rows = [
        {"what": what, "wall s": result["wall_s"], "CPU s": result["cpu_s"]}
        for what, result in (("-n, nothing to do", done), ("--version", version))
    ]
    difference = {k: rows[0][k] - rows[1][k] for k in ("wall s", "CPU s")}
    return [*rows, {"what": "difference", **difference}]


def snakemake(folder: Path, *arguments: str) -> dict:
    """Run Snakemake on a survey."""
    command = [*SNAKEMAKE, "-s", str(ROOT / "Snakefile"), "-c1", "--configfile", "overlay.yaml"]
    return measuring.measured([*command, *arguments], folder)


def import_times() -> list[dict]:
    """Import what each script imports, in a fresh interpreter."""
    bare = measuring.python("pass")["cpu_s"]
    rows = []
    for path in sorted((ROOT / "scripts").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lines = [ast.unparse(n) for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        result = succeeded(measuring.python("\n".join(lines)), path.name)
        cost = {"CPU s": result["cpu_s"] - bare, "peak MB": result["peak_mb"]}
        rows.append({"script": path.name, **cost})
    return sorted(rows, key=lambda row: -row["CPU s"])


def make_survey(folder: Path, visits: int, detectors: int) -> None:
    """Write a sheet of one night and the template visits before it, and empty raw files."""
    for name in ("config", "profiles"):
        (folder / name).symlink_to(ROOT / name)
    with open(ROOT / "config" / "default.yaml", encoding="utf-8") as handle:
        run = yaml.safe_load(handle)["template"]["run"]
    chips = [f"{number:03d}" for number in range(detectors)]
    members = [f"{TEMPLATE_NIGHT}{seq:05d}" for seq in (1, 2, 3)]
    science = [f"{NIGHT}{seq:05d}" for seq in range(1, visits + 1)]
    sheet = {
        "exposures": [row for v in members for row in exposure(v, "template", chips)]
        + [row for v in science for row in exposure(v, "science", chips)],
        "calibs": [calibration(kind, d) for kind in ("bias", "dark", "flat") for d in chips],
        "templates": [
            {
                "template_run": run,
                "tract": "100",
                "patch": str(int(d)),
                "band": "r",
                "airmass_bin": "0",
                "visit": visit,
                "detectors": d,
            }
            for d in chips
            for visit in members
        ],
    }
    (folder / "sheet").mkdir()
    for name, rows in sheet.items():
        with open(folder / "sheet" / f"{name}.csv", "w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    raws = {p for row in sheet["exposures"] for p in row["snaps"].split(";")}
    raws |= {p for row in sheet["calibs"] for p in row["raws"].split(";")}
    shards = {p for row in sheet["exposures"] for p in row["shards"].split(";")}
    for name in [*(f"raw/{p}" for p in raws), *(f"refcat/{p}" for p in shards), "orbits.csv"]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    paths = {"raw": "raw", "refcat": "refcat", "orbits": "orbits.csv"}
    (folder / "overlay.yaml").write_text(yaml.safe_dump({"sheet": "sheet", "paths": paths}))


def exposure(visit: str, purpose: str, chips: list[str]) -> list[dict]:
    """Return the rows of a visit."""
    midpoint = 61300.0 + int(visit[6:8]) + int(visit[8:]) / 2000
    return [
        {
            "visit": visit,
            "detector": chip,
            "night": visit[:8],
            "purpose": purpose,
            "instrument": "simcam",
            "band": "r",
            "physical_filter": "r_03",
            "midpoint_mjd_tai": f"{midpoint:.6f}",
            "exposure_s": "30.0",
            "ra": "53.0",
            "dec": "-28.0",
            "rotation": "0.0",
            "airmass": "1.1",
            "snaps": f"{visit[:8]}/{visit}_0_{chip}.fits;{visit[:8]}/{visit}_1_{chip}.fits",
            "patches": f"100/{int(chip)};100/{(int(chip) + 1) % len(chips)}",
            "shards": f"Norder=5/Dir=0/Npix={int(chip) // 10}.parquet",
            "template_run": "",
        }
        for chip in chips
    ]


def calibration(kind: str, chip: str) -> dict:
    """Return a row of calibs.csv."""
    return {
        "calib_run": "c1",
        "valid_from": "20260901",
        "valid_until": "20271231",
        "type": kind,
        "band": "r" if kind == "flat" else "",
        "detector": chip,
        "raws": ";".join(f"calib/{kind}_{n}_{chip}.fits" for n in range(3)),
    }


if __name__ == "__main__":
    sys.exit(main())
