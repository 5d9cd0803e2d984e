"""Beside and apart: which tasks speak of which others, and where those are at this moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from elisa.engine.foreseen import NOTHING_FORESEEN, Foreseen
from elisa.model.affinity import Affinity, Bond, Circle, Company, Neighbour, Tie
from elisa.model.columns import ReadyColumns
from elisa.model.ids import TaskId
from elisa.model.states import FINAL_TASK_STATES, TaskState
from elisa.model.task import Task
from elisa.store.read_company import CompanyRow, TiedRow
from elisa.store.reader import Reader

__all__ = ["is_held", "with_company"]


def with_company(
    ready: ReadyColumns, reader: Reader, foreseen: Foreseen = NOTHING_FORESEEN
) -> tuple[ReadyColumns, Company]:
    """Return the columns with shapes of their own for tasks that are tied to others, and who is where of those.

    Where no task that is ready or active speaks of others, nothing more is read. What is `foreseen` is among the columns.
    """
    is_tied = any(shape.placement.affinity for shape in ready.shapes)
    tied = (*reader.tied(ready=is_tied, waiting=is_tied and foreseen.is_later), *foreseen.tied)
    if not tied:
        return ready, Company()
    circles = _Circles(tied)
    rows = (*reader.company(circles.pipelines, circles.projects, waiting=foreseen.is_later), *foreseen.rows)
    belongs = {row.task: circles.of(row) for row in rows}
    bonds = {task: Bond((), own) for task, own in belongs.items() if own}
    bonds |= {row.task: Bond(circles.ties[row.task], belongs.get(row.task, ())) for row in tied}
    neighbours = (_neighbour(row, belongs[row.task], circles.shunned(row.task)) for row in rows)
    company = Company(
        circles=tuple(circles.numbers),
        neighbours=tuple(one for one in neighbours if one is not None),
        held=tuple(sorted({tie.whom for ties in circles.ties.values() for tie in ties if not tie.weight})),
    )
    return _split(ready, bonds), company


def is_held(company: Company, task: Task) -> bool:
    """Tell whether it has to be known on which nodes a task runs, because others must be beside or apart from it."""
    spec = task.spec
    return bool(company.held) and company.is_held(
        task.project, task.pipeline, (spec.name, spec.group) if spec.group else (spec.name,), spec.labels
    )


class _Circles:
    """Whom tasks speak of, numbered as they first occur, and the wishes of each task in these numbers."""

    def __init__(self, tied: Sequence[TiedRow]) -> None:
        self.numbers: dict[Circle, int] = {}
        self.ties: Mapping[TaskId, tuple[Tie, ...]] = {
            row.task: tuple(self._tie(wish, row) for wish in row.affinity) for row in tied
        }
        self._at_home: defaultdict[str, list[tuple[int, Circle]]] = defaultdict(list)
        for circle, number in self.numbers.items():
            self._at_home[circle.pipeline or circle.project].append((number, circle))

    def _tie(self, wish: Affinity, row: TiedRow) -> Tie:
        circle = Circle(row.project, row.pipeline if wish.tasks else "", wish.tasks, wish.labels, wish.over)
        return Tie(self.numbers.setdefault(circle, len(self.numbers)), wish.apart, wish.weight)

    @property
    def pipelines(self) -> Sequence[str]:
        """The pipelines whose tasks are meant by name."""
        return sorted({circle.pipeline for circle in self.numbers if circle.pipeline})

    @property
    def projects(self) -> Sequence[str]:
        """The projects of whose tasks some are meant by their labels."""
        return sorted({circle.project for circle in self.numbers if not circle.pipeline})

    def of(self, row: CompanyRow) -> tuple[int, ...]:
        """Return the circles that a task belongs to."""
        near: Iterable[tuple[int, Circle]] = (*self._at_home[row.pipeline], *self._at_home[row.project])
        return tuple(number for number, one in near if one.holds(row.project, row.pipeline, row.names, row.labels))

    def shunned(self, task: TaskId) -> tuple[int, ...]:
        """Return the circles that a task must be apart from."""
        return tuple(tie.whom for tie in self.ties.get(task, ()) if tie.apart and not tie.weight)


def _neighbour(row: CompanyRow, circles: tuple[int, ...], shuns: tuple[int, ...]) -> Neighbour | None:
    if row.state is TaskState.ACTIVE and (circles or shuns):
        return Neighbour(row.backend, row.nodes, circles, shuns, task=row.task)
    if row.state in FINAL_TASK_STATES and circles and row.nodes:
        return Neighbour(row.backend, row.nodes, circles, is_over=True)
    return None


def _split(ready: ReadyColumns, bonds: Mapping[TaskId, Bond]) -> ReadyColumns:
    nothing = Bond()
    keys = [(shape, bonds.get(TaskId(task), nothing)) for task, shape in zip(ready.task, ready.shape, strict=True)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    shapes = [ready.shapes[shape]._replace(bond=bond) for shape, bond in numbers]
    return ready._replace(shape=[numbers[key] for key in keys], shapes=shapes)
