"""The moving-object database: what was found, from which sources, and what the world was told.

SQLite in STRICT tables with foreign keys, to be browsed with Datasette. It is a view of files: the
nights' products, and the ledger of what was sent to the Minor Planet Center and came back. Every
identifier comes from those files, none from a counter, so that the database made again from them
holds the same rows.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from alertprod.core import products
from alertprod.core.errors import BadInput

FORMAT = 2
WAIT_S = 600.0
"""How long a job waits for another one that writes."""

_KINDS = {"f8": float, "f4": float, "i8": int, "i4": int, "i2": int, "bool": int, "str": str}
#: Columns of the product that belong to the object or to the night's bookkeeping, not to a fit.
_NOT_OF_A_FIT = ("designation", "firstDiaSourceId", "discoveryNight", "status", "linkageId")
#: Columns of `objects` that are those of the latest fit.
LATEST = (
    "orbitClass", "quality", "H", "HErr", "G", "neoScore", "digest2", "nObs", "nNights", "arc", "q",
    "e", "incl",
)  # fmt: skip


def model(product: str, without=()) -> dict[str, type]:
    """Return the columns of a product as columns of a table."""
    entries = products.columns(product).items()
    return {name: _KINDS[entry["type"]] for name, entry in entries if name not in without}


def _nullable(product: str) -> set[str]:
    return {name for name, e in products.columns(product).items() if e.get("nullable")}


def _required(product: str, columns) -> set[str]:
    return set(columns) - _nullable(product)


def schema() -> list[tuple[str, dict, tuple, list, set]]:
    """Tables in the order of their making: name, columns, key, foreign keys, columns not null."""
    orbits = {**model("orbits", _NOT_OF_A_FIT), "night": int}
    found = {"ssObjectId": int, "trkSub": str, "firstDiaSourceId": int, "discoveryNight": int}
    latest = {n: k for n, k in model("orbits").items() if n in LATEST}
    told = {"designation": str, "status": str, "fitNight": int}
    seen = {"nObservations": int, "firstMjdTai": float, "lastMjdTai": float}
    observed = {**model("attributed", ("designation",)), "night": int}
    source = model("tracklets", ("nDet", *_MOTION, *_IN_THE_FILE))
    motion = {"trackletId": int, "nDet": int, **dict.fromkeys(_MOTION, float), "night": int}
    to_object, to_night = ("ssObjectId", "objects", "ssObjectId"), ("night", "nights", "night")
    submission = ("submissionId", "submissions", "submissionId")
    return [
        ("nights", {"night": int, "digest": str, "folder": str}, ("night",), [], {"digest"}),
        ("objects", found | told | latest | seen, ("ssObjectId",), [], set(found)),
        ("orbits", orbits, ("ssObjectId", "fitNight"), [to_object, to_night],
         _required("orbits", orbits)),
        ("observations", observed, ("ssObjectId", "diaSourceId"), [to_object, to_night],
         _required("attributed", observed)),
        ("tracklets", motion, ("trackletId",), [to_night], set(motion)),
        ("tracklet_sources", source, ("trackletId", "diaSourceId"),
         [("trackletId", "tracklets", "trackletId")], _required("tracklets", source)),
        ("submissions", SUBMISSION, ("submissionId",), [], {"night", "state", "path"}),
        # no key to observations: what was sent stays sent when a night is run again without it
        ("submitted", SUBMITTED, ("submissionId", "obsSubID"), [submission], set(SUBMITTED)
         - {"provID", "permID"}),
        ("receipts", RECEIPT, ("submissionId",), [submission], {"receivedUtc", "httpStatus"}),
        ("replies", {"replyId": str, "date": str, "path": str}, ("replyId",), [], {"date"}),
        ("reply_rows", REPLY_ROW, ("replyId", "row"), [("replyId", "replies", "replyId")], set()),
        ("designations", {"ssObjectId": int, "designation": str, "kind": str, "source": str,
         "date": str}, ("ssObjectId", "designation"), [to_object], {"kind", "source", "date"}),
    ]  # fmt: skip


_MOTION = ("rateRa", "rateDec", "gcrRms")
_IN_THE_FILE = ("detector", "raErr", "decErr", "magErr")  # enough of a source to find it by
SUBMISSION = {
    "submissionId": str, "night": int, "state": str, "madeUtc": str, "url": str,
    "nObservations": int, "nObjects": int, "path": str,
}  # fmt: skip
SUBMITTED = {
    "submissionId": str, "obsSubID": int, "trkSub": str, "provID": str, "permID": str, "stn": str,
    "obsTime": str, "ra": float, "dec": float,
}  # fmt: skip
RECEIPT = {
    "submissionId": str, "receivedUtc": str, "httpStatus": int, "mpcId": str, "text": str,
}  # fmt: skip
REPLY_ROW = {
    "replyId": str, "row": int, "trkSub": str, "obsSubID": int, "obsID": str, "provID": str,
    "permID": str, "status": str, "date": str,
}  # fmt: skip
INDEXES = (
    ("objects", ("trkSub",)), ("objects", ("designation",)), ("objects", ("discoveryNight",)),
    ("objects", ("orbitClass",)), ("orbits", ("night",)), ("observations", ("night",)),
    ("observations", ("diaSourceId",)), ("observations", ("visit",)), ("tracklets", ("night",)),
    ("tracklet_sources", ("diaSourceId",)), ("submissions", ("night",)),
    ("submitted", ("obsTime",)), ("submitted", ("obsSubID",)), ("submitted", ("trkSub",)),
    ("reply_rows", ("trkSub",)), ("reply_rows", ("obsSubID",)), ("designations", ("designation",)),
)  # fmt: skip
TABLES = (
    "nights", "objects", "orbits", "observations", "tracklets", "tracklet_sources", "submissions",
    "submitted", "receipts", "replies", "reply_rows", "designations",
)  # fmt: skip


@contextmanager
def open_database(path: str | Path, *, write: bool = True, make: bool = False) -> Iterator:
    """Open the database inside one transaction.

    Parameters
    ----------
    path : path
    write : bool
        False: only to read.
    make : bool
        Make it if it is not there, for those who follow the nights' files. All others leave the
        file's time as it was, by which the workflow knows what the database has seen.

    Yields
    ------
    sqlite_utils.Database
        Committed at the end, rolled back after an exception.

    Raises
    ------
    BadInput
        If the file is missing, is no database, or one of another program or version.
    """
    from sqlite_utils import Database

    path = Path(path)
    if not make and not path.is_file():
        raise BadInput(
            f"there is no moving-object database {path}. Run a night with daymops.enabled."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    before = None if make else path.stat()
    connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
    try:
        _begin(connection, path, write or make, make)
        database = Database(connection)
        if make:
            _make(database)
        yield database
        connection.execute("COMMIT")
    finally:
        connection.close()  # without a commit, all is undone
        if before is not None:
            with suppress(PermissionError):  # somebody else's database, only read
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _begin(connection, path, write, make) -> None:
    """Check what was opened, and start the transaction."""
    try:
        _refuse_another(connection, path, make)
        connection.execute("PRAGMA foreign_keys = ON")
        if write:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    except sqlite3.OperationalError as error:
        raise BadInput(
            f"{path} cannot be opened now ({error}). If another program holds it, end that one; "
            "then try again."
        ) from error
    except sqlite3.DatabaseError as error:
        raise BadInput(
            f"{path} is no database ({error}). Remove it; it is made again from the nights' files."
        ) from error


def _refuse_another(connection, path, make) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    filled = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version != FORMAT and (filled or not make):
        raise BadInput(
            f"{path} has format {version}, this version of alertprod writes {FORMAT}. Remove it; "
            "it is made again from the nights' files."
        )


def _make(database) -> None:
    """Create what is missing (all of it, or nothing)."""
    if database.execute("PRAGMA user_version").fetchone()[0] == FORMAT:
        return
    for name, columns, key, foreign, required in schema():
        pk = key if len(key) > 1 else key[0]
        database[name].create(
            columns, pk=pk, foreign_keys=foreign, not_null=required | set(key), strict=True
        )
    for name, columns in INDEXES:
        database[name].create_index(columns)
    database["designations"].enable_fts(["designation"], create_triggers=True)
    database.create_view("identities", _IDENTITIES)
    database.execute(f"PRAGMA user_version = {FORMAT}")


_IDENTITIES = """
SELECT designation, count(*) AS nObjects, group_concat(ssObjectId) AS ssObjectIds
FROM designations WHERE source = 'MPC' GROUP BY designation HAVING count(*) > 1
"""


def insert(database, name: str, rows, *, ignore: bool = False) -> int:
    """Insert rows (tuples in the order of the table's columns) in bulk; return how many came in."""
    rows = list(rows)
    if not rows:
        return 0
    marks = ", ".join("?" * len(rows[0]))
    verb = "INSERT OR IGNORE" if ignore else "INSERT"
    before = database.conn.total_changes
    database.conn.executemany(f'{verb} INTO "{name}" VALUES ({marks})', rows)
    return database.conn.total_changes - before


def as_rows(table: dict, product: str, names, constants=()) -> Iterator[tuple]:
    """Turn columns of a product into tuples; nulls of the product become NULL.

    Parameters
    ----------
    table : table
    product : str
    names : iterable of str
        Columns, in their order.
    constants : tuple
        Values that stand at the end of every row.
    """
    nullable = _nullable(product)
    lists = []
    for name in names:
        values = np.asarray(table[name]).tolist()
        if name in nullable and _KINDS[products.columns(product)[name]["type"]] is not float:
            values = [value or None for value in values]
        lists.append(values)
    return (row + tuple(constants) for row in zip(*lists, strict=True))


def dump(path: str | Path) -> dict[str, list[tuple]]:
    """Return all tables, sorted: what two databases are compared by."""
    with open_database(path, write=False) as database:
        return {
            name: sorted(database.conn.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr)
            for name in TABLES
        }
