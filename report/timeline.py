"""When each attempt of a pipeline waited and ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from elisa.model.ids import AttemptId, TaskId
from elisa.model.task import Attempt, Task

__all__ = ["Bar", "Timeline", "timeline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One attempt on the time axis, in seconds since `Timeline.origin`.

    It waited from `asked_s` to `started_s` and ran to `ended_s`; `started_s` None: it never ran; `ended_s` None: it still
    lives. `resumed_step` is the step of the checkpoint it went on from.
    """

    task: str
    attempt: AttemptId
    asked_s: float
    started_s: float | None
    ended_s: float | None
    end: str
    resumed_step: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """All attempts of a pipeline, in the order they were asked for. `span_s` reaches to the last end, or to now."""

    origin: datetime
    span_s: float
    bars: tuple[Bar, ...]


def timeline(
    tasks: Sequence[Task], attempts: Mapping[TaskId, Sequence[Attempt]], origin: datetime, now: datetime
) -> Timeline:
    """Lay out the attempts at `tasks` from `origin`, the moment the pipeline was submitted."""
    bars = sorted(
        (_bar(task, attempt, origin) for task in tasks for attempt in attempts.get(task.id, ())),
        key=lambda bar: (bar.asked_s, bar.attempt),
    )
    return Timeline(origin=origin, span_s=_span_s(bars, (now - origin).total_seconds()), bars=tuple(bars))


def _bar(task: Task, attempt: Attempt, origin: datetime) -> Bar:
    return Bar(
        task=task.spec.name,
        attempt=attempt.id,
        asked_s=(attempt.intended_at - origin).total_seconds(),
        started_s=_seconds(attempt.started_at, origin),
        ended_s=_seconds(attempt.ended_at, origin),
        end=attempt.end.reason.value if attempt.end else attempt.state.value,
        resumed_step=attempt.resume_from.step if attempt.resume_from else None,
    )


def _seconds(moment: datetime | None, origin: datetime) -> float | None:
    return None if moment is None else (moment - origin).total_seconds()


def _span_s(bars: Iterable[Bar], now_s: float) -> float:
    ends = [now_s if bar.ended_s is None else bar.ended_s for bar in bars]
    return max([0.0, *ends])
