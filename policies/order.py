"""The order of the queue: named keys, the most important first, ties ended by the task's id."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from elisa.policies.budgets import charge_of
from elisa.policies.fairshare import billed, decayed_use, use_by_project
from elisa.policies.ranks import Ranks, packed, ranks_of
from elisa.policies.snapshot import Floats, Ints, Snapshot

__all__ = ["ORDER_KEYS", "OrderKey", "ranking"]

OrderKey = Callable[[Snapshot], npt.NDArray[np.generic]]
"""Give one number for each ready task; the smaller goes first."""


def _class(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    return snapshot.tasks.priority


def _importance(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    return -snapshot.tasks.importance


def _slack(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    """Least laxity first: the time left until the deadline beyond the work left on the longest path to it."""
    tasks = snapshot.tasks
    return tasks.deadline_s - snapshot.now_s - tasks.path_s


def _age(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    return snapshot.tasks.ready_s


def _size(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    """Smallest first, by what a full run is billed: of two equals, the one that holds the others up less."""
    return ranks_of(_costs(snapshot)).of[snapshot.tasks.shape]


def _fifo(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    return snapshot.tasks.submitted_s


ORDER_KEYS: Mapping[str, OrderKey] = {
    "class": _class,
    "importance": _importance,
    "deadline": _slack,
    "age": _age,
    "size": _size,
    "fifo": _fifo,
}
"""Keys by name; `fair_share` is the one that also depends on the order of the others."""

FAIR_SHARE = "fair_share"


def ranking(snapshot: Snapshot) -> Ints:
    """Return the tasks' row numbers, the one to start first in front."""
    names = snapshot.site.order
    count = len(snapshot.tasks)
    if not count:
        return np.zeros(0, dtype=np.int64)
    keys = {name: ranks_of(ORDER_KEYS[name](snapshot)) for name in names if name != FAIR_SHARE}
    order = _sorted(packed(keys.values(), count))
    if FAIR_SHARE not in names:
        return order
    before = [keys[name] for name in names[: names.index(FAIR_SHARE)]]
    tags = np.empty(count, dtype=np.float64)
    tags[order] = _start_tags(snapshot, order)
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    return _sorted(packed([*before, ranks_of(tags), Ranks(place, count)], count))


def _sorted(code: Ranks) -> Ints:
    """Sort by code, ties by row: with the row packed in, no two are equal and the fastest sort will do."""
    return np.argsort(packed([code, Ranks(np.arange(len(code.of)), len(code.of))], len(code.of)).of).astype(np.int64)


def _start_tags(snapshot: Snapshot, order: Ints) -> Floats:
    """Return when each task's turn comes if projects are served in proportion to their shares.

    A task's tag is its project's use, with all that goes before it in its own project, over the project's share: the start
    tag of start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996). So a plan that starts many tasks at once is as
    fair as one that starts them one by one.
    """
    project = snapshot.tasks.project[order]
    # Whole micro-hours add up exactly: equals stay equal, whatever order they are added in.
    cost = np.rint(_costs(snapshot) * 1e6).astype(np.int64)[snapshot.tasks.shape[order]]
    by_project = np.argsort(project, kind="stable")
    before = _running_sum(project[by_project], cost[by_project])
    use, shares = _standing(snapshot)
    tags = np.empty(len(order), dtype=np.float64)
    tags[by_project] = before * 1e-6
    due: Floats = (np.array(use)[project] + tags) / np.array(shares)[project]
    return due


def _running_sum(group: npt.NDArray[np.generic], value: Ints) -> Ints:
    """Return, in a grouped order, the sum of the values before each one in its group."""
    total = np.cumsum(value) - value
    starts = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
    lengths = np.diff(np.append(starts, len(group)))
    return total - np.repeat(total[starts], lengths)


def _standing(snapshot: Snapshot) -> tuple[list[float], list[float]]:
    site = snapshot.site
    policies = {policy.name: policy for policy in site.projects}
    use = use_by_project(decayed_use(snapshot.usage, site.fair_share), snapshot.projects)
    # A project without shares still gets what nobody else wants: it goes last, it is not divided by zero.
    shares = [max(policies.get(name, site.unlisted).shares, 1e-9) for name in snapshot.projects]
    return use, shares


def _costs(snapshot: Snapshot) -> Floats:
    billing = snapshot.site.fair_share.billing
    return np.array(
        [billed(charge_of(shape.request, shape.request.walltime_s), billing) for shape in snapshot.shapes],
        dtype=np.float64,
    )
