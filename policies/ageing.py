"""Ageing: whoever waits long enough goes first, so that nothing starves.

A task comes *of age* once it has waited `aged_s` for each step from the best class down to its own (a critical task one
step, a scavenger five). Some of those of age go *ahead* of all others, in the order in which they came of age, ties by id:
of each owner's (a member of a project) that ask for the same the first, and only while nothing of that owner's lives that
is before it in that order and was of age when it began. So a flood that has grown old gets one place at a time, not the
machine, and what cannot start holds up only what is like it.

The bound. Let the first of the order start within a time S, as it does where room is kept for it, and let nothing run
for longer than R. Of the tasks that can start take the one that came of age first and has not begun. Those of its owner
that are before it have begun, and are over within R; from then on it goes ahead, with nobody in front of it. So it starts
within R + S, and then the next is the first of them. A task of class rank r with n tasks that came of age before it thus
starts within `(r + 1) * aged_s + (n + 1) * (R + S)`. And n is finite: none of them became ready after it came of age
itself, however many arrive.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.policies.ranks import order_of, ranks_of
from elisa.policies.snapshot import Ints, Snapshot

__all__ = ["Ageing", "ageing_of", "ahead_us", "bound_s", "comes_of_age", "gone_ahead"]


class Ageing(NamedTuple):
    """When a task comes or came of age, and whether it goes ahead of all others for that."""

    at: datetime
    goes_ahead: bool


def ahead_us(snapshot: Snapshot) -> Ints:
    """Return the order key: when each task (by row) that goes ahead came of age, and for all others one after now."""
    tasks, aged_us, now_us = snapshot.tasks, _aged_us(snapshot), snapshot.now_us
    key = np.full(len(tasks), now_us + 1)
    at = tasks.ready_us + (tasks.priority.astype(np.int64) + 1) * aged_us
    of_age = np.flatnonzero(at <= now_us)
    if aged_us and len(of_age):
        rows = _first_of_their_kind(snapshot, of_age[order_of(ranks_of(at[of_age]))])
        rows = rows[_may_go_ahead(snapshot, rows, at[rows])]
        key[rows] = at[rows]
    return key


def comes_of_age(snapshot: Snapshot, row: int) -> datetime:
    """Return when one task comes or came of age, on a site that has ageing."""
    tasks = snapshot.tasks
    at_us = int(tasks.ready_us[row]) + (int(tasks.priority[row]) + 1) * _aged_us(snapshot)
    return datetime.fromtimestamp(at_us / 1e6, UTC)


def ageing_of(snapshot: Snapshot, row: int, *, goes_ahead: bool) -> Ageing | None:
    """Return the ageing of one task, None where the site has none."""
    return Ageing(comes_of_age(snapshot, row), goes_ahead) if snapshot.site.aged_s else None


def _first_of_their_kind(snapshot: Snapshot, rows: Ints) -> Ints:
    """Return the first of `rows` of each owner and shape; a gang is of a kind by itself."""
    tasks = snapshot.tasks
    kind = tasks.owner[rows].astype(np.int64) * len(snapshot.shapes) + tasks.shape[rows]
    kind = kind * (len(snapshot.gangs) + 1) + tasks.gang[rows] + 1
    order = np.argsort(kind, kind="stable")
    is_first = np.concatenate(([True], np.diff(kind[order]) != 0))
    return rows[order[is_first]]


def _may_go_ahead(snapshot: Snapshot, rows: Ints, at: Ints) -> npt.NDArray[np.bool_]:
    """Tell of each of `rows` whether nothing of its owner's lives that came of age before it and only then began.

    The rest of a gang is not held up: what lives of it is idle without.
    """
    first = _first_alive(snapshot)
    tasks, none = snapshot.tasks, (snapshot.now_us + 1, "")
    oldest = [first.get(owner, none) for owner in snapshot.owners]
    oldest_us = np.array([us for us, _ in oldest])[tasks.owner[rows]]
    place = np.array([bisect_left(tasks.ids, task) for _, task in oldest])[tasks.owner[rows]]
    has_begun = np.array([*(gang.live > 0 for gang in snapshot.gangs), False])[tasks.gang[rows]]
    may: npt.NDArray[np.bool_] = (at < oldest_us) | ((at == oldest_us) & (rows < place)) | has_begun
    return may


def _first_alive(snapshot: Snapshot) -> dict[tuple[str, int], tuple[int, str]]:
    """Return for each owner when the first of the live tasks that were of age when they began had come of it, and which."""
    first: dict[tuple[str, int], tuple[int, str]] = {}
    for row in snapshot.running:
        at = row.ready_us + (row.priority + 1) * _aged_us(snapshot)
        if row.ready_us and at <= (row.started_us or snapshot.now_us):
            owner = (row.project, row.owner_uid)
            first[owner] = min((at, row.task), first.get(owner, (at, row.task)))
    return first


def gone_ahead(snapshot: Snapshot) -> frozenset[str]:
    """Return the live tasks that went ahead, or would have: of each owner's that were of age when they began the first."""
    return frozenset(task for _, task in _first_alive(snapshot).values()) if _aged_us(snapshot) else frozenset()


def _aged_us(snapshot: Snapshot) -> int:
    return round(snapshot.site.aged_s * 1e6)


def bound_s(rank: int, aged_s: float, before: int, service_s: float) -> float:
    """Return the longest wait of a task of class `rank` (0 is the best) with `before` tasks that came of age before it.

    `service_s` is the longest time in which the first of the order starts and what runs is over.
    """
    return (rank + 1) * aged_s + (before + 1) * service_s
