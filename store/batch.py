"""What one call of `apply` has read, what it makes of that, and the rows it is going to write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from elisa.model.errors import StaleChange
from elisa.model.pipeline import Pipeline
from elisa.model.reasons import Reason
from elisa.store.audit import AuditTrail
from elisa.store.connection import Row
from elisa.store.convert import to_json
from elisa.store.tables import Table

__all__ = ["ANYBODY", "AccountKey", "Batch", "CapRow", "Names", "because_facts"]

_DAY_US = 86_400_000_000

AccountKey = tuple[str, int, str]
"""Project, owner's uid, type of GPU."""

Names = Mapping[str, tuple[str, ...]]
"""The ids of the tasks of a pipeline by name, and by the group that instances of a matrix share."""


ANYBODY = -1
"""The owner of caps that are on no member alone."""


class CapRow(NamedTuple):
    """One hard cap; `per_user` caps hold for each member on their own, `gpu_type` "" for all types together.

    Who has caps with an `owner_uid` has these in place of all others for each member.
    """

    project: str
    per_user: int
    owner_uid: int
    resource: str
    gpu_type: str
    cap: int


@dataclass(slots=True, kw_only=True)
class Batch:
    """The unit of work: rows by key as they were read, changed in place; new rows by table.

    `heirs` are the live attempts that take over what others hold, by those. `ranks` are how urgent tasks are, `due` when
    pipelines must end; `ranked` names those of both that change.
    `task_states` and `attempt_states` hold the state that each changed row has in the database. `seen_revision` and
    `seen_us` are when the writer last listed the tasks to check. `marks` are tasks whose dependents must look at their
    needs again.
    """

    now_us: int
    revision: int
    seen_revision: int
    seen_us: int
    audit: AuditTrail
    meta: Row
    projects: dict[str, int] = field(default_factory=dict)
    pipelines: dict[str, tuple[Pipeline, Names]] = field(default_factory=dict)
    tasks: dict[str, Row] = field(default_factory=dict)
    ranks: dict[str, Row] = field(default_factory=dict)
    due: dict[str, Row] = field(default_factory=dict)
    attempts: dict[str, Row] = field(default_factory=dict)
    heirs: dict[str, str] = field(default_factory=dict)
    accounts: dict[AccountKey, Row] = field(default_factory=dict)
    daily: dict[tuple[object, ...], Row] = field(default_factory=dict)
    caps: tuple[CapRow, ...] = ()
    cursors: dict[str, Row] = field(default_factory=dict)
    closures: dict[str, Row] = field(default_factory=dict)
    rules: dict[str, Row] = field(default_factory=dict)
    verdicts: dict[str, Row] = field(default_factory=dict)
    checkpoints: dict[tuple[str, int, str], int | None] = field(default_factory=dict)
    unchecked: dict[str, Row] = field(default_factory=dict)

    created: set[str] = field(default_factory=set)
    task_states: dict[str, str] = field(default_factory=dict)
    attempt_states: dict[str, str] = field(default_factory=dict)
    clears: set[Table] = field(default_factory=set)
    inserts: defaultdict[Table, list[Row]] = field(default_factory=lambda: defaultdict(list))
    upserts: defaultdict[Table, dict[object, Row]] = field(default_factory=lambda: defaultdict(dict))
    dropped_verdicts: set[str] = field(default_factory=set)
    looked_at: set[str] = field(default_factory=set)
    ranked: set[str] = field(default_factory=set)
    marks: set[str] = field(default_factory=set)
    _told: tuple[Reason, str] | None = None

    @property
    def today(self) -> int:
        """Days since the epoch."""
        return self.now_us // _DAY_US

    def facts_text(self, reason: Reason) -> str:
        """Return the facts of a reason as they are stored: those who share one come one after the other."""
        if self._told is None or self._told[0] is not reason:
            self._told = reason, to_json(reason.facts)
        return self._told[1]

    def task(self, task: str) -> Row:
        """Return the row of a task, to be read. Raises StaleChange if there is none."""
        return _existing(self.tasks, task, "task")

    def attempt(self, attempt: str) -> Row:
        """Return the row of an attempt, to be read. Raises StaleChange if there is none."""
        return _existing(self.attempts, attempt, "attempt")

    def change_task(self, task: str) -> Row:
        """Return the row of a task, to be changed."""
        row = self.task(task)
        if task not in self.created:
            self.task_states.setdefault(task, row["state"])
        return row

    def change_attempt(self, attempt: str) -> Row:
        """Return the row of an attempt, to be changed."""
        row = self.attempt(attempt)
        if attempt not in self.created:
            self.attempt_states.setdefault(attempt, row["state"])
        return row


def _existing(rows: Mapping[str, Row], key: str, what: str) -> Row:
    if key not in rows:
        raise StaleChange(f"there is no {what} {key}", "a change names it", "read again and decide again")
    return rows[key]


def because_facts(reason: Reason) -> dict[str, object]:
    """Return how a reason stands in the audit."""
    return {"reason": reason.code, "because": reason.facts}
