"""What each granularity costs: the same detectors as one job each, and as one job per product.

    python benchmarks/granularity.py [--visits 1] [--data data]

Both start from the same master calibrations and templates of the demo, in results of their own;
in the end their products are compared byte by byte.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

import yaml
from measuring import ROOT, measured, publish, succeeded
from per_stage import QUIET, SNAKEMAKE, make_inputs, prepare, read_sheet

GRANULARITIES = ("detector", "step")
COMPARED = (
    "calexp.fits",
    "stars.parquet",
    "template.fits",
    "difference.fits",
    "dia_sources.parquet",
)


def main() -> int:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visits", type=int, default=1, help="science visits to process")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where simulated data are")
    args = parser.parse_args()
    overlay = prepare("simcam", args.data)
    sheet = read_sheet(overlay)
    visits = [v for v in sheet.fold() if sheet.visits[v]["purpose"] == "science"][-args.visits :]
    images = [(visit, d) for visit in visits for d in sheet.detectors(visit)]
    make_inputs(overlay, images)
    homes = {name: copy_inputs(overlay, name) for name in GRANULARITIES}
    rows = [run(name, config, images) for name, config in homes.items()]
    same, total = compare(*homes.values(), images)
    verdicts = {f"products are the same bytes in both ({same} of {total})": same == total}
    return publish("granularity", {"Granularities": rows}, verdicts)


def copy_inputs(overlay: Path, granularity: str) -> Path:
    """Give a granularity results of its own that begin with masters and templates."""
    with open(overlay, encoding="utf-8") as handle:
        config = yaml.safe_load(handle)
    source = ROOT / config["pathvars"]["results"]
    home = source.with_name(f"results_{granularity}")
    shutil.rmtree(home, ignore_errors=True)
    for name in ("calibs", "templates"):
        shutil.copytree(source / name, home / name)
    config["pathvars"]["results"] = str(home)
    config["granularity"] = granularity
    path = overlay.with_name(f"benchmark_{granularity}.yaml")
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def run(granularity: str, overlay: Path, images: list[tuple[str, str]]) -> dict:
    """Process the images and weigh the run."""
    home = results_of(overlay)
    targets = [str(home / v[:8] / v / d / "dia_sources.parquet") for v, d in images]
    command = [*SNAKEMAKE, "--rerun-triggers", "mtime", "--configfile", str(overlay)]
    command += ["--allowed-rules", *allowed(granularity)]
    plan = succeeded(measured([*command, "-n", "--", *targets]), "planning")
    done = succeeded(measured([*command, *QUIET, "--", *targets]), granularity)
    jobs = int(re.search(r"^total\s+(\d+)", plan["text"], re.M).group(1))
    night = [p for v in {v for v, _ in images} for p in (home / v[:8] / v).rglob("*")]
    return {
        "granularity": granularity,
        "images": len(images),
        "jobs": jobs,
        "wall s/image": done["wall_s"] / len(images),
        "CPU s/image": (done["cpu_s"] - plan["cpu_s"]) / len(images),
        "peak MB": done["peak_mb"],
        "MB on disk/image": sum(p.stat().st_size for p in night if p.is_file()) / 1e6 / len(images),
    }


def allowed(granularity: str) -> list[str]:
    """Return the rules that make these products, so that nothing earlier is made anew."""
    if granularity == "detector":
        return ["process_detector"]
    names = "remove_signature calibrate_image warp_template subtract_template measure_sources"
    return names.split()


def results_of(overlay: Path) -> Path:
    """Return the results directory of a configuration."""
    with open(overlay, encoding="utf-8") as handle:
        return ROOT / yaml.safe_load(handle)["pathvars"]["results"]


def compare(first: Path, second: Path, images: list[tuple[str, str]]) -> tuple[int, int]:
    """Return how many products are the same bytes, and how many there are."""
    names = [f"{v[:8]}/{v}/{d}/{name}" for v, d in images for name in COMPARED]
    one, two = results_of(first), results_of(second)
    same = 0
    for name in names:
        if (one / name).read_bytes() == (two / name).read_bytes():
            same += 1
        else:
            print(f"differs: {name}", file=sys.stderr)
    return same, len(names)


if __name__ == "__main__":
    sys.exit(main())
