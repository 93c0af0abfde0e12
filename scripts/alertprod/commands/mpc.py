"""``alertprod mpc``: reports to the Minor Planet Center, and what it answers."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from alertprod.commands import settings


def add_parser(sub) -> None:
    """Declare the command."""
    parser = sub.add_parser(
        "mpc",
        help="send a night's report to the Minor Planet Center, import its replies",
        description="Nothing is sent without --really, and nothing is sent twice.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    send = actions.add_parser("submit", help="print what of a night is to be sent, or send it")
    send.add_argument("night", type=int, help="night as YYYYMMDD")
    send.add_argument("--really", action="store_true", help="post it to mpc.url")
    send.set_defaults(run=submit)
    replies = actions.add_parser("replies", help="import designations and identifications")
    replies.add_argument("file", type=Path, help="CSV or JSON; see docs/moving_objects.md")
    replies.add_argument("--date", help="YYYY-MM-DD of the replies (default: the file's, or today)")
    replies.set_defaults(run=import_replies)
    status = actions.add_parser("status", help="list what was sent and what came back")
    status.set_defaults(run=show_status)
    back = actions.add_parser("withdraw", help="take back a submission that never arrived")
    back.add_argument("submission", help="its name, from `alertprod mpc status`")
    back.set_defaults(run=withdraw)
    for action in (send, replies, status, back):
        settings.add_arguments(action)


def submit(args) -> int:
    """Send what of a night has not been sent; without --really print it."""
    from alertprod.daymops.submit import submit_night

    config = settings.from_arguments(args)
    plan = submit_night(
        settings.moving_objects(config),
        args.night,
        root=settings.results(config),
        settings=_section(config),
        really=args.really,
    )
    if not args.really:
        for batch in plan.batches:
            print(batch.text, end="")
    verb = "Sent" if args.really else "Would be sent (with --really)"
    print(
        f"{verb}: {plan.n_observations} observations of {plan.n_objects} objects in "
        f"{len(plan.batches)} batches.",
        file=sys.stdout if args.really else sys.stderr,
    )
    for why, count in sorted(plan.held.items()):
        print(f"  {count} held back: {why}", file=sys.stderr)
    return 0


def import_replies(args) -> int:
    """Write replies into the ledger and bring the database up to it."""
    from alertprod.daymops import ledger
    from alertprod.daymops.database import open_database
    from alertprod.daymops.replies import read_replies
    from alertprod.daymops.store import refresh

    config = settings.from_arguments(args)
    rows, date = read_replies(args.file)
    date = args.date or date or f"{datetime.now(UTC):%Y-%m-%d}"
    book, count = Path(_section(config)["ledger"]), "SELECT count(*) FROM designations"
    with open_database(settings.moving_objects(config)) as db:
        before = db.execute(f"{count} WHERE source = 'MPC'").fetchone()[0]
        _, new = ledger.write_replies(book, rows, date)
        ledger.load_ledger(db, book)
        refresh(db)
        after = db.execute(f"{count} WHERE source = 'MPC'").fetchone()[0]
    print(f"{len(rows)} replies of {date}" + ("" if new else ", imported before"))
    print(f"{after} designations of the MPC in the database, {after - before} of them new")
    return 0


def show_status(args) -> int:
    """Print the ledger."""
    from alertprod.daymops.database import open_database

    config = settings.from_arguments(args)
    with open_database(settings.moving_objects(config), write=False) as db:
        rows = db.execute(
            "SELECT submissionId, state, nObjects, nObservations, madeUtc, mpcId "
            "FROM submissions LEFT JOIN receipts USING (submissionId) ORDER BY madeUtc"
        ).fetchall()
        replies = db.execute("SELECT count(*) FROM replies").fetchone()[0]
        names = db.execute("SELECT count(*) FROM designations WHERE source = 'MPC'").fetchone()[0]
    for name, state, objects, observations, made, mpc_id in rows:
        print(f"{name}  {state:<10}{objects:>7} objects{observations:>8} observations  "
              f"{made}  {mpc_id or ''}")  # fmt: skip
    print(f"{len(rows)} submissions, {replies} files of replies, {names} designations of the MPC")
    return 0


def withdraw(args) -> int:
    """Take a submission back whose answer never came."""
    from alertprod.daymops.submit import withdraw as take_back

    config = settings.from_arguments(args)
    ledger = Path(_section(config)["ledger"])
    take_back(settings.moving_objects(config), args.submission, ledger)
    print(f"{args.submission} is withdrawn; its observations may be sent again.")
    return 0


def _section(config) -> dict:
    return {**config["mpc"], "ledger": settings.resolve(config["mpc"]["ledger"], config)}
