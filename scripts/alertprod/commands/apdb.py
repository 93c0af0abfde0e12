"""``alertprod apdb``: the state of the database, and how to bring it back to a file or forward."""

from __future__ import annotations

from pathlib import Path

from alertprod.commands import settings
from alertprod.core.errors import BadInput

TABLES = ("DiaSource", "DiaObject", "DiaForcedSource")


def add_parser(sub) -> None:
    """Declare the command."""
    parser = sub.add_parser(
        "apdb",
        help="show the database's state, take visits back, or follow the files again",
        description="The database is a view of the fold's files; these commands move it along.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    status = actions.add_parser("status", help="what the database holds and where it stands")
    status.set_defaults(run=show_status)
    rollback = actions.add_parser("rollback", help="take back a visit and all that follows it")
    rollback.add_argument("visit", type=int, help="first visit to take back (YYYYMMDDNNNNN)")
    rollback.add_argument("--dry-run", action="store_true", help="only say what would go")
    rollback.set_defaults(run=roll_back)
    sync = actions.add_parser("sync", help="bring the database to the last state of the files")
    sync.set_defaults(run=synchronise)
    for action in (status, rollback, sync):
        settings.add_arguments(action)


def show_status(args) -> int:
    """Print what the database holds, and whether it agrees with the files."""
    from alertprod.core.apdb import fold
    from alertprod.core.apdb.connection import shown

    config = settings.from_arguments(args)
    with _open(config) as database:
        print(f"database    {shown(database.url)}")
        facts = dict(database.execute("SELECT name, value FROM metadata"))
        print(f"instrument  {facts.get('alertprod:instrument', '')}")
        print(f"schema      {facts.get('version:schema', '')}")
        for table in TABLES:
            count = database.execute(f'SELECT count(*) FROM "{table}"')[0][0]
            print(f"{table:<16}{count:>12} rows")
        states = fold.states_after(database, 0)
        visits = sorted({state.visit for state in states})
        print(f"states      {len(states)} of {len(visits)} visits", end="")
        print(f", {visits[0]} to {visits[-1]}" if visits else "")
        rejected = database.execute(
            "SELECT visit, detector, reason FROM fold_ledger WHERE status <> 'OK' "
            "ORDER BY visit, detector"
        )
        for visit, detector, reason in rejected[-10:]:
            print(f"left out    {visit} {detector:03d}  {reason}")
        last = states[-1] if states else None
    return _compare(config, last)


def _compare(config: dict, last) -> int:
    """Say whether the files go further than the database; exit code 1 if they do."""
    products = last_products(settings.results(config))
    if not products:
        print("files       none yet")
        return 0
    from alertprod.core.apdb import fold

    states = [fold.state_of(path) for path in products]
    newest = max(states, key=lambda state: (state.time, state.step == fold.PACKAGE))
    if last is not None and last.token == newest.token:
        print(f"files       agree (last: {newest.step} {newest.visit})")
        return 0
    where = "nowhere" if last is None else f"at {last.step} {last.visit}"
    print(f"files       go to {newest.step} {newest.visit}, the database stands {where}.")
    print("            `alertprod apdb sync` brings it there.")
    return 1


def roll_back(args) -> int:
    """Take back a visit and all states after it, or say what would go."""
    from alertprod.core.apdb import fold

    config = settings.from_arguments(args)
    with _open(config) as database:
        database.begin()
        states = fold.states_after(database, 0)
        first = next((k for k, state in enumerate(states) if state.visit == args.visit), None)
        if first is None:
            raise BadInput(
                f"visit {args.visit} is not in the database. See `alertprod apdb status`."
            )
        lost = states[first:]
        root = settings.results(config)
        if not args.dry_run:
            fold.undo_after(database, first, fold.Settings(root, allow_rollback=True))
            database.commit()
        verb = "would go" if args.dry_run else "are gone"
        for state in lost:
            rows = "" if not args.dry_run else f"  {_rows(database, state)} rows"
            print(f"  {state.step:<10} {state.visit}{rows}")
        print(f"{len(lost)} states of {len({s.visit for s in lost})} visits {verb}.")
        print("Their files stay; `alertprod apdb sync` replays them.")
    return 0


def _rows(database, state) -> int:
    table = "DiaForcedSource" if state.step == "package" else "DiaSource"
    query = f'SELECT count(*) FROM "{table}" WHERE visit = ?'
    return int(database.execute(query, (state.visit,))[0][0])


def synchronise(args) -> int:
    """Replay the files up to the last state."""
    from alertprod.associate import sync_apdb

    config = settings.from_arguments(args)
    root = settings.results(config)
    products = [str(path) for path in last_products(root)]
    if not products:
        raise BadInput(f"there is no association under {root}. Run a night first.")
    state = sync_apdb(
        products, settings.database(config), root=str(root), instrument=config["instrument"]
    )
    if state is not None:
        print(f"The database is at {state.step} {state.visit}.")
    return 0


def last_products(results: Path) -> list[Path]:
    """Return the product of the last state of each night."""
    found = []
    for night in sorted(results.glob("[0-9]" * 8)):
        visits = sorted(night.glob("[0-9]" * 13), reverse=True)
        paths = (
            visit / f"{name}.parquet" for visit in visits for name in ("forced", "association")
        )
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            found.append(path)
    return found


def _open(config: dict):
    from alertprod.core.apdb.connection import Database
    from alertprod.core.apdb.create import adopt

    database = Database(settings.database(config))
    try:
        adopt(database, config["instrument"], "")
    except BadInput:
        database.close()
        raise
    return database
