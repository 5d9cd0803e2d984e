"""What is as urgent as the work that waits for it."""

from __future__ import annotations

from collections.abc import Mapping

from elisa.model.ids import TaskId
from elisa.policies.inheritance import Urged, urged
from elisa.store.reader import Reader

__all__ = ["urged_now"]


def urged_now(reader: Reader) -> Mapping[TaskId, Urged]:
    """Return the unfinished tasks for which a task of a better class waits, in pipelines that have several classes."""
    found: dict[TaskId, Urged] = {}
    for pipeline in reader.of_several_classes():
        rows = reader.unfinished_of(pipeline)
        ranks = {TaskId(row.task): row.priority for row in rows}
        needs = {TaskId(row.task): tuple(TaskId(need) for need in row.needs) for row in rows}
        found |= urged(ranks, needs)
    return found
