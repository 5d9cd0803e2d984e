"""Work that nobody submitted, as the rows that a store would have of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from elisa.model.columns import GangRow, ReadyColumns, Shape, UnfinishedRow
from elisa.model.ids import PipelineId, TaskId
from elisa.model.pipeline import Pipeline, PriorityClass, TaskSpec
from elisa.model.rows import WorkName
from elisa.model.site import CLASS_RANK
from elisa.model.states import TaskState
from elisa.policies.inheritance import Urged, urged
from elisa.store.read_company import CompanyRow, TiedRow

__all__ = [
    "New",
    "class_of",
    "company_of",
    "new_tasks",
    "saving_of",
    "supposed_id",
    "tied_of",
    "urged_of",
    "with_new",
    "work_of",
]

_UNKNOWN = {"gang": -1, "predicted_s": 0.0, "path_s": 0.0, "progress": 0.0, "promise": 0.0, "brief_s": 0.0}


class New(NamedTuple):
    """A task that nobody submitted."""

    task: TaskId
    pipeline: Pipeline
    spec: TaskSpec

    @property
    def priority(self) -> int:
        """The rank of its class."""
        return CLASS_RANK[class_of(self.spec, self.pipeline)]

    @property
    def needs(self) -> tuple[TaskId, ...]:
        """The tasks that it waits for."""
        return tuple(supposed_id(self.pipeline, name) for need in self.spec.needs for name in need.tasks)

    @property
    def names(self) -> tuple[str, ...]:
        """What others of its pipeline can call it."""
        return (self.spec.name, self.spec.group) if self.spec.group else (self.spec.name,)


def class_of(spec: TaskSpec, pipeline: Pipeline) -> PriorityClass:
    """Return the class of a task: its own, else that of its pipeline."""
    return pipeline.priority if spec.priority is PriorityClass.NORMAL else spec.priority


def supposed_id(pipeline: Pipeline, name: str) -> TaskId:
    """Return what a task is called that has no id, as it was not submitted."""
    return TaskId(f"{pipeline.name}/{name}")


def new_tasks(pipelines: Iterable[Pipeline]) -> Iterator[New]:
    """Yield all tasks of new pipelines."""
    return (New(supposed_id(pipeline, spec.name), pipeline, spec) for pipeline in pipelines for spec in pipeline.tasks)


def with_new(ready: ReadyColumns, new: Sequence[New], uid: int, now: datetime) -> ReadyColumns:
    """Return the columns with new tasks among them, as if that user had submitted them now."""
    return _joined(ready, _columns(ready, new, uid, now)) if new else ready


def _columns(ready: ReadyColumns, new: Sequence[New], uid: int, now: datetime) -> ReadyColumns:
    count, now_us = len(new), int(now.timestamp() * 1_000_000)
    gangs = _gangs(new)
    number = {name: len(ready.gangs) + place for place, name in enumerate(gangs)}
    projects = list(dict.fromkeys(one.pipeline.project for one in new))
    return ReadyColumns(
        task=[one.task for one in new],
        owner=[len(ready.owners) + projects.index(one.pipeline.project) for one in new],
        owners=[(project, uid) for project in projects],
        priority=[one.priority for one in new],
        importance=[one.spec.importance + one.pipeline.importance for one in new],
        submitted_us=[now_us] * count,
        ready_us=[now_us] * count,
        deadline_us=[_deadline_us(one) for one in new],
        shape=[len(ready.shapes) + place for place in range(count)],
        shapes=[Shape(one.spec.resources, one.spec.placement) for one in new],
        gang=[-1 if one.spec.gang is None else number[one.pipeline.name, one.spec.gang.name] for one in new]
        if gangs
        else (),
        gangs=tuple(gangs.values()),
        brief_s=[one.spec.brief_s for one in new],
    )


def _deadline_us(one: New) -> int:
    deadline = one.pipeline.deadline
    return 0 if deadline is None else int(deadline.timestamp() * 1_000_000)


def _gangs(new: Sequence[New]) -> Mapping[tuple[str, str], GangRow]:
    gangs: dict[tuple[str, str], GangRow] = {}
    for one in new:
        gang = one.spec.gang
        if gang is not None:
            known = gangs.get((one.pipeline.name, gang.name), GangRow(size=0))
            row = GangRow(size=known.size + 1, minimum=max(known.minimum, gang.minimum))
            gangs[one.pipeline.name, gang.name] = row
    return gangs


def _joined(one: ReadyColumns, other: ReadyColumns) -> ReadyColumns:
    """Return the rows of both; what is known of one only is unknown of the other."""
    joined: dict[str, Any] = {
        name: (*getattr(one, name), *getattr(other, name)) for name in one._fields if name != "ranked_by"
    }
    for name, value in _UNKNOWN.items():
        parts = [(getattr(rows, name), len(rows.task)) for rows in (one, other)]
        if any(len(part) for part, _ in parts):
            joined[name] = tuple(chain(*(part if len(part) else [value] * count for part, count in parts)))
    owners = list(dict.fromkeys(joined["owners"]))
    place = [owners.index(owner) for owner in joined["owners"]]
    owner = [place[number] for number in joined["owner"]]
    return one._replace(**{**joined, "owners": owners, "owner": owner})


def work_of(new: Iterable[New]) -> Sequence[UnfinishedRow]:
    """Return new tasks as unfinished work. A new pipeline is called by its name: it has no id."""
    return [
        UnfinishedRow(
            task=one.task,
            name=WorkName(one.pipeline.project, one.pipeline.name, one.spec.name, one.spec.group),
            walltime_s=one.spec.resources.walltime_s,
            pipeline=PipelineId(one.pipeline.name),
            deadline_us=_deadline_us(one),
            needs=one.needs,
            priority=one.priority,
        )
        for one in new
    ]


def tied_of(new: Iterable[New]) -> tuple[TiedRow, ...]:
    """Return the wishes of new tasks about others."""
    return tuple(
        TiedRow(one.task, one.pipeline.name, one.pipeline.project, one.spec.placement.affinity)
        for one in new
        if one.spec.placement.affinity
    )


def company_of(new: Iterable[New]) -> tuple[CompanyRow, ...]:
    """Return what others can know new tasks by."""
    return tuple(
        CompanyRow(
            one.task, one.pipeline.name, one.pipeline.project, one.names, one.spec.labels, TaskState.READY, "", ()
        )
        for one in new
    )  # fmt: skip


def saving_of(new: Iterable[New]) -> Mapping[TaskId, bool]:
    """Return which new tasks save when they are asked to, and whether they may be preempted."""
    saving = ((one, one.spec.checkpoint) for one in new)
    return {one.task: one.spec.preemptible for one, policy in saving if policy is not None and not policy.pattern}


def urged_of(new: Iterable[New]) -> Mapping[TaskId, Urged]:
    """Return the new tasks for which one of a better class waits."""
    new = tuple(new)
    return urged({one.task: one.priority for one in new}, {one.task: one.needs for one in new})
