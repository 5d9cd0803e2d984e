"""Nodes and backends that get no new work: drained by a person, or avoided because work broke there.

They stand in the audit alone, under one subject: what holds now is what its rows add up to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from .changes import Noted
from .reasons import Fact
from .rows import AuditRow

__all__ = ["SUBJECT", "Exclusion", "avoided", "drained", "exclusions_in", "lifted"]

SUBJECT = "nodes"
"""Whose rows in the audit tell of exclusions."""

_DRAINED, _AVOIDED, _LIFTED = "drained", "node_avoided", "undrained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """One place without new work. `node` "" is the whole backend. A drain holds until it is lifted.

    `is_forced`: even those leave that may not be preempted.
    """

    backend: str
    node: str
    is_drained: bool
    since: datetime
    until: datetime | None = None
    by: str = ""
    why: str = ""
    is_forced: bool = False

    @property
    def place(self) -> str:
        """Name the place for a person."""
        return f"node {self.node} of {self.backend}" if self.node else self.backend


def drained(backend: str, node: str, *, by: str, why: str, is_forced: bool) -> Noted:
    """Return the change by which a person drains a place."""
    facts: dict[str, Fact] = {"backend": backend, "node": node, "by": by, "why": why, "forced": int(is_forced)}
    return Noted(subject=SUBJECT, what=_DRAINED, facts=facts)


def lifted(backend: str, node: str, *, by: str) -> Noted:
    """Return the change by which a person gives a place back: to drains and to what was learnt."""
    return Noted(subject=SUBJECT, what=_LIFTED, facts={"backend": backend, "node": node, "by": by})


def avoided(backend: str, node: str, *, until: datetime, why: str) -> Noted:
    """Return the change by which elisa begins to avoid a node."""
    facts: dict[str, Fact] = {"backend": backend, "node": node, "until": until.isoformat(), "why": why}
    return Noted(subject=SUBJECT, what=_AVOIDED, facts=facts)


def exclusions_in(rows: Iterable[AuditRow], now: datetime) -> tuple[Exclusion, ...]:
    """Return what holds at `now`, by backend and node, from the audit's rows about `SUBJECT` in their order."""
    found: dict[tuple[str, str, bool], Exclusion] = {}
    for row in rows:
        what = row.kind.removeprefix("noted.")
        place = (str(row.facts.get("backend", "")), str(row.facts.get("node", "")))
        if what == _LIFTED:
            found.pop((*place, True), None)
            found.pop((*place, False), None)
        elif what in {_DRAINED, _AVOIDED}:
            found[*place, what == _DRAINED] = _exclusion(row, *place, is_drained=what == _DRAINED)
    holding = (one for one in found.values() if one.until is None or now < one.until)
    return tuple(sorted(holding, key=lambda one: (one.backend, one.node, not one.is_drained)))


def _exclusion(row: AuditRow, backend: str, node: str, *, is_drained: bool) -> Exclusion:
    facts: Mapping[str, object] = row.facts
    until = facts.get("until")
    return Exclusion(
        backend=backend,
        node=node,
        is_drained=is_drained,
        since=row.at,
        until=datetime.fromisoformat(str(until)) if until else None,
        by=str(facts.get("by", "")),
        why=str(facts.get("why", "")),
        is_forced=bool(facts.get("forced")),
    )
