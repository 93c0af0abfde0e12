"""What the database knew just before (or just after) a visit, whatever has been added since.

A step that is run again finds later visits in the database. Rows carry their times, so a time
selects them; values that a later state changed in place are put back from the undo journal.
"""

import json
from dataclasses import dataclass

import numpy as np

from alertprod.core.apdb.connection import Database
from alertprod.core.apdb.rows import pixel_condition, select, to_arrays
from alertprod.core.tables import Table, sort_by, stack, take

DAYS_PER_MONTH = 30.0  # as in Rubin's package


@dataclass(frozen=True)
class Moment:
    """A point on the chain: everything up to and including state number `seq` has happened.

    Parameters
    ----------
    seq : int
        Number of the last state that counts.
    time : float
        Validity time of the visit [MJD TAI]: versions that start before it count.
    midpoint : float
        Midpoint of the visit [MJD TAI]: sources before it count.
    inclusive : bool
        Count the visit's own rows too.
    """

    seq: int
    time: float
    midpoint: float
    inclusive: bool = False


def objects_in_circle(
    database: Database, moment: Moment, circle: tuple[float, float, float], names: list[str]
) -> Table:
    """Return the DIAObject versions valid at a moment in a circle, sorted by identifier.

    Parameters
    ----------
    database : Database
    moment : Moment
    circle : (ra, dec, radius)
        [deg]; some objects just outside come too.
    names : list of str
        Columns, with ``diaObjectId``.
    """
    where, pixels = pixel_condition(*circle)
    before, after = ("<=", ">") if moment.inclusive else ("<", ">=")
    # Two queries, because each has an index of its own and an OR would have none.
    parts = [
        select(
            database,
            "DiaObject",
            names,
            f'"validityEndMjdTai" {end} AND "validityStartMjdTai" {before} ? AND {where}',
            (*extra, moment.time, *pixels),
        )
        for end, extra in (("IS NULL", ()), (f"{after} ?", (moment.time,)))
    ]
    return sort_by(stack(parts), "diaObjectId")


def versions(database: Database, moment: Moment, ids, names: list[str]) -> Table:
    """Return the versions of given DIAObjects valid at a moment, sorted by identifier."""
    where, listed = database.among("diaObjectId", ids)
    before, after = ("<=", ">") if moment.inclusive else ("<", ">=")
    found = select(
        database,
        "DiaObject",
        names,
        f'{where} AND "validityStartMjdTai" {before} ? '
        f'AND ("validityEndMjdTai" IS NULL OR "validityEndMjdTai" {after} ?)',
        (*listed, moment.time, moment.time),
    )
    return sort_by(found, "diaObjectId")


def sources_of(database: Database, moment: Moment, ids, names: list[str], months: float) -> Table:
    """Return the DIASources of given DIAObjects, sorted by object, time and identifier.

    Withdrawn sources do not count. `names` must hold ``diaSourceId``, ``diaObjectId``,
    ``midpointMjdTai`` and ``timeWithdrawnMjdTai``.
    """
    changes = _later_changes(database, "DiaSource", moment.seq)
    where, parameters = database.among("diaObjectId", ids)
    moved = [key[0] for key, column in changes if column == "diaObjectId"]
    if moved:
        more, others = database.among("diaSourceId", moved)
        where, parameters = f"({where} OR {more})", (*parameters, *others)
    before = "<=" if moment.inclusive else "<"
    since = moment.midpoint - months * DAYS_PER_MONTH
    listed = ", ".join(f'"{name}"' for name in names)
    rows = database.execute(
        f'SELECT {listed} FROM "DiaSource" WHERE {where} '
        f'AND "midpointMjdTai" {before} ? AND "midpointMjdTai" > ?',
        (*parameters, moment.midpoint, since),
    )
    if changes:
        rows = _restored(rows, names, changes, [names.index("diaSourceId")])
    found = to_arrays(rows, names, database.columns("DiaSource"))
    withdrawn = found["timeWithdrawnMjdTai"] <= moment.time
    keep = ~withdrawn & np.isin(found["diaObjectId"], np.asarray(ids, dtype=np.int64))
    return sort_by(take(found, keep), "diaObjectId", "midpointMjdTai", "diaSourceId")


def forced_of(database: Database, moment: Moment, ids, names: list[str], months: float) -> Table:
    """Return the DIAForcedSources of given DIAObjects, sorted by object, time and identifier."""
    where, parameters = database.among("diaObjectId", ids)
    before = "<=" if moment.inclusive else "<"
    found = select(
        database,
        "DiaForcedSource",
        names,
        f'{where} AND "midpointMjdTai" {before} ? AND "midpointMjdTai" > ?',
        (*parameters, moment.midpoint, moment.midpoint - months * DAYS_PER_MONTH),
    )
    return sort_by(found, "diaObjectId", "midpointMjdTai", "diaForcedSourceId")


def _later_changes(database: Database, table: str, seq: int) -> dict[tuple, object]:
    """Return (key, column) -> value before the first change by a state after number `seq`."""
    rows = database.execute(
        "SELECT u.row_key, u.column_name, u.old_value FROM fold_undo u JOIN fold f "
        "ON u.token = f.token WHERE f.seq > ? AND u.table_name = ? "
        "ORDER BY f.seq DESC, u.number DESC",
        (seq, table),
    )
    # Newest first: the oldest entry of a cell overwrites the others, and it is the one that counts.
    return {(tuple(json.loads(key)), column): json.loads(old) for key, column, old in rows}


def _restored(rows: list[tuple], names: list[str], changes: dict, key: list[int]) -> list[tuple]:
    places = {name: index for index, name in enumerate(names)}
    by_row: dict[tuple, list] = {}
    for (row_key, column), old in changes.items():
        if column in places:
            by_row.setdefault(row_key, []).append((places[column], old))
    result = []
    for row in rows:
        edits = by_row.get(tuple(row[index] for index in key))
        if edits:
            cells = list(row)
            for place, old in edits:
                cells[place] = old
            row = tuple(cells)
        result.append(row)
    return result
