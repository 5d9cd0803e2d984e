"""What the next plan would do under other rules, or with more work: found out and forgotten."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any

from elisa.engine.facts_work import WorkLeft
from elisa.engine.health import HealthBook
from elisa.engine.kept_plans import made_again
from elisa.engine.managers import Managers
from elisa.engine.plan import preview
from elisa.engine.projects import Terms, loan_rule, setting_rule
from elisa.engine.rules import loan_of, policy_of
from elisa.engine.workspace import Workspace
from elisa.forecast.runtimes import Runtimes
from elisa.model.columns import ReadyColumns, RunningRow, Shape
from elisa.model.hostlist import expand_hosts
from elisa.model.ids import AttemptId, ProjectName, RuleId, TaskId
from elisa.model.native import Answered, NativeState, Poll, Seen
from elisa.model.pipeline import Need, Pipeline, PriorityClass, SitePlacement, TaskSpec
from elisa.model.rows import WorkName
from elisa.model.rules import Rule, RuleKind, recall_id
from elisa.model.site import CLASS_RANK, SitePolicy
from elisa.model.task import Attempt
from elisa.policies.allowances import check_loan
from elisa.policies.inputs import PlanInputs
from elisa.policies.playing import Needs, Played, play
from elisa.policies.rights import check_class
from elisa.policies.whatif import Difference, compare
from elisa.store.reader import Reader

__all__ = ["Supposed", "Supposition", "suppose"]

_A_LONG_TIME = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposition:
    """What is to be supposed of a project: `settings` by path, loans of it by borrower, loans called back, new work."""

    project: ProjectName
    settings: Mapping[str, str]
    lends: Sequence[tuple[str, Mapping[str, str]]] = ()
    recalls: Sequence[str] = ()
    pipelines: Sequence[Pipeline] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposed:
    """What would be different, the rules as they would be, and the names of all tasks.

    `played` is what would become of new work in time; None if there is none.
    """

    difference: Difference
    site: SitePolicy
    names: Mapping[TaskId, str]
    played: Played | None = None


def suppose(ws: Workspace, what: Supposition) -> Supposed:
    """Return how the next plan would change. Nothing is stored, and no right is needed.

    Raises UsageError for what is no setting or no loan, PolicyError for a loan that could not be made, or work of a class that
    may not be submitted.
    """
    now = ws.clock.now()
    seen = preview(ws, looks=bool(what.pipelines))
    rules = _rules(ws, what, now)
    with Reader.open(ws.home) as reader:
        for loan in (loan for rule in rules if rule.kind is RuleKind.LOAN for loan in loan_of(rule)):
            check_loan(seen.inputs.site, loan, reader.usage(now), now)
        site = policy_of(ws, reader, now, rules)
    inputs = replace(seen.inputs, site=site)
    names = dict(seen.names)
    for pipeline in what.pipelines:
        for spec in pipeline.tasks:
            check_class(site, pipeline.project, ws.uid, _class_of(spec, pipeline))
        at_once = [spec for spec in pipeline.tasks if not (spec.needs or spec.when or spec.expansion)]
        inputs = _with(inputs, pipeline, at_once, ws.uid)
        names |= {_id_of(pipeline, spec.name): spec.name for spec in pipeline.tasks}
    return Supposed(
        difference=compare(seen.plan, made_again(inputs)),
        site=site,
        names=names,
        played=_play(ws, replace(seen.inputs, site=site), what.pipelines) if what.pipelines else None,
    )


def _play(ws: Workspace, inputs: PlanInputs, pipelines: Sequence[Pipeline]) -> Played:
    """Play all tasks of new pipelines through, beside what there is."""
    known = zip(inputs.ready.task, inputs.ready.predicted_s, strict=False)
    lasts_s = {TaskId(task): seconds for task, seconds in known if seconds}
    inputs = replace(inputs, running=_as_they_are(ws, inputs))
    inputs = replace(inputs, ready=_with_queued(inputs))
    needs: dict[TaskId, Needs] = {}
    with Reader.open(ws.home) as reader:
        runtimes = WorkLeft(reader, inputs.live, inputs.now).runtimes
    for pipeline in pipelines:
        inputs = _with(inputs, pipeline, pipeline.tasks, ws.uid)
        for spec in pipeline.tasks:
            task = _id_of(pipeline, spec.name)
            needs[task] = partial(_is_met, pipeline, spec.needs)
            lasts_s[task] = _lasts_s(spec, pipeline, runtimes)
    return play(inputs, needs, lasts_s, made_again)


def _as_they_are(ws: Workspace, inputs: PlanInputs) -> Sequence[RunningRow]:
    """Return the live attempts with what their managers say of those that were not seen to run yet."""
    managers = Managers(ws.backends, HealthBook(ws.files, ws.home), ws.random, inputs.now)
    queued = {AttemptId(row.attempt) for row in inputs.running if row.is_queued}
    live = [one for one in inputs.live if one.id in queued]
    polls = managers.poll(live) if live else {}
    seen = {one.id: _seen(polls.get(one.backend), one) for one in live}
    return [_as_seen(row, seen.get(AttemptId(row.attempt))) for row in inputs.running]


def _seen(poll: Poll | None, attempt: Attempt) -> Seen | None:
    found = poll.observations.get(attempt.native_id) if isinstance(poll, Answered) and attempt.native_id else None
    return found if isinstance(found, Seen) and found.state is NativeState.RUNNING else None


def _as_seen(row: RunningRow, seen: Seen | None) -> RunningRow:
    if seen is None or seen.started_at is None:
        return row
    started_us = round(seen.started_at.timestamp() * 1e6)
    return row._replace(is_queued=False, nodes=tuple(expand_hosts(seen.nodes)), started_us=started_us)


def _lasts_s(spec: TaskSpec, pipeline: Pipeline, runtimes: Runtimes) -> float:
    name = WorkName(pipeline.project, pipeline.name, spec.name, spec.group)
    estimate = runtimes.estimate(name, spec.resources.walltime_s)
    said_s = spec.resources.walltime_s if spec.expected_s is None else spec.expected_s
    return said_s if estimate is None else estimate.total_s


def _is_met(pipeline: Pipeline, needs: Sequence[Need], done: Collection[TaskId]) -> bool:
    """Tell whether enough of what each need names is done."""
    counts = ((need, sum(_id_of(pipeline, name) in done for name in need.tasks)) for need in needs)
    return all(count >= (len(need.tasks) if need.at_least is None else need.at_least) for need, count in counts)


def _with_queued(inputs: PlanInputs) -> ReadyColumns:
    """Return the ready tasks, and those whose jobs wait in native queues as the first of them."""
    queued = [row for row in inputs.running if row.is_queued]
    count, shapes = len(queued), len(inputs.ready.shapes)
    places = (SitePlacement(backend=row.backend, partition=row.partition) for row in queued)
    more = ReadyColumns(
        task=[row.task for row in queued],
        owner=[len(inputs.ready.owners) + number for number in range(count)],
        owners=[(row.project, row.owner_uid) for row in queued],
        priority=[row.priority for row in queued],
        importance=[0.0] * count,
        submitted_us=[0] * count,
        ready_us=[0] * count,
        deadline_us=[0] * count,
        shape=[shapes + number for number in range(count)],
        shapes=[Shape(row.request, place) for row, place in zip(queued, places, strict=True)],
    )
    return _joined(inputs.ready, more)


def _rules(ws: Workspace, what: Supposition, now: datetime) -> Sequence[Rule]:
    settings = [setting_rule(ws, what.project, path, text) for path, text in what.settings.items()]
    end = now + _A_LONG_TIME
    loans = [
        loan_rule(ws, what.project, borrower, Terms(amount=amount, begin=now, end=end))
        for borrower, amount in what.lends
    ]
    recalls = [
        Rule(
            id=recall_id(RuleId(name)),
            kind=RuleKind.RECALL,
            project=what.project,
            body={"loan": name, "at": now.isoformat()},
        )
        for name in what.recalls
    ]
    return (*settings, *loans, *recalls)


def _with(inputs: PlanInputs, pipeline: Pipeline, specs: Sequence[TaskSpec], uid: int) -> PlanInputs:
    """Return the inputs with tasks of a pipeline as ready ones."""
    ready = inputs.ready
    now_us = int(inputs.now.timestamp() * 1_000_000)
    count, shapes = len(specs), len(ready.shapes)
    deadline_us = 0 if pipeline.deadline is None else int(pipeline.deadline.timestamp() * 1_000_000)
    more = ReadyColumns(
        task=[_id_of(pipeline, spec.name) for spec in specs],
        owner=[len(ready.owners)] * count,
        owners=[(pipeline.project, uid)],
        priority=[CLASS_RANK[_class_of(spec, pipeline)] for spec in specs],
        importance=[spec.importance + pipeline.importance for spec in specs],
        submitted_us=[now_us] * count,
        ready_us=[now_us] * count,
        deadline_us=[deadline_us] * count,
        shape=[shapes + number for number in range(count)],
        shapes=[Shape(spec.resources, spec.placement) for spec in specs],
    )
    return replace(inputs, ready=_joined(ready, more))


def _joined(one: ReadyColumns, other: ReadyColumns) -> ReadyColumns:
    """Return the rows of both; of the second nothing but what it asks for is known."""
    count = len(other.task)
    unknown = {"gang": -1, "predicted_s": 0.0, "path_s": 0.0, "progress": 0.0, "promise": 0.0, "brief_s": 0.0}
    joined: dict[str, Any] = {
        name: (*getattr(one, name), *getattr(other, name)) for name in one._fields if name != "ranked_by"
    }
    for name, value in unknown.items():
        if getattr(one, name):
            joined[name] = tuple(chain(getattr(one, name), [value] * count))
    owners = list(dict.fromkeys(joined["owners"]))
    place = [owners.index(owner) for owner in joined["owners"]]
    owner = [place[number] for number in joined["owner"]]
    return one._replace(**{**joined, "owners": owners, "owner": owner})


def _class_of(spec: TaskSpec, pipeline: Pipeline) -> PriorityClass:
    return pipeline.priority if spec.priority is PriorityClass.NORMAL else spec.priority


def _id_of(pipeline: Pipeline, name: str) -> TaskId:
    return TaskId(f"{pipeline.name}/{name}")
