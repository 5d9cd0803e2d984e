"""What has become more or less urgent: written down at once, followed by the next plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from elisa.engine.commands import named_tasks
from elisa.engine.roles import read_roles
from elisa.engine.rules import policy_of
from elisa.engine.workspace import Workspace
from elisa.model.changes import Change, PipelineRanked, TaskRanked
from elisa.model.errors import StaleChange, UsageError
from elisa.model.ids import PipelineId, TaskId
from elisa.model.pipeline import PriorityClass
from elisa.model.states import FINAL_TASK_STATES
from elisa.model.task import PipelineRecord, Task
from elisa.policies.rights import Action, check_class, demand
from elisa.store.reader import Reader
from elisa.store.writer import Writer

__all__ = ["KEEP", "Prioritized", "Urgency", "prioritize"]

_TRIES = 5


class _Keep:
    """The deadline stays as it is."""


KEEP = _Keep()


@dataclass(frozen=True, slots=True, kw_only=True)
class Urgency:
    """What is to change; None leaves a value. A deadline of None takes it away."""

    priority: PriorityClass | None = None
    importance: float | None = None
    deadline: datetime | _Keep | None = KEEP

    @property
    def is_empty(self) -> bool:
        return self.priority is None and self.importance is None and isinstance(self.deadline, _Keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prioritized:
    """Tasks whose rank changed, why others were left, and the pipelines that are due at another time."""

    changed: tuple[TaskId, ...]
    unchanged: Mapping[TaskId, str]
    moved: Mapping[PipelineId, datetime | None]


def prioritize(ws: Workspace, ids: Sequence[str], urgency: Urgency) -> Prioritized:
    """Change how urgent pipelines or single tasks are. A deadline is that of the whole pipeline, also of a task's.

    Raises UsageError for an id nobody has or if nothing is to change, PolicyError for who may not, or a class that the
    project or the user may not use.
    """
    if urgency.is_empty:
        raise UsageError("nothing is to change", "no class, importance or deadline was given", "see --help")
    with ws.writer() as writer:
        for left in reversed(range(_TRIES)):
            asked = _Asked.read(ws, writer, ids, urgency)
            try:
                writer.apply(asked.changes())
                break
            except StaleChange:
                if not left:
                    raise
    return asked.answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One try: the tasks and pipelines that are meant, as they are now."""

    ws: Workspace
    urgency: Urgency
    tasks: Mapping[TaskId, Task]
    pipelines: Mapping[PipelineId, PipelineRecord]
    whole: frozenset[PipelineId]

    @classmethod
    def read(cls, ws: Workspace, writer: Writer, ids: Sequence[str], urgency: Urgency) -> _Asked:
        tasks = named_tasks(writer, ids)
        meant = {writer.resolve(text) for text in ids}
        asked = cls(
            ws=ws,
            urgency=urgency,
            tasks=tasks,
            pipelines={name: writer.pipeline(name) for name in {task.pipeline for task in tasks.values()}},
            whole=frozenset(PipelineId(found) for found in meant if found.startswith("p")),
        )
        asked.check(writer)
        return asked

    def check(self, reader: Reader) -> None:
        """Raise PolicyError if a rule or a right forbids it."""
        roles, owner = read_roles(self.ws.files, self.ws.home)
        site = policy_of(self.ws, reader, self.ws.clock.now())
        for project in sorted(
            {one.pipeline.project for one in self.pipelines.values() if one.owner_uid != self.ws.uid}
        ):
            demand(roles.rights(owner), self.ws.uid, Action.PRIORITIZE, project)
        for project in sorted({one.pipeline.project for one in self.pipelines.values()}):
            if self.urgency.priority is not None:
                check_class(site, project, self.ws.uid, self.urgency.priority)

    def changes(self) -> list[Change]:
        return [*self._of_pipelines(), *(change for task in self.tasks.values() for change in self._of_task(task))]

    def answer(self) -> Prioritized:
        over = {task.id: f"it is {task.state.value}" for task in self.tasks.values() if task.state in FINAL_TASK_STATES}
        ranked = [] if self.urgency.priority is None and self.urgency.importance is None else list(self.tasks)
        deadline = self.urgency.deadline
        moved = {} if isinstance(deadline, _Keep) else dict.fromkeys(self.pipelines, deadline)
        return Prioritized(changed=tuple(one for one in ranked if one not in over), unchanged=over, moved=moved)

    def _of_pipelines(self) -> Iterator[Change]:
        for name, record in self.pipelines.items():
            pipeline, is_whole = record.pipeline, name in self.whole
            deadline = self.urgency.deadline
            if is_whole or not isinstance(deadline, _Keep):
                yield PipelineRanked(
                    pipeline=name,
                    priority=(self.urgency.priority if is_whole else None) or pipeline.priority,
                    importance=self._importance_of(record),
                    deadline=pipeline.deadline if isinstance(deadline, _Keep) else deadline,
                    by=self.ws.actor,
                )

    def _importance_of(self, record: PipelineRecord) -> float:
        given = self.urgency.importance if record.id in self.whole else None
        return record.pipeline.importance if given is None else given

    def _of_task(self, task: Task) -> Iterator[Change]:
        wanted = self.urgency
        if task.state in FINAL_TASK_STATES or (wanted.priority is None and wanted.importance is None):
            return
        record = self.pipelines[task.pipeline]
        is_own = wanted.importance is not None and task.pipeline not in self.whole
        own = wanted.importance if is_own and wanted.importance is not None else task.spec.importance
        yield TaskRanked(
            task=task.id,
            before=task.state,
            priority=wanted.priority,
            importance=own,
            together=own + self._importance_of(record),
            by=self.ws.actor,
            uid=self.ws.uid,
        )
