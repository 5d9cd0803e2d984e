"""PostgreSQL as a database of elisa, for several login nodes or a team that share one state.

The file `database.url` of the state folder names it: `postgresql://USER@HOST/NAME`. Passwords belong in `~/.pgpass`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import psycopg

from elisa.model.errors import StaleChange, StoreBusy, StoreError
from elisa.store.connection import Connection

__all__ = ["PostgresConnection", "connect"]

# Any number will do, as long as every elisa takes the same: the letters of its name.
_WRITERS_LOCK = 0x656C697361
_PASSWORD = re.compile(r"(?<=:)[^:/@]+(?=@)")
_CONNECT_S = 10


class PostgresConnection(Connection):
    """A connection on which no transaction begins by itself; those that write come one after the other."""

    dialect = "postgresql"
    failure = psycopg.Error
    _raw: psycopg.Connection[tuple[Any, ...]]

    def begin(self) -> None:
        self.run("BEGIN")
        try:
            self.rows("SELECT pg_advisory_xact_lock(?)", _WRITERS_LOCK)
        except StoreError:
            self.rollback()
            raise

    def rollback(self) -> None:
        if self._raw.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self.run("ROLLBACK")

    def schema_version(self) -> int:
        if self.rows("SELECT to_regclass('migration')")[0][0] is None:
            return 0
        return int(self.rows("SELECT COALESCE(MAX(version), 0) FROM migration")[0][0])

    def _spelt(self, sql: str) -> str:
        return sql.replace("%", "%%").replace("?", "%s")

    def _translate(self, err: Exception) -> StoreError:
        state = getattr(err, "sqlstate", None) or ""
        kind, what, hint = next((meaning for start, meaning in _MEANINGS.items() if state.startswith(start)), _ELSE)
        return kind(what, f"{self.where}: {' '.join(str(err).split())}", hint)


def connect(url: str, timeout_s: float) -> PostgresConnection:
    """Connect to a database server. Raises StoreError if it cannot be reached."""
    where = _PASSWORD.sub("***", url)
    try:
        raw = psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_S)
    except psycopg.Error as err:
        raise StoreError(
            "the database server cannot be reached",
            f"{where}: {' '.join(str(err).split())}",
            "check `database.url` in the state folder, and that the server runs",
        ) from err
    connection = PostgresConnection(raw, where)
    connection.rows("SELECT set_config('lock_timeout', ?, false)", f"{round(timeout_s * 1000)}ms")
    return connection


_BUSY = (StoreBusy, "another process holds the database", "try again in a moment")
_STALE = (StaleChange, "the state moved while it was being changed", "read again and decide again")
_ELSE = (StoreError, "the database cannot be used", "run `elisa doctor`")
# By the beginning of SQLSTATE: https://www.postgresql.org/docs/15/errcodes-appendix.html
_MEANINGS: Mapping[str, tuple[type[StoreError], str, str]] = {
    "23": _STALE,  # integrity constraints
    "40": _BUSY,  # serialization, deadlocks
    "55P03": _BUSY,  # lock_timeout
    "42501": (StoreError, "the database may not be used so", "ask its owner for the right to read or write it"),
    "25006": (StoreError, "the database cannot be written", "this server or this role may only read"),
    "53100": (StoreError, "there is no space left for the database; nothing was changed", "free space on its server"),
    "08": (StoreError, "the connection to the database server broke", "check that it runs, then run the command again"),
    "57": (StoreError, "the database server is going down", "check that it runs, then run the command again"),
}
