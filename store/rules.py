"""What changes of the site's rules make of their rows."""

from __future__ import annotations

from elisa.model.changes import RuleDropped, RuleSet
from elisa.model.errors import StaleChange
from elisa.store import tables
from elisa.store.batch import Batch
from elisa.store.convert import to_json

__all__ = ["drop_rule", "set_rule"]

_SET, _DROPPED = "set", "dropped"


def set_rule(batch: Batch, change: RuleSet) -> None:
    """Write a rule down, in place of the one with its id. Raises ValueError for one without an id."""
    rule = change.rule
    if not rule.id:
        raise ValueError(f"{rule} cannot be stored")
    row = {
        "id": rule.id,
        "kind": rule.kind.value,
        "project": rule.project,
        "body": to_json(rule.body),
        "set_by": rule.by,
        "set_at": batch.now_us,
        "state": _SET,
    }
    batch.rules[rule.id] = batch.upserts[tables.RULE][rule.id] = row
    batch.audit.add("rule.set", rule.id, {**row, "after": _SET})


def drop_rule(batch: Batch, change: RuleDropped) -> None:
    """End a rule. Raises StaleChange if it does not hold, or does not hold any more."""
    row = batch.rules.get(change.rule)
    if row is None or row["state"] != _SET:
        raise StaleChange(
            f"rule {change.rule} cannot be dropped",
            "there is none" if row is None else "it was dropped already",
            "read again and decide again",
        )
    row = {**row, "state": _DROPPED}
    batch.rules[change.rule] = batch.upserts[tables.RULE][change.rule] = row
    batch.audit.add("rule.dropped", change.rule, {**row, "after": _DROPPED, "by": change.by})
