"""The tasks of work that is played through which have not begun, as the columns of a plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from elisa.model.affinity import Bond
from elisa.model.columns import GangRow, ReadyColumns, Shape
from elisa.model.ids import TaskId

__all__ = ["Waiting"]

_NO_ROWS = frozenset({"owners", "shapes", "gangs", "ranked_by"})


class Waiting:
    """Which of the rows of `ready` wait, and how many members of each gang wait or live.

    `runs` have begun already. `gang_of` tells the gang of those that have and of whom there is no row.
    """

    def __init__(self, ready: ReadyColumns, runs: Collection[TaskId], gang_of: Mapping[TaskId, int]) -> None:
        self._ready = ready
        self._row = {TaskId(task): row for row, task in enumerate(ready.task)}
        # In the order of their ids, as plans look at them.
        self._waits = dict.fromkeys(sorted(task for task in self._row if task not in runs))
        self._since_us: dict[TaskId, int] = {}
        self._gangs = list(ready.gangs)
        own = zip(self._row, ready.gang, strict=False)
        self._gang_of = {**gang_of, **{task: gang for task, gang in own if gang >= 0}}

    def __contains__(self, task: TaskId) -> bool:
        return task in self._waits

    def __len__(self) -> int:
        return len(self._row)

    def knows(self, task: TaskId) -> bool:
        """Tell whether there is a row of it, so that it could begin again."""
        return task in self._row

    def owner(self, task: TaskId) -> tuple[str, int]:
        """Return the project and the user of a task."""
        return self._ready.owners[self._ready.owner[self._row[task]]]

    def shape(self, task: TaskId) -> Shape:
        """Return what a task asks for."""
        return self._ready.shapes[self._ready.shape[self._row[task]]]

    def priority(self, task: TaskId) -> int:
        """Return the rank of a task's class."""
        return self._ready.priority[self._row[task]]

    def ready_us(self, task: TaskId) -> int:
        """Return when a task became ready."""
        return self._ready.ready_us[self._row[task]]

    def is_single(self, task: TaskId) -> bool:
        """Tell whether a task is no member of a gang."""
        return task not in self._gang_of

    def begin(self, task: TaskId) -> None:
        """Let one of them begin."""
        del self._waits[task]
        self._count(task, waits=-1, lives=1)

    def come_back(self, task: TaskId, at: datetime) -> None:
        """Let one that began wait once more, since that moment."""
        self._waits[task] = None
        self._since_us[task] = round(at.timestamp() * 1e6)
        self._count(task, waits=1, lives=-1)

    def end(self, task: TaskId) -> None:
        """Let one that began be over. Those that are left of its gang wait for no more than there are."""
        self._count(task, waits=0, lives=-1)
        number = self._gang_of.get(task)
        if number is not None:
            row = self._gangs[number]
            self._gangs[number] = row._replace(minimum=min(row.minimum, row.size + row.live))

    def _count(self, task: TaskId, waits: int, lives: int) -> None:
        number = self._gang_of.get(task)
        if number is not None:
            row: GangRow = self._gangs[number]
            self._gangs[number] = row._replace(size=row.size + waits, live=row.live + lives)

    def columns(self, is_ready: Callable[[TaskId], bool]) -> ReadyColumns:
        """Return the columns of those that are ready. Of others no owner and no bond is left in them, as in a tick's."""
        rows = [self._row[task] for task in self._waits if is_ready(task)]
        picked: dict[str, Any] = {
            name: [column[row] for row in rows]
            for name, column in self._ready._asdict().items()
            if name not in _NO_ROWS and len(column)
        }
        if self._since_us:
            known = zip(picked.get("task", ()), picked.get("ready_us", ()), strict=True)
            picked["ready_us"] = [self._since_us.get(task, since_us) for task, since_us in known]
        owners = {number: place for place, number in enumerate(dict.fromkeys(picked.get("owner", ())))}
        return self._ready._replace(
            **{
                **picked,
                "owner": [owners[number] for number in picked.get("owner", ())],
                "owners": [self._ready.owners[number] for number in owners],
                "shapes": self._shapes(set(picked.get("shape", ()))),
                "gangs": tuple(self._gangs),
            }
        )

    def _shapes(self, used: Collection[int]) -> Sequence[Shape]:
        """Return all shapes under their numbers, tied to nobody where no task is ready that has it."""
        free = Bond()
        return [
            shape if number in used or shape.bond == free else shape._replace(bond=free)
            for number, shape in enumerate(self._ready.shapes)
        ]
