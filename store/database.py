"""Open the database of a state folder in the one way that is safe for where it lies, or say in three lines why not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from elisa.model import layout
from elisa.model.errors import StoreBusy, StoreDamaged, StoreError, StoreTooOld
from elisa.model.ports import Clock, CrashPoint, RandomSource, no_crash
from elisa.store.connection import Connection
from elisa.store.convert import to_us
from elisa.store.filesystem import probe
from elisa.store.guard import check_file, check_host, check_owner, check_soundness, damaged, has_leftovers, set_journal
from elisa.store.migrate import bring_up_to_date, migrate, refuse_newer
from elisa.store.migrations import latest_version
from elisa.store.sqlite import SqliteConnection, connect

__all__ = ["create", "exists", "open_for_reading", "open_for_writing"]

_TIMEOUT_S = 20.0


def exists(home: Path) -> bool:
    """Tell whether a state folder has a database, or names one."""
    return layout.database(home).exists() or layout.database_url(home).exists()


def create(home: Path, *, clock: Clock, random: RandomSource, crash: CrashPoint = no_crash, url: str = "") -> None:
    """Make the database of a state folder that has none yet; an existing one is left as it is.

    With a `url` (`postgresql://...`) its tables are made in that database, which must exist.
    """
    from elisa.store.create import Birth, create_file, create_tables, name_database, new_instance

    if exists(home):
        return
    filesystem = probe(home)
    birth = Birth(
        instance=new_instance(random),
        host=os.uname().nodename,
        filesystem=filesystem.name,
        at_us=to_us(clock.now()),
    )
    if url:
        with closing(_connect_server(url, _TIMEOUT_S)) as connection:
            create_tables(connection, birth, crash)
        name_database(layout.database_url(home), url)
    else:
        create_file(layout.database(home), birth, filesystem, crash)


def _connect_server(url: str, timeout_s: float) -> Connection:
    try:
        from elisa.store.postgres import connect as connect_server
    except ImportError as err:
        raise StoreError(
            "PostgreSQL needs a library that is not installed", str(err), "pip install 'elisa-scheduler[postgres]'"
        ) from err
    return connect_server(url, timeout_s)


def _named_server(home: Path) -> str:
    """Return the address of the database that the state folder names, "" if it has one of its own."""
    path = layout.database_url(home)
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def open_for_reading(home: Path, timeout_s: float) -> Connection:
    """Open the database of a state folder without the right to change it."""
    url = _named_server(home)
    connection = _connect_server(url, timeout_s) if url else _open_file_to_read(layout.database(home), timeout_s)
    with _closed_if_refused(connection):
        _check_readable(connection)
    return connection


def _open_file_to_read(path: Path, timeout_s: float) -> SqliteConnection:
    check_file(path)
    connection = connect(path, "ro", timeout_s)
    try:
        connection.schema_version()
    except StoreError as err:
        connection.close()
        if isinstance(err, StoreBusy | StoreDamaged) or not has_leftovers(path):
            raise
        return _open_interrupted(path, timeout_s)
    return connection


def _open_interrupted(path: Path, timeout_s: float) -> SqliteConnection:
    """Open a file whose last writer died: what it left must be undone before anybody can read."""
    connection = connect(path, "rw", timeout_s)
    try:
        connection.schema_version()
    except StoreError as err:
        connection.close()
        raise StoreError(
            "the database cannot be read before it is mended",
            f"a writer died in a transaction, which must be undone in {path.parent}; you may not write there",
            "have its owner run any elisa command, or ask for the right to write",
        ) from err
    connection.run("PRAGMA query_only = ON")
    return connection


def _check_readable(connection: Connection) -> None:
    refuse_newer(connection)
    version = connection.schema_version()
    if version == 0:
        raise damaged(connection.where, "it has no tables")
    if version < latest_version():
        raise StoreTooOld(
            f"the database has schema {version}, this elisa reads schema {latest_version()}",
            f"{connection.where} was last written by an older elisa",
            "run `elisa tick` once: it makes a backup and brings the database up to date",
        )


def open_for_writing(
    home: Path, *, now_us: int, crash: CrashPoint, timeout_s: float, take_over: bool = False
) -> Connection:
    """Open the database of a state folder to write it; one of an older elisa is backed up and brought up to date.

    With `take_over` it may belong to another host, for the caller to change that.
    """
    url = _named_server(home)
    if url:
        return _open_server(url, now_us, crash, timeout_s)
    path = layout.database(home)
    check_file(path)
    check_owner(path)
    is_interrupted, filesystem = has_leftovers(path), probe(home)
    connection = connect(path, "rw", timeout_s)
    with _closed_if_refused(connection):
        refuse_newer(connection)
        check_soundness(connection, path, thoroughly=is_interrupted)
        if not take_over:
            check_host(connection, filesystem, os.uname().nodename)
        set_journal(connection, filesystem)
        bring_up_to_date(connection, layout.backups(home), now_us=now_us, crash=crash)
    return connection


def _open_server(url: str, now_us: int, crash: CrashPoint, timeout_s: float) -> Connection:
    # Backups are its administrator's; each step of a migration is a transaction there as well.
    connection = _connect_server(url, timeout_s)
    with _closed_if_refused(connection):
        refuse_newer(connection)
        migrate(connection, now_us=now_us, crash=crash)
    return connection


@contextmanager
def _closed_if_refused(connection: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise
