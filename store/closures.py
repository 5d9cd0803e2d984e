"""What closures make of their rows."""

from __future__ import annotations

from elisa.model.changes import ClosureAdded, ClosureLifted
from elisa.model.errors import StaleChange
from elisa.model.site import UNTIL_LIFTED
from elisa.store import tables
from elisa.store.batch import Batch
from elisa.store.convert import to_us

__all__ = ["add_closure", "lift_closure"]

_OPEN, _LIFTED = "open", "lifted"


def add_closure(batch: Batch, change: ClosureAdded) -> None:
    """Write a closure down. Raises ValueError for one without an id, or that ends before it begins."""
    closure = change.closure
    if not closure.id or closure.ends_at <= closure.starts_at:
        raise ValueError(f"{closure} cannot be stored")
    row = {
        "id": closure.id,
        "backend": closure.backend,
        "nodes": ",".join(closure.nodes),
        "starts_at": to_us(closure.starts_at),
        "ends_at": None if closure.ends_at == UNTIL_LIFTED else to_us(closure.ends_at),
        "why": closure.why,
        "added_by": closure.by,
        "is_forced": int(closure.is_forced),
        "state": _OPEN,
    }
    batch.closures[closure.id] = batch.upserts[tables.CLOSURE][closure.id] = row
    batch.audit.add("closure.added", closure.id, {**row, "after": _OPEN})


def lift_closure(batch: Batch, change: ClosureLifted) -> None:
    """End a closure. Raises StaleChange if it does not hold, or does not hold any more."""
    row = batch.closures.get(change.closure)
    if row is None or row["state"] != _OPEN:
        raise StaleChange(
            f"closure {change.closure} cannot be lifted",
            "there is none" if row is None else "it was lifted already",
            "read again and decide again",
        )
    row = {**row, "state": _LIFTED}
    batch.closures[change.closure] = batch.upserts[tables.CLOSURE][change.closure] = row
    batch.audit.add("closure.lifted", change.closure, {**row, "after": _LIFTED, "by": change.by})
