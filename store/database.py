"""Open the database in the one way that is safe for where it lies, or say in three lines why not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from elisa.model import layout
from elisa.model.errors import StoreError, StoreTooNew
from elisa.model.ports import CrashPoint
from elisa.store.connection import Connection, SqliteConnection, sqlite_error
from elisa.store.migrations import MIGRATIONS, latest_version

__all__ = ["connect_sqlite", "migrate", "open_for_reading", "open_for_writing", "schema_version", "too_new"]


def connect_sqlite(path: Path, mode: str, timeout_s: float) -> SqliteConnection:
    """Open a database file that exists; `mode` is ro or rw. No transaction begins but by `begin`."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        raw = sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None, cached_statements=512)
    except sqlite3.Error as err:
        raise sqlite_error(err, str(path)) from err
    connection = SqliteConnection(raw, str(path))
    connection.run("PRAGMA foreign_keys = ON")
    connection.run("PRAGMA mmap_size = 0")
    return connection


def schema_version(connection: Connection) -> int:
    """Return the version of the schema that the database has, 0 if it is empty."""
    found = connection.one("PRAGMA user_version")
    return int(found[0]) if found else 0


def open_for_reading(home: Path, timeout_s: float) -> Connection:
    """Open the database of a state folder without the right to change it."""
    path = layout.database(home)
    _check_exists(path)
    connection = connect_sqlite(path, "ro", timeout_s)
    _check_readable_version(connection)
    return connection


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise StoreError(
            f"there is no elisa state in {path.parent}", f"{path} does not exist", "run `elisa init`, or set ELISA_HOME"
        )


def _check_readable_version(connection: Connection) -> None:
    version, latest = schema_version(connection), latest_version()
    if version > latest:
        raise too_new(connection.where, version)
    if version < latest:
        raise StoreError(
            f"the database has schema {version}, this elisa reads schema {latest}",
            f"{connection.where} was last written by an older elisa",
            "run `elisa tick` once: it makes a backup and brings the database up to date",
        )


def too_new(where: str, version: int) -> StoreTooNew:
    return StoreTooNew(
        f"the database has schema {version}, this elisa knows schemas up to {latest_version()}",
        f"{where} was written by a newer elisa",
        "install the newer elisa again; nothing was changed",
    )


def open_for_writing(home: Path, *, now_us: int, crash: CrashPoint, timeout_s: float) -> Connection:
    """Open the database of a state folder, bringing it up to date first."""
    path = layout.database(home)
    _check_exists(path)
    connection = connect_sqlite(path, "rw", timeout_s)
    connection.run("PRAGMA synchronous = FULL")
    if schema_version(connection) > latest_version():
        raise too_new(connection.where, schema_version(connection))
    migrate(connection, now_us=now_us, crash=crash)
    return connection


def migrate(connection: Connection, *, now_us: int, crash: CrashPoint) -> None:
    """Apply every migration that the database has not seen, each in a transaction of its own."""
    for migration in MIGRATIONS:
        if migration.version > schema_version(connection):
            connection.begin()
            migration.run(connection.run_script)
            connection.run(
                "INSERT INTO migration (version, name, applied_at) VALUES (?, ?, ?)",
                migration.version,
                migration.name,
                now_us,
            )
            connection.run(f"PRAGMA user_version = {migration.version}")
            connection.commit()
