"""Elisa's jobs in native queues kept in elisa's order, with as few calls as possible and none while nothing changed."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from elisa.engine.managers import Managers
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.ids import AttemptId, BackendName, NativeId, TaskId
from elisa.model.pipeline import PriorityClass
from elisa.model.site import CLASS_RANK
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.fusion import native_jobs
from elisa.policies.opinions import FACTOR, heard
from elisa.policies.order import ranking
from elisa.policies.snapshot import Snapshot
from elisa.policies.waitingorder import Waiting, new_places
from elisa.store.reader import Reader

__all__ = ["arrival", "as_asked", "keep_order", "ranks_of"]

_NUMBER = re.compile(r"[0-9]+")
_WAITING = frozenset({AttemptState.SUBMITTED, AttemptState.QUEUED})
# Calls a tick for each native queue: what is left is further back in it, and a minute later is soon enough.
_MOVES = 4
_LOWEST = CLASS_RANK[PriorityClass.SCAVENGER]


class _Known(NamedTuple):
    """The place that a job was given, and its number in elisa's order when it was asked for."""

    place: int
    asked: int


def keep_order(
    ws: Workspace, reader: Reader, managers: Managers, plan_of: Snapshot, now: datetime
) -> tuple[AttemptId, ...]:
    """Give waiting jobs new places where their managers would serve them in another order; return those that were moved.

    `plan_of` is what the tick's plan looked at: the same rules order what waits already. Which place a job has, and in which
    order it was asked for, is remembered in a file; losing it costs a few calls.
    """
    able = {name for name, backend in ws.backends.items() if backend.capabilities.reorders} - set(managers.unreachable)
    live = native_jobs(reader.live_attempts()) if able else ()
    queues = _queues(live, able)
    known = _read(ws) if queues else {}
    if not any(len(queue) > 1 or queue[0].id not in known for queue in queues.values()):
        return ()
    tasks = sorted({attempt.task for queue in queues.values() for attempt in queue})
    rank = ranks_of(reader, tasks, plan_of, now)
    classes = {task.id: CLASS_RANK[task.spec.priority] for task in reader.tasks(tasks).values()}
    # The class that a job was submitted with: a person may change the task's later on.
    fresh = {
        one.id: _Known(classes[one.task], rank.get(one.task, len(rank)))
        for queue in queues.values()
        for one in queue
        if one.id not in known
    }
    known |= fresh
    moved: dict[AttemptId, _Known] = {}
    for (name, _), queue in sorted(queues.items()):
        in_order = sorted(queue, key=lambda attempt: rank.get(attempt.task, len(rank)))
        once = sorted(queue, key=lambda attempt: known[attempt.id].asked)
        arrived = as_asked(sorted(queue, key=arrival), once, ws.backends[name].capabilities.submits_at_once)
        arrivals = {attempt.id: number for number, attempt in enumerate(arrived)}
        waiting = [Waiting(attempt.id, known[attempt.id].place, arrivals[attempt.id]) for attempt in in_order]
        places = new_places(waiting, moves=_MOVES)
        if places and managers.reorder(name, _priorities(queue, places)):
            moved |= {attempt: known[attempt]._replace(place=place) for attempt, place in places.items()}
    if moved or fresh:
        _write(ws, {**known, **moved}, {attempt.id for attempt in live})
    return tuple(moved)


def _queues(live: Iterable[Attempt], able: Collection[BackendName]) -> Mapping[tuple[BackendName, str], list[Attempt]]:
    queues: dict[tuple[BackendName, str], list[Attempt]] = defaultdict(list)
    for attempt in live:
        if attempt.backend in able and attempt.state in _WAITING and attempt.native_id and not attempt.cancel_sent:
            queues[attempt.backend, attempt.partition].append(attempt)
    return queues


def ranks_of(reader: Reader, tasks: Sequence[TaskId], plan_of: Snapshot, now: datetime) -> Mapping[TaskId, int]:
    """Return the place of each of these tasks in elisa's order, whatever their states: 0 is the first."""
    columns, asked = reader.columns_of(tasks), frozenset(tasks)
    snapshot = Snapshot.build(
        columns,
        plan_of.usage,
        (),
        (),
        plan_of.site,
        now,
        plugins=plan_of.plugins,
        running=[row for row in plan_of.running if row.task not in asked],
        urged=plan_of.urged,
    )
    snapshot, _ = heard(snapshot, [FACTOR])
    ids = snapshot.tasks.ids
    return {TaskId(ids[row]): number for number, row in enumerate(ranking(snapshot).order.tolist())}


def as_asked(arrived: Sequence[Attempt], once: Sequence[Attempt], at_once: int) -> Sequence[Attempt]:
    """Return jobs as they came into a queue, but those that it was asked for side by side in the order of `once`.

    That is elisa's order as it was then: since, somebody may have changed it. Of `at_once` such jobs none was overtaken by
    more than all others, and which came first is nobody's wish.
    """
    rank = {attempt.id: number for number, attempt in enumerate(once)}
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


def arrival(attempt: Attempt) -> tuple[datetime, tuple[int, ...]]:
    """Return when a job came into its queue: jobs of one second have numbers that rise, and so have an array's elements."""
    numbers = _NUMBER.findall(attempt.native_id or "")
    return (attempt.submitted_at or attempt.intended_at, tuple(map(int, numbers)))


def _priorities(queue: Iterable[Attempt], places: Mapping[AttemptId, int]) -> Mapping[NativeId, int]:
    """Return places as priorities of native jobs: a class lower is a place further back."""
    return {a.native_id: _LOWEST - places[a.id] for a in queue if a.native_id is not None and a.id in places}


def _read(ws: Workspace) -> dict[AttemptId, _Known]:
    try:
        content = json.loads(ws.files.read(layout.queue_places(ws.home)) or b"{}")
        return {AttemptId(attempt): _Known(int(place), int(asked)) for attempt, (place, asked) in content.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _write(ws: Workspace, places: Mapping[AttemptId, _Known], live: set[AttemptId]) -> None:
    kept = {attempt: place for attempt, place in sorted(places.items()) if attempt in live}
    ws.files.write(layout.queue_places(ws.home), json.dumps(kept).encode())
