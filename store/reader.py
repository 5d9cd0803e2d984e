"""Everything that may be asked of the store. Imports no ORM: `status` must not pay for it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from elisa.store.connection import Connection
from elisa.store.database import open_for_reading
from elisa.store.read_closures import ClosureQueries
from elisa.store.read_company import CompanyQueries
from elisa.store.read_history import HistoryQueries
from elisa.store.read_lookup import LookupQueries
from elisa.store.read_record import RecordQueries
from elisa.store.read_rules import RuleQueries
from elisa.store.read_running import RunningQueries
from elisa.store.read_tick import TickQueries
from elisa.store.read_work import WorkQueries

__all__ = ["Reader"]

# A writer holds the file for the length of one transaction: far below a second.
_TIMEOUT_S = 10.0


class Reader(
    LookupQueries,
    TickQueries,
    RunningQueries,
    RecordQueries,
    HistoryQueries,
    ClosureQueries,
    RuleQueries,
    WorkQueries,
    CompanyQueries,
):
    """A read-only view of a state folder; use it as a context manager, and not for long."""

    def __init__(self, connection: Connection, home: Path) -> None:
        self._db = connection
        self._home = home

    @classmethod
    def open(cls, home: Path, *, timeout_s: float = _TIMEOUT_S) -> Reader:
        """Open the state folder. Raises StoreError: no store, a busy one, one that cannot be read."""
        return Reader(open_for_reading(home, timeout_s), home)

    def damage(self) -> tuple[str, ...]:
        """Read all of the database and return what is wrong with it; a second for each 100 MB."""
        return tuple(self._db.damage())

    def back_up(self, target: Path) -> None:
        """Copy the database to a new file, in a consistent state. Raises StoreError if not all of it can be copied."""
        self._db.back_up(target)

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
