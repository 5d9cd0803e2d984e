"""A pipeline run again from one of its checkpoints, as a new pipeline of its own; the old one is only read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from elisa.engine.replay_copy import Copying
from elisa.engine.replay_find import Details, Old, find, place_of
from elisa.engine.replay_plan import Place, adapted, taken_over
from elisa.engine.submit import check_rules
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.changes import (
    AttemptIntended,
    AttemptMoved,
    Change,
    Charge,
    CheckpointSeen,
    MetricSeen,
    OutputSeen,
    PipelineAdded,
    TaskMoved,
)
from elisa.model.errors import UsageError
from elisa.model.ids import AttemptId, PipelineId, TaskId, attempt_id, new_pipeline_id, new_task_id
from elisa.model.pipeline import NeedKind
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import Attempt, CheckpointRef, PipelineRecord, Task
from elisa.store.reader import Reader

__all__ = ["Replayed", "replay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The new pipeline. `taken` tasks are as they were, `again` ones run; `warnings` tell what was made smaller."""

    pipeline: PipelineId
    name: str
    backend: str
    task: str
    step: int
    taken: tuple[str, ...]
    again: tuple[str, ...]
    warnings: tuple[str, ...]


def replay(
    ws: Workspace, pipeline: str, begin: str, *, task: str = "", backend: str = "", rerun: bool = False
) -> Replayed:
    """Make a copy of a pipeline in which one task goes on from the checkpoint `begin`: a step, or a checkpoint's folder.

    What needs nothing of that task is taken as it ended, or runs again with `rerun`. It runs on `backend`, which must be
    of the kind local or simulated; by default a local one. Raises UsageError for a checkpoint that is not there, not sound
    or not unique, PolicyError for a pipeline of somebody else or one that the project's rules forbid.
    """
    place = place_of(ws, backend)
    with Reader.open(ws.home) as reader:
        old = find(ws, reader, pipeline, begin, task)
        taken = taken_over(old.tasks, old.task, rerun=rerun)
        details = {one: Details.read(reader, one) for one in taken}
    made = _Making(ws, old, place, taken, details)
    return made.carry_out()


