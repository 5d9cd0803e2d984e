"""How much work each task has behind it, where its pipeline must end by a deadline; and deadlines that are lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import inf

from elisa.engine.facts_work import WorkLeft
from elisa.model.changes import Noted
from elisa.model.columns import ReadyColumns, RunningRow
from elisa.model.ids import PipelineId, TaskId
from elisa.model.notes import DEADLINE_LOST, DEADLINE_REGAINED
from elisa.policies.deadlines import DeadlineVerdict, Due, due_of
from elisa.store.reader import Reader
from elisa.store.writer import Writer

__all__ = ["NOTHING_DUE", "due_now", "note_deadlines", "with_paths", "with_urgency"]

NOTHING_DUE = Due({}, {})
_MICRO = 1e-6


def due_now(ready: ReadyColumns, running: Sequence[RunningRow], reader: Reader, left: WorkLeft, now: datetime) -> Due:
    """Return how everything stands that must end by a deadline."""
    if not (any(ready.deadline_us) or any(row.slack_s < inf for row in running)):
        return NOTHING_DUE
    rows = reader.unfinished_due()
    return due_of(rows, {task: one.left_s for task, one in left.of(rows).items()}, now)


def with_paths(ready: ReadyColumns, due: Due) -> ReadyColumns:
    """Return the columns with the longest path, in expected work, from each task to the end of its pipeline."""
    if not due.paths:
        return ready
    return ready._replace(path_s=[due.paths.get(TaskId(task), 0.0) for task in ready.task])


def with_urgency(running: Sequence[RunningRow], due: Due, now: datetime) -> tuple[RunningRow, ...]:
    """Return running attempts with the slack that the path behind them leaves, in place of their walltime."""
    paths = due.paths
    return tuple(
        row._replace(slack_s=row.slack_s + _walltime_left_s(row, now) - paths[TaskId(row.task)])
        if row.task in paths
        else row
        for row in running
    )


def _walltime_left_s(row: RunningRow, now: datetime) -> float:
    """Return what the slack of a row counts for its own work."""
    ran_s = now.timestamp() - row.started_us * _MICRO if row.started_us else 0.0
    return max(0.0, row.request.walltime_s - ran_s)


def note_deadlines(writer: Writer, due: Due) -> None:
    """Write down which deadlines cannot be met any more since this tick, and which can again."""
    lost = writer.lost_deadlines(list(due.verdicts)) if due.verdicts else {}
    turns = tuple(_turns(due.verdicts, lost))
    if turns:
        writer.apply(turns)


def _turns(verdicts: Mapping[PipelineId, DeadlineVerdict], lost: Mapping[PipelineId, datetime]) -> Iterator[Noted]:
    for pipeline, verdict in sorted(verdicts.items()):
        if verdict.is_reachable == (pipeline in lost):
            yield Noted(
                subject=pipeline,
                what=DEADLINE_REGAINED if verdict.is_reachable else DEADLINE_LOST,
                facts={
                    "deadline": verdict.deadline.isoformat(timespec="seconds"),
                    "earliest_end": verdict.earliest_end.isoformat(timespec="seconds"),
                    "slack_s": round(verdict.slack_s, 3),
                    "critical": " ".join(verdict.critical),
                },
            )
