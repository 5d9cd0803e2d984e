"""What is told of work that is to be played through, and of what came of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from elisa.model.ids import TaskId
from elisa.model.reasons import Reason

__all__ = ["SUPPOSED", "Course", "Needs", "Played", "Short", "Work"]

SUPPOSED = (
    "each task runs as long as is expected of it, by past runs or its author, else for all of its walltime",
    "all of them succeed, each condition is true, a template makes one task, and what is held stays so",
    "nobody submits anything else, and what others hold on nodes now they hold for a day",
    "nobody is asked to leave but who uses lent room, a place that closes, or more than a hard limit allows",
    "who leaves saves first, and goes on later from there",
    "what waits in a native queue begins when there is room for it in elisa's order; no tasks share a job",
)

_NONE: Mapping[TaskId, Any] = MappingProxyType({})

Needs = Callable[[Collection[TaskId]], bool]
"""Tells whether a task may begin, given the tasks that are done."""


class Work(NamedTuple):
    """The tasks that are played through, and what is known of them and of others beside what plans look at.

    `lasts_s` is how long a task runs from now or from its start on, on its fewest nodes, where that is not all of its walltime;
    one that `saves` goes on in another attempt if it takes longer. Before `not_before` a task does not begin. `may_leave`
    are those that save and go when they are asked to. `gang_of` tells the gang, by its number, of members that run and
    have no row.
    """

    needs: Mapping[TaskId, Needs]
    lasts_s: Mapping[TaskId, float] = _NONE
    not_before: Mapping[TaskId, datetime] = _NONE
    saves: Collection[TaskId] = frozenset()
    may_leave: Collection[TaskId] = frozenset()
    gang_of: Mapping[TaskId, int] = _NONE


class Course(NamedTuple):
    """When a task begins and ends, and on how many nodes; one that had to leave meanwhile began more than once."""

    begins_at: datetime
    ends_at: datetime
    nodes: int


class Short(NamedTuple):
    """The first moment at which a budget had less left than a task asked for, and how that was refused."""

    at: datetime
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of the work: when its tasks ran, and why those in `never` did not; None: what they need did not come.

    `until` is when the last of them ended, or if none ran how far was looked. `is_cut`: there was too much more to come.
    `short` tells from when on each budget was short, in the order of time.
    """

    courses: Mapping[TaskId, Course]
    never: Mapping[TaskId, Reason | None]
    until: datetime
    is_cut: bool = False
    short: tuple[Short, ...] = ()
