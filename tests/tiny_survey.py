"""A directory in which Snakemake can plan a tiny survey: two nights, two detectors, no pixels."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
DETECTORS = ("000", "001")
TEMPLATE_NIGHT, NIGHTS = "20260910", ("20261009", "20261010")


def visits():
    """Return visit -> (night, purpose, midpoint)."""
    found = {}
    for number, night in enumerate((TEMPLATE_NIGHT, *NIGHTS)):
        for seq in (1, 2, 3):
            purpose = "template" if night == TEMPLATE_NIGHT else "science"
            found[f"{night}{seq:05d}"] = (night, purpose, 61300.0 + number + seq / 48)
    return found


def exposures():
    """Return the rows of exposures.csv."""
    return [
        {
            "visit": visit,
            "detector": detector,
            "night": night,
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
            "snaps": ";".join(f"{night}/{visit}_{snap}_{detector}.fits" for snap in (0, 1)),
            "patches": "100/5",
            "shards": "Norder=5/Dir=0/Npix=1.parquet",
            "template_run": "",
        }
        for visit, (night, purpose, midpoint) in visits().items()
        for detector in DETECTORS
    ]


def calibs():
    """Return the rows of calibs.csv."""
    return [
        {
            "calib_run": "c1",
            "valid_from": "20260901",
            "valid_until": "20271231",
            "type": kind,
            "band": "r" if kind == "flat" else "",
            "detector": detector,
            "raws": ";".join(f"calib/{kind}_{n}_{detector}.fits" for n in range(3)),
        }
        for kind in ("bias", "dark", "flat")
        for detector in DETECTORS
    ]


def templates(run):
    """Return the rows of templates.csv."""
    return [
        {
            "template_run": run,
            "tract": "100",
            "patch": "5",
            "band": "r",
            "airmass_bin": "0",
            "visit": visit,
            "detectors": ";".join(DETECTORS),
        }
        for visit, (_, purpose, _) in visits().items()
        if purpose == "template"
    ]


class Survey:
    """The tiny survey in a directory of its own, with links to the clone's config and profiles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with open(ROOT / "config" / "default.yaml", encoding="utf-8") as handle:
            self.default = yaml.safe_load(handle)
        for name in ("config", "profiles"):
            (folder / name).symlink_to(ROOT / name)
        self.config = {
            "sheet": "sheet",
            "paths": {"raw": "raw", "refcat": "refcat", "orbits": "orbits.csv"},
        }
        self.rows = {
            "exposures": exposures(),
            "calibs": calibs(),
            "templates": templates(self.default["template"]["run"]),
        }
        (folder / "orbits.csv").touch()
        self.touch_inputs()
        self.write()

    def touch_inputs(self) -> None:
        """Make empty files where the sheet wants raw files and shards."""
        names = [f"raw/{p}" for row in self.rows["exposures"] for p in row["snaps"].split(";")]
        names += [f"raw/{p}" for row in self.rows["calibs"] for p in row["raws"].split(";")]
        names += [f"refcat/{row['shards']}" for row in self.rows["exposures"]]
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).touch()

    def write(self) -> None:
        """Write sheet and configuration."""
        (self.folder / "sheet").mkdir(exist_ok=True)
        for name, rows in self.rows.items():
            path = self.folder / "sheet" / f"{name}.csv"
            with open(path, "w", newline="", encoding="utf-8") as handle:
                writer = csv.DictWriter(handle, rows[0])
                writer.writeheader()
                writer.writerows(rows)
        (self.folder / "overlay.yaml").write_text(yaml.safe_dump(self.config))

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run Snakemake on the survey; standard output and error together."""
        command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-c1"]
        return subprocess.run(
            [*command, "--configfile", "overlay.yaml", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def plan(self, *arguments: str) -> dict[str, int]:
        """Return how many jobs of each rule a run would do."""
        done = self.snakemake("-n", "--quiet", "rules", *arguments)
        assert done.returncode == 0, done.stdout
        return job_counts(done.stdout)


def job_counts(text: str) -> dict[str, int]:
    """Read Snakemake's table of job counts."""
    counts = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit() and words[0] != "total":
            counts[words[0]] = int(words[1])
    return counts
