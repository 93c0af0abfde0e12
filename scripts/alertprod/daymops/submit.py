"""Reports to the Minor Planet Center: what of a night has not been sent yet, and sending it.

An observation is sent at most once. It is known again by station, time and place, not by its
identifier, which may change when a night is run again. The batch is written into the ledger
before it leaves; one whose answer never came counts as sent until somebody takes it back.
"""

from __future__ import annotations

import http.client
import logging
import re
import secrets
import socket
import urllib.error
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from alertprod.core import observer, orbits
from alertprod.core.errors import BadInput
from alertprod.core.times import iso_to_mjd
from alertprod.daymops import ades, ledger
from alertprod.daymops.database import open_database
from alertprod.daymops.store import find_nights, night_digest, refresh

log = logging.getLogger(__name__)

SAME_ARCSEC = 1.0
"""Two positions of the same exposure that are nearer are the same observation."""
CANDIDATE = "NEO CANDIDATE"
"""What the MPC wants to read in front of objects for its confirmation page (MPEC 2018-W60)."""
PLACEHOLDER = "A. Observer"
"""The name in the default configuration; nobody reports under it."""
_MPC_ID = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}_[0-9A-Za-z]{8})\b")


@dataclass(frozen=True)
class Batch:
    """A report: its text (PSV), and what the MPC's acknowledgement begins with."""

    text: str
    label: str = ""


@dataclass
class Plan:
    """What of a night's report is to be sent.

    Parameters
    ----------
    batches : list of Batch
    n_objects, n_observations : int
    held : dict
        Why others stay behind -> how many observations.
    """

    batches: list[Batch]
    n_objects: int
    n_observations: int
    held: dict[str, int] = field(default_factory=dict)


def plan_night(db, night: int, root: Path, settings: dict) -> Plan:
    """Compare the night's report with the ledger.

    Parameters
    ----------
    db : sqlite_utils.Database
        With the ledger loaded.
    night : int
    root : path
        Results directory.
    settings : dict
        ``batch_rows``, observations of a batch at most (an object is never split), and
        ``neo_score``, from which on new objects go into batches of candidates.

    Raises
    ------
    BadInput
        If the night has no report, or the database does not stand where the night's files do.
    """
    path = Path(root) / str(night) / "discoveries.psv"
    if not path.is_file():
        raise BadInput(f"night {night} has no report {path}. Run the night first.")
    files = find_nights(root).get(night)
    row = db.conn.execute("SELECT digest FROM nights WHERE night = ?", (night,)).fetchone()
    if files is None or row is None or row[0] != night_digest(files):
        raise BadInput(
            f"the moving-object database does not hold night {night} as its files have it. "
            "Run the workflow to its end, or ask snakemake for <results>/db/moving_objects.sqlite."
        )
    header, records = ades.read_psv(path.read_text(encoding="utf-8"))
    held = _held(db, records)
    going = [r for r, why in zip(records, held, strict=True) if not why]
    _name(db, going)
    counts: dict[str, int] = defaultdict(int)
    for why in filter(None, held):
        counts[why] += 1
    near = _candidates(db, going, settings["neo_score"])
    batches = [
        Batch(ades.render_psv(header, part), label)
        for label, chosen in ((CANDIDATE, True), ("", False))
        for part in cut(
            [r for r in going if (r["trkSub"] in near) == chosen], settings["batch_rows"]
        )
    ]
    return Plan(batches, len({r["trkSub"] for r in going}), len(going), dict(counts))


def cut(records: list[dict], rows: int) -> list[list[dict]]:
    """Cut records into batches of at most `rows`, objects in one piece."""
    groups: dict[str, list[dict]] = defaultdict(list)
    for record in records:
        groups[record["trkSub"]].append(record)
    batches: list[list[dict]] = []
    for group in groups.values():
        if not batches or len(batches[-1]) + len(group) > rows:
            batches.append([])
        batches[-1] += group
    return batches


