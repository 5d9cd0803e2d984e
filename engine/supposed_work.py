"""Work that nobody submitted, and live work that may begin once more, beside what is ready: with the facts of a tick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from elisa.engine.facts_affinity import Foreseen, with_company
from elisa.model.columns import GangRow, Outlook, ReadyColumns, RunningRow, Shape
from elisa.model.ids import TaskId
from elisa.model.pipeline import Pipeline, PriorityClass, SitePlacement, TaskSpec
from elisa.model.site import CLASS_RANK, SitePolicy
from elisa.model.states import TaskState
from elisa.policies.inputs import PlanInputs
from elisa.store.read_company import CompanyRow, TiedRow
from elisa.store.reader import Reader

__all__ = ["class_of", "supposed_id", "with_live", "with_new"]

_UNKNOWN = {"gang": -1, "predicted_s": 0.0, "path_s": 0.0, "progress": 0.0, "promise": 0.0, "brief_s": 0.0}


def with_new(
    inputs: PlanInputs, reader: Reader, work: Sequence[tuple[Pipeline, Sequence[TaskSpec]]], uid: int
) -> PlanInputs:
    """Return the inputs with some tasks of new pipelines as ready ones, tied to others as they and these wish."""
    for pipeline, specs in work:
        inputs = replace(inputs, ready=_joined(inputs.ready, _columns(inputs, pipeline, specs, uid)))
    return _tied(inputs, reader, [(pipeline, spec) for pipeline, specs in work for spec in specs])


def _columns(inputs: PlanInputs, pipeline: Pipeline, specs: Sequence[TaskSpec], uid: int) -> ReadyColumns:
    ready, count = inputs.ready, len(specs)
    now_us = int(inputs.now.timestamp() * 1_000_000)
    deadline_us = 0 if pipeline.deadline is None else int(pipeline.deadline.timestamp() * 1_000_000)
    gangs = _gangs(pipeline)
    number = {name: len(ready.gangs) + place for place, name in enumerate(gangs)}
    is_lent = _lends(inputs.site)
    return ReadyColumns(
        task=[supposed_id(pipeline, spec.name) for spec in specs],
        owner=[len(ready.owners)] * count,
        owners=[(pipeline.project, uid)],
        priority=[CLASS_RANK[class_of(spec, pipeline)] for spec in specs],
        importance=[spec.importance + pipeline.importance for spec in specs],
        submitted_us=[now_us] * count,
        ready_us=[now_us] * count,
        deadline_us=[deadline_us] * count,
        shape=[len(ready.shapes) + place for place in range(count)],
        shapes=[Shape(spec.resources, spec.placement, may_leave=is_lent and _may_leave(spec)) for spec in specs],
        gang=[-1 if spec.gang is None else number[spec.gang.name] for spec in specs] if gangs else (),
        gangs=tuple(gangs.values()),
    )


def _gangs(pipeline: Pipeline) -> Mapping[str, GangRow]:
    gangs: dict[str, GangRow] = {}
    for gang in (spec.gang for spec in pipeline.tasks if spec.gang is not None):
        known = gangs.get(gang.name, GangRow(size=0))
        gangs[gang.name] = GangRow(size=known.size + 1, minimum=max(known.minimum, gang.minimum))
    return gangs


def _lends(site: SitePolicy) -> bool:
    return any(one.is_lent for one in site.reservations)


def _may_leave(spec: TaskSpec) -> bool:
    """Tell whether a task may use room that is lent: it saves when it is asked to, and may be preempted."""
    return spec.preemptible and spec.checkpoint is not None and not spec.checkpoint.pattern


def _tied(inputs: PlanInputs, reader: Reader, work: Sequence[tuple[Pipeline, TaskSpec]]) -> PlanInputs:
    """Return the inputs with everybody's ties to everybody, those of new work among them."""
    rows = [(supposed_id(pipeline, spec.name), pipeline, spec) for pipeline, spec in work]
    foreseen = Foreseen(
        tied=tuple(
            TiedRow(task, pipeline.name, pipeline.project, spec.placement.affinity)
            for task, pipeline, spec in rows
            if spec.placement.affinity
        ),
        rows=tuple(
            CompanyRow(
                task, pipeline.name, pipeline.project, (spec.name, spec.group) if spec.group else (spec.name,),
                spec.labels, TaskState.READY, "", (),
            )
            for task, pipeline, spec in rows
        ),
    )  # fmt: skip
    ready, company = with_company(inputs.ready, reader, foreseen)
    outlook = inputs.outlook or Outlook()
    came_from = dict(zip(ready.shape, inputs.ready.shape, strict=True))
    speeds = {
        (shape, kind): speed
        for (of, kind), speed in outlook.speeds.items()
        for shape, before in came_from.items()
        if before == of
    }
    return replace(inputs, ready=ready, outlook=outlook._replace(speeds=speeds, company=company))


