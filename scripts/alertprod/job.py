"""Between a rule and the library: the only module that knows the ``snakemake`` object.

A script says which stage functions a rule runs, one (`run`) or several in a row (`chain`); by the
naming law everything else follows: inputs are read by the name of their product, handed to the
function as parameters of the same name, and what it returns is written as the product it names.
`fold` does the same for the steps that read and write the database.

* Rejected (a bad exposure): every output becomes a rejected product with the reason, exit 0.
* BadInput (a user's mistake): one line on standard error and in the log, exit 1.
* Anything else is a bug: the traceback goes to the rule's log, exit 1.
"""

import ctypes
import inspect
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alertprod
from alertprod.core import fits, products, tables, times
from alertprod.core.errors import BadInput, Rejected
from alertprod.core.files import digest, file_digest, remove_orphans, write_bytes

log = logging.getLogger("alertprod")
STARTED = time.time()
PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: Handed on in memory where a rule does not write them.
CHAINED = ("isr",)


def run(snakemake, function: Callable) -> None:
    """Run one stage function on a rule's inputs and write its outputs."""
    chain(snakemake, function)


def chain(snakemake, *functions: Callable) -> None:
    """Run stage functions in a row, handing products on in memory.

    A product that the rule names among its outputs is written; others live and die in memory.
    """
    with job(snakemake):
        pool = Pool(snakemake)
        reason = None
        for number, function in enumerate(functions):
            facts = provenance(snakemake, function)
            pool.forget(functions[number:])
            if reason is None:
                reason = _run_stage(function, pool, snakemake, facts)
            else:
                _reject(function, pool, reason, facts)


def fold(snakemake, function: Callable, **more: Any) -> None:
    """Run a stage function that reads and writes the database, as a state of the fold.

    The function takes ``fold_context`` besides its products (see
    `alertprod.associate.visit.associate_visit`) and returns its first product with the metadata
    that make the product a state. Rejected products among the inputs are its own affair. What is no
    product (an output directory) comes as a further argument.
    """
    with job(snakemake):
        pool = Pool(snakemake)
        parameters = inspect.signature(function).parameters
        given = {name: pool.get(name) or None for name in parameters if name in pool}
        result, metadata = function(
            **given,
            **more,
            fold_context=fold_context(snakemake, function),
            config=snakemake.params.sections[function.section],
        )
        name = function.outputs[0]
        facts = provenance(snakemake, function)
        tables.write_table(pool.outputs[name], result, name, facts, metadata)


def fold_context(snakemake, function: Callable) -> dict[str, Any]:
    """Return what a state of the fold must know: database, parent, inputs, code."""
    params = snakemake.params
    root = results(snakemake)
    parent = next(name for name in ("previous", "association") if name in snakemake.input.keys())
    previous = _paths_of(snakemake, parent)
    inputs = [name for name in snakemake.input.keys() if name != parent]
    context = {
        "database": database_url(params.database, root),
        "root": root,
        "parent_file": relative(previous[0], root) if previous else None,
        "inputs": content_digests(snakemake, inputs),
        "code": params.code[function.section],
        "planned": set(snakemake.config["planned"]),
        "allow_rollback": bool(snakemake.config["associate"]["allow_rollback"]),
    }
    if params.clock == "wall":
        context["now"] = times.now_tai()
    return context


def results(snakemake) -> str:
    """Return the directory of all products; no parameter, or moving it would rerun everything."""
    return str(snakemake.config["pathvars"]["results"])


def database_url(database: str, root: str) -> str:
    """Return the URL of the APDB: the configured one, or SQLite among the results."""
    return database or f"sqlite:///{root}/db/apdb.sqlite"


def mark_database(url: str, marker: str, state) -> None:
    """Make the file that stands for the database newer than the products it follows."""
    if url.startswith("sqlite"):
        os.utime(marker)
    else:
        write_bytes(marker, json.dumps({"token": state.token}).encode())


def accepted(paths) -> tuple[list[str], dict[str, str]]:
    """Split products into those that can be used and the reasons of those that cannot."""
    good, reasons = [], {}
    for path in paths:
        state, reason = status(path)
        if state == "REJECTED":
            reasons[str(path)] = reason
            log.info("%s is left out: %s", path, reason)
        else:
            good.append(str(path))
    return good, reasons


def status(path) -> tuple[str, str]:
    """Return the status of a product (``OK``, ``REJECTED``) and the reason."""
    if str(path).endswith(".parquet"):
        facts = tables.read_metadata(path)
        return facts.get("status", "OK"), facts.get("reason", "")
    return fits.status(path)


