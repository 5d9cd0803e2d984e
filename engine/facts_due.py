"""How much work each ready task has behind it, where its pipeline must end by a deadline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elisa.model.columns import ReadyColumns, UnfinishedRow
from elisa.model.ids import TaskId
from elisa.policies.deadlines import Work, longest_paths
from elisa.store.reader import Reader

__all__ = ["with_paths"]


def with_paths(ready: ReadyColumns, reader: Reader) -> ReadyColumns:
    """Return the columns with the longest path from each task to its pipeline's end; tasks ask for their walltime."""
    if not any(ready.deadline_us):
        return ready
    paths = _paths(reader.unfinished_due())
    return ready._replace(path_s=[paths.get(TaskId(task), 0.0) for task in ready.task]) if paths else ready


def _paths(rows: Sequence[UnfinishedRow]) -> Mapping[TaskId, float]:
    """Return the paths, none if the needs run in a circle: submission refuses those, and no plan may fail for one."""
    work = [
        Work(id=TaskId(row.task), remaining_s=row.walltime_s, needs=tuple(TaskId(need) for need in row.needs))
        for row in rows
    ]
    try:
        return longest_paths(work)
    except ValueError:
        return {}
