"""One open database: plain SQL in, tuples out, every failure told as a StoreError."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

from elisa.model.errors import StoreError

__all__ = ["Connection", "Cursor", "RawConnection", "Row"]

Row = dict[str, Any]
"""A row to be written, by column."""

# SQLite takes 32766 values in one statement, PostgreSQL 65535.
_KEYS_AT_ONCE = 5000


class Cursor(Protocol):
    """What is used of a driver's cursor."""

    @property
    def rowcount(self) -> int: ...

    def fetchall(self) -> Sequence[tuple[Any, ...]]: ...

    def execute(self, sql: str, values: Sequence[object] = ..., /) -> object: ...

    def executemany(self, sql: str, rows: Sequence[Mapping[str, object]], /) -> object: ...


class RawConnection(Protocol):
    """What is used of a driver's connection."""

    def cursor(self) -> Cursor: ...

    def close(self) -> None: ...


class Connection:
    """What reader and writer need of a database, whichever it is. Statements take `?` for a value."""

    dialect: ClassVar[str]
    failure: ClassVar[type[Exception]]

    def __init__(self, raw: RawConnection, where: str) -> None:
        self._raw = raw
        self.where = where

    def rows(self, sql: str, *values: object) -> Sequence[tuple[Any, ...]]:
        """Return every row that a query yields."""
        with self.translated():
            # Rows are read from the file while they are fetched.
            return self._execute(sql, values).fetchall()

    def rows_in(self, sql: str, keys: Collection[str]) -> list[tuple[Any, ...]]:
        """Return every row of a query that says `IN ({keys})`, for any number of keys, each asked for once."""
        unique = list(dict.fromkeys(keys))
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(unique), _KEYS_AT_ONCE):
            some = unique[start : start + _KEYS_AT_ONCE]
            found += self.rows(sql.format(keys=",".join("?" * len(some))), *some)
        return found

    def run(self, sql: str, *values: object) -> int:
        """Execute one statement; return how many rows it changed."""
        with self.translated():
            return self._execute(sql, values).rowcount

    def run_many(self, sql: str, rows: Sequence[Row]) -> int:
        """Execute a statement with named values for each row; return how many rows they changed together."""
        with self.translated():
            cursor = self._raw.cursor()
            cursor.executemany(sql, rows)
            return cursor.rowcount

    def begin(self) -> None:
        """Start a transaction to write in; it waits until no other writer has one."""
        raise NotImplementedError

    def commit(self) -> None:
        self.run("COMMIT")

    def rollback(self) -> None:
        """Undo the open transaction, if there still is one."""
        raise NotImplementedError

    def schema_version(self) -> int:
        """Return the version of the schema that the database has, 0 if it has none yet."""
        raise NotImplementedError

    def mark_migrated(self, version: int, name: str, now_us: int) -> None:
        """Note, in the open transaction, that the schema is now of this version."""
        self.run("INSERT INTO migration (version, name, applied_at) VALUES (?, ?, ?)", version, name, now_us)

    def damage(self) -> Sequence[str]:
        """Read the whole database and return what is wrong with it, as far as it can tell."""
        return ()

    def back_up(self, target: Path) -> None:
        """Copy the whole database to a file, in a consistent state and only if all of it can be copied."""
        raise StoreError(
            "a database on a server is not copied by elisa",
            f"{self.where} cannot become {target}",
            "ask its administrator, or use pg_dump",
        )

    def close(self) -> None:
        with self.translated():
            self._raw.close()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the driver's own exceptions into StoreErrors."""
        try:
            yield
        except self.failure as err:
            raise self._translate(err) from err
        except OverflowError as err:
            raise StoreError("a number is too large for the database", str(err), "ask for less") from err

    def _execute(self, sql: str, values: Sequence[object]) -> Cursor:
        cursor = self._raw.cursor()
        cursor.execute(self._spelt(sql), values)
        return cursor

    def _spelt(self, sql: str) -> str:
        """Return a statement as the driver wants it."""
        return sql

    def _translate(self, err: Exception) -> StoreError:
        raise NotImplementedError
