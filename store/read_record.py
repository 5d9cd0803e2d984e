"""The record: audit, ledger, and whether they agree with the state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elisa.model.charge import Charge
from elisa.model.ids import AttemptId, ProjectName
from elisa.model.rows import AuditCheck, AuditRow, LedgerRow
from elisa.store.connection import Connection
from elisa.store.convert import CHARGES, from_us, read_facts

__all__ = ["RecordQueries"]

_AUDIT = "SELECT seq, at, actor, kind, subject, facts, previous, hash FROM audit WHERE seq > ?"
_LEDGER = f"SELECT attempt, incarnation, kind, project, owner_uid, at, gpu_type, {', '.join(CHARGES)} FROM ledger"


class RecordQueries:
    """Queries for what happened."""

    _db: Connection
    _home: Path

    def audit(self, *, subject: str | None = None, after: int = 0, limit: int | None = None) -> tuple[AuditRow, ...]:
        """Return audit rows in their order, from the one after number `after`; of one id if `subject` is given."""
        query = _AUDIT
        values: list[object] = [after]
        if subject is not None:
            query += " AND subject = ?"
            values.append(subject)
        query += " ORDER BY seq"
        if limit is not None:
            query += " LIMIT ?"
            values.append(limit)
        return tuple(
            AuditRow(seq, from_us(at), actor, kind, about, read_facts(facts), previous, seal)
            for seq, at, actor, kind, about, facts, previous, seal in self._db.rows(query, *values)
        )

    def ledger(self, *, project: str | None = None) -> tuple[LedgerRow, ...]:
        """Return every booking, in the order of attempts and time."""
        order = " ORDER BY attempt, at, incarnation, kind"
        rows = (
            self._db.rows(_LEDGER + order)
            if project is None
            else self._db.rows(f"{_LEDGER} WHERE project = ?{order}", project)
        )
        return tuple(_booking(row) for row in rows)

    def verify_audit(self) -> AuditCheck:
        """Check every link of the audit, and that state and accounts are what audit and ledger add up to."""
        from elisa.store.verify import verify

        return verify(self._db, self._home)


def _booking(row: tuple[Any, ...]) -> LedgerRow:
    attempt, incarnation, kind, project, owner_uid, at, gpu_type, *amounts = row
    charge = Charge(**dict(zip(CHARGES, amounts, strict=True)), gpu_type=gpu_type)
    return LedgerRow(AttemptId(attempt), incarnation, kind, ProjectName(project), owner_uid, from_us(at), charge)
