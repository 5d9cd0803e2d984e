"""`elisa budget`: what may be used, what was, what is left; and what would be different."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.table import Table

from elisa.cli.draw import table_of
from elisa.cli.home import existing_home
from elisa.cli.moments import parse_moment
from elisa.cli.output import note, print_json, show
from elisa.cli.played import played_data, played_parts
from elisa.cli.settings import parse_settings
from elisa.engine.rules import policy_of
from elisa.engine.whatif import Supposed, Supposition, suppose
from elisa.engine.workspace import Workspace, open_workspace
from elisa.model.amounts import in_units, unit_of
from elisa.model.codec import encode
from elisa.model.errors import ExitCode, UsageError
from elisa.model.ids import ProjectName, TaskId
from elisa.model.rows import LedgerRow
from elisa.model.site import EVERYBODY
from elisa.model.text import clean
from elisa.pipelines.load import load
from elisa.report.budget import PERIODS, Booked, Limit, Part, booked, limits, unbalanced
from elisa.report.users import user_name
from elisa.report.words import in_words
from elisa.store.reader import Reader

__all__ = ["budget"]

_PARTS = ("project", "user", *PERIODS)
_LEND, _RECALL, _SUBMIT = "lend:", "recall:", "submit:"


def budget(
    *,
    project: str | None,
    by: str,
    since: str | None,
    until: str | None,
    what_if: Sequence[str] | None,
    home: str | None,
    json: bool,
) -> int:
    """Print limits and ledger; with `what_if`, how the next plan would change."""
    if by not in _PARTS:
        raise UsageError(f"there is no --by {by}", f"known are {', '.join(_PARTS)}", "choose one of them")
    with open_workspace(existing_home(home)) as workspace:
        if what_if:
            return _show_supposed(suppose(workspace, _supposition(project, what_if)), json=json)
        return _show_budget(workspace, project, by, (since, until), json=json)


def _show_budget(
    workspace: Workspace, project: str | None, by: str, period: tuple[str | None, str | None], *, json: bool
) -> int:
    now = workspace.clock.now()
    since, until = (
        parse_moment(text, now, option) for text, option in zip(period, ("--since", "--until"), strict=True)
    )
    with Reader.open(workspace.home) as reader:
        site, usage, ledger = policy_of(workspace, reader, now), reader.usage(now), reader.ledger(project=project)
    names = sorted({ProjectName(project)} if project else {one.name for one in site.projects} | _used(ledger))
    caps = limits(site, usage, now, names)
    kept = [row for row in ledger if (since is None or row.at >= since) and (until is None or row.at < until)]
    sums = booked(kept, _part(by))
    problems = unbalanced(ledger, usage)
    if json:
        print_json("budget", 1, _data(caps, sums, problems))
    else:
        show(_limits_table(caps) if caps else "no limits", "", _ledger_table(sums, by) if sums else "nothing was used")
        show("", "; ".join(problems) or "the ledger balances: reserved = spent + refunded + held, to the second")
    return int(ExitCode.ERROR if problems else ExitCode.DONE)


def _used(ledger: Iterable[LedgerRow]) -> set[ProjectName]:
    return {row.project for row in ledger}


def _part(by: str) -> Part:
    return {"project": lambda _: "", "user": lambda row: _user(row.owner_uid), **PERIODS}[by]


def _user(uid: int | None) -> str:
    return "" if uid is None else user_name(uid)


def _data(caps: Sequence[Limit], sums: Sequence[Booked], problems: Sequence[str]) -> dict[str, object]:
    return {
        "limits": [_all_of(one) | {"left": one.left} for one in caps],
        "ledger": [_all_of(one) | {"held": one.held, "used": one.used} for one in sums],
        "balanced": not problems,
        "problems": list(problems),
    }


def _all_of(one: Limit | Booked) -> dict[str, object]:
    return {name: encode(getattr(one, name)) for name in one.__dataclass_fields__}


def _limits_table(caps: Iterable[Limit]) -> Table:
    table = table_of("project", "whose", "what", "limit", "used", "left", "lent", "borrowed", whole=("project",))
    for one in caps:
        amounts = (one.limit, one.used, one.left, one.lent, one.borrowed)
        per = f" every {one.every}" if one.every else ""
        what = unit_of(one.resource, one.gpu_type) + per + ("" if one.is_hard else " (soft)")
        table.add_row(
            "all projects" if one.project == EVERYBODY else clean(one.project),
            clean(_user(one.uid) or "all"),
            clean(what),
            *(in_units(one.resource, amount) for amount in amounts),
        )
    return table


def _ledger_table(sums: Iterable[Booked], by: str) -> Table:
    part = [] if by == "project" else [by]
    table = table_of("project", *part, "what", "reserved", "spent", "refunded", "held", "overrun", whole=("project",))
    for one in sums:
        amounts = (one.reserved, one.spent, one.refunded, one.held, one.overrun)
        table.add_row(
            clean(one.project),
            *([clean(one.part)] if part else []),
            clean(unit_of(one.resource, one.gpu_type)),
            *(in_units(one.resource, amount) for amount in amounts),
        )
    return table


def _supposition(project: str | None, words: Sequence[str]) -> Supposition:
    if project is None and any(not word.startswith(_SUBMIT) for word in words):
        raise UsageError(
            "--what-if needs a project", "none was named", "write `elisa budget PROJECT --what-if budget.gpu_hours=500`"
        )
    settings = [word for word in words if not word.startswith((_LEND, _RECALL, _SUBMIT))]
    return Supposition(
        project=ProjectName(project or ""),
        settings=parse_settings(settings, "--what-if "),
        lends=tuple(_loan(word) for word in words if word.startswith(_LEND)),
        recalls=tuple(word.removeprefix(_RECALL) for word in words if word.startswith(_RECALL)),
        pipelines=tuple(load(Path(word.removeprefix(_SUBMIT)), {}) for word in words if word.startswith(_SUBMIT)),
    )


def _loan(word: str) -> tuple[str, Mapping[str, str]]:
    borrower, _, amount = word.removeprefix(_LEND).partition(":")
    return borrower, parse_settings([amount], f"--what-if {_LEND}{borrower}:")


def _show_supposed(found: Supposed, *, json: bool) -> int:
    difference = found.difference
    if json:
        print_json("budget-what-if", 2, _supposed_data(found))
        return int(ExitCode.DONE)
    rows = list(_supposed_rows(found))
    if not rows:
        note("nothing would be different at this moment")
    else:
        show(_supposed_table(found, rows))
    if difference.no_longer or difference.leave:
        note("some of what runs or would start gives way")
    show("", *played_parts(found))
    return int(ExitCode.DONE)


def _supposed_table(found: Supposed, rows: Iterable[tuple[str, str, str]]) -> Table:
    table = table_of("would", "task", "name", "because", whole=("would", "task"))
    for verb, task, why in rows:
        called = found.called.get(TaskId(task.partition(".")[0]))
        table.add_row(verb, clean(task), "" if called is None else clean(called.name), clean(why))
    return table


def _supposed_rows(found: Supposed) -> Iterator[tuple[str, str, str]]:
    difference = found.difference
    yield from (("start", task, "") for task in difference.starts)
    yield from (("no longer start", task, "") for task in difference.no_longer)
    yield from (("wait", task, in_words(reason)) for task, reason in difference.refused.items())
    for task, (before, after) in difference.reasons.items():
        yield "wait still", task, f"{in_words(after)} (now: {in_words(before)})"
    yield from (("leave", attempt, in_words(reason)) for attempt, reason in difference.leave.items())


def _supposed_data(found: Supposed) -> dict[str, object]:
    difference = found.difference
    return {
        "starts": list(difference.starts),
        "no_longer": list(difference.no_longer),
        "refused": {task: in_words(reason) for task, reason in difference.refused.items()},
        "reasons": {
            task: {"before": in_words(before), "after": in_words(after)}
            for task, (before, after) in difference.reasons.items()
        },
        "leave": {attempt: in_words(reason) for attempt, reason in difference.leave.items()},
        "names": {task: called.name for task, called in found.called.items()},
        "played": played_data(found),
    }
