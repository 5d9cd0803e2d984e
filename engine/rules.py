"""The rules that hold now: `site.yaml`, and what people changed by command and by closing places laid over it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from typing import Any, TypeVar

from pydantic import ValidationError

from elisa.engine.clearing import with_closures
from elisa.engine.config import Site
from elisa.engine.roles import read_roles
from elisa.engine.site_budgets import GrantConfig, LoanConfig, ProjectConfig, ReservationConfig
from elisa.engine.site_kinds import Section, known_settings
from elisa.engine.workspace import Workspace
from elisa.model.errors import UsageError
from elisa.model.rules import Rule, RuleKind, recall_id
from elisa.model.site import Loan, Reservation, SitePolicy
from elisa.pipelines.problems import nearest
from elisa.policies.shares import limited_in_units
from elisa.store.reader import Reader

__all__ = ["grant_of", "loan_of", "policy_of", "project_configs", "reserved_by", "ruled_by", "setting_of"]

S = TypeVar("S", bound=Section)


def policy_of(ws: Workspace, reader: Reader, now: datetime, more: Sequence[Rule] = ()) -> SitePolicy:
    """Return the rules that hold at this moment, or would with `more` of them.

    Raises PolicyError if the file of roles cannot be trusted.
    """
    roles, owner = read_roles(ws.files, ws.home)
    policy = with_closures(ruled_by(ws.site, (*reader.rules(), *more)), reader, now)
    reserved = roles.reserved_classes(owner)
    return replace(policy, reserved_classes=reserved) if reserved else policy


def ruled_by(site: Site, rules: Sequence[Rule]) -> SitePolicy:
    """Return the site's rules with those that people set laid over them."""
    if not rules:
        return limited_in_units(site.policy())
    projects = project_configs(site, rules)
    policy = site.model_copy(update={"projects": projects}).policy()
    reserved = (one for rule in rules if rule.kind is RuleKind.RESERVATION for one in reserved_by(rule))
    policy = replace(policy, loans=tuple(_loans(policy.loans, rules)), reservations=(*policy.reservations, *reserved))
    return limited_in_units(policy)


def project_configs(site: Site, rules: Iterable[Rule]) -> Mapping[str, ProjectConfig]:
    """Return the configuration of every project that is named in `site.yaml` or has a rule of its own."""
    projects = dict(site.projects)
    for rule in rules:
        base = projects.get(rule.project, site.unlisted)
        if rule.kind is RuleKind.SETTING:
            over = setting_of(str(rule.body["path"]), rule.body["value"])
            projects[rule.project] = _laid_over(base, over)
        elif rule.kind is RuleKind.GRANT:
            projects[rule.project] = base.model_copy(update={"grants": (*base.grants, grant_of(rule.body))})
        elif rule.kind is RuleKind.LOAN:
            projects.setdefault(rule.project, base)
    return projects


def setting_of(path: str, value: object) -> ProjectConfig:
    """Return a project's configuration in which only one setting is made; UsageError if there is none such.

    `path` is as in `budget.gpu_hours`; None takes a limit away.
    """
    nested: Any = reduce(lambda inner, name: {name: inner}, reversed(path.split(".")), value)
    return _read(ProjectConfig, nested, path)


def grant_of(body: Mapping[str, object]) -> GrantConfig:
    """Return a grant as it would stand in `site.yaml`; UsageError if it could not."""
    return _read(GrantConfig, dict(body), "grant")


def loan_of(rule: Rule) -> tuple[Loan, ...]:
    """Return the loans of a rule, one for each thing that is lent; UsageError if it is none."""
    config = _read(LoanConfig, {"lender": rule.project, **rule.body}, "loan")
    return config.loans(rule.id)


def reserved_by(rule: Rule) -> tuple[Reservation, ...]:
    """Return the reservations of a rule, one for each thing that is reserved; UsageError if it is none."""
    config = _read(ReservationConfig, {"project": rule.project, **rule.body}, "reservation")
    return config.reservations(rule.id, rule.by)


def _read(kind: type[S], body: object, what: str) -> S:
    try:
        return kind.model_validate(body)
    except ValidationError as err:
        found = err.errors(include_url=False)[0]
        where = ".".join(map(str, found["loc"])) or what
        if found["type"] == "extra_forbidden":
            name = str(found["loc"][-1])
            hint = nearest(name, known_settings()) or "see docs/reference/site.md"
            raise UsageError(f"a project has no setting {where}", f"`{what}` was given", hint) from err
        why = found["msg"].removeprefix("Value error, ")
        if isinstance(found["input"], Mapping) and found["type"] == "value_error":
            raise UsageError(f"{where} says too little, or too much", why, "see docs/reference/site.md") from err
        raise UsageError(f"{where} cannot be {found['input']}", why, "see docs/reference/site.md") from err


def _laid_over(base: S, over: S) -> S:
    """Return a section with what another one sets in place of its own."""
    update: dict[str, object] = {}
    for name in over.model_fields_set:
        old, new = getattr(base, name), getattr(over, name)
        if isinstance(new, Section):
            new = _laid_over(old, new)
        elif isinstance(new, Mapping):
            new = {**old, **new}
        update[name] = new
    return base.model_copy(update=update)


def _loans(own: Iterable[Loan], rules: Sequence[Rule]) -> Iterator[Loan]:
    """Yield every loan, those that were called back with the moment from which on they are over."""
    added = [loan for rule in rules if rule.kind is RuleKind.LOAN for loan in loan_of(rule)]
    recalls = {rule.id: datetime.fromisoformat(str(rule.body["at"])) for rule in rules if rule.kind is RuleKind.RECALL}
    for loan in (*own, *added):
        at = recalls.get(recall_id(loan.id))
        yield loan if at is None else replace(loan, due_at=min(loan.due_at, at))
