"""What the database knew just before (or just after) a visit, whatever has been added since.

A step that is run again finds later visits in the database. Rows carry their times, so a time
selects them; values that a later state changed in place are put back from the undo journal.
"""

import json
from dataclasses import dataclass

import numpy as np

from alertprod.core.apdb.connection import Database
from alertprod.core.apdb.rows import pixel_ranges, select, to_arrays
from alertprod.core.tables import Table, sort_by, take

DAYS_PER_MONTH = 30.0  # as in Rubin's package
START = "validityStartMjdTai"
#: Midpoints of one visit may differ in their last digits (a header keeps 15), those of two visits
#: differ by more than this [d].
SAME_TIME = 0.5 / 86400.0


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

    def until(self) -> float:
        """Return the time before which sources count [MJD TAI]."""
        return self.midpoint + (SAME_TIME if self.inclusive else -SAME_TIME)


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
    before, after = ("<=", ">") if moment.inclusive else ("<", ">=")
    changes = _later_changes(database, "DiaObject", moment.seq)
    fetched = [*names, START] if changes and START not in names else names
    listed = ", ".join(f'"{name}"' for name in fetched)
    # A plus keeps the planner from an index that would walk through the whole survey; an OR of
    # ranges would make it scan all open versions.
    base = (
        f'SELECT {listed} FROM "DiaObject" WHERE +"validityStartMjdTai" {before} ? '
        'AND "pixelId" BETWEEN ? AND ? AND '
    )
    ends: list[tuple[str, tuple]] = [('"validityEndMjdTai" IS NULL', ())]
    if _any_closed(database, moment):
        ends.append((f'+"validityEndMjdTai" {after} ?', (moment.time,)))
    rows, ranges = [], pixel_ranges(*circle)
    for end, more in ends:
        query = " UNION ALL ".join([base + end] * len(ranges))
        values = [v for pixels in ranges for v in (moment.time, *pixels, *more)]
        rows += database.execute(query, values)
    if changes:
        key = [fetched.index("diaObjectId"), fetched.index(START)]
        rows = [row[: len(names)] for row in _restored(rows, fetched, changes, key)]
    return sort_by(to_arrays(rows, names, database.columns("DiaObject")), "diaObjectId")


def _any_closed(database: Database, moment: Moment) -> bool:
    """Say whether a version was closed at or after a moment (only where later visits exist)."""
    rows = database.execute('SELECT max("validityEndMjdTai") FROM "DiaObject"')
    return rows[0][0] is not None and rows[0][0] >= moment.time


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
    since = moment.midpoint - months * DAYS_PER_MONTH
    found = _sources(database, moment, names, changes, (where, parameters, since))
    keep = np.isin(found["diaObjectId"], np.asarray(ids, dtype=np.int64))
    return sort_by(take(found, keep), "diaObjectId", "midpointMjdTai", "diaSourceId")


def sources(database: Database, moment: Moment, ids, names: list[str]) -> Table:
    """Return DIASources by their own identifiers, sorted by them; see `sources_of`."""
    changes = _later_changes(database, "DiaSource", moment.seq)
    where, parameters = database.among("diaSourceId", ids)
    found = _sources(database, moment, names, changes, (where, parameters, -np.inf))
    return sort_by(found, "diaSourceId")


def _sources(database: Database, moment: Moment, names, changes, condition) -> Table:
    """Read DIASources as of a moment; `condition` is SQL, its parameters, the earliest time."""
    where, parameters, since = condition
    listed = ", ".join(f'"{name}"' for name in names)
    rows = database.execute(
        f'SELECT {listed} FROM "DiaSource" WHERE {where} '
        'AND "midpointMjdTai" < ? AND "midpointMjdTai" > ?',
        (*parameters, moment.until(), max(since, -1e9)),
    )
    if changes:
        rows = _restored(rows, names, changes, [names.index("diaSourceId")])
    found = to_arrays(rows, names, database.columns("DiaSource"))
    return take(found, ~(found["timeWithdrawnMjdTai"] <= moment.time))


def forced_of(database: Database, moment: Moment, ids, names: list[str], months: float) -> Table:
    """Return the DIAForcedSources of given DIAObjects, sorted by object, time and identifier."""
    where, parameters = database.among("diaObjectId", ids)
    found = select(
        database,
        "DiaForcedSource",
        names,
        f'{where} AND "midpointMjdTai" < ? AND "midpointMjdTai" > ?',
        (*parameters, moment.until(), moment.midpoint - months * DAYS_PER_MONTH),
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
