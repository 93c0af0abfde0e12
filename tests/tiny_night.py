"""Whole runs of a tiny survey: simulated once, taken to alerts once, then copied and disturbed."""

import csv
import ctypes
import hashlib
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PLAN = ROOT / "tests" / "workflow" / "tiny.yaml"
SIZE = 512  # of a detector [px]
PATCH = 700  # of the sky map [px]
FIRST, SECOND, THIRD = "2026100800031", "2026100800052", "2026100900031"
NIGHTS = ("20261008", "20261009")
DETECTORS = ("000", "001")
#: Products that are the same to the last byte, whatever the order and place of the run.
EXACT = (".parquet", ".avro", ".fits", ".psv", "published.json")
SHARED = "templates"  # directory whose images differ in their provenance: one rule made them or two
LIMIT_S = 900  # of any one command, on a busy machine


def camera() -> dict:
    """Return simcam with its two lower detectors, each cut down to the innermost pixels."""
    text = yaml.safe_load((ROOT / "config/instruments/simcam.yaml").read_text(encoding="utf-8"))
    half = SIZE // 2
    for row in text["amplifier_layout"]:
        width = row["bias"][1] - row["bias"][0]
        start = row["data"][0]
        row["data"] = [start, start + half, 0, half]
        row["bias"] = [start + half + 2, start + half + 2 + width, 0, half]
        row["prescan"] = [0, start, 0, half]
        x, y = (half if row["detsec"][k] else 0 for k in (0, 2))
        row["detsec"] = [x, x + half, y, y + half]
    text["detectors"] = text["detectors"][:2]
    for detector, side in zip(text["detectors"], (-1, 1), strict=True):
        detector |= {"nx": SIZE, "ny": SIZE, "centre": [side * 0.073, 0.0]}
    text["detectors"][1]["orientation"] = 180
    return text | {"patch_px": PATCH}


def furnish(folder: Path) -> None:
    """Give a work directory what a clone has: the default configuration and the camera."""
    (folder / "config" / "instruments").mkdir(parents=True)
    (folder / "config" / "default.yaml").symlink_to(ROOT / "config" / "default.yaml")
    (folder / "profiles").symlink_to(ROOT / "profiles")
    path = folder / "config" / "instruments" / "simcam.yaml"
    path.write_text(yaml.safe_dump(camera(), sort_keys=False), encoding="utf-8")


