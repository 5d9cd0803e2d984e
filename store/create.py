"""Make a new database: whole, or not there."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from elisa.model.ports import CrashPoint, RandomSource
from elisa.store import tables
from elisa.store.audit import GENESIS, AuditTrail
from elisa.store.connection import Connection
from elisa.store.filesystem import Filesystem
from elisa.store.guard import set_journal
from elisa.store.migrate import migrate
from elisa.store.sqlite import connect
from elisa.store.statements import insert_into

__all__ = ["Birth", "create_file", "create_tables", "name_database", "new_instance"]

# As in ids: no i, l, o, u.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 12
_TIMEOUT_S = 10.0
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a new database knows of itself: its instance's name, where it was made and when."""

    instance: str
    host: str
    filesystem: str
    at_us: int


def new_instance(random: RandomSource) -> str:
    """Return a fresh name for a store; its first letters tag the native jobs that belong to it."""
    return "".join(_ALPHABET[random.bits(5)] for _ in range(_LENGTH))


def create_file(path: Path, birth: Birth, filesystem: Filesystem, crash: CrashPoint) -> None:
    """Make a database file beside its place, then put it there; one that is there already is left alone."""
    new = path.with_name(f"{path.name}.new-{os.getpid()}")
    new.unlink(missing_ok=True)
    _touch(new)
    connection = connect(new, "rw", _TIMEOUT_S)
    try:
        set_journal(connection, filesystem)
        create_tables(connection, birth, crash)
    finally:
        connection.close()
    crash("store.create.link")
    _put(new, path)
    crash("store.create.linked")


def _touch(path: Path) -> None:
    """Make an empty file of the mode that the database is to have; journals inherit it.

    SQLite itself would honour the umask, so that the members of a shared folder could not write each other's files.
    """
    folder = path.parent.stat().st_mode
    shared = folder & stat.S_ISGID and folder & stat.S_IWGRP
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o660 if shared else 0o600)
    finally:
        os.close(descriptor)


def _put(new: Path, path: Path) -> None:
    try:
        with suppress(FileExistsError):
            os.link(new, path)
        new.unlink()
    except OSError as err:
        if err.errno not in _NO_LINKS:
            raise
        new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def create_tables(connection: Connection, birth: Birth, crash: CrashPoint) -> None:
    """Make all tables, and put the first rows into them if nobody else was faster."""
    migrate(connection, now_us=birth.at_us, crash=crash)
    connection.begin()
    crash("store.create.fill")
    if not connection.rows("SELECT id FROM meta"):
        _fill(connection, birth)
    connection.commit()


def name_database(path: Path, url: str) -> None:
    """Write the address of a database on a server to a file; it may hold a password."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(url + "\n")


def _fill(connection: Connection, birth: Birth) -> None:
    audit = AuditTrail(0, GENESIS, birth.at_us, "elisa")
    audit.add("store.created", birth.instance, {"host": birth.host, "filesystem": birth.filesystem})
    meta = {
        "id": 1,
        "instance": birth.instance,
        "host": birth.host,
        "filesystem": birth.filesystem,
        "created_at": birth.at_us,
        "last_tick_at": None,
        "ticks": 0,
        "last_tick": "{}",
        "canary": "",
        "revision": 0,
    }
    connection.run_many(insert_into(tables.META, connection.dialect), [meta])
    connection.run_many(insert_into(tables.AUDIT, connection.dialect), audit.rows)
