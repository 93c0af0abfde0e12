"""The ledger of the exchange with the Minor Planet Center: small files that are never rewritten.

::

    <ledger>/sent/{submissionId}.psv .json     what was sent, written before it was
    <ledger>/receipts/{submissionId}.json      what the server answered
    <ledger>/replies/{replyId}.json            designations and identifications, as imported

The files are the truth and the database is their view: a database that was deleted learns from
them again what must not be sent twice, and a night that is run again changes none of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from alertprod.core.errors import BadInput
from alertprod.core.files import digest, write_bytes
from alertprod.daymops import ades
from alertprod.daymops.database import RECEIPT, REPLY_ROW, SUBMISSION, SUBMITTED, insert

OPEN, ACCEPTED, REFUSED, WITHDRAWN = "open", "accepted", "refused", "withdrawn"


def write_submission(ledger: Path, facts: dict, body: str) -> str:
    """Write down what is about to be sent; return its identifier."""
    name = f"{facts['night']}_{digest(body, facts['madeUtc'])[:10]}"
    sent = Path(ledger) / "sent"
    write_bytes(sent / f"{name}.psv", body.encode())
    _write_json(sent / f"{name}.json", {**facts, "submissionId": name})
    return name


def write_receipt(ledger: Path, submission: str, facts: dict) -> None:
    """Write down what came back: receivedUtc, httpStatus, mpcId, text."""
    path = Path(ledger) / "receipts" / f"{submission}.json"
    _write_json(path, {**facts, "submissionId": submission})


def write_replies(ledger: Path, rows: list[dict], date: str) -> tuple[str, bool]:
    """Write imported replies; return their identifier and whether they are new.

    Parameters
    ----------
    ledger : path
    rows : list of dict
        See `alertprod.daymops.replies.read_replies`.
    date : str
        ISO date of the replies.
    """
    name = f"{date.replace('-', '')[:8]}_{digest(json.dumps(rows, sort_keys=True))[:10]}"
    path = Path(ledger) / "replies" / f"{name}.json"
    if path.exists():
        return name, False
    _write_json(path, {"replyId": name, "date": date, "rows": rows})
    return name, True


def load_ledger(database, ledger: Path) -> None:
    """Bring the ledger's tables up to the files, in the transaction that is open."""
    ledger = Path(ledger)
    known = {row[0] for row in database.conn.execute("SELECT submissionId FROM submissions")}
    for path in _listed(ledger / "sent"):
        if path.stem not in known:
            _load_submission(database, path)
    states = dict(database.conn.execute("SELECT submissionId, state FROM submissions").fetchall())
    for path in _listed(ledger / "receipts"):
        if states.get(path.stem, OPEN) == OPEN:
            _load_receipt(database, path, path.stem in states)
    known = {row[0] for row in database.conn.execute("SELECT replyId FROM replies")}
    for path in _listed(ledger / "replies"):
        if path.stem not in known:
            facts = _read_json(path)
            insert(database, "replies", [(path.stem, facts["date"], f"replies/{path.name}")])
            rows = (
                {**row, "replyId": path.stem, "row": n, "date": row.get("date") or facts["date"]}
                for n, row in enumerate(facts["rows"])
            )
            insert(database, "reply_rows", _tuples(rows, REPLY_ROW))


def state_of(http_status: int) -> str:
    """Say what a status of HTTP means for what was sent (0: taken back by hand)."""
    if http_status == 0:
        return WITHDRAWN
    return ACCEPTED if 200 <= http_status < 300 else REFUSED


def _load_submission(database, path: Path) -> None:
    facts = _read_json(path)
    _, records = ades.read_psv(path.with_suffix(".psv").read_text(encoding="utf-8"))
    facts |= {
        "state": OPEN,
        "path": f"sent/{path.stem}.psv",
        "nObservations": len(records),
        "nObjects": len({r["trkSub"] for r in records}),
    }
    insert(database, "submissions", _tuples([facts], SUBMISSION))
    rows = (
        {
            **r,
            "submissionId": path.stem,
            "obsSubID": int(r["obsSubID"]),
            "ra": float(r["ra"]),
            "dec": float(r["dec"]),
        }
        for r in records
    )
    insert(database, "submitted", _tuples(rows, SUBMITTED))


def _load_receipt(database, path: Path, known: bool) -> None:
    facts = _read_json(path)
    if not known:
        raise BadInput(
            f"{path} is a receipt of a submission that is not in the ledger. Bring back the file "
            f"sent/{path.stem}.json, or remove the receipt."
        )
    insert(database, "receipts", _tuples([facts], RECEIPT))
    database.conn.execute(
        "UPDATE submissions SET state = ? WHERE submissionId = ?",
        (state_of(facts["httpStatus"]), path.stem),
    )


def _tuples(rows: Iterable[dict], columns: dict) -> list[tuple]:
    return [tuple(row.get(name) for name in columns) for row in rows]


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json")) if folder.is_dir() else []


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is damaged ({error}). Bring the ledger back from a copy.") from None


def _write_json(path: Path, facts: dict) -> None:
    write_bytes(path, (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode())
