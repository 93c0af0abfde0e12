"""What it costs to keep found objects and to report them, with as many as a Rubin night may bring.

    python benchmarks/moving_objects.py [--objects 8000]

Three nights of new objects, six observations each, are stored one after the other, then reported
and compared with the ledger. CPU seconds of one process.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import ROOT, publish

sys.path.insert(0, str(ROOT / "scripts"))

from alertprod.core import designations, tables
from alertprod.daymops import ledger, report_discoveries, store_moving_objects
from alertprod.daymops.submit import submit_night

NIGHTS = 3
STORE_S, REPORT_S, SUBMIT_S = 10.0, 5.0, 5.0
SETTINGS = {"url": "", "contact": "", "batch_rows": 20_000, "neo_score": 65.0, "timeout_s": 5.0}


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=8000, help="new ones in each night")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(Path(folder), index, args.objects) for index in range(NIGHTS)]
    per_row = min(1.0, 48_000.0 / (6 * args.objects))
    verdicts = {
        f"a night of 48,000 observations is stored in {STORE_S} s": per_row
        * max(row["store"] for row in rows)
        <= STORE_S,
        f"and reported in {REPORT_S} s": per_row * max(row["report"] for row in rows) <= REPORT_S,
        f"and compared with the ledger in {SUBMIT_S} s": per_row
        * max(row["compare"] for row in rows)
        <= SUBMIT_S,
    }
    return publish("moving_objects", {"Found objects, CPU s": rows}, verdicts)


def measure(root: Path, index: int, count: int) -> dict:
    """Make a night, store it, report it, and write the report into the ledger."""
    world = load_world().World(root)
    night = make_night(world, index, count)
    folder = root / str(night)
    book = {**SETTINGS, "ledger": str(world.ledger)}

    def store():
        store_moving_objects([night], world.database, root=root, ledger=world.ledger)

    def report():
        found = [tables.read_table(folder / f"{name}.parquet") for name in ("orbits", "attributed")]
        (folder / "discoveries.psv").write_text(report_discoveries(*found, config={}))

    def compare():
        return submit_night(world.database, night, root=root, settings=book, really=False)

    row = {"night": night, "observations": 6 * count}
    row |= {step.__name__: seconds(step) for step in (store, report, compare)}
    for batch in compare().batches:
        facts = {"night": night, "url": "", "madeUtc": "", "label": ""}
        ledger.write_submission(world.ledger, facts, batch.text)
    assert compare().n_observations == 0, "what stands in the ledger must not go again"
    return {**row, "database MB": world.database.stat().st_size / 1e6}


def seconds(step) -> float:
    """Return the CPU time of a call."""
    start = time.process_time()
    step()
    return time.process_time() - start


def make_night(world, index: int, count: int) -> int:
    """Copy the one object of a small night many times, strewn over the field."""
    made = load_world()
    night, rng = made.night_of(index), np.random.default_rng(index)
    world.write(index, new=(1,))
    folder = world.root / str(night)
    names = np.array([f"B{index}u{designations.base62(k, 5)}" for k in range(count)], dtype=object)
    numbers = np.array([designations.ss_object_id(name) for name in names])
    sources = 10**12 + index * 10**9 + np.arange(6 * count)
    orbits = many(folder / "orbits.parquet", count)
    orbits |= {"designation": names, "ssObjectId": numbers, "firstDiaSourceId": sources[::6]}
    before = world.root / str(made.night_of(index - 1)) / "orbits.parquet"
    if before.is_file():
        orbits = tables.stack([tables.read_table(before), orbits])
    seen = many(folder / "attributed.parquet", count)
    seen |= {
        "designation": np.repeat(names, 6), "ssObjectId": np.repeat(numbers, 6),
        "diaSourceId": sources, "ra": rng.uniform(100.0, 110.0, 6 * count),
        "dec": rng.uniform(-5.0, 5.0, 6 * count),
    }  # fmt: skip
    pairs = many(folder / "tracklets.parquet", 2 * count)
    pairs |= {
        "trackletId": night * 10**7 + np.repeat(np.arange(2 * count), 2),
        "diaSourceId": sources[: 4 * count],
    }
    for name, table in (("orbits", orbits), ("attributed", seen), ("tracklets", pairs)):
        tables.write_table(folder / f"{name}.parquet", table, name)
    return night


def many(path: Path, count: int) -> dict:
    """Return the rows of a table many times over."""
    return {name: np.tile(column, count) for name, column in tables.read_table(path).items()}


def load_world():
    """Return the module of the tests that makes nights of found objects."""
    path = ROOT / "tests" / "moving_world.py"
    spec = importlib.util.spec_from_file_location("moving_world", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
