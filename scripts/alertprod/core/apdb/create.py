"""Making a database, and recognising one that is not ours.

Rubin's own package makes the schema (index mode baseline, no replica tables), so that its tools
read our database; two indexes and three tables of ours are added. It is imported only here,
because the import alone costs four seconds.
"""

import os
from pathlib import Path

from alertprod.core.apdb.connection import Database, exists, is_postgres, shown, sqlite_path
from alertprod.core.errors import BadInput

FORMAT = "1"
SCHEMA_VERSION = "10.0.0"
#: The first makes "open versions in this region" cheap, the second the reopening in a roll-back.
OWN_TABLES = """
CREATE INDEX IF NOT EXISTS "alertprod_open_versions" ON "DiaObject" ("pixelId")
    WHERE "validityEndMjdTai" IS NULL;
CREATE INDEX IF NOT EXISTS "alertprod_validityEnd" ON "DiaObject" ("validityEndMjdTai")
    WHERE "validityEndMjdTai" IS NOT NULL;
CREATE TABLE IF NOT EXISTS fold (
    seq BIGINT PRIMARY KEY, token VARCHAR(64) NOT NULL UNIQUE, parent VARCHAR(64) NOT NULL,
    parent_file TEXT NOT NULL, step VARCHAR(32) NOT NULL, visit BIGINT NOT NULL,
    time DOUBLE PRECISION NOT NULL, midpoint DOUBLE PRECISION NOT NULL);
CREATE TABLE IF NOT EXISTS fold_ledger (
    token VARCHAR(64) NOT NULL, visit BIGINT NOT NULL, detector SMALLINT NOT NULL,
    status VARCHAR(16) NOT NULL, reason TEXT NOT NULL, counts TEXT NOT NULL,
    PRIMARY KEY (token, detector));
CREATE TABLE IF NOT EXISTS fold_undo (
    token VARCHAR(64) NOT NULL, number BIGINT NOT NULL, table_name VARCHAR(64) NOT NULL,
    row_key TEXT NOT NULL, column_name VARCHAR(64) NOT NULL, old_value TEXT NOT NULL,
    PRIMARY KEY (token, number));
"""


def open_database(url: str, instrument: str, chain: str = "") -> Database:
    """Open the database of this survey, and make it if it is not there.

    Parameters
    ----------
    url : str
        See `Database`.
    instrument, chain : str
        Whose data it holds. Both are written into a new database and compared afterwards.

    Raises
    ------
    BadInput
        If the database is not an APDB, not one of ours, or of another instrument or chain.
    """
    if not exists(url):
        _make_sqlite(sqlite_path(url), instrument, chain)
    database = Database(url)
    try:
        if is_postgres(url):
            _prepare_postgres(database, instrument, chain)
        elif not database.tables():  # somebody touched the file into being
            database.close()
            sqlite_path(url).unlink()
            return open_database(url, instrument, chain)
        adopt(database, instrument, chain)
    except BaseException:
        database.close()
        raise
    return database


def _schema(url: str) -> None:
    """Let Rubin's package create its tables."""
    from lsst.dax.apdb.sql import ApdbSql

    ApdbSql.init_database(db_url=url, dia_object_index="baseline", enable_replica=False)


def _make_sqlite(path: Path, instrument: str, chain: str) -> None:
    """Make the file under another name first, so that no other job sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        _schema(f"sqlite:///{temporary.absolute()}")
        with Database(str(temporary)) as database:
            database.begin()
            _own_tables(database, instrument, chain)
            database.commit()
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass  # another job was faster, with the same result
        except OSError:  # a file system without hard links
            if not path.exists():
                os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _prepare_postgres(database: Database, instrument: str, chain: str) -> None:
    """Create the schema under the lock unless somebody has done so."""
    database.begin()
    if not {"DiaObject", "DiaSource"} & database.tables():
        # Its own connection creates the tables while ours holds the lock.
        _schema("postgresql+psycopg2://" + database.url.split("://", 1)[1])
        _own_tables(database, instrument, chain)
    database.commit()


def _own_tables(database: Database, instrument: str, chain: str) -> None:
    for statement in OWN_TABLES.split(";"):
        if statement.strip():
            database.execute(statement)
    facts = {"format": FORMAT, "instrument": instrument, "chain": chain}
    rows = [(f"alertprod:{name}", value) for name, value in facts.items()]
    database.insert("metadata", ("name", "value"), rows)


def adopt(database: Database, instrument: str, chain: str) -> None:
    """Check that a database is ours; take an empty APDB of Rubin's tools as ours.

    Raises
    ------
    BadInput
        One sentence on what it is instead, one on what to do.
    """
    name = shown(database.url)
    mend = "Name another database in the configuration, or move this one away."
    tables = database.tables()
    if not {"DiaObject", "DiaSource", "DiaForcedSource", "metadata"} <= tables:
        raise BadInput(f"{name} has {len(tables)} tables but is no APDB. {mend}")
    facts = {str(key): str(value) for key, value in database.execute("SELECT * FROM metadata")}
    version = facts.get("version:schema", "unknown")
    if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise BadInput(
            f"{name} has APDB schema {version}, but this version writes {SCHEMA_VERSION}. {mend}"
        )
    if "fold" not in tables:
        count = database.execute('SELECT count(*) FROM "DiaSource"')[0][0]
        if count:
            raise BadInput(
                f"{name} holds {count} DIASources that this pipeline did not write. {mend}"
            )
        database.begin()
        _own_tables(database, instrument, chain)
        database.commit()
        return
    if facts.get("alertprod:format") != FORMAT:
        raise BadInput(
            f"{name} has format {facts.get('alertprod:format')} of the fold, but this version "
            f"writes {FORMAT}. Delete it: it comes back from the files."
        )
    for what, value in (("instrument", instrument), ("chain", chain)):
        found = facts.get(f"alertprod:{what}", "")
        if found != value:
            raise BadInput(f"{name} belongs to the {what} {found!r}, not to {value!r}. {mend}")
