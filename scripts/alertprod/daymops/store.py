"""Writing the nights' files into the moving-object database.

The nights are taken in order, each as a function of what the ones before have left: a night that
is stored again replaces itself, and all nights after it are stored again from their files. The
content is that of the files, whatever the order in which they came.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from alertprod.core import tables
from alertprod.core.errors import Rejected
from alertprod.core.files import digest, file_digest
from alertprod.daymops import ades
from alertprod.daymops import ledger as exchange
from alertprod.daymops.database import LATEST, as_rows, insert, open_database, schema

log = logging.getLogger(__name__)

CATALOGUE = "catalogue"
"""Source of the designations of objects that DayMOPS recognised but did not find."""
PRODUCTS = ("tracklets", "orbits", "attributed")
"""Products of a night that the database is made from."""


def store_moving_objects(nights, database, *, root, ledger) -> list[int]:
    """Bring the database to the content of the nights' files.

    Parameters
    ----------
    nights : iterable of int
        Nights (YYYYMMDD) whose files may have changed. Other nights that lie under `root` and are
        not in the database come in, too; those that are in it are taken to be unchanged.
    database : path
        SQLite file, made if it is not there.
    root : path
        Results directory with the folders of the nights.
    ledger : path
        Of the exchange with the Minor Planet Center; need not exist.

    Returns
    -------
    list of int
        Nights that were written.
    """
    root = Path(root)
    on_disk = find_nights(root)
    with open_database(database, make=True) as db:
        stored = dict(db.conn.execute("SELECT night, digest FROM nights").fetchall())
        given = {int(night) for night in nights} | (set(on_disk) - set(stored))
        look = sorted(given & set(on_disk))
        first = next((n for n in look if stored.get(n) != night_digest(on_disk[n])), None)
        again = [n for n in on_disk if first is not None and n >= first]
        forget_nights(db, again)
        for night in again:
            store_night(db, night, on_disk[night], root)
        exchange.load_ledger(db, ledger)
        refresh(db)
    log.info("%d nights on disk, %d stored: %s", len(on_disk), len(again), again)
    return again


def find_nights(root: Path) -> dict[int, dict[str, Path]]:
    """Return the files of every night that has all of them, in order of time."""
    found = {}
    for folder in sorted(Path(root).glob("[0-9]" * 8)):
        paths = {name: folder / f"{name}.parquet" for name in PRODUCTS}
        if all(path.is_file() for path in paths.values()):
            found[int(folder.name)] = paths
    return found


def night_digest(paths: dict[str, Path]) -> str:
    """Return what stands for the content of a night's files."""
    return digest(*(file_digest(paths[name]) for name in PRODUCTS))


def forget_nights(db, nights: list[int]) -> None:
    """Take the rows of nights out of the database."""
    marks = [(night,) for night in nights]
    sources = "SELECT trackletId FROM tracklets WHERE night = ?"
    db.conn.executemany(f"DELETE FROM tracklet_sources WHERE trackletId IN ({sources})", marks)
    for name in ("tracklets", "observations", "orbits", "nights"):
        db.conn.executemany(f'DELETE FROM "{name}" WHERE night = ?', marks)
    if nights:  # catalogued objects that one of these nights brought in first
        for statement in _FORGET_CATALOGUED:
            db.conn.execute(statement, (min(nights),) * statement.count("?"))


def store_night(db, night: int, paths: dict[str, Path], root: Path) -> None:
    """Add the rows of one night; the nights before it must be there."""
    folder = paths["orbits"].parent.relative_to(root).as_posix()
    insert(db, "nights", [(night, night_digest(paths), folder)])
    columns = {name: list(kinds) for name, kinds, *_ in schema()}
    _store_orbits(db, night, _read(paths["orbits"], "orbits"), columns)
    seen = _read(paths["attributed"], "attributed")
    _store_catalogued(db, night, seen)
    rows = as_rows(seen, "attributed", columns["observations"][:-1], (night,))
    # a source that an earlier night gave to the object stays with that night
    came = insert(db, "observations", rows, ignore=True)
    pairs = _read(paths["tracklets"], "tracklets")
    _, first = np.unique(pairs["trackletId"], return_index=True)
    heads = tables.take(pairs, first)
    insert(db, "tracklets", as_rows(heads, "tracklets", columns["tracklets"][:-1], (night,)))
    insert(db, "tracklet_sources", as_rows(pairs, "tracklets", columns["tracklet_sources"]))
    log.info("night %d: %d observations, %d tracklets", night, came, len(first))


