"""``alertprod debug``: one detector-visit, step by step, in a directory of its own."""

from __future__ import annotations

import inspect
import json
import logging
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alertprod.commands import settings
from alertprod.commands.sheet import Sheet
from alertprod.core.errors import BadInput, Rejected

log = logging.getLogger("alertprod.debug")


def add_parser(sub) -> None:
    """Declare the command."""
    parser = sub.add_parser(
        "debug",
        help="run the stages of one detector-visit step by step in another directory",
        description="Reads raw files, master calibrations and templates where the workflow has "
        "them, and writes every product, isr.fits included, into DIR. Results stay as they are.",
    )
    parser.add_argument("visit", help="visit as YYYYMMDDNNNNN")
    parser.add_argument("detector", help="number of the detector")
    parser.add_argument("--into", required=True, type=Path, metavar="DIR", help="new directory")
    parser.add_argument("--start", metavar="STEP", help="step to begin with (default: the first)")
    parser.add_argument("--until", metavar="STEP", help="last step (default: measure_sources)")
    parser.add_argument("--copy", action="store_true", help="copy inputs instead of linking them")
    parser.add_argument("--compare", action="store_true", help="compare with the results")
    parser.add_argument("--pdb", action="store_true", help="open the debugger where a step fails")
    settings.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args) -> int:
    """Run the steps; exit code 1 where one is rejected."""
    config = settings.from_arguments(args)
    sheet = Sheet(config)
    row = sheet.row(args.visit, args.detector)
    into = prepare_directory(args.into, settings.results(config))
    inputs = gather(sheet, row, into / "inputs", args.copy)
    steps = choose_steps(row["purpose"], args.start, args.until)
    bench = Bench(config, inputs, into)
    home = settings.results(config) / row["night"] / row["visit"] / row["detector"]
    if args.start:
        bench.borrow(home, steps)
    handler = logging.FileHandler(into / "debug.log", mode="w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    package = logging.getLogger("alertprod")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = args.verbose
    try:
        return _run_steps(bench, steps, home if args.compare else None, args.pdb)
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        package.propagate = True
        handler.close()
        print(f"Products and debug.log are in {into}")


def _run_steps(bench: Bench, steps, home: Path | None, debugger: bool) -> int:
    for function in steps:
        try:
            bench.step(function)
        except Rejected as rejection:
            print(f"  {function.__name__}: rejected: {rejection}")
            return 1
        except Exception:
            log.exception("%s failed", function.__name__)
            if debugger:
                import pdb

                pdb.post_mortem()
            raise
        if home is not None:
            for name in function.outputs:
                print(f"    {name}: {bench.compare(name, home)}")
    return 0


def prepare_directory(into: Path, results: Path) -> Path:
    """Make the directory.

    Raises
    ------
    BadInput
        If it lies among the results, or holds something already.
    """
    if into.resolve().is_relative_to(results.resolve()):
        raise BadInput(
            f"{into} lies inside the results {results}, which a debugging run must not touch. "
            "Name another directory after --into."
        )
    if into.exists() and any(into.iterdir()):
        raise BadInput(f"{into} is not empty. Remove it or name a new directory after --into.")
    into.mkdir(parents=True, exist_ok=True)
    return into


def choose_steps(purpose: str, start: str | None, until: str | None) -> list[Callable]:
    """Return the stage functions to run.

    Raises
    ------
    BadInput
        If a name is none of the steps.
    """
    from alertprod.process import CALIBRATE, PROCESS

    steps = list(CALIBRATE if purpose == "template" else PROCESS)
    names = [function.__name__ for function in steps]
    for name in (start, until):
        if name and name not in names:
            raise BadInput(f"{name} is no step of this visit. The steps are {', '.join(names)}.")
    first = names.index(start) if start else 0
    last = names.index(until) if until else len(names) - 1
    return steps[first : last + 1]


def gather(sheet: Sheet, row: dict[str, str], folder: Path, copy: bool) -> dict[str, Any]:
    """Link or copy what a detector-visit is made from into `folder`.

    Returns
    -------
    dict
        Name of a stage function's parameter -> file, list of files, or row of the sheet.

    Raises
    ------
    BadInput
        If a master or template is still to be made.
    """
    results = settings.results(sheet.config)
    found: dict[str, Any] = {
        "camera": settings.camera_path(sheet.config),
        "raws": sheet.raws(row),
        "refcat": sheet.shards(row),
        "patches": [] if row["purpose"] == "template" else sheet.patches(row, results),
        **sheet.masters(row, results),
    }
    paths = [p for value in found.values() for p in (value if isinstance(value, list) else [value])]
    todo = [str(path) for path in paths if path.is_relative_to(results) and not path.is_file()]
    if todo:
        raise BadInput(
            f"{len(todo)} inputs from {todo[0]} on are still to be made. Make them with: "
            f"snakemake -c1 {' '.join(todo)}"
        )
    return {
        name: [_place(p, folder, copy) for p in value]
        if isinstance(value, list)
        else _place(value, folder, copy)
        for name, value in found.items()
    } | {"exposure": dict(row)}


def _place(path: Path, folder: Path, copy: bool) -> str:
    """Put a file into the folder; one that is missing stays missing, for the stage to say so."""
    if not path.is_file():
        return str(path)
    target = folder.joinpath(*[part for part in path.parts if part not in ("/", "..")])
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy:
        shutil.copy2(path, target)
    else:
        target.symlink_to(path.resolve())
    return str(target)


class Bench:
    """Runs stage functions on products in memory and writes what they return.

    Parameters
    ----------
    config : dict
        The whole configuration.
    inputs : dict
        See `gather`.
    into : path
        Where products go.
    """

    def __init__(self, config: dict, inputs: dict[str, Any], into: Path) -> None:
        self.config, self.inputs, self.into = config, dict(inputs), into
        self.products: dict[str, Any] = {}

    def borrow(self, home: Path, steps: list[Callable]) -> None:
        """Take the products that the first steps would have made from the results."""
        made = {name for function in steps for name in function.outputs}
        for function in steps:
            for name in inspect.signature(function).parameters:
                path = product_path(home, name)
                if name in made or name in self.inputs or path is None or not path.is_file():
                    continue
                target = product_path(self.into, name)
                shutil.copy2(path, target)
                self.inputs[name] = str(target)

    def get(self, name: str) -> Any:
        """Return a product or an input by name."""
        from alertprod.job import load

        if name not in self.products:
            self.products[name] = load(name, self.inputs[name])
        return self.products[name]

    def step(self, function: Callable) -> None:
        """Run one stage function, write its products, say what it cost."""
        from alertprod.job import store

        names = [n for n in inspect.signature(function).parameters if n != "config"]
        given = {n: self.get(n) for n in names if n in self.inputs or n in self.products}
        start, cpu = time.perf_counter(), time.process_time()
        result = function(**given, config=self.config[function.section])
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        values = result if len(function.outputs) > 1 else (result,)
        for name, value in zip(function.outputs, values, strict=True):
            self.products[name] = value
            store(name, str(product_path(self.into, name)), value, self._facts(function))
        line = f"{function.__name__:<18}{wall:8.2f} s {cpu:8.2f} CPU s {peak:8.0f} MB peak"
        log.info(line)
        print(f"  {line}  -> {', '.join(function.outputs)}")

    def compare(self, name: str, home: Path) -> str:
        """Say whether the results hold the same product."""
        from alertprod.job import load, status

        path = product_path(home, name)
        if not path.is_file():
            return "not among the results"
        if status(path)[0] == "REJECTED":
            return f"rejected among the results: {status(path)[1]}"
        there, here = load(name, str(path)), load(name, str(product_path(self.into, name)))
        found = (
            table_differences(here, there) if isinstance(here, dict) else differences(here, there)
        )
        return f"differs from the results in {', '.join(found)}" if found else "as in the results"

    def _facts(self, function: Callable) -> dict[str, Any]:
        import alertprod
        from alertprod.core.files import digest

        section = json.dumps(self.config[function.section], sort_keys=True)
        return {
            "version": alertprod.__version__,
            "rule": function.__name__,
            "code": "debug",
            "config": digest(section),
        }


def differences(here, there) -> list[str]:
    """Say in which of its parts an exposure differs from another one."""
    import numpy as np

    found = []
    for name in ("image", "mask", "variance"):
        a, b = getattr(here, name), getattr(there, name)
        if a.shape != b.shape:
            found.append(f"the shape of {name}")
        elif not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            unlike = (a != b) & ~(np.isnan(a) & np.isnan(b))
            most = np.nanmax(np.abs(a.astype(float) - b))
            found.append(f"{int(unlike.sum())} px of {name} (by up to {most:.3g})")
    keys = sorted({*here.meta, *there.meta})
    found += [f"{key}" for key in keys if here.meta.get(key) != there.meta.get(key)]
    if not found and here != there:
        found.append("WCS, PSF, background or kernel")
    return found


def table_differences(here: dict, there: dict) -> list[str]:
    """Say in which columns a table differs from another one."""
    import numpy as np

    lengths = [len(next(iter(table.values()), ())) for table in (here, there)]
    if lengths[0] != lengths[1]:
        return [f"its {lengths[0]} rows instead of {lengths[1]}"]
    return [
        name
        for name in sorted({*here, *there})
        if name not in here
        or name not in there
        or not np.array_equal(here[name], there[name], equal_nan=here[name].dtype.kind == "f")
    ]


def product_path(folder: Path, name: str) -> Path | None:
    """Return the file of a product of a detector-visit; None if it is no product."""
    from alertprod.core.products import kind

    suffix = {"image": "fits", "table": "parquet"}.get(kind(name))
    return folder / f"{name}.{suffix}" if suffix else None
