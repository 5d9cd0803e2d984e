"""What plans would do under other rules, or with more work: found out and forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from elisa.engine.facts_places import outlook_of, trying
from elisa.engine.facts_ready import ReadyFacts
from elisa.engine.facts_work import WorkLeft
from elisa.engine.foreseen import Foreseen
from elisa.engine.foretelling import Foretold, foretell
from elisa.engine.kept_plans import made_again
from elisa.engine.plan import preview
from elisa.engine.projects import Terms, loan_rule, setting_rule
from elisa.engine.rules import loan_of, policy_of
from elisa.engine.supposed_work import (
    New,
    class_of,
    company_of,
    new_tasks,
    saving_of,
    tied_of,
    urged_of,
    with_new,
    work_of,
)
from elisa.engine.workspace import Workspace
from elisa.model.ids import ProjectName, RuleId, TaskId
from elisa.model.pipeline import Pipeline
from elisa.model.rules import Rule, RuleKind, recall_id
from elisa.model.site import SitePolicy
from elisa.model.states import TaskState
from elisa.policies.allowances import check_loan
from elisa.policies.deadlines import due_of
from elisa.policies.inputs import PlanInputs
from elisa.policies.rights import check_class
from elisa.policies.whatif import Difference, compare
from elisa.store.reader import Reader

__all__ = ["Called", "Supposed", "Supposition", "suppose"]

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
class Called:
    """What a task and its pipeline are called."""

    name: str
    pipeline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposed:
    """What would be different in the next plan, the rules as they would be, and what all tasks are called.

    `before` is what becomes of all that is not over, `after` what would become of it and of new work.
    """

    difference: Difference
    site: SitePolicy
    called: Mapping[TaskId, Called]
    before: Foretold
    after: Foretold


def suppose(ws: Workspace, what: Supposition) -> Supposed:
    """Return what would be different. Nothing is stored, and no right is needed.

    Raises UsageError for what is no setting or no loan, PolicyError for a loan that could not be made, or work of a class that
    may not be submitted.
    """
    now = ws.clock.now()
    seen = preview(ws, looks=True)
    rules = _rules(ws, what, now)
    with Reader.open(ws.home) as reader:
        for loan in (loan for rule in rules if rule.kind is RuleKind.LOAN for loan in loan_of(rule)):
            check_loan(seen.inputs.site, loan, reader.usage(now), now)
        site = policy_of(ws, reader, now, rules)
        new = tuple(new_tasks(what.pipelines))
        for one in new:
            check_class(site, one.pipeline.project, ws.uid, class_of(one.spec, one.pipeline))
        supposed = replace(seen.inputs, site=site)
        return Supposed(
            difference=compare(seen.plan, made_again(_at_once(ws, reader, supposed, new) if new else supposed)),
            site=site,
            called=_called(reader, new),
            before=foretell(ws, reader, seen.inputs),
            after=foretell(ws, reader, supposed, new),
        )


def _called(reader: Reader, new: Sequence[New]) -> Mapping[TaskId, Called]:
    rows = reader.task_rows(states=(TaskState.WAITING, TaskState.READY, TaskState.ACTIVE))
    known = {row.id: Called(name=row.name, pipeline=row.pipeline_name) for row in rows}
    return known | {one.task: Called(name=one.spec.name, pipeline=one.pipeline.name) for one in new}


def _at_once(ws: Workspace, reader: Reader, inputs: PlanInputs, new: Sequence[New]) -> PlanInputs:
    """Return what the next plan would be made of if the new tasks were there, those among them that wait for nothing."""
    work = work_of(new)
    first = [one for one in new if not (one.spec.needs or one.spec.when or one.spec.expansion)]
    ids = {one.task for one in first}
    left = WorkLeft(reader, inputs.live, inputs.now, inputs.site.gpu_speeds, [row for row in work if row.task in ids])
    foreseen = Foreseen(tied_of(first), company_of(first), saving_of(first))
    facts = ReadyFacts(reader, left, inputs.site, ws.backends.keys(), inputs.now, foreseen)
    ready, company = facts.told(with_new(reader.ready_columns(), first, ws.uid, inputs.now))
    rows = [*reader.unfinished_due(), *(row for row in work if row.deadline_us)]
    due = due_of(rows, {task: one.left_s for task, one in left.of(rows).items()}, inputs.now)
    ready, kinds = facts.placed(ready, due)
    ready, kinds = trying(ready, kinds, left, inputs.clusters, inputs.site)
    outlook = outlook_of(kinds, reader, left, inputs.site, inputs.now)._replace(company=company)
    return replace(inputs, ready=ready, outlook=outlook, urged={**inputs.urged, **urged_of(new)})


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
