"""Whether deadlines can still be met: when one was lost, by how much, and what it would take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from elisa.model.ids import PipelineId
from elisa.model.rows import PipelineSummary
from elisa.model.states import FINAL_TASK_STATES
from elisa.policies.deadlines import DeadlineVerdict, due_of
from elisa.store.reader import Reader

from .expected import read_left

__all__ = ["Judged", "judged_of", "read_judged", "read_judged_one"]


class Judged(NamedTuple):
    """How the deadline of a pipeline stands.

    `critical` names the tasks of its longest path, first to last; `lost_at` is when a tick first found that the deadline
    cannot be met, None if none did or it can.
    """

    name: str
    verdict: DeadlineVerdict
    critical: tuple[str, ...]
    lost_at: datetime | None


def read_judged(reader: Reader, pipelines: Sequence[PipelineSummary], now: datetime) -> Mapping[PipelineId, Judged]:
    """Return how those of the pipelines stand that have a deadline and are not over."""
    due = [one.id for one in pipelines if one.deadline is not None and not one.counts.keys() <= FINAL_TASK_STATES]
    rows = [row for pipeline in due for row in reader.unfinished_of(pipeline)]
    if not rows:
        return {}
    left = read_left(reader, rows, reader.live_attempts(), now)
    return judged_of(reader, due_of(rows, {task: one.left_s for task, one in left.items()}, now).verdicts)


def read_judged_one(reader: Reader, pipeline: PipelineId, now: datetime) -> Judged | None:
    """Return how one pipeline stands; None if it has no deadline or is over."""
    found = [one for one in reader.pipelines(unfinished_only=True) if one.id == pipeline]
    return read_judged(reader, found, now).get(pipeline)


def judged_of(reader: Reader, verdicts: Mapping[PipelineId, DeadlineVerdict]) -> Mapping[PipelineId, Judged]:
    """Return verdicts with the names that they speak of, and since when what is lost is lost."""
    if not verdicts:
        return {}
    lost = reader.lost_deadlines(list(verdicts))
    tasks = reader.tasks([task for verdict in verdicts.values() for task in verdict.critical])
    names = {one.id: one.name for one in reader.pipelines(unfinished_only=True)}
    return {
        pipeline: Judged(
            name=names.get(pipeline, pipeline),
            verdict=verdict,
            critical=tuple(tasks[task].spec.name for task in verdict.critical),
            lost_at=None if verdict.is_reachable else lost.get(pipeline),
        )
        for pipeline, verdict in verdicts.items()
    }