def environment() -> dict[str, str]:
    """Return the environment of a command of a user of this clone."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "PYTHONWARNINGS": "ignore"}


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run a Python module; standard output and error together."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )


def insist(done: subprocess.CompletedProcess) -> str:
    """Return the words of a command that has to succeed."""
    assert done.returncode == 0, done.stdout
    return done.stdout


def simulate(folder: Path) -> None:
    """Simulate the tiny survey, and write its exposure sheet as a user would."""
    furnish(folder)
    simulator = str(ROOT / "workflow" / "simulate.smk")
    options = ("-s", simulator, "-c2", "--configfile", str(PLAN), "--quiet", "all")
    insist(call("snakemake", *options, cwd=folder))
    instrument = "config/instruments/simcam.yaml"
    options = ("--instrument", instrument, "--into", "sheet", "--refcat", "refcat")
    insist(call("alertprod.cli", "ingest", "raw", *options, cwd=folder))


class Night:
    """A work directory in which the tiny survey is run.

    Parameters
    ----------
    folder : Path
    code : Path
        The clone whose Snakefile runs.
    """

    def __init__(self, folder: Path, code: Path = ROOT) -> None:
        self.folder, self.code = folder, code
        self.results = folder / "results"

    @classmethod
    def from_survey(cls, survey: Path, folder: Path) -> "Night":
        """Make a work directory that sees the raw files, and nothing of the truth."""
        furnish(folder)
        for name in ("raw", "refcat", "orbits.csv"):
            (folder / name).symlink_to(survey / name)
        copy(survey / "sheet", folder / "sheet")
        night = cls(folder)
        night.configure()
        return night

    def configure(self, **changes) -> None:
        """Write the configuration overlay; keyword arguments are sections laid over it."""
        config = {
            "sheet": "sheet",
            "paths": {"raw": "raw", "refcat": "refcat", "orbits": "orbits.csv"},
            "template": {"airmass_edges": []},
            **changes,
        }
        (self.folder / "overlay.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def copy(self, folder: Path) -> "Night":
        """Copy the work directory with all times, so that nothing has to run again."""
        copy(self.folder, folder)
        return Night(folder, self.code)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of Snakemake."""
        return [
            *(sys.executable, "-m", "snakemake", "-s", str(self.code / "Snakefile")),
            *("--configfile", "overlay.yaml", *arguments),
        ]

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run Snakemake."""
        return call(*self.command(*arguments)[2:], cwd=self.folder)

    def run(self, *arguments: str) -> str:
        """Run Snakemake, which has to succeed; return what it says."""
        return insist(self.snakemake("-c2", *arguments))

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start Snakemake in a process group of its own; its words go to ``run.log``."""
        with open(self.folder / "run.log", "ab") as log:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_tests,
            )

    def words(self) -> str:
        """Return what the runs that were started have said."""
        return (self.folder / "run.log").read_text(encoding="utf-8")

    def plan(self, *arguments: str) -> dict[str, int]:
        """Return how many jobs of each rule a run would do."""
        return job_counts(self.run("-n", "--quiet", "rules", *arguments))

    def unlock(self) -> None:
        """Remove the lock of a killed run, as the Makefile does."""
        for path in (self.folder / ".snakemake" / "locks").glob("*"):
            path.unlink()

    def visit(self, visit: str) -> Path:
        """Return the directory of a visit's products."""
        return self.results / visit[:8] / visit

    def products(self, *suffixes: str) -> dict[str, str]:
        """Return the digest of every exact product, by its name relative to the results."""
        found = {}
        for path in sorted(self.results.rglob("*")):
            if path.is_file() and path.name.endswith(suffixes or EXACT):
                name = path.relative_to(self.results).as_posix()
                found[name] = data_digest(path) if name.startswith(SHARED) else digest(path)
        return found

    def database(self) -> dict[str, list]:
        """Return all rows of all tables of the database, sorted."""
        return dump(self.results / "db" / "apdb.sqlite")

    def moving_objects(self) -> dict[str, list]:
        """Return the moving-object database: table -> sorted rows."""
        from alertprod.daymops.database import dump

        return dump(self.results / "db" / "moving_objects.sqlite")

    def sheet(self, name: str) -> list[dict[str, str]]:
        """Return the rows of a file of the sheet."""
        with open(self.folder / "sheet" / f"{name}.csv", newline="", encoding="utf-8") as handle:
            return list(csv.DictReader(handle))

    def write_sheet(self, name: str, rows: list[dict[str, str]]) -> None:
        """Write a file of the sheet."""
        path = self.folder / "sheet" / f"{name}.csv"
        with open(path, "w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def own_raws(self) -> Path:
        """Give the work directory raw files of its own, which may be spoiled."""
        path = self.folder / "raw"
        original = path.resolve()
        path.unlink()
        copy(original, path)
        return path


def copy(source: Path, target: Path) -> None:
    """Copy a directory with links and times."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)


def digest(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def data_digest(path: Path) -> str:
    """Return the digest of the data of a FITS file: pixels and tables, no headers."""
    from astropy.io import fits

    total = hashlib.sha256()
    with fits.open(path) as hdus:
        for hdu in hdus[1:]:
            total.update(hdu.name.encode() + hdu.data.tobytes())
    return total.hexdigest()


def dump(path: Path) -> dict[str, list]:
    """Return all rows of all tables of an SQLite file, sorted."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        names = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        return {
            name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr)
            for name in sorted(names)
        }
    finally:
        connection.close()


def job_counts(text: str) -> dict[str, int]:
    """Read Snakemake's table of job counts."""
    counts = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit() and words[0] != "total":
            counts[words[0]] = int(words[1])
    return counts


def end_with_tests() -> None:
    """Have the kernel end what was started when the tests end, however they do (Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def kill(process: subprocess.Popen, *, group: bool) -> None:
    """Kill Snakemake without warning, alone or with all that it has started."""
    if group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def metadata(path: Path) -> dict:
    """Return what a table says of itself."""
    import pyarrow.parquet as pq

    return json.loads(pq.read_schema(path).metadata[b"alertprod"])


class Watch:
    """The kernel's record of every file that any process opens in a tree (inotify, Linux)."""

    OPEN, DIRECTORY, EVENT = 0x20, 0x40000000, struct.Struct("iIII")

    def __init__(self, folder: Path) -> None:
        self.library = ctypes.CDLL(None, use_errno=True)
        self.handle = self.library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.handle >= 0, os.strerror(ctypes.get_errno())
        self.places = {}
        for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
            number = self.library.inotify_add_watch(self.handle, os.fsencode(path), self.OPEN)
            assert number >= 0, os.strerror(ctypes.get_errno())
            self.places[number] = path

    def opened(self) -> list[str]:
        """Return what has been opened since the last call."""
        found = []
        while True:
            try:
                data = os.read(self.handle, 1 << 16)
            except BlockingIOError:
                return found
            while data:
                number, kind, _, length = self.EVENT.unpack_from(data)
                name = data[self.EVENT.size : self.EVENT.size + length].rstrip(b"\0")
                if not kind & self.DIRECTORY:
                    found.append(str(self.places[number] / os.fsdecode(name)))
                data = data[self.EVENT.size + length :]

    def close(self) -> None:
        """Stop watching."""
        os.close(self.handle)
