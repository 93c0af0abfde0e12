"""The moving objects of a night: which they are, what is known of them, what to show."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from alertprod.core.errors import Rejected
from alertprod.core.tables import Table, empty, n_rows, read_table, sort_by, stack, take
from alertprod.quality.tracks import against_mean_motion, residuals, trace

HOW = ("linked", "precovered", "recovered", "predicted", "identified")
#: New objects first, then those that got a better orbit, then those that were merely seen.
RANK = {"new": 0, "updated": 1, "kept": 2}


def read_or_empty(path: str | Path, product: str) -> Table:
    """Read a table; a rejected product has no rows."""
    try:
        return read_table(path)
    except Rejected:
        return empty(product)


def objects_of_night(orbits: Table, attributed: Table) -> Table:
    """Return the orbits of the objects that a night found, improved or saw, the best rated first.

    Parameters
    ----------
    orbits : table
        Product ``orbits`` of the night (cumulative).
    attributed : table
        Product ``attributed`` of the night.

    Returns
    -------
    table
        New objects before updated ones before those that were only seen again; in each group by
        falling NEO score, then by falling number of detections.
    """
    touched = np.isin(orbits["status"].astype(str), ("new", "updated"))
    mine = take(orbits, touched | np.isin(orbits["ssObjectId"], attributed["ssObjectId"]))
    rank = np.array([RANK.get(str(status), 2) for status in mine["status"]], dtype=int)
    score = np.nan_to_num(mine["neoScore"].astype(float), nan=-1.0)
    keys = (mine["designation"].astype(str), -mine["nObs"].astype(int), -score, rank)
    return take(mine, np.lexsort(keys))


def detections_of(objects: Table, attributed: Iterable[str | Path], night: int) -> Table:
    """Return what the nights of the window attributed to some objects, in the order of time.

    Returns
    -------
    table
        Rows of product ``attributed`` with ``tonight``: whether this night attributed the source.
    """
    parts = []
    for path in attributed:
        table = read_or_empty(path, "attributed")
        mine = take(table, np.isin(table["ssObjectId"], objects["ssObjectId"]))
        tonight = Path(path).parent.name == str(night)
        parts.append({**mine, "tonight": np.full(n_rows(mine), tonight)})
    if not parts:
        return {**empty("attributed"), "tonight": np.empty(0, dtype=bool)}
    return sort_by(stack(parts), "ssObjectId", "midpointMjdTai", "diaSourceId")


def orbit_rows(objects: Table, detections: Table) -> list[dict[str, Any]]:
    """Return what the table of orbits says of each object, in the order of `objects`."""
    tally: dict[tuple[int, str], int] = {}
    columns = (detections[name].tolist() for name in ("ssObjectId", "how", "tonight"))
    for owner, how, tonight in zip(*columns, strict=True):
        for key in ((owner, str(how)), (owner, "tonight") if tonight else None):
            if key is not None:
                tally[key] = tally.get(key, 0) + 1
    result = []
    for k in range(n_rows(objects)):
        row = {name: _plain(column[k]) for name, column in objects.items()}
        bound = row["e"] is not None and row["e"] < 1.0
        row["a"] = row["q"] / (1.0 - row["e"]) if bound else None
        row["H"] = row["H"] if row["H"] is not None and row["H"] < 90.0 else None
        row |= {name: tally.get((row["ssObjectId"], name), 0) for name in (*HOW, "tonight")}
        result.append(row)
    return result


def _plain(value):
    """Return a figure as JSON and templates want it: no NumPy, none instead of NaN."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def stories(
    objects: Table, facts: list[dict[str, Any]], detections: Table, obscode: str
) -> list[dict[str, Any]]:
    """Return what is drawn of each object; those without detections in the window are left out.

    Parameters
    ----------
    objects : table
        Rows of product ``orbits``.
    facts : list of dict
        From `orbit_rows`, of the same objects.
    detections : table
        From `detections_of`.
    obscode : str
        MPC station code.

    Returns
    -------
    list of dict
        ``facts``, ``rows`` (table of detections), ``track``, ``relative`` (see
        `alertprod.quality.tracks`). The residuals of what tonight attributed are those of the
        product; the others, which their own nights compared with the orbits of then, are
        compared with tonight's orbit here.
    """
    own = [take(detections, detections["ssObjectId"] == i) for i in objects["ssObjectId"]]
    shown = [k for k, rows in enumerate(own) if n_rows(rows)]
    rows_of = [own[k] for k in shown]
    tracks = trace(take(objects, np.array(shown, dtype=int)), rows_of, obscode)
    result = []
    for k, rows, track in zip(shown, rows_of, tracks, strict=True):
        east, north = residuals(rows, track)
        written = rows["tonight"] & np.isfinite(rows["resRa"])
        rows["resRa"] = np.where(written, rows["resRa"], east)
        rows["resDec"] = np.where(written, rows["resDec"], north)
        relative = against_mean_motion(rows, track)
        result.append({"facts": facts[k], "rows": rows, "track": track, "relative": relative})
    return result
