"""From the products of the fold back to rows: a deleted database comes back from its files."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from alertprod.core.apdb import fold
from alertprod.core.apdb.connection import Database
from alertprod.core.apdb.rows import store
from alertprod.core.errors import BadInput
from alertprod.core.tables import Table, n_rows, read_metadata, read_table, take

OBJECT_PREFIX = "diaObject_"


def catch_up(
    database: Database,
    path: Path,
    token: str,
    settings: fold.Settings,
    replaced: Iterable[int] = (),
) -> int:
    """Bring the database to the state of a product; return the number of that state.

    Walks back along the recorded parents until a state is met that the database holds, takes back
    what follows that state, and replays the products forward.

    Raises
    ------
    BadInput
        If a product is missing, or two products do not fit together.
    """
    chain: list[tuple[Path, fold.State]] = []
    meeting = fold.number_of(database, token)
    while meeting is None:
        state = _state(path, token)
        chain.append((path, state))
        token, path = state.parent, settings.root / state.parent_file
        meeting = fold.number_of(database, token)
    renewed = {state.visit for _, state in chain} | set(replaced)
    fold.undo_after(database, meeting, settings, renewed)
    for product, state in reversed(chain):
        fold.check_times(database, state)
        apply(database, product, state)
        meeting += 1
        fold.record(database, meeting, state)
    return meeting


def _state(path: Path, token: str) -> fold.State:
    if not path.exists():
        raise BadInput(
            f"the database needs {path}, which is missing. Run that night first, or name the first "
            "visit in associate.start to begin with an empty database."
        )
    state = fold.state_of(path)
    if state.token != token:
        raise BadInput(
            f"{path} has been made anew since visits after {state.visit} were associated. Run the "
            "workflow from there: ask for the last night."
        )
    return state


def apply(database: Database, path: Path, state: fold.State) -> None:
    """Write the rows of one product of the fold into the open transaction."""
    table = read_table(path)
    if state.step == fold.ASSOCIATE:
        store_association(database, table, state.time)
    elif state.step == fold.PACKAGE:
        store_forced(database, table)
    elif state.step == fold.REASSIGN:
        store_reassigned(database, state, table)
    else:
        raise BadInput(f"{path} is of the unknown step {state.step!r}. Update alertprod.")
    store_ledger(database, state, read_metadata(path).get("ledger", []))


def store_association(database: Database, association: Table, time: float) -> None:
    """Write DIASources and new DIAObject versions; the versions before them end at `time`."""
    store(database, "DiaSource", association)
    objects = object_versions(association)
    if n_rows(objects) == 0:
        return
    where, listed = database.among("diaObjectId", objects["diaObjectId"])
    database.execute(
        f'UPDATE "DiaObject" SET "validityEndMjdTai" = ? '
        f'WHERE {where} AND "validityEndMjdTai" IS NULL',
        (time, *listed),
    )
    objects.pop("validityEndMjdTai", None)
    objects["validityStartMjdTai"] = np.full(n_rows(objects), time)
    store(database, "DiaObject", objects)


def object_versions(association: Table) -> Table:
    """Return the DIAObject versions that an association table carries beside its sources."""
    with_object = association["diaObjectId"] != 0
    return {
        name.removeprefix(OBJECT_PREFIX): column
        for name, column in take(association, with_object).items()
        if name.startswith(OBJECT_PREFIX)
    }


def store_forced(database: Database, forced: Table) -> None:
    """Write forced photometry; rows of targets without a DIAObject stay in the file only."""
    store(database, "DiaForcedSource", take(forced, forced["diaObjectId"] != 0))


def store_reassigned(database: Database, state: fold.State, reassigned: Table) -> None:
    """Move sources from DIAObjects to solar-system objects; the old values go to the journal.

    A DIAObject that keeps sources counts them anew, one that keeps none ends.
    """
    rows = [(int(source),) for source in reassigned["diaSourceId"]]
    new: dict[str, list] = {
        "ssObjectId": [int(value) for value in reassigned["ssObjectId"]],
        "ssObjectReassocTimeMjdTai": [state.time] * len(rows),
        "diaObjectId": [None] * len(rows),
    }
    for column, values in new.items():
        pairs = dict(zip(rows, values, strict=True))
        fold.amend(database, state.token, "DiaSource", column, pairs)
    owned = reassigned["diaObjectId"] != 0
    ids, lost = np.unique(reassigned["diaObjectId"][owned], return_counts=True)
    where, listed = database.among("diaObjectId", ids)
    versions = database.execute(
        'SELECT "diaObjectId", "validityStartMjdTai", "nDiaSources" FROM "DiaObject" '
        f'WHERE {where} AND "validityEndMjdTai" IS NULL',
        listed,
    )
    fewer = dict(zip(ids.tolist(), lost.tolist(), strict=True))
    closed = set(reassigned["diaObjectId"][reassigned["closed"]].tolist())
    counts = {(i, start): count - fewer[i] for i, start, count in versions}
    ends = {(i, start): state.time for i, start, _ in versions if i in closed}
    fold.amend(database, state.token, "DiaObject", "nDiaSources", counts)
    fold.amend(database, state.token, "DiaObject", "validityEndMjdTai", ends)


def store_ledger(database: Database, state: fold.State, entries: list[dict]) -> None:
    """Write one line per detector: what was used, and why not."""
    names = ("token", "visit", "detector", "status", "reason", "counts")
    lines = [
        (
            state.token,
            state.visit,
            entry["detector"],
            entry["status"],
            entry["reason"],
            json.dumps(entry["counts"], sort_keys=True),
        )
        for entry in entries
    ]
    database.insert("fold_ledger", names, lines)
