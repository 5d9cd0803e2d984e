"""The audit: one row for each thing that happened, each sealed with a hash over itself and the row before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from elisa.store.connection import Row
from elisa.store.convert import to_json

__all__ = ["GENESIS", "AuditTrail", "row_hash"]

GENESIS = "0" * 64
"""What the first row has for the hash of the row before it."""


_ENCODER = json.JSONEncoder(separators=(",", ":"))
_COLUMNS = ("seq", "at", "actor", "kind", "subject", "facts", "previous", "hash")


def row_hash(fields: Sequence[Any]) -> str:
    """Return the hash of (seq, at, actor, kind, subject, facts, previous), facts being the stored text."""
    canonical = _ENCODER.encode(fields)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


class AuditTrail:
    """The rows that one transaction adds to the end of the chain."""

    def __init__(self, seq: int, head: str, at: int, actor: str) -> None:
        self.seq = seq
        self.head = head
        self.rows: list[Row] = []
        self._at = at
        self._actor = actor

    def add(self, kind: str, subject: str, facts: object) -> None:
        """Append one row; `facts` becomes its canonical JSON text."""
        self.seq += 1
        fields = (self.seq, self._at, self._actor, kind, subject, to_json(facts), self.head)
        self.head = row_hash(fields)
        self.rows.append(dict(zip(_COLUMNS, (*fields, self.head), strict=True)))