def _held(db, records: list[dict]) -> list[str]:
    """Say of each record why it must not be sent ("" where it may)."""
    spent = "submitted JOIN submissions USING (submissionId) WHERE state IN ('open', 'accepted')"
    why = [""] * len(records)
    by_time: dict[tuple, list[int]] = defaultdict(list)
    for k, record in enumerate(records):
        by_time[record["stn"], record["obsTime"]].append(k)
    for key, rows in by_time.items():
        query = f"SELECT ra, dec FROM {spent} AND stn = ? AND obsTime = ?"
        sent = np.array(db.conn.execute(query, key).fetchall())
        if not len(sent):
            continue
        place = [(float(records[k]["ra"]), float(records[k]["dec"])) for k in rows]
        tree = cKDTree(orbits.unit_vectors(*sent.T))
        apart, _ = tree.query(orbits.unit_vectors(*np.array(place).T))
        for k, distance in zip(rows, apart, strict=True):
            if distance < np.deg2rad(SAME_ARCSEC / 3600.0):
                why[k] = "sent before"
    reused = {name for name in {r["trkSub"] for r in records} if _name_is_anothers(db, name)}
    for k, record in enumerate(records):
        query = f"SELECT 1 FROM {spent} AND obsSubID = ?"
        if why[k]:
            continue
        if db.conn.execute(query, (int(record["obsSubID"]),)).fetchone():
            why[k] = "identifier sent before for another place (the night was run again since)"
        elif record["trkSub"] in reused:
            why[k] = "name sent before for another object (the night was run again since)"
    return why


def _name_is_anothers(db, name: str) -> bool:
    """Was a trkSub sent for sources none of which its object has now?"""
    query = (
        "SELECT obsTime, ra, dec FROM submitted JOIN submissions USING (submissionId) "
        "WHERE state IN ('open', 'accepted') AND trkSub = ?"
    )
    sent = db.conn.execute(query, (name,)).fetchall()
    if not sent:
        return False
    query = (
        "SELECT midpointMjdTai, o.ra, o.dec FROM observations AS o JOIN objects USING (ssObjectId)"
        " WHERE trkSub = ?"
    )
    have = np.array(db.conn.execute(query, (name,)).fetchall()).reshape(-1, 3)
    utc = observer.tai_to_utc(have[:, 0])
    for time, ra, dec in sent:
        same = np.abs(utc - iso_to_mjd(time.rstrip("Z"))) < 0.01 / 86400.0
        there = orbits.unit_vectors(have[same, 1], have[same, 2])
        apart = np.linalg.norm(there - orbits.unit_vectors([ra], [dec]), axis=1)
        if np.any(apart < np.deg2rad(SAME_ARCSEC / 3600.0)):
            return False
    return True


def _name(db, records: list[dict]) -> None:
    """Give records the designations that the MPC has given to their objects."""
    query = (
        "SELECT d.designation FROM designations AS d JOIN objects AS o USING (ssObjectId) "
        "WHERE o.trkSub = ? AND d.kind = ? ORDER BY d.date DESC, d.designation LIMIT 1"
    )
    told: dict[str, dict] = {}
    for name in {r["trkSub"] for r in records}:
        for key, kind in (("permID", "permanent"), ("provID", "provisional")):
            row = db.conn.execute(query, (name, kind)).fetchone()
            if row:
                told.setdefault(name, {})[key] = row[0]
    for record in records:
        record.update(told.get(record["trkSub"], {}))


def _candidates(db, records: list[dict], least: float) -> set[str]:
    """Names of objects without a designation that are likely to be near the Earth."""
    query = "SELECT max(coalesce(neoScore, 0), coalesce(digest2, 0)) FROM objects WHERE trkSub = ?"
    found = set()
    for name in {r["trkSub"] for r in records if "provID" not in r and "permID" not in r}:
        row = db.conn.execute(query, (name,)).fetchone()
        if row and row[0] >= least:
            found.add(name)
    return found