@contextmanager
def job(snakemake) -> Iterator[None]:
    """Log to the rule's file; turn the two expected failures into what they mean."""
    die_with_parent()
    keep_memory()
    for path in snakemake.output:
        remove_orphans(path, STARTED)
    if snakemake.log:
        Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
        logging.basicConfig(
            filename=snakemake.log[0],
            filemode="w",
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    try:
        _check_library(snakemake.scriptdir)
        yield
    except BadInput as error:
        log.error("%s", error)
        print(f"{snakemake.rule}: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        log.exception("%s failed", snakemake.rule)
        print(f"{snakemake.rule} failed; see {snakemake.log}", file=sys.stderr)
        sys.exit(1)


def keep_memory() -> None:
    """Have the allocator reuse large blocks instead of giving them back (glibc).

    First touch of a fresh page costs more than most arithmetic done on it.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def die_with_parent() -> None:
    """Have the kernel end this job when Snakemake is killed (Linux)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the call
            sys.exit(1)


def _check_library(scripts: str) -> None:
    """Refuse to run with the library of another clone."""
    if Path(scripts).resolve() != Path(alertprod.__file__).resolve().parents[1]:
        raise BadInput(
            f"the library that was imported is {alertprod.__file__}, not the one of this clone in "
            f"{scripts}. Uninstall the other one, or install this clone with `pip install -e .`."
        )


class Pool:
    """The products a chain can draw on: the rule's input files and what was made on the way."""

    def __init__(self, snakemake) -> None:
        self.files = {name: getattr(snakemake.input, name) for name in snakemake.input.keys()}
        self.files.update(snakemake.params.get("given", {}))
        self.outputs = dict(snakemake.output.items())
        self.made: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """Return a product by name: from memory, or read from its file."""
        if name not in self.made:
            self.made[name] = load(name, self.files[name])
        return self.made[name]

    def forget(self, functions) -> None:
        """Let go of the products that none of the functions takes."""
        wanted = {name for one in functions for name in inspect.signature(one).parameters}
        self.made = {name: value for name, value in self.made.items() if name in wanted}

    def __contains__(self, name: str) -> bool:
        return name in self.made or name in self.files


def load(name: str, value: Any) -> Any:
    """Read an input by what its name stands for; a name without a reader is handed on as it is."""
    if name == "camera":
        from alertprod.instruments.camera import read_camera

        return read_camera(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [str(path) for path in value]
    if not isinstance(value, str):
        return value
    if products.kind(name) == "image":
        return fits.read_exposure(value)
    if products.kind(name) == "table":
        return tables.read_table(value)
    return value


def store(name: str, path: str, value: Any, facts: dict[str, Any]) -> None:
    """Write a product."""
    kind = products.kind(name)
    if kind == "image":
        fits.write_exposure(path, value, facts)
    elif kind == "table":
        tables.write_table(path, value, name, facts)
    else:
        write_bytes(path, value.encode())


def _run_stage(function, pool: Pool, snakemake, facts: dict[str, Any]) -> str | None:
    """Run one function; return the reason where it (or an input) is rejected."""
    parameters = inspect.signature(function).parameters
    try:
        arguments = {
            name: pool.get(name) for name in parameters if name != "config" and name in pool
        }
        result = function(**arguments, config=snakemake.params.sections[function.section])
    except Rejected as rejection:
        log.warning("%s: rejected: %s", function.__name__, rejection)
        _reject(function, pool, str(rejection), facts)
        return str(rejection)
    values = result if len(function.outputs) > 1 else (result,)
    for name, value in zip(function.outputs, values, strict=True):
        pool.made[name] = value
        if name in pool.outputs:
            store(name, pool.outputs[name], value, facts)
    return None


def _reject(function, pool: Pool, reason: str, facts: dict[str, Any]) -> None:
    for name in function.outputs:
        path = pool.outputs.get(name)
        if path is None:
            continue
        if products.kind(name) == "image":
            fits.write_rejected_image(path, reason, facts)
        else:
            tables.write_rejected_table(path, reason, name, facts)


def provenance(snakemake, function) -> dict[str, Any]:
    """Say what a product was made from, the same for both granularities.

    It is made per stage, from the stage's own inputs, configuration and code, never from the
    rule as a whole; names are relative to ``<results>`` or to the work directory.
    """
    parameters = inspect.signature(function).parameters
    root = results(snakemake)
    inputs = [relative(path, root) for name in parameters for path in _paths_of(snakemake, name)]
    section = snakemake.params.sections[function.section]
    return {
        "version": alertprod.__version__,
        "rule": function.__name__,
        "code": snakemake.params.code[function.section],
        "config": digest(json.dumps(section, sort_keys=True)),
        "inputs": sorted(inputs),
    }


def _paths_of(snakemake, name: str) -> list[str]:
    """Return the files that stand for a product: those of the rule, or where it would lie."""
    for source in (snakemake.input, snakemake.output):
        if name in source.keys():
            value = getattr(source, name)
            return [value] if isinstance(value, str) else [str(path) for path in value]
    if products.kind(name) == "image" and name in CHAINED:
        return [str(Path(str(snakemake.output[0])).parent / f"{name}.fits")]
    return []


def relative(path: str, root: str) -> str:
    """Name a file relative to the results directory, or by its own name outside it."""
    try:
        return Path(path).resolve().relative_to(Path(root).resolve()).as_posix()
    except ValueError:
        return Path(path).name


def content_digests(snakemake, names: list[str]) -> dict[str, str]:
    """Return the digests of the content of the named inputs, by relative name."""
    root = results(snakemake)
    return {
        relative(path, root): _content_digest(path)
        for name in names
        for path in _paths_of(snakemake, name)
    }


def _content_digest(path: str) -> str:
    return fits.content_digest(path) if path.endswith(".fits") else file_digest(path)
