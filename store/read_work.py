"""How long work took, and how much of what is unfinished is saved."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from elisa.model.columns import UnfinishedRow
from elisa.model.ids import PipelineId, TaskId
from elisa.model.notes import DEADLINE_LOST, DEADLINE_REGAINED
from elisa.model.rows import FinishedWork, StepRate, Tried, WorkName
from elisa.store.connection import Connection
from elisa.store.convert import from_us, resources_from, spec_from, to_us

__all__ = ["WorkQueries"]

_MICRO = 1e-6
_FINISHED = (
    "SELECT t.project, p.name, t.name, t.group_name, a.request, a.gpu_type, a.ended_at - a.started_at,"
    " a.resume_from IS NULL, a.task,"
    " CASE WHEN a.resume_from IS NULL THEN 0 ELSE (SELECT CAST(SUM(b.ended_at - b.started_at) AS BIGINT) FROM attempt b"
    " WHERE b.task = a.task AND b.ended_at IS NOT NULL AND b.started_at IS NOT NULL) END"
    " FROM attempt a JOIN task t ON t.id = a.task JOIN pipeline p ON p.id = t.pipeline"
    " WHERE a.ended_at > ? AND a.end_reason = 'completed' AND a.started_at IS NOT NULL"
    " ORDER BY a.ended_at DESC, a.id LIMIT ?"
)
_OF_WORK = "FROM attempt a JOIN task t ON t.id = a.task JOIN pipeline p ON p.id = t.pipeline"
_STEP_RATES = (
    "SELECT t.project, p.name, t.name, t.group_name, a.gpu_type, a.request, a.resume_from, a.started_at, s.count, s.first,"
    " s.last, s.first_at, s.last_at FROM (SELECT attempt, COUNT(*) AS count, MIN(step) AS first, MAX(step) AS last,"
    " MIN(saved_at) AS first_at, MAX(saved_at) AS last_at FROM checkpoint WHERE saved_at > ? GROUP BY attempt) s"
    " JOIN attempt a ON a.id = s.attempt JOIN task t ON t.id = a.task JOIN pipeline p ON p.id = t.pipeline"
    " WHERE a.gpu_type <> '' AND a.started_at IS NOT NULL ORDER BY s.last_at DESC, a.id LIMIT ?"
)
_TRIED = (
    "SELECT t.project, p.name, t.name, t.group_name, a.gpu_type, COUNT(*),"
    f" SUM(CASE WHEN a.state IN ('ended', 'lost') THEN 0 ELSE 1 END) {_OF_WORK}"
    " WHERE a.gpu_type <> '' AND a.intended_at > ? GROUP BY t.project, p.name, t.name, t.group_name, a.gpu_type"
)
_ROWS = (
    "SELECT t.id, t.project, p.name, t.name, t.group_name, t.request, t.priority, t.state, t.resume_from IS NOT NULL, t.parent,"
    " t.pipeline, COALESCE(p.deadline, 0)"
    " FROM task t JOIN pipeline p ON p.id = t.pipeline WHERE "
)
_UNFINISHED = "t.state IN ('waiting', 'ready', 'active', 'held')"
_DUE = f"{_UNFINISHED} AND p.deadline IS NOT NULL"
_READY = "t.state = 'ready' AND t.cancel_requested = 0"
_OF = "SELECT t.id FROM task t JOIN pipeline p ON p.id = t.pipeline"
_EDGES = f"SELECT e.task, e.target FROM need_edge e WHERE e.task IN ({_OF} WHERE "
_TURNS = (
    f"SELECT subject, kind, at FROM audit WHERE subject IN ({{keys}}) AND kind IN ('noted.{DEADLINE_LOST}',"
    f" 'noted.{DEADLINE_REGAINED}') ORDER BY seq"
)
_WAITS = (
    "SELECT backend, partition_name, started_at - submitted_at FROM attempt WHERE ended_at > ? AND started_at IS NOT NULL"
    " AND submitted_at IS NOT NULL ORDER BY ended_at DESC, id LIMIT ?"
)
_SEVERAL_CLASSES = (
    f"SELECT t.pipeline FROM task t WHERE {_UNFINISHED} GROUP BY t.pipeline HAVING MIN(t.priority) < MAX(t.priority)"
    " AND MAX(CASE WHEN t.state = 'waiting' THEN 1 ELSE 0 END) = 1 ORDER BY t.pipeline"
)
# A template's text may hold the word for another reason: whoever reads the spec finds out.
_PROMISING = f"SELECT t.id FROM task t WHERE {_READY} AND t.spec LIKE '%\"promise\"%' ORDER BY t.id"
_SAVING = "SELECT t.id, t.spec FROM task t WHERE t.spec LIKE '%\"checkpoint\"%' AND "
_SAID = f"SELECT t.id, t.spec FROM task t WHERE t.spec LIKE '%\"expected_s\"%' AND {_UNFINISHED}"
_SAVED = (
    "SELECT task, started_at, last_checkpoint, request FROM attempt WHERE task IN ({keys}) AND state IN ('ended', 'lost')"
    " AND started_at IS NOT NULL AND last_checkpoint IS NOT NULL ORDER BY task, number"
)


# A name in a request may be the same, which costs a look.
_ELASTIC = '"elastic"'
_AT_SIZES = (
    "SELECT task, ended_at - started_at, request FROM attempt WHERE task IN ({keys})"
    " AND ended_at IS NOT NULL AND started_at IS NOT NULL ORDER BY id"
)


class WorkQueries:
    """Queries for work done and to do."""

    _db: Connection

    def finished_work(self, after: datetime, *, limit: int = 5000) -> tuple[FinishedWork, ...]:
        """Return the runs after a moment that finished their tasks, the newest first."""
        rows = self._db.rows(_FINISHED, to_us(after), limit)
        sizes: defaultdict[str, float] = defaultdict(float)
        elastic = {
            task for _, _, _, _, request, _, _, is_whole, task, _ in rows if _ELASTIC in request and not is_whole
        }
        for task, run_us, request in self._db.rows_in(_AT_SIZES, elastic):
            sizes[task] += run_us * resources_from(request).speed
        return tuple(_finished(row, sizes.get(row[8])) for row in rows)

    def step_rates(self, after: datetime, *, limit: int = 5000) -> tuple[StepRate, ...]:
        """Return how fast attempts stepped that saved after a moment, the newest first: whole runs or not."""
        rates = (_step_rate(row) for row in self._db.rows(_STEP_RATES, to_us(after), limit))
        return tuple(rate for rate in rates if rate.steps_per_s > 0)

    def tried(self, after: datetime) -> tuple[Tried, ...]:
        """Return which work was sent to which types of GPU after a moment."""
        return tuple(Tried(WorkName(*row[:4]), *row[4:]) for row in self._db.rows(_TRIED, to_us(after)))

    def ready_work(self, *, saved_only: bool = False) -> tuple[UnfinishedRow, ...]:
        """Return every ready task that nobody wants cancelled (or those that have saved), without its needs: they are met."""
        which = f"{_READY} AND t.resume_from IS NOT NULL" if saved_only else _READY
        return tuple(_unfinished(row, ()) for row in self._db.rows(_ROWS + which))

    def promising(self) -> tuple[TaskId, ...]:
        """Return the ready tasks that declare what their results are hoped to be worth."""
        return tuple(TaskId(row[0]) for row in self._db.rows(_PROMISING))

    def saving(self) -> tuple[TaskId, ...]:
        """Return the ready tasks that save when they are asked to."""
        return tuple(self._saving(_READY))

    def may_leave(self) -> tuple[TaskId, ...]:
        """Return the ready tasks that save when they are asked to, and may be preempted."""
        return tuple(task for task, is_preemptible in self._saving(_READY).items() if is_preemptible)

    def unfinished_saving(self) -> Mapping[TaskId, bool]:
        """Return which tasks save when they are asked to of all that are not over, and whether they may be preempted."""
        return self._saving(_UNFINISHED)

    def _saving(self, which: str) -> Mapping[TaskId, bool]:
        specs = ((TaskId(task), spec_from(text)) for task, text in self._db.rows(f"{_SAVING}{which} ORDER BY t.id"))
        return {task: s.preemptible for task, s in specs if s.checkpoint is not None and not s.checkpoint.pattern}

    def said_s(self) -> Mapping[TaskId, int]:
        """Return how long unfinished tasks usually run, of those of which their authors said so."""
        said = ((TaskId(task), spec_from(text).expected_s) for task, text in self._db.rows(_SAID))
        return {task: seconds for task, seconds in said if seconds is not None}

    def waiting_work(self) -> tuple[UnfinishedRow, ...]:
        """Return every task that waits for others, in the same way."""
        return tuple(
            _unfinished(row, ()) for row in self._db.rows(f"{_ROWS}t.state = 'waiting' AND t.cancel_requested = 0")
        )

    def active_work(self) -> tuple[UnfinishedRow, ...]:
        """Return every active task in the same way."""
        return tuple(_unfinished(row, ()) for row in self._db.rows(f"{_ROWS}t.state = 'active'"))

    def work_of(self, task: TaskId) -> UnfinishedRow | None:
        """Return one task in the same way; None if it is over."""
        rows = self._db.rows(f"{_ROWS}{_UNFINISHED} AND t.id = ?", task)
        return _unfinished(rows[0], ()) if rows else None

    def unfinished_due(self) -> tuple[UnfinishedRow, ...]:
        """Return the unfinished tasks of every pipeline that has a deadline, by id.

        Who needs a template needs the tasks made from it as well.
        """
        return self._with_needs(_DUE)

    def unfinished_of(self, pipeline: PipelineId) -> tuple[UnfinishedRow, ...]:
        """Return the unfinished tasks of one pipeline in the same way."""
        return self._with_needs(f"{_UNFINISHED} AND t.pipeline = ?", pipeline)

    def queue_waits(self, after: datetime, *, limit: int = 2000) -> tuple[tuple[str, str, float], ...]:
        """Return how long attempts that ended after a moment had waited, and in which partition of which backend."""
        rows = self._db.rows(_WAITS, to_us(after), limit)
        return tuple((backend, partition, wait_us * _MICRO) for backend, partition, wait_us in rows)

    def of_several_classes(self) -> tuple[PipelineId, ...]:
        """Return the pipelines with tasks that wait, and unfinished tasks of more than one class."""
        return tuple(PipelineId(row[0]) for row in self._db.rows(_SEVERAL_CLASSES))

    def _with_needs(self, which: str, *values: object) -> tuple[UnfinishedRow, ...]:
        rows = self._db.rows(f"{_ROWS}{which} ORDER BY t.id", *values)
        if not rows:
            return ()
        made: defaultdict[str, list[str]] = defaultdict(list)
        for row in rows:
            if row[9] is not None:
                made[row[9]].append(row[0])
        needs: defaultdict[str, list[str]] = defaultdict(list)
        for task, target in self._db.rows(f"{_EDGES}{which}) ORDER BY e.task, e.target", *values):
            needs[task] += [target, *made.get(target, ())]
        return tuple(_unfinished(row, needs[row[0]]) for row in rows)

    def lost_deadlines(self, pipelines: Collection[PipelineId]) -> Mapping[PipelineId, datetime]:
        """Return since when the deadlines of pipelines cannot be met, of those of which that was noted last."""
        lost: dict[PipelineId, datetime] = {}
        for pipeline, kind, at_us in self._db.rows_in(_TURNS, pipelines):
            if kind == f"noted.{DEADLINE_LOST}":
                lost[pipeline] = from_us(at_us)
            else:
                lost.pop(pipeline, None)
        return lost

    def saved_work(self, tasks: Collection[TaskId]) -> Mapping[TaskId, float]:
        """Return the seconds of work that ended attempts at each task have saved, of those that saved any."""
        saved: defaultdict[TaskId, float] = defaultdict(float)
        for task, started_us, checkpoint, request in self._db.rows_in(_SAVED, tasks):
            saved_at = json.loads(checkpoint).get("saved_at")
            if saved_at is not None:
                speed = resources_from(request).speed if _ELASTIC in request else 1.0
                saved[task] += max(0.0, (to_us(datetime.fromisoformat(saved_at)) - started_us) * _MICRO * speed)
        return saved


def _finished(row: Sequence[Any], elastic_us: float | None) -> FinishedWork:
    """Return a finished run; `elastic_us` is what several runs of elastic work took, each counted by its speed."""
    request = resources_from(row[4])
    run_us, is_whole, _, all_us = row[6:]
    work_us = max(run_us, all_us or 0) * request.speed if elastic_us is None else elastic_us
    return FinishedWork(
        name=WorkName(*row[:4]),
        walltime_s=request.walltime_s,
        work_s=work_us * _MICRO,
        gpu_type=row[5],
        is_resumed=not is_whole,
    )


def _step_rate(row: Sequence[Any]) -> StepRate:
    """Return the rate between the first save and the last, of one that saved once since it began.

    Elastic work counts as if it had run on the fewest nodes.
    """
    resume_from, started_us, count, first, last, first_us, last_us = row[6:]
    if count == 1:
        first, first_us = (json.loads(resume_from)["step"] if resume_from else 0), started_us
    steps_per_s = (last - first) / max(last_us - first_us, 1) / _MICRO
    return StepRate(WorkName(*row[:4]), row[4], steps_per_s / resources_from(row[5]).speed)


def _unfinished(row: Sequence[Any], needs: Sequence[str]) -> UnfinishedRow:
    return UnfinishedRow(
        task=row[0],
        name=WorkName(*row[1:5]),
        walltime_s=resources_from(row[5]).walltime_s,
        pipeline=row[10],
        deadline_us=row[11],
        needs=tuple(needs),
        priority=row[6],
        is_active=row[7] == "active",
        has_saved=bool(row[8]),
    )
