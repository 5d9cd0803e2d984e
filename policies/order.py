"""The order of the queue: named keys, the most important first, ties ended by the task's id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from elisa.policies.budgets import charge_of
from elisa.policies.fairshare import billed, decayed_use, use_by_project
from elisa.policies.snapshot import Floats, Ints, Snapshot

__all__ = ["ORDER_KEYS", "OrderKey", "ranking"]

OrderKey = Callable[[Snapshot], npt.NDArray[np.generic]]
"""Give one number for each ready task; the smaller goes first."""

_INT16 = 2**15 - 1


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
    return _costs(snapshot)[snapshot.tasks.shape]


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
    plain = [ORDER_KEYS[name](snapshot) for name in names if name != FAIR_SHARE]
    order = _sorted(plain, len(snapshot.tasks))
    if FAIR_SHARE not in names or not len(order):
        return order
    place = names.index(FAIR_SHARE)
    tier = _tiers([key[order] for key in plain[:place]], len(order))
    return order[np.lexsort((_start_tags(snapshot, order), tier))]


def _sorted(keys: Sequence[npt.NDArray[np.generic]], count: int) -> Ints:
    """Sort by the first key, ties by the next; a key on which all agree costs nothing."""
    telling = [_narrow(key) for key in keys if count and key.min() != key.max()]
    if not telling:
        return np.arange(count)
    return np.lexsort(telling[::-1]).astype(np.int64)


def _narrow(key: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return whole numbers of small range as 16-bit integers, which numpy sorts by radix, ten times as fast."""
    if key.dtype.itemsize <= 2 or not np.isfinite(key).all():
        return key
    if max(abs(float(key.min())), abs(float(key.max()))) > _INT16:
        return key
    narrow = key.astype(np.int16)
    return narrow if bool((narrow == key).all()) else key


def _tiers(keys: Sequence[npt.NDArray[np.generic]], count: int) -> Ints:
    """Number the runs of tasks on which all keys agree, in an order sorted by these keys."""
    changes = np.zeros(count, dtype=np.bool_)
    for key in keys:
        changes[1:] |= key[1:] != key[:-1]
    return np.cumsum(changes)


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