def _store_orbits(db, night: int, found: dict, columns: dict) -> None:
    """Add the night's fits, and objects and fits that no night in the database knows.

    The product is cumulative. Fits of earlier nights are there already, but for those of nights
    whose files are gone.
    """
    query = "SELECT ssObjectId, max(fitNight) FROM orbits GROUP BY ssObjectId"
    last = dict(db.conn.execute(query).fetchall())
    pairs = zip(found["ssObjectId"].tolist(), found["fitNight"].tolist(), strict=True)
    part = tables.take(found, [k for k, (i, fit) in enumerate(pairs) if fit > last.get(i, 0)])
    names = ("ssObjectId", "designation", "firstDiaSourceId", "discoveryNight")
    db.conn.executemany(
        "INSERT INTO objects (ssObjectId, trkSub, firstDiaSourceId, discoveryNight) "
        "VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET trkSub = excluded.trkSub, "
        "firstDiaSourceId = excluded.firstDiaSourceId, discoveryNight = excluded.discoveryNight",
        as_rows(part, "orbits", names),
    )
    insert(db, "orbits", as_rows(part, "orbits", columns["orbits"][:-1], (night,)))


def _store_catalogued(db, night: int, seen: dict) -> None:
    """Add the objects of the catalogue to which the night gave sources."""
    known = {row[0] for row in db.conn.execute("SELECT ssObjectId FROM objects")}
    first: dict[int, tuple[int, str]] = {}
    for number, source, name in zip(
        seen["ssObjectId"].tolist(), seen["diaSourceId"].tolist(), seen["designation"], strict=True
    ):
        if number not in known:
            first[number] = min(first.get(number, (source, name)), (source, name))
    day = f"{night // 10_000:04d}-{night // 100 % 100:02d}-{night % 100:02d}"
    for number, (source, name) in sorted(first.items()):
        names = ades.names_of(name)
        columns = "ssObjectId, trkSub, firstDiaSourceId, discoveryNight"
        row = (number, names["trkSub"], source, night)
        db.conn.execute(f"INSERT INTO objects ({columns}) VALUES (?, ?, ?, ?)", row)
        kind = "permanent" if "permID" in names else "provisional"
        insert(db, "designations", [(number, name, kind, CATALOGUE, day)])


def _read(path: Path, product: str) -> dict:
    try:
        return tables.read_table(path)
    except Rejected as reason:
        log.warning("%s is left out: %s", path, reason)
        return tables.empty(product)


def refresh(db) -> None:
    """Make again what follows from the rows of nights and ledger: names, latest fits, status."""
    for statement in (*_OBJECTS, *_DESIGNATIONS, *_STATUS):
        db.conn.execute(statement)


_COLUMNS = ", ".join(LATEST)
_BROUGHT_IN = f"""(SELECT o.ssObjectId FROM objects AS o JOIN designations AS d USING (ssObjectId)
    WHERE d.source = '{CATALOGUE}' AND o.discoveryNight >= ?)"""
_FORGET_CATALOGUED = (
    # marked first, since the names say which objects are meant
    "DROP TABLE IF EXISTS temp.gone",
    f"CREATE TEMP TABLE gone AS SELECT ssObjectId FROM {_BROUGHT_IN}",
    "DELETE FROM designations WHERE ssObjectId IN (SELECT ssObjectId FROM temp.gone)",
    "DELETE FROM objects WHERE ssObjectId IN (SELECT ssObjectId FROM temp.gone)",
    "DROP TABLE temp.gone",
)
_OBJECTS = (
    # the names go first: they hold a key to the object
    """DELETE FROM designations WHERE NOT EXISTS
    (SELECT 1 FROM orbits WHERE orbits.ssObjectId = designations.ssObjectId)
    AND NOT EXISTS
    (SELECT 1 FROM observations WHERE observations.ssObjectId = designations.ssObjectId)""",
    """DELETE FROM objects WHERE NOT EXISTS
    (SELECT 1 FROM orbits WHERE orbits.ssObjectId = objects.ssObjectId)
    AND NOT EXISTS
    (SELECT 1 FROM observations WHERE observations.ssObjectId = objects.ssObjectId)""",
    f"""UPDATE objects SET (fitNight, {_COLUMNS}) = (SELECT fitNight, {_COLUMNS} FROM orbits
    WHERE orbits.ssObjectId = objects.ssObjectId ORDER BY orbits.fitNight DESC LIMIT 1)""",
    """UPDATE objects SET (nObservations, firstMjdTai, lastMjdTai) =
    (SELECT count(*), min(midpointMjdTai), max(midpointMjdTai) FROM observations
    WHERE observations.ssObjectId = objects.ssObjectId)""",
)
_VOTES = """SELECT trkSub, ssObjectId FROM (
    SELECT s.trkSub, o.ssObjectId, row_number() OVER
        (PARTITION BY s.trkSub ORDER BY count(*) DESC, o.ssObjectId) AS place
    FROM submitted AS s JOIN observations AS o ON o.diaSourceId = s.obsSubID
    WHERE s.trkSub IN (SELECT trkSub FROM reply_rows)
    GROUP BY s.trkSub, o.ssObjectId) WHERE place = 1"""
