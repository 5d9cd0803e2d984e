"""Check that the audit is whole, and that the state is what it adds up to.

A hash chain shows changes within; whoever may write the database may also write a new chain. The head that each user
mirrors outside of the database shows that too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from elisa.model.rows import AuditCheck
from elisa.store.audit import GENESIS, row_hash
from elisa.store.audit_head import mirrored_head
from elisa.store.connection import Connection
from elisa.store.convert import CHARGES, read_facts

__all__ = ["verify"]

_ROWS = "SELECT seq, at, actor, kind, subject, facts, previous, hash FROM audit ORDER BY seq"


def verify(connection: Connection, home: Path) -> AuditCheck:
    """Return what does not fit; the caller must not write meanwhile."""
    rows = connection.rows(_ROWS)
    problems = [*_broken_links(rows), *_wrong_head(rows, home)]
    tasks, attempts, closures, set_rules = _fold(rows)
    problems += _differences(connection, "task", "state, attempts, failures", tasks)
    problems += _differences(connection, "attempt", "state, incarnation, native_id", attempts)
    problems += _differences(connection, "closure", ", ".join(_CLOSURE), closures)
    problems += _differences(connection, "rule", ", ".join(_RULE), set_rules)
    problems += [*_unbalanced(connection), *_wrong_accounts(connection)]
    return AuditCheck(len(rows), tuple(problems))


def _broken_links(rows: Sequence[tuple[Any, ...]]) -> Iterator[str]:
    previous = GENESIS
    for number, row in enumerate(rows, start=1):
        if row[0] != number:
            yield f"audit row {number} is missing"
            return
        if row[6] != previous or row_hash(row[:7]) != row[7]:
            yield f"audit row {number} was changed after it was written"
        previous = row[7]


def _wrong_head(rows: Sequence[tuple[Any, ...]], home: Path) -> Iterator[str]:
    mirrored = mirrored_head(home)
    if mirrored is None:
        return
    seq, head = mirrored
    if seq > len(rows):
        yield f"audit rows from {len(rows) + 1} to {seq} were removed"
    elif seq and rows[seq - 1][7] != head:
        yield f"the audit up to row {seq} was rewritten"


def _fold(rows: Sequence[tuple[Any, ...]]) -> tuple[dict[str, tuple[Any, ...]], ...]:
    """Return the tasks, attempts, closures and rules, by id, that the audit adds up to."""
    folded: dict[str, dict[str, tuple[Any, ...]]] = {"task": {}, "attempt": {}, "closure": {}, "rule": {}}
    for row in rows:
        into, fields = _FOLDED.get(row[3], (None, ()))
        if into is not None:
            facts = read_facts(row[5])
            folded[into][row[4]] = tuple(facts[name] for name in fields)
    return tuple(folded.values())


_TASK = ("after", "attempts", "failures")
_ATTEMPT = ("after", "incarnation", "native_id")
_CLOSURE = ("backend", "nodes", "starts_at", "ends_at", "state")
_RULE = ("kind", "project", "body", "state")
_FOLDED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "task.added": ("task", _TASK),
    "task.moved": ("task", _TASK),
    "task.queued_ahead": ("task", _TASK),
    "attempt.intended": ("attempt", _ATTEMPT),
    "attempt.submitted": ("attempt", _ATTEMPT),
    "attempt.moved": ("attempt", _ATTEMPT),
    "closure.added": ("closure", _CLOSURE),
    "closure.lifted": ("closure", _CLOSURE),
    "rule.set": ("rule", _RULE),
    "rule.dropped": ("rule", _RULE),
}


def _differences(
    connection: Connection, table: str, columns: str, folded: Mapping[str, tuple[Any, ...]]
) -> Iterator[str]:
    stored = {row[0]: tuple(row[1:]) for row in connection.rows(f"SELECT id, {columns} FROM {table}")}
    for key in sorted(stored.keys() | folded.keys()):
        if stored.get(key) != folded.get(key):
            yield f"{table} {key} is ({_words(stored.get(key))}), the audit says ({_words(folded.get(key))})"


def _words(values: tuple[Any, ...] | None) -> str:
    return "absent" if values is None else ", ".join(map(str, values))


def _unbalanced(connection: Connection) -> Iterator[str]:
    for attempt, held, booked in _by_attempt(connection):
        reserve, spend, refund = (booked[kind] for kind in ("reserve", "spend", "refund"))
        for number, name in enumerate(CHARGES):
            if reserve[number] != spend[number] + refund[number] + held[number]:
                yield (
                    f"attempt {attempt}: of {reserve[number]} {name} reserved, {spend[number]} were spent,"
                    f" {refund[number]} given back and {held[number]} are held"
                )


def _by_attempt(connection: Connection) -> Iterator[tuple[str, tuple[int, ...], Mapping[str, list[int]]]]:
    booked: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(_nothing))
    for attempt, kind, *amounts in connection.rows(f"SELECT attempt, kind, {', '.join(CHARGES)} FROM ledger"):
        booked[attempt][kind] = [a + b for a, b in zip(booked[attempt][kind], amounts, strict=True)]
    held = ", ".join(f"held_{name}" for name in CHARGES)
    for attempt, *left in connection.rows(f"SELECT id, {held} FROM attempt ORDER BY id"):
        yield attempt, tuple(left), booked[attempt]


def _nothing() -> list[int]:
    return [0] * len(CHARGES)


def _wrong_accounts(connection: Connection) -> Iterator[str]:
    for side, signs in _SIDES.items():
        sums = ", ".join(f"CAST(SUM({name} * CASE kind {signs} END) AS BIGINT)" for name in CHARGES)
        columns = ", ".join(f"{side}_{name}" for name in CHARGES)
        booked = connection.rows(f"SELECT {_OWNER}, {sums} FROM ledger GROUP BY {_OWNER}")
        stored = connection.rows(f"SELECT {_OWNER}, {columns} FROM account")
        for row in sorted(set(booked) ^ set(stored)):
            yield f"the account of {row[0]} (user {row[1]}) does not hold what the ledger adds up to: {side} {row[3:]}"


_OWNER = "project, owner_uid, gpu_type"
_SIDES: Mapping[str, str] = {
    "reserved": "WHEN 'reserve' THEN 1 WHEN 'overrun' THEN 0 ELSE -1",
    "spent": "WHEN 'spend' THEN 1 WHEN 'overrun' THEN 1 ELSE 0",
}
