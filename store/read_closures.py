"""Which places are closed to work, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from elisa.model.closures import UNTIL_LIFTED, Closure
from elisa.model.ids import BackendName, ClosureId
from elisa.store.connection import Connection
from elisa.store.convert import from_us, to_us

__all__ = ["ClosureQueries"]

_OPEN = (
    "SELECT id, backend, nodes, starts_at, ends_at, why, added_by, is_forced FROM closure"
    " WHERE state = 'open' AND (ends_at IS NULL OR ends_at > ?) ORDER BY starts_at, id"
)


class ClosureQueries:
    """Queries for closures."""

    _db: Connection

    def closures(self, now: datetime) -> tuple[Closure, ...]:
        """Return those that hold now or will, in the order in which they begin; the site's own rules have others."""
        return tuple(_closure(row) for row in self._db.rows(_OPEN, to_us(now)))


def _closure(row: Sequence[Any]) -> Closure:
    return Closure(
        id=ClosureId(row[0]),
        backend=BackendName(row[1]),
        nodes=tuple(row[2].split(",")) if row[2] else (),
        starts_at=from_us(row[3]),
        ends_at=UNTIL_LIFTED if row[4] is None else from_us(row[4]),
        why=row[5],
        by=row[6],
        is_forced=bool(row[7]),
    )