class _Making:
    """One replay being made: the files first, then all rows in one transaction."""

    def __init__(
        self, ws: Workspace, old: Old, place: Place, taken: frozenset[TaskId], details: Mapping[TaskId, Details]
    ) -> None:
        self._ws = ws
        self._old = old
        self._place = place
        self._taken = taken
        self._details = details
        self._now = ws.clock.now()
        self._id = new_pipeline_id(ws.random)
        self._ids = {task.id: new_task_id(ws.random) for task in old.tasks if self._is_copied(task)}
        self._copying = Copying(home=ws.home, old=old.record.id, new=self._id)

    def _is_copied(self, task: Task) -> bool:
        """Tell whether a task is part of the replay: what a template made is not, where the template makes it anew."""
        return task.parent is None or task.parent in self._taken

    def carry_out(self) -> Replayed:
        """Copy the files, then store the pipeline; or leave nothing behind."""
        old = self._old
        if old.task.id not in self._ids:
            raise UsageError(
                f"{old.task.spec.name} cannot be replayed with everything before it",
                "it was made from a list that would be written anew",
                "leave out --rerun",
            )
        try:
            resume = self._copy_files()
            tasks, warnings = self._tasks(resume)
            record = self._record(tasks)
            changes: list[Change] = [PipelineAdded(record=record, tasks=tasks)]
            changes += [change for task in old.tasks if self._is_taken(task) for change in self._as_it_was(task)]
            with self._ws.writer() as writer:
                check_rules(self._ws, writer, record.pipeline)
                writer.apply(changes)
        except BaseException:
            self._copying.undo()
            raise
        return self._told(warnings)

    def _is_taken(self, task: Task) -> bool:
        return task.id in self._taken and task.id in self._ids

    def _copy_files(self) -> CheckpointRef:
        self._copying.environment()
        is_read = any(need.kind is NeedKind.CHECKPOINT for task in self._old.tasks for need in task.spec.needs)
        for task in self._old.tasks:
            if self._is_taken(task):
                completed = self._completed(task)
                last = completed.id if completed is not None else None
                self._copying.finished(task.spec, last, with_checkpoints=is_read)
                self._ws.crash("replay.copied")
        saved = self._old.checkpoint
        is_real = Path(saved.path).is_dir()
        path = self._copying.resumed(self._old.task.spec, Path(saved.path) if is_real else None, saved.saved_at)
        self._ws.crash("replay.resumed")
        return replace(saved, path=str(path)) if path is not None else saved

    def _completed(self, task: Task) -> Attempt | None:
        ended = [one for one in self._old.attempts[task.id] if one.end and one.end.reason is EndReason.COMPLETED]
        return ended[-1] if ended and task.state is TaskState.SUCCEEDED else None

    def _tasks(self, resume: CheckpointRef) -> tuple[tuple[Task, ...], tuple[str, ...]]:
        made = [self._task(task, resume) for task in self._old.tasks if task.id in self._ids]
        return tuple(task for task, _ in made), tuple(warning for _, warning in made if warning)

    def _task(self, old: Task, resume: CheckpointRef) -> tuple[Task, str]:
        spec, warning = adapted(old, self._place, self._old.attempts[old.id])
        starts = self._is_taken(old) and self._completed(old) is not None
        task = Task(
            id=self._ids[old.id],
            pipeline=self._id,
            project=old.project,
            owner_uid=self._ws.uid,
            spec=spec,
            state=TaskState.READY if starts else TaskState.WAITING,
            request=spec.resources,
            submitted_at=self._now,
            ready_at=self._now if starts else None,
            parent=self._ids[old.parent] if old.parent is not None else None,
            resume_from=resume if old.id == self._old.task.id else None,
        )
        return task, "" if self._is_taken(old) else warning

    def _record(self, tasks: Sequence[Task]) -> PipelineRecord:
        old = self._old.record
        pipeline = replace(
            old.pipeline,
            name=f"{old.pipeline.name}-replay",
            tasks=tuple(task.spec for task in tasks if task.parent is None),
            deadline=None,
            labels=(*old.pipeline.labels, ("replay_of", old.id)),
        )
        return PipelineRecord(
            id=self._id,
            pipeline=pipeline,
            owner_uid=self._ws.uid,
            owner=self._ws.actor,
            submitted_at=self._now,
            source=old.source,
        )

    def _as_it_was(self, old: Task) -> Iterator[Change]:
        """Yield what brings the copy of a task that is over to where the task is."""
        task, reason = self._ids[old.id], because(ReasonCode.TAKEN_OVER, task=old.id)
        completed = self._completed(old)
        if completed is None:
            yield TaskMoved(task=task, before=TaskState.WAITING, after=old.state, reason=reason)
            return
        yield from _ran(task, completed, self._now, reason)
        attempt = attempt_id(task, 1)
        yield from self._left(attempt, self._details[old.id])
        yield TaskMoved(task=task, before=TaskState.ACTIVE, after=TaskState.SUCCEEDED, reason=reason)

    def _left(self, attempt: AttemptId, details: Details) -> Iterator[Change]:
        before, after = (str(layout.pipeline_dir(self._ws.home, one)) for one in (self._old.record.id, self._id))
        for name, value in sorted(details.metrics.items()):
            yield MetricSeen(attempt=attempt, name=name, value=value)
        for name, (path, ok, why) in sorted(details.outputs.items()):
            yield OutputSeen(attempt=attempt, name=name, path=path.replace(before, after, 1), ok=ok, why=why)
        if details.checkpoint is not None:
            path = details.checkpoint.path.replace(before, after, 1)
            yield CheckpointSeen(attempt=attempt, checkpoint=replace(details.checkpoint, path=path))

    def _told(self, warnings: tuple[str, ...]) -> Replayed:
        old = self._old
        return Replayed(
            pipeline=self._id,
            name=f"{old.record.pipeline.name}-replay",
            backend=self._place.backend,
            task=old.task.spec.name,
            step=old.checkpoint.step,
            taken=tuple(task.spec.name for task in old.tasks if self._is_taken(task)),
            again=tuple(task.spec.name for task in old.tasks if task.id in self._ids and not self._is_taken(task)),
            warnings=warnings,
        )


def _ran(task: TaskId, completed: Attempt, now: datetime, reason: Reason) -> Iterator[Change]:
    """Yield an attempt that costs nothing and ended as `completed` did: it stands for the work that was done before."""
    attempt = Attempt(
        id=attempt_id(task, 1),
        task=task,
        number=1,
        backend=completed.backend,
        partition=completed.partition,
        request=completed.request,
        state=AttemptState.INTENDED,
        intended_at=now,
    )
    yield AttemptIntended(attempt=attempt, reserve=Charge(), reason=reason)
    yield AttemptMoved(
        attempt=attempt.id,
        before=AttemptState.INTENDED,
        after=AttemptState.ENDED,
        reason=reason,
        end=completed.end,
        spend=Charge(),
        ended_at=now,
    )
