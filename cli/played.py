"""What becomes of all work in time, as things stand and under suppositions: for a person and as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from rich.console import RenderableType
from rich.table import Table

from elisa.cli.draw import table_of
from elisa.engine.foretelling import DueEnd, Foretold
from elisa.engine.whatif import Called, Supposed
from elisa.model.ids import TaskId
from elisa.model.reasons import Reason
from elisa.model.text import clean
from elisa.policies.played import SUPPOSED, Course, Played
from elisa.report.words import in_words

__all__ = ["played_data", "played_parts"]

# More than that nobody reads.
_SHOWN = 50
_UNMET = "what it needs would not have come"


def played_parts(found: Supposed) -> Iterator[RenderableType]:
    """Yield which tasks would run at other times, which deadlines and budgets it touches, and what all of that rests on."""
    before, after = found.before.played, found.after.played
    moved = [task for task in found.called if _fate(before, task) != _fate(after, task)]
    if moved:
        yield _table(found, sorted(moved, key=lambda task: _place(after, task))[:_SHOWN])
        yield f"and {len(moved) - _SHOWN} more: `--json` has every one" if len(moved) > _SHOWN else ""
    yield from _deadlines(found)
    yield from _budgets(before, after)
    yield _summary(after, len(moved))
    yield from (f"supposed: {words}" for words in SUPPOSED)


def _fate(played: Played, task: TaskId) -> Course | Reason | bool | None:
    """Return when a task runs, or why it does not; False if it is not known."""
    return played.courses.get(task) or played.never.get(task, False)


def _place(played: Played, task: TaskId) -> tuple[bool, str, TaskId]:
    course = played.courses.get(task)
    return course is None, "" if course is None else course.begins_at.isoformat(), task


def _table(found: Supposed, tasks: list[TaskId]) -> Table:
    table = table_of(
        "begins", "ends", "nodes", "pipeline", "task", "as things stand", "because", whole=("begins", "ends")
    )
    for task in tasks:
        course, called = found.after.played.courses.get(task), found.called[task]
        begins, ends, nodes = ("-", "-", "-") if course is None else (*_moments(course), str(course.nodes))
        why = "" if course is not None else _why(found.after.played.never.get(task))
        table.add_row(
            begins, ends, nodes, clean(called.pipeline), clean(called.name), _was(found.before.played, task), clean(why)
        )
    return table


def _moments(course: Course) -> tuple[str, str]:
    return _moment(course.begins_at), _moment(course.ends_at)


def _was(played: Played, task: TaskId) -> str:
    """Say what becomes of a task as things stand; nothing if it is not there."""
    course = played.courses.get(task)
    if course is not None:
        return " to ".join(_moments(course))
    return "does not run" if task in played.never else ""


def _why(reason: Reason | None) -> str:
    return _UNMET if reason is None else in_words(reason)


def _deadlines(found: Supposed) -> Iterator[str]:
    for pipeline, end in found.after.due.items():
        before = found.before.due.get(pipeline)
        was = "" if before is None or before.ends_at == end.ends_at else f" (as things stand: {_end(before)})"
        yield clean(f"deadline {_moment(end.deadline)} of {end.name}: {_end(end)}{was}")


def _end(one: DueEnd) -> str:
    if one.ends_at is None:
        return "missed, not all of it comes to an end"
    return f"{'missed' if one.is_late else 'met'}, it ends {_moment(one.ends_at)}"


def _budgets(before: Played, after: Played) -> Iterator[str]:
    was = {_key(one.reason): one for one in before.short}
    for one in after.short:
        known = was.pop(_key(one.reason), None)
        stands = "" if known == one else f" (as things stand: {'not' if known is None else _moment(known.at)})"
        yield clean(f"short from {_moment(one.at)} on: {in_words(one.reason)}{stands}")
    yield from (clean(f"no longer short, as from {_moment(one.at)} on: {in_words(one.reason)}") for one in was.values())


def _key(reason: Reason) -> tuple[object, ...]:
    return tuple(reason.facts.get(name) for name in ("project", "user", "resource", "every"))


def _summary(played: Played, moved: int) -> str:
    count = len(played.courses) + len(played.never)
    cut = "; there would be more to come: it was looked no further" if played.is_cut else ""
    changed = f"{moved} of {count} tasks would run otherwise" if moved else "no task would run otherwise"
    return f"{changed}; {len(played.courses)} would have run by {_moment(played.until)}{cut}"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%m-%d %H:%M}"


def played_data(found: Supposed) -> dict[str, object]:
    """Return all of it as data."""
    return {
        "before": _data(found.before, found.called),
        "after": _data(found.after, found.called),
        "supposed": list(SUPPOSED),
    }


def _data(one: Foretold, called: Mapping[TaskId, Called]) -> dict[str, object]:
    played = one.played
    return {
        "tasks": {
            task: _names(called[task])
            | {
                "begins_at": course.begins_at.isoformat(timespec="seconds"),
                "ends_at": course.ends_at.isoformat(timespec="seconds"),
                "nodes": course.nodes,
            }
            for task, course in played.courses.items()
        },
        "never": {task: _names(called[task]) | {"because": _why(reason)} for task, reason in played.never.items()},
        "deadlines": {pipeline: _due_data(end) for pipeline, end in one.due.items()},
        "short": [
            {
                "project": short.reason.facts["project"],
                "resource": short.reason.facts["resource"],
                "from": short.at.isoformat(timespec="seconds"),
                "because": in_words(short.reason),
            }
            for short in played.short
        ],
        "until": played.until.isoformat(timespec="seconds"),
        "is_cut": played.is_cut,
    }


def _names(called: Called) -> dict[str, object]:
    return {"name": called.name, "pipeline": called.pipeline}


def _due_data(end: DueEnd) -> dict[str, object]:
    return {
        "name": end.name,
        "deadline": end.deadline.isoformat(timespec="seconds"),
        "ends_at": None if end.ends_at is None else end.ends_at.isoformat(timespec="seconds"),
        "is_late": end.is_late,
    }
