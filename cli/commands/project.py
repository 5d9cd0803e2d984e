"""`elisa project list`, `show`, `set`, `reset`, `grant`, `lend`, `reclaim`, `return`, `reserve` and `release`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.table import Table

from elisa.cli.draw import table_of
from elisa.cli.home import existing_home
from elisa.cli.moments import parse_moment
from elisa.cli.output import note, print_json, print_plain, show
from elisa.cli.places_words import reservation_data, reservation_words
from elisa.cli.settings import parse_settings
from elisa.engine import projects, reserving
from elisa.engine.projects import Known
from elisa.engine.workspace import open_workspace
from elisa.model.amounts import in_units, unit_of
from elisa.model.codec import encode
from elisa.model.errors import ExitCode, UsageError
from elisa.model.rules import Rule, RuleKind
from elisa.model.site import Allowance, Cap, Loan
from elisa.model.text import clean

__all__ = [
    "project_grant",
    "project_lend",
    "project_list",
    "project_reclaim",
    "project_release",
    "project_reserve",
    "project_reset",
    "project_return",
    "project_set",
    "project_show",
]

_DONE = int(ExitCode.DONE)


def project_list(*, home: str | None, json: bool) -> int:
    """Print every project with the rules that matter most."""
    with open_workspace(existing_home(home)) as workspace:
        known = projects.known_projects(workspace)
    if json:
        print_json("project-list", 1, {"projects": [_data(one) for one in known]})
        return _DONE
    table = table_of("project", "shares", "highest", "service", "limits", "set by command", whole=("project",))
    for one in known:
        amounts = [*map(_limit, one.policy.caps), *map(_allowed, one.policy.allowances)]
        limits = ", ".join(amounts) or "-"
        policy = one.policy
        shares, own = f"{policy.shares:g}", str(len(one.rules) or "-")
        table.add_row(clean(one.name), shares, policy.highest.value, policy.service.value, clean(limits), own)
    show(table if known else "there are no projects yet")
    return _DONE


def project_show(*, project: str, home: str | None, json: bool) -> int:
    """Print all rules of one project."""
    with open_workspace(existing_home(home)) as workspace:
        now = workspace.clock.now()
        known = next((one for one in projects.known_projects(workspace) if one.name == project), None)
    if known is None:
        raise UsageError(f"there is no project {project}", "it has no rules and no work", "see `elisa project list`")
    if json:
        print_json("project-show", 1, _data(known))
        return _DONE
    show(_rules_table(known))
    for title, table in (("loans", _loans_table(known.loans)), ("set by command", _set_table(known.rules))):
        if table.row_count:
            show("", title, table)
    for one in known.reservations:
        show("", clean(reservation_words(one, now)))
    return _DONE


def project_set(*, project: str, settings: Sequence[str], home: str | None, json: bool) -> int:
    """Set rules of a project."""
    with open_workspace(existing_home(home)) as workspace:
        rules = projects.change(workspace, project, _settings(settings))
    return _tell("project-set", rules, "set; the next plan follows it", json=json)


def project_reset(*, project: str, what: Sequence[str] | None, home: str | None, json: bool) -> int:
    """Take back what was set by command."""
    with open_workspace(existing_home(home)) as workspace:
        dropped = projects.reset(workspace, project, tuple(what or ()))
    return _tell("project-reset", dropped, "taken back; site.yaml holds again", json=json)


def project_grant(
    *, project: str, amount: Sequence[str], begin: str | None, end: str, carry_over: float, home: str | None, json: bool
) -> int:
    """Grant a project amounts for a period."""
    with open_workspace(existing_home(home)) as workspace:
        now = workspace.clock.now()
        rule = projects.grant(
            workspace,
            project,
            _settings(amount),
            _moment(begin, now, "--from"),
            _moment(end, now, "--until"),
            carry_over,
        )
    return _tell("project-grant", (rule,), "granted", json=json)


def project_lend(
    *,
    lender: str,
    borrower: str,
    amount: Sequence[str],
    begin: str | None,
    end: str,
    firm: bool,
    by_hand: bool,
    home: str | None,
    json: bool,
) -> int:
    """Move budget from one project to another for a time."""
    with open_workspace(existing_home(home)) as workspace:
        now = workspace.clock.now()
        terms = projects.Terms(
            amount=_settings(amount),
            begin=_moment(begin, now, "--from"),
            end=_moment(end, now, "--until"),
            recallable=not firm,
            on_need=not by_hand,
        )
        rule = projects.lend(workspace, lender, borrower, terms)
    return _tell("project-lend", (rule,), "lent", json=json)


def project_reclaim(*, loan: str, home: str | None, json: bool) -> int:
    """Call a loan back."""
    with open_workspace(existing_home(home)) as workspace:
        ended = projects.reclaim(workspace, loan)
    return _tell_ended("project-reclaim", ended, json=json)


def project_return(*, loan: str, home: str | None, json: bool) -> int:
    """Give a loan back."""
    with open_workspace(existing_home(home)) as workspace:
        ended = projects.give_back(workspace, loan)
    return _tell_ended("project-return", ended, json=json)


def project_reserve(
    *,
    project: str,
    backend: str,
    amount: Sequence[str],
    begin: str | None,
    end: str,
    users: Sequence[str] | None,
    native: str,
    lend: bool,
    reason: str,
    home: str | None,
    json: bool,
) -> int:
    """Keep room of a backend for a project for a time."""
    with open_workspace(existing_home(home)) as workspace:
        now = workspace.clock.now()
        starts_at, ends_at = _moment(begin, now, "--from"), _moment(end, now, "--until")
        made = reserving.reserve(
            workspace,
            project,
            backend,
            _settings(amount),
            begin=starts_at,
            end=ends_at,
            users=tuple(users or ()),
            native=native,
            lend=lend,
            why=reason,
        )
    if json:
        reserved = [reservation_data(one) for one in made.reservations]
        print_json("project-reserve", 1, {"reservations": reserved, "notes": list(made.notes)})
        return _DONE
    for one in made.reservations:
        print_plain(clean(reservation_words(one, now)))
    for words in made.notes:
        note(f"warning: {words}")
    return _DONE


def project_release(*, reservation: str, home: str | None, json: bool) -> int:
    """Give reserved room back."""
    with open_workspace(existing_home(home)) as workspace:
        now = workspace.clock.now()
        ended = reserving.release_reserved(workspace, reservation)
    if json:
        print_json("project-release", 1, {"reservations": [reservation_data(one) for one in ended]})
        return _DONE
    for one in ended:
        print_plain(clean(f"no longer: {reservation_words(one, now)}"))
    return _DONE


def _moment(text: str | None, now: datetime, option: str) -> datetime:
    return parse_moment(text, now, option) or now


def _settings(words: Sequence[str]) -> Mapping[str, str]:
    return parse_settings(words, option="")


def _tell(command: str, rules: Sequence[Rule], words: str, *, json: bool) -> int:
    if json:
        print_json(command, 1, {"rules": [encode(rule) for rule in rules]})
    else:
        for rule in rules:
            print_plain(f"{rule.body.get('path') or rule.id} of {rule.project}: {words}")
    return _DONE


def _tell_ended(command: str, loans: Sequence[Loan], *, json: bool) -> int:
    if json:
        print_json(command, 1, {"loans": [encode(loan) for loan in loans]})
    else:
        for loan in loans:
            amount = _amount(loan.resource, loan.gpu_type, loan.amount)
            kept = ", but for what it used" if loan.resource.is_cumulative else ""
            print_plain(f"{loan.id}: {amount} of {loan.lender} are no longer with {loan.borrower}{kept}")
    return _DONE


def _data(known: Known) -> dict[str, object]:
    return {
        "project": known.name,
        "listed": known.is_listed,
        "policy": encode(known.policy),
        "loans": [encode(loan) for loan in known.loans],
        "rules": [encode(rule) for rule in known.rules],
        "reservations": [reservation_data(one) for one in known.reservations],
    }


def _rules_table(known: Known) -> Table:
    policy = known.policy
    table = table_of("rule", "value", whole=("rule",))
    table.add_row("shares", f"{policy.shares:g}" + (f" in {clean(policy.group)}" if policy.group else ""))
    table.add_row("highest class", policy.highest.value)
    table.add_row("service", policy.service.value)
    table.add_row("unfinished tasks", str(policy.queue_limit or "no limit"))
    table.add_row("importance", f"{policy.importance_limit:g} at most" if policy.importance_limit else "no limit")
    table.add_row("may lend", "yes" if policy.may_lend else "no")
    for whose, caps in (("", policy.caps), (" of each user", policy.user_caps)):
        for cap in caps:
            table.add_row(f"{_kind(cap)}{whose}", clean(_amount(cap.resource, cap.gpu_type, cap.limit)))
    for whose, allowances in (("", policy.allowances), (" of each user", policy.user_allowances)):
        for allowance in allowances:
            name = "budget" if allowance.is_hard else "soft budget"
            table.add_row(f"{name}{whose}", clean(_allowed(allowance)))
    for one in policy.grants:
        amount = clean(_amount(one.resource, one.gpu_type, one.amount))
        table.add_row("grant", f"{amount} from {one.starts_at:%Y-%m-%d %H:%M} until {one.ends_at:%Y-%m-%d %H:%M}")
    return table


def _kind(cap: Cap) -> str:
    kind = "budget" if cap.resource.is_cumulative else "at once"
    return kind if cap.is_hard else f"soft {kind}"


def _amount(resource: str, gpu_type: str, amount: int) -> str:
    return f"{in_units(resource, amount)} {unit_of(resource, gpu_type)}"


def _allowed(one: Allowance) -> str:
    amount = _amount(one.resource, one.gpu_type, one.amount)
    return f"{amount} every {one.every}" + (f", {one.carry_over:g} of the rest carried over" if one.carry_over else "")


def _limit(cap: Cap) -> str:
    words = _amount(cap.resource, cap.gpu_type, cap.limit)
    return words if cap.is_hard else f"{words} (soft)"


def _loans_table(loans: Iterable[Loan]) -> Table:
    table = table_of("loan", "from", "to", "amount", "begins", "due", "may be reclaimed", whole=("loan",))
    for loan in loans:
        amount = clean(_amount(loan.resource, loan.gpu_type, loan.amount))
        times = (f"{at.astimezone():%Y-%m-%d %H:%M}" for at in (loan.starts_at, loan.due_at))
        parties = (clean(loan.lender), clean(loan.borrower))
        table.add_row(loan.id, *parties, amount, *times, "yes" if loan.recallable else "no")
    return table


def _set_table(rules: Iterable[Rule]) -> Table:
    table = table_of("what", "value", "by", whole=("what",))
    for rule in (one for one in rules if one.kind is not RuleKind.RESERVATION):
        value = rule.body.get("value", rule.body.get("amount") or rule.body.get("at_once", ""))
        what = rule.body.get("path") or f"{rule.kind.value} {rule.id}"
        table.add_row(clean(str(what)), clean("none" if value is None else _as_typed(value)), clean(rule.by))
    return table


def _as_typed(value: object, name: str = "") -> str:
    """Write a value as a command takes it: `gpu_hours=5`, with dots in names of what stands in others."""
    if isinstance(value, Mapping):
        return " ".join(_as_typed(one, f"{name}.{key}" if name else str(key)) for key, one in value.items())
    return f"{name}={value}" if name else str(value)
