"""One database connection with one exclusive transaction, SQLite or PostgreSQL.

Plain drivers instead of an object-relational layer: a visit writes ten thousand rows of a hundred
columns, and the parameter dictionaries of SQLAlchemy would cost more than the database itself.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from alertprod.core.errors import BadInput

LOCK_TIMEOUT_S = 600.0
#: Key of the advisory lock on PostgreSQL: one fold at a time in a database.
ADVISORY_KEY = 0x616C657274
TYPES = {
    "BIGINT": "i8",
    "INTEGER": "i4",
    "SMALLINT": "i2",
    "REAL": "f4",
    "DOUBLE": "f8",
    "DOUBLE PRECISION": "f8",
    "BOOLEAN": "bool",
}


def is_postgres(url: str) -> bool:
    """Say whether a database URL names a PostgreSQL server."""
    return url.startswith("postgres")


def sqlite_path(url: str) -> Path:
    """Return the file behind ``sqlite:///path`` or a bare path."""
    return Path(url.removeprefix("sqlite:///"))


def shown(url: str) -> str:
    """Return the URL without a password, for messages."""
    if not is_postgres(url):
        return str(sqlite_path(url))
    head, _, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://...@{tail}" if head else url


class Database:
    """An open database. `begin` takes the exclusive lock; `close` rolls back what is open.

    Parameters
    ----------
    url : str
        Path of an SQLite file, ``sqlite:///path`` or ``postgresql://user@host/name``.
    timeout : float
        How long to wait for the lock of another run [s].
    """

    def __init__(self, url: str, timeout: float = LOCK_TIMEOUT_S) -> None:
        self.url = str(url)
        self.postgres = is_postgres(self.url)
        self.timeout = timeout
        self._columns: dict[str, dict[str, tuple[str, bool]]] = {}
        self.connection: Any = self._open_postgres() if self.postgres else self._open_sqlite()

    def _open_sqlite(self):
        import sqlite3

        path = sqlite_path(self.url)
        if not path.exists():
            raise BadInput(
                f"there is no database {path}. It appears with the first association; "
                "`alertprod apdb sync` makes it again from the files."
            )
        connection = sqlite3.connect(path, timeout=self.timeout, isolation_level=None)
        try:
            connection.execute("PRAGMA schema_version")
        except sqlite3.DatabaseError as error:
            connection.close()
            raise BadInput(
                f"{path} is not an SQLite database ({error}). Move it away or name another file "
                "as the database."
            ) from error
        return connection

    def _open_postgres(self):
        import psycopg

        address = "postgresql://" + self.url.split("://", 1)[1]
        try:
            return psycopg.connect(address, autocommit=True)
        except psycopg.OperationalError as error:
            first = str(error).strip().splitlines()[0]
            raise BadInput(
                f"the database {shown(self.url)} cannot be reached ({first}). Start it, or name "
                "another one in the configuration."
            ) from error

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_error) -> None:
        self.close()

    def close(self) -> None:
        """Close; an open transaction is undone."""
        self.connection.close()

    def begin(self) -> None:
        """Open a transaction that no other fold job can open at the same time."""
        if self.postgres:
            self.execute("BEGIN")
            self.execute(f"SET LOCAL lock_timeout = '{int(self.timeout * 1000)}ms'")
            self._locked("SELECT pg_advisory_xact_lock(?)", (ADVISORY_KEY,))
        else:
            self._locked("BEGIN IMMEDIATE", ())

    def _locked(self, statement: str, parameters: tuple) -> None:
        try:
            self.execute(statement, parameters)
        except Exception as error:
            if not any(word in str(error).lower() for word in ("locked", "lock timeout")):
                raise
            raise BadInput(
                f"another process has held {shown(self.url)} for {self.timeout:.0f} s. "
                "Wait for that run to end, or end it, and start again."
            ) from error

    def commit(self) -> None:
        """Make the transaction permanent."""
        self.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction."""
        self.execute("ROLLBACK")

    def execute(self, statement: str, parameters: Sequence = ()) -> list[tuple]:
        """Run one statement with ``?`` for parameters; return all rows."""
        if not self.postgres:
            return self.connection.execute(statement, parameters).fetchall()
        with self.connection.cursor() as cursor:
            cursor.execute(statement.replace("?", "%s"), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def insert(self, table: str, names: Sequence[str], rows: Iterable[tuple]) -> None:
        """Write many rows: one prepared statement on SQLite, COPY on PostgreSQL."""
        columns = ", ".join(f'"{name}"' for name in names)
        if self.postgres:
            with (
                self.connection.cursor() as cursor,
                cursor.copy(f'COPY "{table}" ({columns}) FROM STDIN') as copy,
            ):
                for row in rows:
                    copy.write_row(row)
        else:
            marks = ", ".join("?" * len(names))
            self.connection.executemany(f'INSERT INTO "{table}" ({columns}) VALUES ({marks})', rows)

    def among(self, column: str, values: Iterable) -> tuple[str, tuple]:
        """Return a condition that `column` is one of many values, and its one parameter."""
        listed = [value.item() if hasattr(value, "item") else value for value in values]
        if self.postgres:
            return f'"{column}" = ANY(?)', (listed,)
        return f'"{column}" IN (SELECT value FROM json_each(?))', (json.dumps(listed),)

    def tables(self) -> set[str]:
        """Return the names of the tables."""
        if self.postgres:
            query = "SELECT tablename FROM pg_tables WHERE schemaname = ANY(current_schemas(false))"
        else:
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        return {row[0] for row in self.execute(query)}

    def columns(self, table: str) -> dict[str, tuple[str, bool]]:
        """Return name -> (type code as in products.yaml, nullable) of the columns of a table."""
        if table not in self._columns:
            if self.postgres:
                rows = self.execute(
                    "SELECT column_name, upper(data_type), is_nullable = 'YES' "
                    "FROM information_schema.columns WHERE table_name = ? "
                    "AND table_schema = ANY(current_schemas(false)) ORDER BY ordinal_position",
                    (table,),
                )
            else:
                info = self.execute(f'PRAGMA table_info("{table}")')
                rows = [(row[1], row[2].upper(), not row[3]) for row in info]
            self._columns[table] = {
                name: (TYPES.get(kind, "str"), bool(null)) for name, kind, null in rows
            }
        return self._columns[table]


def exists(url: str) -> bool:
    """Say whether the database is there (for PostgreSQL: the server decides at the first use)."""
    return is_postgres(url) or os.path.exists(sqlite_path(url))
