"""Running work that is left alone, for it came back too often without getting any further."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from elisa.model.columns import RunningRow
from elisa.model.ids import TaskId
from elisa.policies.livelock import SpinRules, rounds_of
from elisa.store.reader import Reader

__all__ = ["with_protection"]


def with_protection(running: Sequence[RunningRow], reader: Reader, now: datetime) -> tuple[RunningRow, ...]:
    """Return the rows, those protected that are at their next run after a livelock."""
    return tuple(row._replace(is_protected=True) if _is_spinning(row, reader, now) else row for row in running)


def _is_spinning(row: RunningRow, reader: Reader, now: datetime) -> bool:
    if row.times_preempted < SpinRules().rounds or row.saved_us:
        return False
    return rounds_of(reader.attempts_of(TaskId(row.task)), now) is not None
