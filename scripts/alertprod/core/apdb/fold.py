"""The chain of states: what a step does to the database, and how it is undone.

A state is known by its token, a digest of the parent's token and of everything that went into the
step. The database holds one unbroken chain of states. A step (a) whose token is there changes
nothing, (b) else takes back every state after its parent and puts its own in their place,
(c) and if the parent is missing, first replays the products along the chain.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alertprod.core.apdb.connection import Database, shown
from alertprod.core.errors import BadInput
from alertprod.core.files import digest
from alertprod.core.tables import read_metadata

ASSOCIATE, PACKAGE, REASSIGN = "associate", "package", "reassign"
#: Keys of the configuration that change no row.
NEUTRAL = ("allow_rollback", "start")
SECOND = 1.0 / 86400.0  # [d]
#: What is settled after a night comes so much later than its last visit, and before the next one.
AFTERWARDS = 0.5 * SECOND
ROOT = ""  # the parent of the first state


@dataclass(frozen=True)
class State:
    """One step of the fold.

    Parameters
    ----------
    token, parent : str
        Digests of this state and of the one before it ("" for the first).
    parent_file : str
        Product of the parent, relative to the results directory.
    step : str
        ``associate``, ``package`` or ``reassign`` (see `alertprod.core.apdb.replay`).
    visit : int
    time : float
        Validity time of what the step writes [MJD TAI]; rises along the chain.
    midpoint : float
        Midpoint of the visit [MJD TAI].
    """

    token: str
    parent: str
    parent_file: str
    step: str
    visit: int
    time: float
    midpoint: float

    def metadata(self) -> dict[str, Any]:
        """Return what a product says of its state, for `write_table(metadata=...)`."""
        return {"fold": asdict(self)}


@dataclass(frozen=True)
class Settings:
    """How a step may treat the database.

    Parameters
    ----------
    root : Path
        Results directory, to which the names of products are relative.
    planned : collection of int, optional
        Visits that this run may associate; None does not check.
    allow_rollback : bool
        Take back visits that are not planned, too.
    """

    root: Path
    planned: Collection[int] | None = None
    allow_rollback: bool = False


def settings_of(context: Mapping, config: Mapping) -> Settings:
    """Return how a step may treat the database: what the run says, or else its configuration."""
    allow = context.get("allow_rollback", config.get("allow_rollback", False))
    return Settings(Path(context["root"]), context.get("planned"), bool(allow))


def make_token(
    parent: str, step: str, visit: int, inputs: dict[str, str], code: str, config: dict
) -> str:
    """Return the token of a state.

    Parameters
    ----------
    parent : str
        Token of the state before.
    step, visit
        See `State`.
    inputs : dict
        Name of each input -> digest of its content.
    code : str
        Digest of the stage's code.
    config : dict
        The stage's section of the configuration; what cannot change a row is left out.
    """
    relevant = {key: value for key, value in config.items() if key not in NEUTRAL}
    return digest(
        parent,
        step,
        str(visit),
        json.dumps(inputs, sort_keys=True),
        code,
        json.dumps(relevant, sort_keys=True, default=str),
    )


def state_of(path: Path) -> State:
    """Read the state that a product records.

    Raises
    ------
    BadInput
        If the file is not a product of the fold.
    """
    facts = read_metadata(path).get("fold")
    if not facts:
        raise BadInput(
            f"{path} does not say to which state of the database it belongs. Delete it and let "
            "Snakemake make it again."
        )
    return State(**facts)


def next_state(step: str, visit: Mapping, context: Mapping, config: Mapping) -> State:
    """Return the state that a step leads to.

    Parameters
    ----------
    step : str
        Kind of state.
    visit : mapping
        ``visit`` and ``midpoint_mjd_tai``.
    context : mapping
        ``root`` (results directory), ``parent_file`` (product of the previous state, relative to
        root; None for the first), ``inputs`` (name -> content digest), ``code`` (digest),
        optionally ``now`` (processing time [MJD TAI]; the midpoint by default).
    config : mapping
        The stage's section of the configuration.
    """
    parent_file = context.get("parent_file") or ""
    parent = ROOT
    if parent_file:
        path = Path(context["root"]) / parent_file
        if not path.exists():
            raise BadInput(
                f"the state before visit {visit['visit']}, {path}, is missing. Run it first."
            )
        parent = state_of(path).token
    midpoint = float(visit["midpoint_mjd_tai"])
    now = context.get("now")
    if now is None:
        now = midpoint + (AFTERWARDS if step == REASSIGN else 0.0)
    number = int(visit["visit"])
    return State(
        token=make_token(
            parent, step, number, dict(context["inputs"]), context["code"], dict(config)
        ),
        parent=parent,
        parent_file=parent_file,
        step=step,
        visit=number,
        time=float(now),
        midpoint=midpoint,
    )


def number_of(database: Database, token: str) -> int | None:
    """Return the number of a state in the database, None if it is not there (root: 0)."""
    if token == ROOT:
        return 0
    rows = database.execute("SELECT seq FROM fold WHERE token = ?", (token,))
    return int(rows[0][0]) if rows else None


def last_state(database: Database) -> State | None:
    """Return the state in which the database is, None if it is empty."""
    states = states_after(database, -1)
    return states[-1] if states else None


def states_after(database: Database, seq: int) -> list[State]:
    """Return the states with a number above `seq`, in order."""
    rows = database.execute(
        "SELECT token, parent, parent_file, step, visit, time, midpoint FROM fold "
        "WHERE seq > ? ORDER BY seq",
        (seq,),
    )
    return [State(*row) for row in rows]


def transition(
    database: Database,
    state: State,
    settings: Settings,
    change: Callable[[Database, int, float, bool], Any],
) -> Any:
    """Bring the database to `state` in one transaction.

    Parameters
    ----------
    database : Database
    state : State
    settings : Settings
    change : callable
        ``change(database, seq, time, store)`` does the step's work on the database as of the
        parent, number `seq`, and writes its rows with validity time `time` if `store` is true.

    Returns
    -------
    object
        What `change` returned.

    Raises
    ------
    BadInput
        If states of unplanned visits would be lost, or a product of the chain is missing.
    """
    from alertprod.core.apdb import replay

    database.begin()
    try:
        number = number_of(database, state.token)
        if number is not None:
            time = database.execute("SELECT time FROM fold WHERE seq = ?", (number,))[0][0]
            result = change(database, number - 1, time, False)
            database.rollback()
            return result
        parent = number_of(database, state.parent)
        if parent is None:
            path = settings.root / state.parent_file
            parent = replay.catch_up(database, path, state.parent, settings, {state.visit})
        undo_after(database, parent, settings, {state.visit})
        check_times(database, state)
        result = change(database, parent, state.time, True)
        record(database, parent + 1, state)
        database.commit()
    except BaseException:
        database.rollback()
        raise
    return result


def record(database: Database, seq: int, state: State) -> None:
    """Write a state into the chain."""
    names = ("seq", "token", "parent", "parent_file", "step", "visit", "time", "midpoint")
    facts = asdict(state)
    database.insert("fold", names, [(seq, *(facts[name] for name in names[1:]))])


def check_times(database: Database, state: State) -> None:
    """Insist on rising times, on which every question "as of" rests."""
    rows = database.execute("SELECT max(time), max(midpoint) FROM fold")
    time, midpoint = rows[0]
    if time is None:
        return
    late = state.step != PACKAGE
    gap = SECOND if state.step == ASSOCIATE else 0.0
    if state.time < time or state.midpoint < midpoint + gap or (late and state.time == time):
        raise BadInput(
            f"visit {state.visit} (midpoint {state.midpoint:.6f}) does not come after what "
            f"{shown(database.url)} already holds (midpoint {midpoint:.6f}). Give the visits of "
            "the sheet midpoints that rise with their numbers, a second or more apart."
        )


def undo_after(
    database: Database, seq: int, settings: Settings, replaced: Iterable[int] = ()
) -> list[State]:
    """Take back all states after number `seq`, the last one first; return them.

    Raises
    ------
    BadInput
        If a visit would be lost that this run does not associate again.
    """
    states = states_after(database, seq)
    check_allowed(states, settings, replaced)
    for state in reversed(states):
        undo(database, state)
    return states


def check_allowed(states: list[State], settings: Settings, replaced: Iterable[int]) -> None:
    """Refuse to lose visits that nobody will associate again in this run."""
    if settings.planned is None or settings.allow_rollback:
        return
    kept = {int(visit) for visit in settings.planned} | set(replaced)
    lost = sorted({state.visit for state in states} - kept)
    if lost:
        raise BadInput(
            f"{len(lost)} visits from {lost[0]} to {lost[-1]} rest on what is about to change, and "
            "this run will not associate them again. Select their nights too, or set "
            "associate.allow_rollback."
        )


def undo(database: Database, state: State) -> None:
    """Take back one state; it must be the last."""
    if state.step == ASSOCIATE:
        database.execute('DELETE FROM "DiaSource" WHERE visit = ?', (state.visit,))
        database.execute('DELETE FROM "DiaObject" WHERE "validityStartMjdTai" = ?', (state.time,))
        database.execute(
            'UPDATE "DiaObject" SET "validityEndMjdTai" = NULL WHERE "validityEndMjdTai" = ?',
            (state.time,),
        )
    elif state.step == PACKAGE:
        database.execute('DELETE FROM "DiaForcedSource" WHERE visit = ?', (state.visit,))
    journal = database.execute(
        "SELECT table_name, row_key, column_name, old_value FROM fold_undo WHERE token = ? "
        "ORDER BY number DESC",
        (state.token,),
    )
    for table, key, column, old in journal:
        _set(database, table, column, json.loads(key), json.loads(old))
    for table in ("fold_undo", "fold_ledger", "fold"):
        database.execute(f"DELETE FROM {table} WHERE token = ?", (state.token,))


#: Key columns by which the journal finds a row.
KEYS = {
    "DiaSource": ("diaSourceId",),
    "DiaObject": ("diaObjectId", "validityStartMjdTai"),
    "DiaForcedSource": ("diaObjectId", "visit", "detector"),
}


def amend(
    database: Database, token: str, table: str, column: str, values: dict[tuple, Any]
) -> None:
    """Change values of earlier rows, and keep the old ones in the journal of a state.

    Parameters
    ----------
    database : Database
        With an open transaction.
    token : str
        State to which the change belongs.
    table, column : str
    values : dict
        Key of the row (see `KEYS`) -> new value. Keys must exist.
    """
    rows = database.execute("SELECT max(number) FROM fold_undo WHERE token = ?", (token,))
    number = -1 if rows[0][0] is None else int(rows[0][0])
    where = " AND ".join(f'"{name}" = ?' for name in KEYS[table])
    journal = []
    for key in sorted(values):
        found = database.execute(f'SELECT "{column}" FROM "{table}" WHERE {where}', key)
        if not found:
            raise ValueError(f"no row {key} in {table}")
        number += 1
        entry = (json.dumps(list(key)), column, json.dumps(found[0][0]))
        journal.append((token, number, table, *entry))
        _set(database, table, column, list(key), values[key])
    names = ("token", "number", "table_name", "row_key", "column_name", "old_value")
    database.insert("fold_undo", names, journal)


def _set(database: Database, table: str, column: str, key: list, value: Any) -> None:
    where = " AND ".join(f'"{name}" = ?' for name in KEYS[table])
    database.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE {where}', (value, *key))