# A reply speaks of what was sent. After a night was run again another object may bear that name,
# so the sources that were sent under it say which object is meant; the name only when none were.
_TOLD = f"""SELECT o.ssObjectId, r.provID, r.permID, r.date
    FROM reply_rows AS r JOIN observations AS o ON o.diaSourceId = r.obsSubID
    UNION ALL
    SELECT v.ssObjectId, r.provID, r.permID, r.date
    FROM reply_rows AS r JOIN ({_VOTES}) AS v ON v.trkSub = r.trkSub WHERE r.obsSubID IS NULL
    UNION ALL
    SELECT o.ssObjectId, r.provID, r.permID, r.date
    FROM reply_rows AS r JOIN objects AS o ON o.trkSub = r.trkSub
    WHERE r.obsSubID IS NULL AND r.trkSub NOT IN (SELECT trkSub FROM submitted)"""
_DESIGNATIONS = (
    "DROP TABLE IF EXISTS temp.told",
    f"""CREATE TEMP TABLE told AS
    SELECT ssObjectId, designation, kind, min(date) AS date FROM (
        SELECT ssObjectId, provID AS designation, 'provisional' AS kind, date FROM ({_TOLD})
        UNION ALL SELECT ssObjectId, permID, 'permanent', date FROM ({_TOLD}))
    WHERE designation IS NOT NULL GROUP BY ssObjectId, designation""",
    """DELETE FROM designations WHERE source = 'MPC' AND (ssObjectId, designation, date)
    NOT IN (SELECT ssObjectId, designation, date FROM told)""",
    """DELETE FROM designations WHERE source = 'alertprod' AND (ssObjectId, designation)
    NOT IN (SELECT ssObjectId, trkSub FROM objects)""",
    """INSERT OR IGNORE INTO designations
    SELECT ssObjectId, trkSub, 'trkSub', 'alertprod', substr(discoveryNight, 1, 4) || '-' ||
        substr(discoveryNight, 5, 2) || '-' || substr(discoveryNight, 7, 2) FROM objects""",
    """INSERT OR IGNORE INTO designations
    SELECT ssObjectId, designation, kind, 'MPC', date FROM told""",
    "DROP TABLE temp.told",
)
_STATUS = (
    """UPDATE objects SET designation = (SELECT designation FROM designations AS d
    WHERE d.ssObjectId = objects.ssObjectId
    ORDER BY CASE kind WHEN 'permanent' THEN 0 WHEN 'provisional' THEN 1 ELSE 2 END,
        date DESC, designation LIMIT 1)""",
    """UPDATE objects SET status = CASE
    (SELECT min(CASE kind WHEN 'permanent' THEN 0 WHEN 'provisional' THEN 1 ELSE 2 END)
     FROM designations AS d WHERE d.ssObjectId = objects.ssObjectId)
    WHEN 0 THEN 'numbered' WHEN 1 THEN 'designated' ELSE CASE WHEN EXISTS
        (SELECT 1 FROM observations AS o JOIN submitted AS s ON s.obsSubID = o.diaSourceId
         JOIN submissions AS b USING (submissionId)
         WHERE o.ssObjectId = objects.ssObjectId AND b.state IN ('open', 'accepted'))
        THEN 'submitted' ELSE 'found' END END""",
)