def with_live(inputs: PlanInputs, reader: Reader) -> tuple[PlanInputs, Mapping[TaskId, int]]:
    """Return the inputs with rows for live tasks that may begin anew, and the number of each live member's gang.

    Those are the ones whose jobs wait in native queues, and guests in room that is lent.
    """
    is_lent = _lends(inputs.site)
    anew = [row for row in inputs.running if row.is_queued or (is_lent and _is_guest(row))]
    gangs, number = _live_gangs(inputs, reader)
    count, ready = len(anew), inputs.ready
    places = _places(anew, reader)
    more = ReadyColumns(
        task=[row.task for row in anew],
        owner=[len(ready.owners) + place for place in range(count)],
        owners=[(row.project, row.owner_uid) for row in anew],
        priority=[row.priority for row in anew],
        importance=[0.0] * count,
        submitted_us=[0] * count,
        ready_us=[0] * count,
        deadline_us=[0] * count,
        shape=[len(ready.shapes) + place for place in range(count)],
        shapes=[Shape(row.request, places[row.task], may_leave=is_lent and _is_guest(row)) for row in anew],
        gang=[number.get(row.gang, -1) for row in anew] if number else (),
    )
    gang_of = {TaskId(row.task): number[row.gang] for row in inputs.running if row.gang}
    return replace(inputs, ready=_joined(ready, more)._replace(gangs=gangs)), gang_of


def _is_guest(row: RunningRow) -> bool:
    return row.is_preemptible and row.saves_on_request


def _places(anew: Sequence[RunningRow], reader: Reader) -> Mapping[str, SitePlacement]:
    """Return where tasks may begin anew: what waits in a queue in its partition, others wherever their author lets them."""
    tasks = reader.tasks([TaskId(row.task) for row in anew if not row.is_queued])
    running = {str(task): one.spec.placement for task, one in tasks.items()}
    queued = (row for row in anew if row.is_queued)
    return running | {row.task: SitePlacement(backend=row.backend, partition=row.partition) for row in queued}


def _live_gangs(inputs: PlanInputs, reader: Reader) -> tuple[Sequence[GangRow], Mapping[str, int]]:
    """Return all gangs, those with live members only among them, and the number of each that has any, by its name.

    A member that waits in a native queue counts as one that is ready.
    """
    live = Counter(row.gang for row in inputs.running if row.gang)
    queued = Counter(row.gang for row in inputs.running if row.gang and row.is_queued)
    if not live:
        return inputs.ready.gangs, {}
    first = {gang: TaskId(task) for task, gang in zip(inputs.ready.task, inputs.ready.gang, strict=False) if gang >= 0}
    tasks = reader.tasks(list(first.values()))
    names = {_gang_name(tasks[task].pipeline, tasks[task].spec): gang for gang, task in first.items()}
    minimum = {one.gang: one.minimum for one in reader.gang_members().values()}
    gangs = list(inputs.ready.gangs)
    for name, count in live.items():
        if name not in names:
            names[name] = len(gangs)
            gangs.append(GangRow(size=0, minimum=minimum.get(name, 0), live=count))
        row, waits = gangs[names[name]], queued[name]
        gangs[names[name]] = row._replace(size=row.size + waits, live=row.live - waits)
    return gangs, {name: names[name] for name in live}


def _gang_name(pipeline: str, spec: TaskSpec) -> str:
    return f"{pipeline}/{'' if spec.gang is None else spec.gang.name}"


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


def class_of(spec: TaskSpec, pipeline: Pipeline) -> PriorityClass:
    """Return the class of a task: its own, else that of its pipeline."""
    return pipeline.priority if spec.priority is PriorityClass.NORMAL else spec.priority


def supposed_id(pipeline: Pipeline, name: str) -> TaskId:
    """Return what a task is called that has no id, as it was not submitted."""
    return TaskId(f"{pipeline.name}/{name}")
