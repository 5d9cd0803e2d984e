"""What the next plan would do under other rules, or with more work: found out and forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from elisa.engine.kept_plans import made_again
from elisa.engine.plan import preview
from elisa.engine.projects import Terms, loan_rule, setting_rule
from elisa.engine.rules import loan_of, policy_of
from elisa.engine.workspace import Workspace
from elisa.model.columns import ReadyColumns, Shape
from elisa.model.errors import UsageError
from elisa.model.ids import ProjectName, RuleId, TaskId
from elisa.model.pipeline import Pipeline, PriorityClass, TaskSpec
from elisa.model.rules import Rule, RuleKind, recall_id
from elisa.model.site import CLASS_RANK, SitePolicy
from elisa.policies.allowances import check_loan
from elisa.policies.inputs import PlanInputs
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
    """What would be different, the rules as they would be, and the names of all tasks."""

    difference: Difference
    site: SitePolicy
    names: Mapping[TaskId, str]


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
        inputs = _with(inputs, pipeline, ws.uid)
        names |= {_id_of(pipeline, spec): spec.name for spec in pipeline.tasks}
    return Supposed(difference=compare(seen.plan, made_again(inputs)), site=site, names=names)


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


def _with(inputs: PlanInputs, pipeline: Pipeline, uid: int) -> PlanInputs:
    """Return the inputs with the tasks of a pipeline that could start at once."""
    specs = [spec for spec in pipeline.tasks if not (spec.needs or spec.when or spec.expansion)]
    if not specs:
        raise UsageError(f"no task of {pipeline.name} could start at once", "all of them wait for others", "submit it")
    ready = inputs.ready
    now_us = int(inputs.now.timestamp() * 1_000_000)
    count, shapes = len(specs), len(ready.shapes)
    deadline_us = 0 if pipeline.deadline is None else int(pipeline.deadline.timestamp() * 1_000_000)
    more = ReadyColumns(
        task=[_id_of(pipeline, spec) for spec in specs],
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


def _id_of(pipeline: Pipeline, spec: TaskSpec) -> TaskId:
    return TaskId(f"{pipeline.name}/{spec.name}")
