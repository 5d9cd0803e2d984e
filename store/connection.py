"""One open database: plain SQL in, tuples out, every failure told as a StoreError."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from elisa.model.errors import StoreBusy, StoreDamaged, StoreError

__all__ = ["Connection", "Row", "SqliteConnection"]

Row = dict[str, Any]
"""A row to be written, by column."""

# SQLite takes 32766 values in one statement, PostgreSQL 65535.
_KEYS_AT_ONCE = 5000

# Extended result codes end in their primary code: the low byte.
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Connection:
    """What reader and writer need of a database, whichever it is. Statements take `?` for a value."""

    dialect: ClassVar[str]
    _failure: ClassVar[type[Exception]]

    def __init__(self, raw: Any, where: str) -> None:
        self.raw = raw
        self.where = where

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return every row that a query yields."""
        with self.translated():
            return list(self._run(sql, values).fetchall())

    def rows_in(self, sql: str, keys: Collection[str]) -> list[tuple[Any, ...]]:
        """Return every row of a query that says `IN ({keys})`, for any number of keys, each asked for once."""
        unique = list(dict.fromkeys(keys))
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(unique), _KEYS_AT_ONCE):
            some = unique[start : start + _KEYS_AT_ONCE]
            found += self.rows(sql.format(keys=",".join("?" * len(some))), *some)
        return found

    def one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        """Return the first row that a query yields."""
        with self.translated():
            found: tuple[Any, ...] | None = self._run(sql, values).fetchone()
            return found

    def run(self, sql: str, *values: object) -> int:
        """Execute one statement; return how many rows it changed."""
        with self.translated():
            return int(self._run(sql, values).rowcount)

    def run_many(self, sql: str, rows: Sequence[Row]) -> int:
        """Execute a statement with named values for each row; return how many rows they changed together."""
        with self.translated():
            cursor = self.raw.cursor()
            cursor.executemany(sql, rows)
            return int(cursor.rowcount)

    def run_script(self, statement: str) -> None:
        """Execute one statement that takes no values."""
        with self.translated():
            self.raw.execute(statement)

    def begin(self) -> None:
        """Start a transaction that no other writer can join: it waits for the others first."""
        raise NotImplementedError

    def commit(self) -> None:
        with self.translated():
            self.raw.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the open transaction, if there still is one."""
        raise NotImplementedError

    def close(self) -> None:
        with self.translated():
            self.raw.close()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the driver's own exceptions into StoreErrors."""
        try:
            yield
        except self._failure as err:
            raise self._translate(err) from err

    def _run(self, sql: str, values: Sequence[object]) -> Any:
        raise NotImplementedError

    def _translate(self, err: Exception) -> StoreError:
        raise NotImplementedError


class SqliteConnection(Connection):
    """SQLite, in explicit transactions only: the driver's implicit ones lose updates."""

    dialect = "sqlite"
    _failure = sqlite3.Error

    def begin(self) -> None:
        self.run_script("BEGIN IMMEDIATE")

    def rollback(self) -> None:
        if self.raw.in_transaction:
            self.run_script("ROLLBACK")

    def _run(self, sql: str, values: Sequence[object]) -> Any:
        return self.raw.execute(sql, values)

    def _translate(self, err: Exception) -> StoreError:
        return sqlite_error(err, self.where)


def sqlite_error(err: Exception, where: str) -> StoreError:
    """Return the StoreError that says what an exception of SQLite means for the file `where`."""
    code = getattr(err, "sqlite_errorcode", 0) & 0xFF
    kind, what, hint = _MEANINGS.get(code, (StoreError, "cannot use the database", "run `elisa doctor`"))
    return kind(what, f"{where}: {err}", hint)


_MEANINGS: Mapping[int, tuple[type[StoreError], str, str]] = {
    **dict.fromkeys(_BUSY, (StoreBusy, "another process holds the database", "try again in a moment")),
    **dict.fromkeys(
        _DAMAGED,
        (StoreDamaged, "the database is damaged: nothing is submitted from it", "see `elisa doctor` for its backups"),
    ),
    sqlite3.SQLITE_FULL: (
        StoreError,
        "no space left for the database; nothing was changed",
        "free space or quota in the state folder, then run the command again",
    ),
    sqlite3.SQLITE_READONLY: (
        StoreError,
        "the database cannot be written",
        "check the permissions of the state folder, and that its filesystem is not mounted read-only",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        StoreError,
        "cannot open the database",
        "check the state folder and its permissions with `elisa doctor`",
    ),
    sqlite3.SQLITE_IOERR: (
        StoreError,
        "the filesystem failed under the database; nothing was changed",
        "check the disk and its quota with `elisa doctor`",
    ),
    sqlite3.SQLITE_PERM: (StoreError, "the database may not be opened", "check the permissions of the state folder"),
}
