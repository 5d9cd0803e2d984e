"""Tasks that want to run beside others, or apart from them: what their author says, and what a plan sees of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

__all__ = ["Affinity", "Bond", "Circle", "Company", "Neighbour", "Over", "Tie"]


class Over(StrEnum):
    """What tasks share that are together: a node, or only its leaf switch."""

    NODE = "node"
    SWITCH = "switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """A wish to run on the nodes of certain other tasks, or on their switches; with `apart` on none of them.

    `tasks` are of the same pipeline, by name or by the name of their matrix; without any, all of the same project are
    meant that carry `labels`. With both, both must hold. `weight` 0: it must be so; else it is preferred, and counts so much
    among all that the task prefers.
    """

    tasks: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    apart: bool = False
    weight: int = 0
    over: Over = Over.NODE


class Circle(NamedTuple):
    """The tasks that one wish speaks of: of a project, of one pipeline ("" for all), by their names and labels.

    The same tasks are two circles if one wish is about their nodes and another about their switches.
    """

    project: str
    pipeline: str = ""
    tasks: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    over: Over = Over.NODE

    def holds(self, project: str, pipeline: str, names: Sequence[str], labels: Sequence[tuple[str, str]]) -> bool:
        """Tell whether a task belongs to it, which has these names: its own and its group's."""
        is_home = project == self.project and self.pipeline in {"", pipeline}
        is_named = not self.tasks or any(name in self.tasks for name in names)
        return is_home and is_named and set(self.labels).issubset(labels)

    @property
    def words(self) -> str:
        """Name its tasks for a person."""
        return ", ".join((*self.tasks, *(f"{name}: {value}" for name, value in self.labels)))


class Tie(NamedTuple):
    """A wish of a shape: `whom` is the number of a circle; see `Affinity` for the rest."""

    whom: int
    apart: bool = False
    weight: int = 0


class Bond(NamedTuple):
    """What the tasks of a shape want of others, and which circles they belong to themselves."""

    ties: tuple[Tie, ...] = ()
    circles: tuple[int, ...] = ()


class Neighbour(NamedTuple):
    """A task (its id) that has a native job, or had one and is over.

    No `nodes`: nobody knows yet where it will run. `shuns` are the circles that it must be apart from.
    """

    backend: str
    nodes: tuple[str, ...]
    circles: tuple[int, ...]
    shuns: tuple[int, ...] = ()
    is_over: bool = False
    task: str = ""


class Company(NamedTuple):
    """All circles that ready or live tasks speak of, and who of them is where."""

    circles: tuple[Circle, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    held: tuple[int, ...] = ()
    """The circles that somebody must be beside or apart from: on which nodes their tasks run has to be known."""

    def is_held(self, project: str, pipeline: str, names: Sequence[str], labels: Sequence[tuple[str, str]]) -> bool:
        """Tell whether a task belongs to such a circle."""
        return any(self.circles[number].holds(project, pipeline, names, labels) for number in self.held)
