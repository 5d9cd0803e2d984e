"""What the next plan would do under other rules, or with more work: found out and forgotten."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from elisa.engine.facts_work import WorkLeft
from elisa.engine.health import HealthBook
from elisa.engine.kept_plans import made_again
from elisa.engine.managers import Managers
from elisa.engine.plan import preview
from elisa.engine.projects import Terms, loan_rule, setting_rule
from elisa.engine.rules import loan_of, policy_of
from elisa.engine.supposed_work import class_of, supposed_id, with_live, with_new
from elisa.engine.workspace import Workspace
from elisa.forecast.runtimes import Runtimes
from elisa.model.columns import RunningRow
from elisa.model.hostlist import expand_hosts
from elisa.model.ids import AttemptId, ProjectName, RuleId, TaskId
from elisa.model.native import Answered, NativeState, Poll, Seen
from elisa.model.pipeline import Need, Pipeline, TaskSpec
from elisa.model.rows import WorkName
from elisa.model.rules import Rule, RuleKind, recall_id
from elisa.model.site import SitePolicy
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
    names = dict(seen.names)
    for pipeline in what.pipelines:
        for spec in pipeline.tasks:
            check_class(site, pipeline.project, ws.uid, class_of(spec, pipeline))
        names |= {supposed_id(pipeline, spec.name): spec.name for spec in pipeline.tasks}
    inputs = replace(seen.inputs, site=site)
    if what.pipelines:
        with Reader.open(ws.home) as reader:
            inputs = with_new(inputs, reader, [(one, _at_once(one)) for one in what.pipelines], ws.uid)
    return Supposed(
        difference=compare(seen.plan, made_again(inputs)),
        site=site,
        names=names,
        played=_play(ws, replace(seen.inputs, site=site), what.pipelines) if what.pipelines else None,
    )


def _at_once(pipeline: Pipeline) -> Sequence[TaskSpec]:
    return [spec for spec in pipeline.tasks if not (spec.needs or spec.when or spec.expansion)]


def _play(ws: Workspace, inputs: PlanInputs, pipelines: Sequence[Pipeline]) -> Played:
    """Play all tasks of new pipelines through, beside what there is."""
    known = zip(inputs.ready.task, inputs.ready.predicted_s, strict=False)
    lasts_s = {TaskId(task): seconds for task, seconds in known if seconds}
    inputs = replace(inputs, running=_as_they_are(ws, inputs))
    needs: dict[TaskId, Needs] = {}
    with Reader.open(ws.home) as reader:
        left = WorkLeft(reader, inputs.live, inputs.now)
        inputs, gang_of = with_live(replace(inputs, ends=left.ends()), reader)
        inputs = with_new(inputs, reader, [(one, one.tasks) for one in pipelines], ws.uid)
        for pipeline in pipelines:
            for spec in pipeline.tasks:
                task = supposed_id(pipeline, spec.name)
                needs[task] = partial(_is_met, pipeline, spec.needs)
                lasts_s[task] = _lasts_s(spec, pipeline, left.runtimes)
    return play(inputs, needs, lasts_s, made_again, gang_of)


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
    counts = ((need, sum(supposed_id(pipeline, name) in done for name in need.tasks)) for need in needs)
    return all(count >= (len(need.tasks) if need.at_least is None else need.at_least) for need, count in counts)


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
