"""New work played through, for a person and as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from rich.console import RenderableType

from elisa.cli.draw import table_of
from elisa.model.ids import TaskId
from elisa.model.text import clean
from elisa.policies.playing import SUPPOSED, Played
from elisa.report.words import in_words

__all__ = ["played_data", "played_parts"]


def played_parts(played: Played, names: Mapping[TaskId, str]) -> Iterator[RenderableType]:
    """Yield when each task would run, why others would not, and what all of that rests on."""
    table = table_of("begins", "ends", "nodes", "task", "because", whole=("begins", "ends"))
    for task, course in sorted(played.courses.items(), key=lambda pair: (pair[1].begins_at, pair[0])):
        table.add_row(_moment(course.begins_at), _moment(course.ends_at), str(course.nodes), clean(names[task]), "")
    for task, why in _never(played).items():
        table.add_row("-", "-", "-", clean(names[task]), clean(why))
    yield table
    yield ""
    yield _summary(played)
    yield from (f"supposed: {words}" for words in SUPPOSED)


def _summary(played: Played) -> str:
    count = len(played.courses) + len(played.never)
    cut = "; there would be more to come: it was looked no further" if played.is_cut else ""
    return f"{len(played.courses)} of {count} tasks would have run by {_moment(played.until)}{cut}"


def _never(played: Played) -> Mapping[TaskId, str]:
    unmet = "what it needs would not have come"
    return {task: unmet if reason is None else in_words(reason) for task, reason in played.never.items()}


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%m-%d %H:%M}"


def played_data(played: Played) -> dict[str, object]:
    """Return all of it as data."""
    return {
        "tasks": {
            task: {
                "begins_at": course.begins_at.isoformat(timespec="seconds"),
                "ends_at": course.ends_at.isoformat(timespec="seconds"),
                "nodes": course.nodes,
            }
            for task, course in played.courses.items()
        },
        "never": dict(_never(played)),
        "until": played.until.isoformat(timespec="seconds"),
        "is_cut": played.is_cut,
        "supposed": list(SUPPOSED),
    }
