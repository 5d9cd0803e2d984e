"""Make a new database."""

from __future__ import annotations

import socket
from pathlib import Path

from elisa.model import layout
from elisa.model.errors import StoreError
from elisa.model.ports import CrashPoint, RandomSource
from elisa.store.database import connect_sqlite, migrate

__all__ = ["create_database", "new_instance"]

# As in ids: no i, l, o, u.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 12


def new_instance(random: RandomSource) -> str:
    """Return a fresh name for a store; its first letters tag the native jobs that belong to it."""
    return "".join(_ALPHABET[random.bits(5)] for _ in range(_LENGTH))


def create_database(home: Path, *, now_us: int, instance: str, crash: CrashPoint) -> None:
    """Make the database file with all its tables. Raises StoreError if it is there already."""
    path = layout.database(home)
    if path.exists() and path.stat().st_size:
        raise StoreError(f"there is an elisa state in {home} already", f"{path} exists", "use it as it is")
    path.touch(mode=0o600)
    connection = connect_sqlite(path, "rw", 20.0)
    migrate(connection, now_us=now_us, crash=crash)
    connection.begin()
    connection.run(
        "INSERT INTO meta (id, instance, host, filesystem, created_at, ticks, last_tick, canary, revision)"
        " VALUES (1, ?, ?, '', ?, 0, '{}', '', 0)",
        instance,
        socket.gethostname(),
        now_us,
    )
    connection.commit()
    connection.close()
