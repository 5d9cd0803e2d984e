"""All that is not over, and new work beside it, made ready to be played through: with the facts that ticks would have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from elisa.engine.facts_class import urged_now
from elisa.engine.facts_places import outlook_of
from elisa.engine.facts_ready import ReadyFacts
from elisa.engine.facts_work import WorkLeft
from elisa.engine.foreseen import Foreseen
from elisa.engine.kept_plans import made_again
from elisa.engine.supposed_work import New, company_of, saving_of, supposed_id, tied_of, urged_of, with_new, work_of
from elisa.engine.workspace import Workspace
from elisa.forecast.work import remaining_s
from elisa.model.columns import ReadyColumns, RunningRow, Shape, UnfinishedRow
from elisa.model.ids import PipelineId, TaskId
from elisa.model.needs import ResolvedNeed
from elisa.model.states import TaskState
from elisa.policies.deadlines import due_of
from elisa.policies.inputs import PlanInputs
from elisa.policies.played import Needs, Played, Work
from elisa.policies.playing import play
from elisa.policies.readiness import is_met
from elisa.store.reader import Reader

__all__ = ["DueEnd", "Foretold", "foretell"]

_UNFINISHED = (TaskState.WAITING, TaskState.READY, TaskState.ACTIVE)
_MICRO = 1e-6


class DueEnd(NamedTuple):
    """When a pipeline with a deadline ends; None if not all of its tasks come to an end, as far as was looked."""

    name: str
    deadline: datetime
    ends_at: datetime | None

    @property
    def is_late(self) -> bool:
        """Whether it misses its deadline."""
        return self.ends_at is None or self.ends_at > self.deadline


class Foretold(NamedTuple):
    """What becomes of all that is not over, and how the pipelines stand that must end by a deadline."""

    played: Played
    due: Mapping[PipelineId, DueEnd]


def foretell(ws: Workspace, reader: Reader, base: PlanInputs, new: Sequence[New] = ()) -> Foretold:
    """Play all through that is not over, new work beside it, under the rules of `base`."""
    queue = _Queue(ws, reader, base, new)
    played = play(queue.inputs(), queue.work(), made_again)
    return Foretold(played, dict(queue.due_ends(played)))


class _Queue:
    """Everything that is not over, as it stands at one moment."""

    def __init__(self, ws: Workspace, reader: Reader, base: PlanInputs, new: Sequence[New]) -> None:
        self._ws, self._reader, self._new = ws, reader, new
        self._base = base
        self._queued = {row.task: row for row in base.running if row.is_queued}
        rows = reader.task_rows(states=_UNFINISHED)
        self._rows = {row.id: row for row in rows if not row.cancel_requested}
        self._leaving = {row.id for row in rows if row.cancel_requested}
        self._saving = {**reader.unfinished_saving(), **saving_of(new)}
        self._waiting_work = (*reader.waiting_work(), *self._queued_work(), *work_of(new))
        self._left = WorkLeft(reader, base.live, base.now, base.site.gpu_speeds, self._waiting_work)

    def _queued_work(self) -> Iterator[UnfinishedRow]:
        return (row._replace(is_active=False) for row in self._reader.active_work() if row.task in self._queued)

    def inputs(self) -> PlanInputs:
        """Return what the first plan is made of, with a row for each task: those that may not begin yet, and those that run."""
        base, reader, left = self._base, self._reader, self._left
        foreseen = Foreseen(tied_of(self._new), company_of(self._new), self._saving, is_later=True)
        facts = ReadyFacts(reader, left, base.site, self._ws.backends.keys(), base.now, foreseen)
        columns = _as_queued(reader.columns_of(list(self._rows)), self._queued)
        ready, company = facts.told(with_new(columns, self._new, self._ws.uid, base.now))
        due_rows = self._due_rows()
        due = due_of(due_rows, {task: one.left_s for task, one in left.of(due_rows).items()}, base.now)
        ready, kinds = facts.placed(ready, due)
        return replace(
            base,
            ready=ready,
            ends=left.ends(),
            outlook=outlook_of(kinds, reader, left, base.site, base.now)._replace(company=company),
            urged={**urged_now(reader), **urged_of(self._new)},
        )

    def work(self) -> Work:
        """Return what is to be played through, and what is known of it."""
        resolved = self._reader.upstream(list(self._rows))
        needs: dict[TaskId, Needs] = {task: _awaits(resolved.get(task, ())) for task in self._rows}
        for one in self._new:
            needs[one.task] = _awaits_new(one)
        return Work(
            needs=needs,
            lasts_s=dict(self._lasts_s()),
            not_before={task: row.not_before for task, row in self._rows.items() if row.not_before is not None},
            saves=self._saving.keys(),
            may_leave={task for task, is_preemptible in self._saving.items() if is_preemptible},
        )

    def _lasts_s(self) -> Iterator[tuple[TaskId, float]]:
        """Yield how long tasks go on, of those of which anything is known but what they ask for."""
        active = (row for row in self._reader.active_work() if row.task not in self._queued)
        said_s = {**self._reader.said_s(), **{one.task: one.spec.expected_s for one in self._new}}
        for task, left in self._left.of((*self._waiting_work, *self._reader.ready_work(), *active)).items():
            seconds = remaining_s(left, said_s=said_s.get(task), progress=None)
            if seconds:
                yield task, seconds

    def _due_rows(self) -> Sequence[UnfinishedRow]:
        return [*self._reader.unfinished_due(), *(row for row in work_of(self._new) if row.deadline_us)]

    def due_ends(self, played: Played) -> Iterator[tuple[PipelineId, DueEnd]]:
        """Yield when each pipeline that has a deadline ends."""
        of_pipeline: dict[str, list[UnfinishedRow]] = {}
        for row in self._due_rows():
            if row.task not in self._leaving:
                of_pipeline.setdefault(row.pipeline, []).append(row)
        for pipeline, rows in of_pipeline.items():
            courses = [played.courses.get(TaskId(row.task)) for row in rows]
            ends = [course.ends_at for course in courses if course is not None]
            deadline = datetime.fromtimestamp(rows[0].deadline_us * _MICRO, UTC)
            ends_at = max(ends) if len(ends) == len(courses) else None
            yield PipelineId(pipeline), DueEnd(rows[0].name.pipeline, deadline, ends_at)


def _awaits(resolved: Sequence[ResolvedNeed]) -> Needs:
    """Return what tells when enough of what each need names is done; what has come as far as that already counts."""
    return partial(_are_done, tuple(part for part in map(_missing, resolved) if part[0] > 0))


def _missing(one: ResolvedNeed) -> tuple[int, frozenset[TaskId]]:
    """Return how many more of which tasks a need lacks."""
    unmet = frozenset(target.id for target in one.targets if not is_met(target, one.need))
    wanted = len(one.targets) if one.need.at_least is None else one.need.at_least
    return wanted - (len(one.targets) - len(unmet)), unmet


def _awaits_new(one: New) -> Needs:
    wanted = ((need, frozenset(supposed_id(one.pipeline, name) for name in need.tasks)) for need in one.spec.needs)
    return partial(
        _are_done, tuple((len(ids) if need.at_least is None else need.at_least, ids) for need, ids in wanted)
    )


def _are_done(parts: Sequence[tuple[int, frozenset[TaskId]]], done: Collection[TaskId]) -> bool:
    return all(len(ids.intersection(done)) >= count for count, ids in parts)


def _as_queued(ready: ReadyColumns, queued: Mapping[str, RunningRow]) -> ReadyColumns:
    """Return the columns with those whose jobs wait in native queues as they wait there: each counts as ready."""
    if not queued:
        return ready
    shapes, shape, gangs = list(ready.shapes), list(ready.shape), list(ready.gangs)
    for place, task in enumerate(ready.task):
        row = queued.get(task)
        if row is None:
            continue
        shape[place] = len(shapes)
        there = replace(ready.shapes[ready.shape[place]].placement, backend=row.backend, partition=row.partition)
        shapes.append(Shape(row.request, there))
        if ready.gang[place] >= 0:
            gang = gangs[ready.gang[place]]
            gangs[ready.gang[place]] = gang._replace(size=gang.size + 1, live=gang.live - 1)
    return ready._replace(shape=shape, shapes=shapes, gangs=gangs)
