"""What the Minor Planet Center answers: designations, identifications, states of observations.

Three forms are read into the same rows.

* CSV with a header of ADES names: ``trkSub`` or ``obsSubID``, and any of ``provID``, ``permID``,
  ``obsID``, ``status``, ``date``.
* JSON: a list of such rows, or ``{"date": ..., "replies": [...]}``.
* JSON of the MPC's service WAMO ("where are my observations"): ``{"found": [{"<trkSub> <stn>":
  [{"obsid", "obssubid", "iau_desig", "status_decoded", ...}]}], ...}``.

Designations may be packed (K26V01A) or not (2026 VA1).
"""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

from alertprod.core.designations import pack, unpack
from alertprod.core.errors import BadInput

COLUMNS = ("trkSub", "obsSubID", "obsID", "provID", "permID", "status", "date")
_WAMO = {
    "obssubid": "obsSubID", "obsid": "obsID", "iau_desig": "designation",
    "status_decoded": "status", "trksub": "trkSub",
}  # fmt: skip
_COMET = re.compile(r"^([CPDXAI]/\d{4} [A-Z]{1,2}\d+(-[A-Z]+)?|\d+[PDI])$")
_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")


def read_replies(path: str | Path) -> tuple[list[dict], str]:
    """Read a file of replies.

    Parameters
    ----------
    path : path
        ``.csv``, or JSON.

    Returns
    -------
    rows : list of dict
        `COLUMNS` as far as they are told; designations unpacked, ``obsSubID`` an integer.
    date : str
        ISO date that the file gives for all of it, or "".

    Raises
    ------
    BadInput
        With file and row, if it is of no known form, or a row says nothing.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"there is no file {path}. Name the file with the MPC's replies.")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if path.suffix.lower() == ".csv":
        first, rows, date = 2, list(csv.DictReader(io.StringIO(text))), ""
    else:
        first, (rows, date) = 1, _from_json(path, text)
    if not rows:
        raise BadInput(f"{path} holds no replies. Check that it is the right file.")
    out = []
    for number, row in enumerate(rows, first):
        if not isinstance(row, dict):
            raise BadInput(f"{path}, row {number} is no set of names and values. Mend it.")
        out.append(_row(row, f"{path}, row {number}"))
    return out, date


def _from_json(path, text):
    try:
        content = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{path} is neither CSV by its name nor valid JSON: {error}.") from None
    if isinstance(content, list):
        return content, ""
    if isinstance(content, dict) and isinstance(content.get("replies"), list):
        return content["replies"], str(content.get("date") or "")
    if isinstance(content, dict) and isinstance(content.get("found"), list):
        return _from_wamo(content["found"]), ""
    raise BadInput(
        f"{path} is JSON of no known form; expected a list of rows, 'replies' or 'found' (WAMO). "
        "See docs/moving_objects.md."
    )


def _from_wamo(found):
    rows = []
    for answer in found:
        for query, observations in answer.items():
            for told in observations:
                row = {_WAMO[key]: value for key, value in told.items() if key in _WAMO}
                words = query.split()
                if len(words) == 2 and len(words[1]) == 3:  # asked for by trkSub and station
                    row.setdefault("trkSub", words[0])
                rows.append(row)
    return rows


def _row(row: dict, where: str) -> dict:
    given = {str(k).strip(): str(v).strip() for k, v in row.items() if v not in (None, "") and k}
    out: dict = {k: v for k, v in given.items() if k in COLUMNS}
    for key in ("designation", "provID", "permID"):
        if given.get(key):
            out.pop(key, None)
            name, kind = _designation(given[key], where)
            out[kind] = name
    if "obsSubID" in out:
        if not out["obsSubID"].isdigit():
            raise BadInput(f"{where}: obsSubID is {out['obsSubID']!r}, not one of our numbers.")
        out["obsSubID"] = int(out["obsSubID"])
    if "trkSub" not in out and "obsSubID" not in out:
        raise BadInput(f"{where} names no trkSub and no obsSubID. Say which object is meant.")
    if "date" in out and not _DATE.match(out["date"]):
        raise BadInput(f"{where}: date is {out['date']!r}, not YYYY-MM-DD.")
    return out


def _designation(text: str, where: str) -> tuple[str, str]:
    """Return a designation unpacked, and whether it is a provID or a permID."""
    name = text.strip("() ") if text.startswith("(") else text
    if name.isdigit():
        return str(int(name)), "permID"
    if _COMET.match(name):
        return name, "permID" if name[0].isdigit() else "provID"
    for attempt in (lambda: unpack(pack(name)), lambda: unpack(name)):
        try:
            found = attempt()
        except ValueError:
            continue
        return found, "permID" if found.isdigit() else "provID"
    raise BadInput(f"{where}: {text!r} is no designation, packed or not. Mend the file.")
