"""`elisa prioritize`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from elisa.cli.home import existing_home
from elisa.cli.moments import parse_moment
from elisa.cli.output import print_json, print_plain
from elisa.engine.prioritize import KEEP, Prioritized, Urgency
from elisa.engine.prioritize import prioritize as rank
from elisa.engine.workspace import open_workspace
from elisa.model.errors import ExitCode, UsageError
from elisa.model.pipeline import PriorityClass

__all__ = ["prioritize"]


def prioritize(
    *,
    ids: Sequence[str],
    priority: str | None,
    importance: float | None,
    deadline: str | None,
    home: str | None,
    json: bool,
) -> int:
    """Write down what has become more or less urgent."""
    with open_workspace(existing_home(home)) as workspace:
        urgency = Urgency(
            priority=_class(priority),
            importance=importance,
            deadline=KEEP if deadline is None else _moment(deadline, workspace.clock.now()),
        )
        done = rank(workspace, tuple(ids), urgency)
    if json:
        print_json("prioritize", 1, _data(done))
    else:
        _show(done)
    return int(ExitCode.DONE)


def _moment(text: str, now: datetime) -> datetime | None:
    return None if text == "none" else parse_moment(text, now, "--deadline")


def _class(text: str | None) -> PriorityClass | None:
    if text is None:
        return None
    try:
        return PriorityClass(text)
    except ValueError as err:
        known = ", ".join(one.value for one in PriorityClass)
        raise UsageError(f"there is no class {text}", f"the classes are {known}", "choose one of them") from err


def _data(done: Prioritized) -> dict[str, object]:
    return {"changed": list(done.changed), "unchanged": dict(done.unchanged), "deadlines": dict(done.moved)}


def _show(done: Prioritized) -> None:
    for task in done.changed:
        print_plain(f"{task}: ranked anew; the next plan follows it")
    for task, why in done.unchanged.items():
        print_plain(f"{task}: left as it is ({why})")
    for pipeline, deadline in done.moved.items():
        print_plain(f"{pipeline}: {_due(deadline)}")


def _due(deadline: datetime | None) -> str:
    return "has no deadline" if deadline is None else f"due at {deadline.astimezone():%Y-%m-%d %H:%M}"
