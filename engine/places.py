"""Elisa's jobs in native queues kept in elisa's order, with as few calls as possible and none while nothing changed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from elisa.engine.managers import Managers
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.ids import AttemptId, BackendName, NativeId, TaskId
from elisa.model.pipeline import PriorityClass
from elisa.model.site import CLASS_RANK
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.fusion import native_jobs
from elisa.policies.order import ranking
from elisa.policies.snapshot import Snapshot
from elisa.policies.waitingorder import Waiting, new_places
from elisa.store.reader import Reader

__all__ = ["as_asked", "keep_order", "ranks_of"]

_WAITING = frozenset({AttemptState.SUBMITTED, AttemptState.QUEUED})
# Calls a tick for each native queue: what is left is further back in it, and a minute later is soon enough.
_MOVES = 4
_LOWEST = CLASS_RANK[PriorityClass.SCAVENGER]


def keep_order(ws: Workspace, reader: Reader, managers: Managers, plan_of: Snapshot, now: datetime) -> int:
    """Give waiting jobs new places where their managers would serve them in another order; return how many were moved.

    `plan_of` is what the tick's plan looked at: the same rules order what waits already. Which place a job has is
    remembered in a file; losing it costs a few calls.
    """
    able = {name for name, backend in ws.backends.items() if backend.capabilities.reorders} - set(managers.unreachable)
    live = native_jobs(reader.live_attempts()) if able else ()
    queues = _queues(live, able)
    known = _read(ws) if queues else {}
    if not any(len(queue) > 1 or queue[0].id not in known for queue in queues.values()):
        return 0
    tasks = sorted({attempt.task for queue in queues.values() for attempt in queue})
    rank = ranks_of(reader, tasks, plan_of, now)
    classes = {task.id: CLASS_RANK[task.spec.priority] for task in reader.tasks(tasks).values()}
    # The class that a job was submitted with: a person may change the task's later on.
    fresh = {one.id: classes[one.task] for queue in queues.values() for one in queue if one.id not in known}
    known |= fresh
    moved: dict[AttemptId, int] = {}
    for (name, _), queue in sorted(queues.items()):
        in_order = sorted(queue, key=lambda attempt: rank.get(attempt.task, len(rank)))
        arrived = as_asked(sorted(queue, key=_arrival), in_order, ws.backends[name].capabilities.submits_at_once)
        arrivals = {attempt.id: number for number, attempt in enumerate(arrived)}
        waiting = [Waiting(attempt.id, known[attempt.id], arrivals[attempt.id]) for attempt in in_order]
        places = new_places(waiting, moves=_MOVES)
        if places and managers.reorder(name, _priorities(queue, places)):
            moved |= places
    if moved or fresh:
        _write(ws, {**known, **moved}, {attempt.id for attempt in live})
    return len(moved)


def _queues(live: Iterable[Attempt], able: Collection[BackendName]) -> Mapping[tuple[BackendName, str], list[Attempt]]:
    queues: dict[tuple[BackendName, str], list[Attempt]] = defaultdict(list)
    for attempt in live:
        if attempt.backend in able and attempt.state in _WAITING and attempt.native_id and not attempt.cancel_sent:
            queues[attempt.backend, attempt.partition].append(attempt)
    return queues


def ranks_of(reader: Reader, tasks: Sequence[TaskId], plan_of: Snapshot, now: datetime) -> Mapping[TaskId, int]:
    """Return the place of each of these tasks in elisa's order, whatever their states: 0 is the first."""
    columns = reader.columns_of(tasks)
    snapshot = Snapshot.build(
        columns, plan_of.usage, (), (), plan_of.site, now, plugins=plan_of.plugins, urged=plan_of.urged
    )
    ids = snapshot.tasks.ids
    return {TaskId(ids[row]): number for number, row in enumerate(ranking(snapshot).order.tolist())}


def as_asked(arrived: Sequence[Attempt], in_order: Sequence[Attempt], at_once: int) -> Sequence[Attempt]:
    """Return jobs as they came into a queue, but in elisa's order those that it was asked for side by side.

    Of `at_once` such jobs none was overtaken by more than all others, and which came first is nobody's wish.
    """
    rank = {attempt.id: number for number, attempt in enumerate(in_order)}
    left, overtaken, asked = list(arrived), Counter[AttemptId](), list[Attempt]()
    while left:
        oldest = left[0]
        together = [one for one in left[:at_once] if one.submitted_at == oldest.submitted_at]
        is_due = overtaken[oldest.id] >= at_once - 1
        first = oldest if is_due else min(together, key=lambda one: rank[one.id])
        place = left.index(first)
        overtaken.update(one.id for one in left[:place])
        asked.append(left.pop(place))
    return asked


def _arrival(attempt: Attempt) -> tuple[datetime, int, str]:
    """Return when a job came into its queue: jobs of one second have numbers that rise."""
    native_id = attempt.native_id or ""
    digits = "".join(character if character.isdigit() else " " for character in native_id).split()
    return (attempt.submitted_at or attempt.intended_at, int(digits[0]) if digits else 0, native_id)


def _priorities(queue: Iterable[Attempt], places: Mapping[AttemptId, int]) -> Mapping[NativeId, int]:
    """Return places as priorities of native jobs: a class lower is a place further back."""
    return {a.native_id: _LOWEST - places[a.id] for a in queue if a.native_id is not None and a.id in places}


def _read(ws: Workspace) -> dict[AttemptId, int]:
    try:
        content = json.loads(ws.files.read(layout.queue_places(ws.home)) or b"{}")
        return {AttemptId(attempt): int(place) for attempt, place in content.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _write(ws: Workspace, places: Mapping[AttemptId, int], live: set[AttemptId]) -> None:
    kept = {attempt: place for attempt, place in sorted(places.items()) if attempt in live}
    ws.files.write(layout.queue_places(ws.home), json.dumps(kept, indent=1).encode())
