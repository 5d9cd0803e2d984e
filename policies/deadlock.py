"""Tasks that wait for one another in a circle: found, explained, and undone at the least cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from elisa.model.ids import TaskId

__all__ = ["Deadlock", "Idle", "deadlocks", "losses", "waits_for"]


class Idle(NamedTuple):
    """A task of one pipeline that has not begun: what it waits for, and the gang it must start with ("" for none).

    `needs` have not begun either. `minimum` members of the gang must start together; 0 is all of them.
    """

    task: TaskId
    is_ready: bool
    needs: tuple[TaskId, ...] = ()
    gang: str = ""
    minimum: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlock:
    """Tasks none of which can go on before another of them; `victim` gives way, so that the rest can."""

    members: tuple[TaskId, ...]
    victim: TaskId
    explanation: str


def waits_for(idle: Iterable[Idle]) -> Mapping[TaskId, Sequence[TaskId]]:
    """Return what each task waits for: its needs; and where a gang cannot start without all that are not ready, those."""
    rows = tuple(idle)
    edges: dict[TaskId, Sequence[TaskId]] = {one.task: one.needs for one in rows if one.needs}
    gangs: dict[str, list[Idle]] = defaultdict(list)
    for one in rows:
        if one.gang:
            gangs[one.gang].append(one)
    for members in gangs.values():
        late = [one.task for one in members if not one.is_ready]
        wanted = members[0].minimum or len(members)
        if late and wanted >= len(members):
            edges |= {one.task: late for one in members if one.is_ready}
    return edges


def losses(idle: Iterable[Idle]) -> Mapping[TaskId, float]:
    """Return how many tasks would not run if one gave way: itself and all that need it."""
    rows = tuple(idle)
    needed_by: dict[TaskId, list[TaskId]] = defaultdict(list)
    for one in rows:
        for need in one.needs:
            needed_by[need].append(one.task)
    return {one.task: float(len(_reached(one.task, needed_by))) for one in rows}


def _reached(start: TaskId, edges: Mapping[TaskId, Sequence[TaskId]]) -> set[TaskId]:
    found = {start}
    waiting = [start]
    for task in waiting:
        fresh = [one for one in edges.get(task, ()) if one not in found]
        found.update(fresh)
        waiting += fresh
    return found


def deadlocks(
    waits_for: Mapping[TaskId, Sequence[TaskId]], cost: Mapping[TaskId, float] | None = None
) -> tuple[Deadlock, ...]:
    """Return every circle of waiting, by its smallest member.

    `waits_for` holds hard waits only: all of them must come true before the task goes on. `cost` is what giving way would
    lose (1 if it is not said); the cheapest member is the victim, ties go to the one with the greatest id.
    """
    known = cost or {}
    found = []
    for members in _circles(waits_for):
        victim = min(members, key=lambda one: (known.get(one, 1.0), [-ord(letter) for letter in one]))
        words = " waits for ".join([*members, members[0]])
        found.append(
            Deadlock(members=members, victim=victim, explanation=f"{words}: {victim} gives way, which loses least")
        )
    return tuple(sorted(found, key=lambda one: min(one.members)))


def _circles(edges: Mapping[TaskId, Sequence[TaskId]]) -> list[tuple[TaskId, ...]]:
    """Return one circle of each strongly connected component that has one, begun at its smallest member."""
    circles = []
    for component in _components(edges):
        start = min(component)
        path = _way_back(start, edges, component)
        if path:
            circles.append(tuple(path))
    return circles


def _way_back(start: TaskId, edges: Mapping[TaskId, Sequence[TaskId]], inside: frozenset[TaskId]) -> list[TaskId]:
    """Return the shortest circle through `start` that stays inside its component, empty if there is none."""
    previous: dict[TaskId, TaskId] = {}
    frontier = [start]
    while frontier:
        ahead = []
        for task in frontier:
            for target in edges.get(task, ()):
                if target == start:
                    return _unwound(task, start, previous)
                if target in inside and target not in previous:
                    previous[target] = task
                    ahead.append(target)
        frontier = ahead
    return []


def _unwound(task: TaskId, start: TaskId, previous: Mapping[TaskId, TaskId]) -> list[TaskId]:
    path = [task]
    while path[-1] != start:
        path.append(previous[path[-1]])
    return path[::-1]


def _components(edges: Mapping[TaskId, Sequence[TaskId]]) -> list[frozenset[TaskId]]:
    """Return the strongly connected components, without recursion (Kosaraju; Sharir, Comp. Math. Appl. 7, 1981)."""
    order: list[TaskId] = []
    seen: set[TaskId] = set()
    for root in sorted(edges):
        if root not in seen:
            _finish(root, edges, seen, order)
    reverse: dict[TaskId, list[TaskId]] = {}
    for task, targets in edges.items():
        for target in targets:
            reverse.setdefault(target, []).append(task)
    components, placed = [], set[TaskId]()
    for root in reversed(order):
        if root not in placed:
            members: list[TaskId] = []
            _finish(root, reverse, placed, members)
            components.append(frozenset(members))
    return components


def _finish(root: TaskId, edges: Mapping[TaskId, Sequence[TaskId]], seen: set[TaskId], order: list[TaskId]) -> None:
    """Add what can be reached from `root` to `order`, each after all that follows it."""
    seen.add(root)
    stack = [(root, iter(edges.get(root, ())))]
    while stack:
        task, rest = stack[-1]
        target = next((one for one in rest if one not in seen), None)
        if target is None:
            order.append(task)
            stack.pop()
        else:
            seen.add(target)
            stack.append((target, iter(edges.get(target, ()))))
