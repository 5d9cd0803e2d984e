"""What a person with the right changes of a project's rules: written down at once, followed from the next plan on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from typing import Any

from elisa.engine.roles import read_roles
from elisa.engine.rules import grant_of, loan_of, policy_of, project_configs, setting_of
from elisa.engine.workspace import Workspace
from elisa.model.changes import Change, RuleDropped, RuleSet
from elisa.model.errors import UsageError
from elisa.model.ids import ProjectName, new_rule_id
from elisa.model.rules import Rule, RuleKind, recall_id, setting_id
from elisa.model.site import Loan, ProjectPolicy, Reservation
from elisa.pipelines.nodes import plain
from elisa.pipelines.problems import nearest
from elisa.pipelines.strict_yaml import load
from elisa.policies.allowances import check_loan, is_active, needed_back, recalled
from elisa.policies.inputs import PlanInputs
from elisa.policies.plan import Plan
from elisa.policies.rights import Action, demand
from elisa.store.reader import Reader
from elisa.store.writer import Writer

__all__ = [
    "Known",
    "Terms",
    "amount_body",
    "call_back_needed",
    "change",
    "check_period",
    "demand_right",
    "give_back",
    "grant",
    "known_projects",
    "lend",
    "loan_rule",
    "named_project",
    "recall_change",
    "reclaim",
    "reset",
    "setting_rule",
]

# Who calls loans back that the lender needs.
_ELISA = "elisa"
_NOTHING = frozenset({"none", "null"})
# What a manager may set: how the project's means are shared out between its members.
_OF_MANAGERS = "per_user."
_AT_ONCE = "at_once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is lent, by path as in site.yaml, from when until when.

    `recallable`: the lender may call it back before it is due. `on_need`: elisa calls it back when the lender needs it.
    """

    amount: Mapping[str, str]
    begin: datetime
    end: datetime
    recallable: bool = True
    on_need: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A project, its rules as they are now, its loans and what is reserved for it, and what of all that people set by command.

    `is_listed`: it has rules of its own; else those for unlisted projects hold.
    """

    name: ProjectName
    policy: ProjectPolicy
    loans: tuple[Loan, ...]
    rules: tuple[Rule, ...]
    is_listed: bool
    reservations: tuple[Reservation, ...] = ()


def known_projects(ws: Workspace) -> tuple[Known, ...]:
    """Return every project that has rules or has submitted something, by name."""
    now = ws.clock.now()
    with Reader.open(ws.home) as reader:
        policy, rules = policy_of(ws, reader, now), reader.rules()
        submitted = {row.name for row in reader.projects()}
    listed = set(map(ProjectName, project_configs(ws.site, rules)))
    return tuple(
        Known(
            name=name,
            policy=replace(policy.project(name), name=name),
            loans=tuple(loan for loan in policy.loans if name in {loan.lender, loan.borrower}),
            rules=tuple(rule for rule in rules if rule.project == name),
            is_listed=name in listed,
            reservations=tuple(one for one in policy.reservations if one.project == name and one.ends_at > now),
        )
        for name in sorted(submitted | listed | {one.project for one in policy.reservations})
    )


def change(ws: Workspace, project: str, settings: Mapping[str, str]) -> tuple[Rule, ...]:
    """Set what `site.yaml` would say under a project, by path; `none` takes a limit away.

    Raises UsageError for what is no setting or no value of it, PolicyError for who may not.
    """
    name = named_project(project)
    rules = tuple(setting_rule(ws, name, path, text) for path, text in settings.items())
    for path in settings:
        demand_right(ws, Action.DIVIDE if path.startswith(_OF_MANAGERS) else Action.CHANGE_RULES, name)
    with ws.writer() as writer:
        writer.apply([RuleSet(rule=rule) for rule in rules])
    return rules


def reset(ws: Workspace, project: str, what: Sequence[str]) -> tuple[Rule, ...]:
    """Take back what was set by command: paths of settings, ids of grants; all of both if nothing is named.

    Raises UsageError for what is not set.
    """
    name = named_project(project)
    with ws.writer() as writer:
        dropped = _chosen([rule for rule in writer.rules() if rule.project == name], name, what)
        for rule in dropped:
            is_shared_out = str(rule.body.get("path", "")).startswith(_OF_MANAGERS)
            demand_right(ws, Action.DIVIDE if is_shared_out else Action.CHANGE_RULES, name)
        writer.apply([RuleDropped(rule=rule.id, by=ws.actor) for rule in dropped])
    return dropped


def grant(  # noqa: PLR0917 - to whom, what, when
    ws: Workspace, project: str, amount: Mapping[str, str], begin: datetime, end: datetime, carry_over: float = 0.0
) -> Rule:
    """Grant a project amounts for a period."""
    name = named_project(project)
    body = {
        "amount": amount_body(amount),
        "from": begin.isoformat(),
        "until": end.isoformat(),
        "carry_over": carry_over,
    }
    rule = Rule(id=new_rule_id(ws.random), kind=RuleKind.GRANT, project=name, body=body, by=ws.actor)
    grant_of(body)
    check_period(begin, end)
    demand_right(ws, Action.CHANGE_RULES, name)
    with ws.writer() as writer:
        writer.apply([RuleSet(rule=rule)])
    return rule


def lend(ws: Workspace, lender: str, borrower: str, terms: Terms) -> Rule:
    """Move so much of one project's budget to another's for a time. Raises PolicyError if it is not there, or not allowed."""
    name = named_project(lender)
    rule = loan_rule(ws, name, borrower, terms)
    check_period(terms.begin, terms.end)
    demand_right(ws, Action.LEND, name)
    now = ws.clock.now()
    with ws.writer() as writer:
        for loan in loan_of(rule):
            check_loan(policy_of(ws, writer, now), loan, writer.usage(now), now)
        writer.apply([RuleSet(rule=rule)])
    return rule


def reclaim(ws: Workspace, loan: str) -> tuple[Loan, ...]:
    """Call a loan back before it is due; PolicyError if its terms do not allow that."""
    return _end_loan(ws, loan, is_lender=True)


def give_back(ws: Workspace, loan: str) -> tuple[Loan, ...]:
    """Give a loan back before it is due."""
    return _end_loan(ws, loan, is_lender=False)


def _end_loan(ws: Workspace, id_: str, *, is_lender: bool) -> tuple[Loan, ...]:
    now = ws.clock.now()
    with ws.writer() as writer:
        loans = _running_loans(ws, writer, id_, now)
        first = loans[0]
        if is_lender:
            demand_right(ws, Action.RECALL, first.lender)
            ended = tuple(recalled(loan, now) for loan in loans)
        else:
            demand_right(ws, Action.GIVE_BACK, first.borrower)
            ended = tuple(replace(loan, due_at=now) for loan in loans)
        writer.apply([recall_change(first, now, ws.actor)])
    return ended


def recall_change(loan: Loan, now: datetime, by: str) -> Change:
    """Return what ends a loan at `now`."""
    body = {"loan": loan.id, "at": now.isoformat()}
    rule = Rule(id=recall_id(loan.id), kind=RuleKind.RECALL, project=loan.lender, body=body, by=by)
    return RuleSet(rule=rule)


def call_back_needed(writer: Writer, inputs: PlanInputs, made: Plan, now: datetime) -> None:
    """Call back the loans whose lender was refused something for want of them: the next plan has it."""
    refusals = (reason for reason, _ in made.passed_over_groups()) if inputs.site.loans else ()
    loans = {loan.id: loan for loan in needed_back(inputs.site, refusals, now)}
    writer.apply([recall_change(loan, now, _ELISA) for loan in loans.values()])


def _running_loans(ws: Workspace, writer: Writer, id_: str, now: datetime) -> tuple[Loan, ...]:
    known = policy_of(ws, writer, now).loans
    loans = tuple(loan for loan in known if loan.id == id_)
    if not loans:
        names = {loan.id for loan in known}
        hint = nearest(id_, names) or "see `elisa project show`"
        raise UsageError(f"there is no loan {id_}", f"{len(names)} are known", hint)
    if not any(is_active(loan, now) or loan.starts_at > now for loan in loans):
        raise UsageError(f"loan {id_} is over", f"it ended at {loans[0].due_at.isoformat()}", "there is nothing to end")
    return loans


def demand_right(ws: Workspace, action: Action, project: ProjectName) -> None:
    """Raise PolicyError if the user of this workspace may not do this to a project."""
    roles, owner = read_roles(ws.files, ws.home)
    demand(roles.rights(owner), ws.uid, action, project)


def named_project(project: str) -> ProjectName:
    """Return the name of a project; UsageError for what can be none."""
    if not project.strip() or "/" in project:
        raise UsageError(
            f"`{project}` is no name of a project", "it is empty or has a slash in it", "see `elisa project list`"
        )
    return ProjectName(project)


def setting_rule(ws: Workspace, project: ProjectName, path: str, text: str) -> Rule:
    """Return the rule that sets this; UsageError if it is no setting, or no value of it."""
    value = _value(text)
    setting_of(path, value)
    body = {"path": path, "value": value}
    return Rule(id=setting_id(project, path), kind=RuleKind.SETTING, project=project, body=body, by=ws.actor)


def loan_rule(ws: Workspace, lender: ProjectName, borrower: str, terms: Terms) -> Rule:
    """Return the rule that makes this loan; UsageError if it is none."""
    lent = dict(amount_body(terms.amount))
    at_once = lent.pop(_AT_ONCE, {})
    body: dict[str, object] = {
        "borrower": named_project(borrower),
        "amount": lent,
        _AT_ONCE: at_once,
        "from": terms.begin.isoformat(),
        "until": terms.end.isoformat(),
        "recallable": terms.recallable,
        "on_need": terms.on_need,
    }
    rule = Rule(id=new_rule_id(ws.random), kind=RuleKind.LOAN, project=lender, body=body, by=ws.actor)
    loan_of(rule)
    return rule


def _value(text: str) -> object:
    """Read a value as YAML does."""
    return None if text.strip().lower() in _NOTHING else plain(load(text, "value"))


def amount_body(words: Mapping[str, str]) -> Mapping[str, object]:
    """Return amounts by path as they would stand in `site.yaml`."""
    return _nested({path: _value(text) for path, text in words.items()})


def _nested(flat: Mapping[str, object]) -> Mapping[str, object]:
    """Return `{a.b: 1}` as `{a: {b: 1}}`."""
    made: dict[str, Any] = {}
    for path, value in flat.items():
        *inner, last = path.split(".")
        reduce(lambda level, name: level.setdefault(name, {}), inner, made)[last] = value
    return made


def check_period(begin: datetime, end: datetime) -> None:
    """Raise UsageError for a time that is over before it begins."""
    if end <= begin:
        raise UsageError(
            "it cannot be over before it begins",
            f"from {begin.isoformat()} until {end.isoformat()}",
            "give a later --until",
        )


def _chosen(rules: Sequence[Rule], project: ProjectName, what: Sequence[str]) -> tuple[Rule, ...]:
    able = [rule for rule in rules if rule.kind in {RuleKind.SETTING, RuleKind.GRANT}]
    names = {str(rule.body.get("path") or rule.id): rule for rule in able}
    strange = [name for name in what if name not in names]
    if strange or not names:
        missing = strange[0] if strange else "anything"
        raise UsageError(
            f"{missing} was not set by command for project {project}",
            f"set are: {', '.join(sorted(names)) or 'nothing'}",
            "see `elisa project show`; what stands in site.yaml is changed there",
        )
    return tuple(names[name] for name in (what or sorted(names)))
