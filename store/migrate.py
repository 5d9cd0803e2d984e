"""Bring a database to the newest schema, one whole step at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from elisa.model.errors import StoreTooNew
from elisa.model.ports import CrashPoint
from elisa.store.connection import Connection
from elisa.store.migrations import MIGRATIONS, Migration, latest_version
from elisa.store.sqlite import SqliteConnection

__all__ = ["bring_up_to_date", "migrate", "refuse_newer"]


def refuse_newer(connection: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Raise StoreTooNew if a newer elisa wrote the database."""
    version, latest = connection.schema_version(), latest_version(migrations)
    if version > latest:
        raise StoreTooNew(
            f"the database has schema {version}, this elisa knows schemas up to {latest}",
            f"{connection.where} was written by a newer elisa",
            "use that elisa again; nothing was changed",
        )


def bring_up_to_date(
    connection: SqliteConnection,
    backups: Path,
    *,
    now_us: int,
    crash: CrashPoint,
    migrations: Sequence[Migration] = MIGRATIONS,
) -> None:
    """Apply what is missing, after a copy of the database was put into the folder `backups`."""
    version = connection.schema_version()
    if version < latest_version(migrations):
        _make_folder(backups)
        connection.back_up(backups / f"elisa-schema{version}-{now_us}.db")
        crash("store.migrate.backup")
        migrate(connection, now_us=now_us, crash=crash, migrations=migrations)


def _make_folder(folder: Path) -> None:
    # What stands in its way shows when the copy is made.
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)


def migrate(
    connection: Connection, *, now_us: int, crash: CrashPoint, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Apply each step that the database has not seen, in a transaction of its own: interrupted, it never happened."""
    for migration in migrations:
        if migration.version > connection.schema_version():
            _apply(connection, migration, now_us, crash)


def _apply(connection: Connection, migration: Migration, now_us: int, crash: CrashPoint) -> None:
    crash("store.migrate.begin")
    connection.begin()
    try:
        # Another process may have been faster while this one waited for its turn.
        if migration.version > connection.schema_version():
            migration.run(_counted(connection, migration, crash))
            connection.mark_migrated(migration.version, migration.name, now_us)
        crash("store.migrate.commit")
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def _counted(connection: Connection, migration: Migration, crash: CrashPoint) -> Callable[[str], object]:
    count = 0

    def execute(statement: str) -> object:
        nonlocal count
        crash(f"store.migrate.{migration.version}.{count}")
        count += 1
        return connection.run(statement)

    return execute