def submit_night(database, night: int, *, root, settings: dict, really: bool) -> Plan:
    """Send what of a night has not been sent, or only say what it is.

    Parameters
    ----------
    database : path
    night : int
    root : path
        Results directory.
    settings : dict
        Section ``mpc`` of the configuration, with ``ledger`` as a path.
    really : bool
        False: nothing leaves, nothing is written into the ledger.

    Raises
    ------
    BadInput
        If there is no address to send to, the server refuses, or its answer does not come.
    """
    book = Path(settings["ledger"])
    if really and not settings["url"]:
        raise BadInput(
            "mpc.url is empty, so there is nowhere to send to. Set it, or leave --really."
        )
    with open_database(database) as db:
        ledger.load_ledger(db, book)
        plan = plan_night(db, night, root, settings)
        if really and any(f" {PLACEHOLDER}\n" in batch.text for batch in plan.batches):
            raise BadInput(
                f"the report is signed {PLACEHOLDER}. Set daymops.submitter, observers and "
                "measurers, and make it again."
            )
        names = []
        if really:
            facts = {"night": night, "url": settings["url"], "madeUtc": _now()}
            names = [
                ledger.write_submission(book, {**facts, "label": batch.label}, batch.text)
                for batch in plan.batches
            ]
            ledger.load_ledger(db, book)
    for n, (name, batch) in enumerate(zip(names, plan.batches, strict=False)):
        try:
            receipt = _send(name, batch, settings)
        except BadInput:
            _remember(database, book, names[n + 1 :])
            raise
        ledger.write_receipt(book, name, receipt)
        log.info("%s: HTTP %s %s", name, receipt["httpStatus"], receipt["mpcId"])
        if ledger.state_of(receipt["httpStatus"]) != ledger.ACCEPTED:
            _remember(database, book, names[n + 1 :])
            raise BadInput(f"{name} was not accepted: {receipt['text'][:300].strip()}")
    if names:
        _remember(database, book, [])
    return plan


def withdraw(database, submission: str, book: Path) -> None:
    """Take a submission back that never arrived: its observations may be sent again."""
    with open_database(database) as db:
        ledger.load_ledger(db, book)
        query = "SELECT state FROM submissions WHERE submissionId = ?"
        row = db.conn.execute(query, (submission,)).fetchone()
    if row is None:
        raise BadInput(f"the ledger has no submission {submission}. See `alertprod mpc status`.")
    if row[0] != ledger.OPEN:
        raise BadInput(f"submission {submission} is {row[0]}; only one without an answer can go.")
    _remember(database, book, [submission])


def _remember(database, book: Path, unsent: list[str]) -> None:
    """Put receipts into the database; batches that never left are taken back."""
    for name in unsent:
        ledger.write_receipt(book, name, _receipt(0, "taken back; it was not received"))
    with open_database(database) as db:
        ledger.load_ledger(db, book)
        refresh(db)


def _send(name: str, batch: Batch, settings: dict) -> dict:
    boundary = secrets.token_hex(16)
    fields = {"ack": f"{batch.label} alertprod {name}".strip(), "ac2": settings["contact"]}
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
        if value
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="source"; filename="{name}.psv"\r\n'
        f"Content-Type: text/plain\r\n\r\n{batch.text}\r\n--{boundary}--\r\n"
    )
    request = urllib.request.Request(
        settings["url"],
        data="".join(parts).encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=settings["timeout_s"]) as answer:
            return _receipt(answer.status, answer.read().decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode("utf-8", "replace")
        if error.code < 500:
            return _receipt(error.code, text or error.reason)
        problem = f"HTTP {error.code}"
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError | socket.gaierror):  # never left
            return _receipt(0, f"{settings['url']} cannot be reached: {error.reason}")
        problem = str(error.reason)
    except (OSError, http.client.HTTPException) as error:
        problem = str(error) or type(error).__name__
    raise BadInput(
        f"{name} went to {settings['url']}, but no answer came ({problem}). It counts as sent; if "
        f"the MPC has not got it: alertprod mpc withdraw {name}"
    )


def _receipt(status: int, text: str) -> dict:
    found = _MPC_ID.search(text)
    return {
        "receivedUtc": _now(),
        "httpStatus": status,
        "mpcId": found.group(1) if found else "",
        "text": text[:4000],
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
