"""SQLite as a database of elisa: how it is opened, what its errors mean, and which journal is safe where."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from elisa.model.errors import StaleChange, StoreBusy, StoreDamaged, StoreError
from elisa.store.connection import Connection

__all__ = ["SqliteConnection", "allows_wal", "connect"]

_Version = tuple[int, int, int]
# Since these versions a WAL file cannot be reset under a reader that still needs it (sqlite.org/wal.html, section 11).
_WAL_FIXED: _Version = (3, 51, 3)
_WAL_FIXED_BRANCHES: tuple[_Version, ...] = ((3, 44, 6), (3, 50, 7))


def allows_wal(version: tuple[int, ...]) -> bool:
    """Tell whether this version of SQLite may be trusted with a write-ahead log."""
    return version >= _WAL_FIXED or any(version[:2] == fixed[:2] and version >= fixed for fixed in _WAL_FIXED_BRANCHES)


class SqliteConnection(Connection):
    """A connection on which no transaction begins by itself: the driver's implicit ones lose updates."""

    dialect = "sqlite"
    failure = sqlite3.Error
    _raw: sqlite3.Connection

    def begin(self) -> None:
        self.run("BEGIN IMMEDIATE")

    def rollback(self) -> None:
        if self._raw.in_transaction:
            self.run("ROLLBACK")

    def schema_version(self) -> int:
        return int(self.rows("PRAGMA user_version")[0][0])

    def mark_migrated(self, version: int, name: str, now_us: int) -> None:
        super().mark_migrated(version, name, now_us)
        self.run(f"PRAGMA user_version = {version}")

    def damage(self) -> Sequence[str]:
        try:
            found = [str(row[0]) for row in self.rows("PRAGMA integrity_check(20)")]
        except StoreDamaged as err:
            return [err.why]
        return [] if found == ["ok"] else found

    def back_up(self, target: Path) -> None:
        # Never copy the file itself: closing any other descriptor of it drops this process's locks.
        new = target.with_name(f"{target.name}.new-{os.getpid()}")
        try:
            new.unlink(missing_ok=True)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            with self.translated():
                self._copy_to(new)
            new.replace(target)
        except OSError as err:
            raise StoreError(
                "no copy of the database can be kept; nothing was changed",
                str(err),
                f"make room in {target.parent}, and make sure that you may write there",
            ) from err

    def _copy_to(self, path: Path) -> None:
        copy = sqlite3.connect(path)
        try:
            self._raw.backup(copy)
        finally:
            copy.close()

    def _translate(self, err: Exception) -> StoreError:
        return _error(err, self.where)


def connect(path: Path, mode: str, timeout_s: float) -> SqliteConnection:
    """Open a database file that exists; `mode` is ro or rw."""
    try:
        raw = sqlite3.connect(
            f"file:{_quoted(path.absolute())}?mode={mode}",
            uri=True,
            timeout=timeout_s,
            isolation_level=None,
            cached_statements=512,
        )
    except sqlite3.Error as err:
        raise _error(err, str(path)) from err
    connection = SqliteConnection(raw, str(path))
    for pragma in ("foreign_keys = ON", "mmap_size = 0", "trusted_schema = OFF"):
        connection.run(f"PRAGMA {pragma}")
    return connection


def _quoted(path: Path) -> str:
    """Return a path as it stands in a URI for SQLite. `Path.as_uri` does it too, and costs 8 ms of imports."""
    return os.fspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _error(err: Exception, where: str) -> StoreError:
    # The primary code is the low byte of the extended one.
    code = getattr(err, "sqlite_errorcode", 0) & 0xFF
    kind, what, hint = _MEANINGS.get(code, _ELSE)
    return kind(what, f"{where}: {err}", hint)


_ELSE = (StoreError, "the database cannot be used", "run `elisa doctor`")
_BUSY = (StoreBusy, "another process holds the database", "try again in a moment")
_DAMAGED = (
    StoreDamaged,
    "the database is damaged: nothing is submitted from it",
    "`elisa rebuild` puts the newest sound copy in its place and reads again what jobs said since",
)
_STALE = (StaleChange, "the state moved while it was being changed", "read again and decide again")
_MEANINGS: Mapping[int, tuple[type[StoreError], str, str]] = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_PROTOCOL: _BUSY,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CONSTRAINT: _STALE,
    sqlite3.SQLITE_FULL: (
        StoreError,
        "there is no space left for the database; nothing was changed",
        "free space or quota where the state folder lies, then run the command again",
    ),
    sqlite3.SQLITE_READONLY: (
        StoreError,
        "the database cannot be written",
        "check the permissions of the state folder, and that its filesystem is not mounted read-only",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        StoreError,
        "the database cannot be opened",
        "check the permissions of the state folder, and that its filesystem is not mounted read-only",
    ),
    sqlite3.SQLITE_IOERR: (
        StoreError,
        "the filesystem failed under the database; nothing was changed",
        "check the disk, its space and your quota, then run the command again",
    ),
    sqlite3.SQLITE_PERM: (StoreError, "the database may not be opened", "check the permissions of the state folder"),
}
