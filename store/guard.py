"""What must hold before a database file may be written: whose it is, where it lies, whether it is sound."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

from elisa.model.errors import StoreBusy, StoreDamaged, StoreError
from elisa.store.filesystem import Filesystem
from elisa.store.sqlite import SqliteConnection, allows_wal

__all__ = ["check_file", "check_host", "check_owner", "check_soundness", "damaged", "has_leftovers", "set_journal"]

# quick_check reads 1 MiB in a millisecond; a small file is checked whenever it is opened.
_SMALL_BYTES = 4 << 20


def check_file(path: Path) -> None:
    """Raise StoreError unless `path` is an ordinary file that not everybody may write."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise StoreError(
            f"there is no elisa state in {path.parent}", f"{path} does not exist", "run `elisa init`, or set ELISA_HOME"
        ) from None
    except OSError as err:
        raise StoreError(
            f"the state in {path.parent} cannot be reached", str(err), "check the permissions of the folders above it"
        ) from err
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is not safe to use", "it is no ordinary file", "put the real file in its place")
    if status.st_mode & stat.S_IWOTH:
        raise StoreError(f"{path} is not safe to use", "everybody may write it", f"run `chmod o-w {path}`")


def check_owner(path: Path) -> None:
    """Raise StoreError if the file belongs to somebody who does not share it: our journals would lock them out."""
    status = path.stat()
    if status.st_uid != os.geteuid() and not status.st_mode & stat.S_IWGRP:
        raise StoreError(
            f"the elisa state in {path.parent} is not yours",
            f"{path} belongs to user {status.st_uid}, who does not share it",
            "use a state folder of your own, or one made in a folder with `chmod 2770`",
        )


def check_host(connection: SqliteConnection, filesystem: Filesystem, host: str) -> None:
    """Raise StoreBusy on any host but the database's own, if other hosts may reach it."""
    pinned = connection.rows("SELECT host FROM meta")[0][0]
    if not filesystem.is_local and pinned != host:
        raise StoreBusy(
            f"this elisa state belongs to host {pinned}, this is {host}",
            f"it lies on a filesystem ({filesystem.name}) on which locks may not reach from host to host",
            f"run elisa on {pinned}, or move the state folder to a disk of this host",
        )


def has_leftovers(path: Path) -> bool:
    """Tell whether somebody is writing now, or died while writing. To be asked before the file is opened."""
    return any(_size(path.with_name(path.name + suffix)) > 0 for suffix in ("-journal", "-wal"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def check_soundness(connection: SqliteConnection, path: Path, *, thoroughly: bool) -> None:
    """Raise StoreDamaged if the file is shorter than it says or, checked thoroughly or small, its pages do not fit."""
    if connection.schema_version() == 0:
        raise damaged(path, "it has no tables")
    pages, page_bytes = (connection.rows(f"PRAGMA {name}")[0][0] for name in ("page_count", "page_size"))
    is_wal = connection.rows("PRAGMA journal_mode")[0][0] == "wal"
    if not is_wal and _size(path) < pages * page_bytes:
        raise damaged(path, f"it has {_size(path)} bytes where there should be {pages * page_bytes}")
    if thoroughly or _size(path) <= _SMALL_BYTES:
        found = connection.rows("PRAGMA quick_check(1)")[0][0]
        if found != "ok":
            raise damaged(path, " ".join(found.split()))


def damaged(where: Path | str, why: str) -> StoreDamaged:
    """Return the error for a database of which nothing may be submitted."""
    return StoreDamaged(
        "the database is damaged: nothing is submitted from it",
        f"{where}: {why}",
        "`elisa rebuild` puts the newest sound copy in its place and reads again what jobs said since",
    )


def set_journal(connection: SqliteConnection, filesystem: Filesystem) -> None:
    """Choose the journal: a write-ahead log only where it is safe, and then only for a database that is new.

    A file is taken out of WAL wherever it is not safe, but never put into it again by the way: two elisas with
    different versions of SQLite would change it to and fro.
    """
    wal_is_safe = filesystem.is_local and allows_wal(sqlite3.sqlite_version_info)
    is_new = connection.schema_version() == 0
    mode = connection.rows("PRAGMA journal_mode")[0][0]
    if mode == "wal" and not wal_is_safe:
        mode = connection.rows("PRAGMA journal_mode = DELETE")[0][0]
    if mode != "wal" and wal_is_safe and is_new:
        mode = connection.rows("PRAGMA journal_mode = WAL")[0][0]
    # 64 MiB: transactions of 100,000 changes stay in memory until they are committed.
    connection.run("PRAGMA cache_size = -65536")
    # EXTRA also syncs the folder once the journal is gone: else power loss could bring a commit back to nothing.
    connection.run(f"PRAGMA synchronous = {'FULL' if mode == 'wal' else 'EXTRA'}")
