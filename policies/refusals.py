"""Why tasks do not start: the first rule that refused each, put into words once for all that share it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from elisa.model.reasons import Reason, ReasonCode
from elisa.policies.budgets_caps import Admission
from elisa.policies.room import Room
from elisa.policies.snapshot import Ints, Snapshot, TaskTable

__all__ = ["FOR_WANT_OF_NODES", "Refusals", "Why"]

FOR_WANT_OF_NODES = frozenset(
    {ReasonCode.NO_ROOM, ReasonCode.RESERVED_FOR_HIGHER, ReasonCode.HELD_FOR, ReasonCode.AFFINITY}
)


@dataclass(slots=True)
class Refusals:
    """Why tasks do not start, by what they have in common: user, gang, owner and shape, or shape; a few by themselves."""

    of_user: dict[int, Reason] = field(default_factory=dict)
    of_row: dict[int, Reason] = field(default_factory=dict)
    of_gang: dict[int, Reason] = field(default_factory=dict)
    of_owner: dict[tuple[int, int], Reason] = field(default_factory=dict)
    of_shape: dict[int, Reason] = field(default_factory=dict)

    def noted(self, row: int, tasks: TaskTable) -> Reason | None:
        """Return the first rule that refused a task, None if that is yet to be put into words."""
        reason = self.of_user.get(int(tasks.uid[row])) or self.of_gang.get(int(tasks.gang[row])) or self.of_row.get(row)
        return reason or self.of_owner.get((int(tasks.owner[row]), int(tasks.shape[row])))


class Why:
    """The reasons of one walk, which it may still be adding to."""

    def __init__(  # noqa: PLR0917 - the parts of a walk
        self,
        snapshot: Snapshot,
        refusals: Refusals,
        is_refused: npt.NDArray[np.bool_],
        admission: Admission,
        room: Room,
        ways_of: Sequence[range],
    ) -> None:
        """`is_refused` tells, by shape and owner, whether a hard cap refuses every way before anything starts."""
        self._snapshot = snapshot
        self._refusals = refusals
        self._is_refused = is_refused
        self._admission = admission
        self._room = room
        self._ways_of = ways_of

    def are_refused_by_caps(self, tasks: TaskTable) -> npt.NDArray[np.bool_]:
        """Tell for each task whether hard caps refuse it, before or during the walk: want of room is another thing."""
        refused = self._is_refused.copy()
        for owner, shape in self._refusals.of_owner:
            refused[shape, owner] = True
        return refused[tasks.shape, tasks.owner]

    def refusal(self, row: int) -> Reason:
        """Return the first rule that refused a task."""
        tasks = self._snapshot.tasks
        return self._refusals.noted(row, tasks) or self._explain(int(tasks.owner[row]), int(tasks.shape[row]))

    def _explain(self, owner: int, shape: int) -> Reason:
        """Return, and remember, why nothing of a shape starts for an owner: a cap at the start, or else want of room."""
        if self._is_refused[shape, owner]:
            way = self._ways_of[shape].start
            reason = self._refusals.of_owner[owner, shape] = self._admission.first_refusal(owner, way)
            return reason
        return self._want_of_room(shape)

    def _want_of_room(self, shape: int) -> Reason:
        reason = self._refusals.of_shape.get(shape)
        if reason is None:
            reason = self._refusals.of_shape[shape] = self._room.refusal(self._ways_of[shape].start)
        return reason

    def groups(self, rows: Ints) -> Iterator[tuple[Reason, list[int]]]:
        """Give the first rule that refused each of some tasks, once with all that share it, in the order of `rows`."""
        lacks_room = ~self._has_own_reason()[rows]
        shape = self._snapshot.tasks.shape[rows]
        places = np.flatnonzero(lacks_room)
        places = places[np.argsort(shape[places], kind="stable")]
        of_shape = np.split(places, np.flatnonzero(np.diff(shape[places])) + 1) if len(places) else []
        groups: dict[int, tuple[Reason, list[int]]] = {}
        for one in of_shape:
            reason = self._want_of_room(int(shape[one[0]]))
            groups.setdefault(id(reason), (reason, []))[1].extend(one.tolist())
        for place in np.flatnonzero(~lacks_room).tolist():
            reason = self.refusal(int(rows[place]))
            groups.setdefault(id(reason), (reason, []))[1].append(place)
        in_order = [(reason, sorted(found)) for reason, found in groups.values()]
        for reason, found in sorted(in_order, key=lambda group: group[1][0]):
            yield reason, rows[found].tolist()

    def _has_own_reason(self) -> npt.NDArray[np.bool_]:
        """Tell which tasks (by row) something else refuses than want of room for all of their shape."""
        tasks, refusals = self._snapshot.tasks, self._refusals
        has_own = self.are_refused_by_caps(tasks)
        has_own[list(refusals.of_row)] = True
        # Only where there are any: np.isin imports numpy.ma when it is first called, which idle ticks need not.
        if refusals.of_user:
            has_own |= np.isin(tasks.uid, list(refusals.of_user))
        if refusals.of_gang:
            has_own |= np.isin(tasks.gang, list(refusals.of_gang))
        return has_own
