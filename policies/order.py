"""The order of the queue: named keys, the most important first, ties ended by the task's id.

Some keys look at one task alone; others (`fair_share`, `drf`, the tiers of service) also depend on who goes before: they
are computed along the order that the rest of the keys give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.policies.ageing import ahead_us
from elisa.policies.factors import scores
from elisa.policies.fairshare import decayed_use, due_shares, hours_by, owner_factors, use_by_project
from elisa.policies.ranks import Ranks, order_of, packed, ranks_of
from elisa.policies.snapshot import Floats, Ints, OrderPlugin, Snapshot
from elisa.policies.tiers import dominant_shares, has_tiers, tiers

__all__ = ["LATE_KEYS", "ORDER_KEYS", "KeyLine", "LateKey", "Ranking", "key_columns", "ranking"]

LateKey = Callable[[Snapshot, Ints], npt.NDArray[np.generic]]
"""Give one number for each ready task, given the order of the other keys; the smaller goes first."""


class Ranking(NamedTuple):
    """Row numbers, the task to start first in front, and what is wrong with keys that had to be left out.

    `ahead` are the rows that go ahead of all others because they came of age.
    """

    order: Ints
    notes: tuple[str, ...] = ()
    ahead: frozenset[int] = frozenset()


class KeyLine(NamedTuple):
    """What one key of the order says of one task: of two tasks the one with the smaller `value` goes first."""

    name: str
    value: float


def _class(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    return snapshot.tasks.priority


def _importance(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    return -snapshot.tasks.importance


def _slack(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    """Least laxity first: the time left until the deadline beyond the work left on the longest path to it.

    A deadline that has passed is none any more: what comes late anyway holds up nobody who can still be in time, and who
    writes one into his pipeline that passed long ago gains nothing.
    """
    left_s = snapshot.tasks.deadline_s - snapshot.now_s
    return np.where(left_s > 0, left_s - snapshot.tasks.path_s, np.inf)


def _age(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    return snapshot.tasks.ready_us


def _size(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    """Smallest first, by what a full run is billed: of two equals, the one that holds the others up less."""
    return ranks_of(_costs(snapshot)).of[snapshot.tasks.shape]


def _fifo(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    return snapshot.tasks.submitted_us


def _multifactor(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    return -scores(snapshot)


def _fair_tree(snapshot: Snapshot) -> npt.NDArray[np.generic]:
    return -np.array(owner_factors(snapshot))[snapshot.tasks.owner]


ORDER_KEYS: Mapping[str, OrderPlugin] = {
    "class": _class,
    "importance": _importance,
    "deadline": _slack,
    "age": _age,
    "size": _size,
    "fifo": _fifo,
    "multifactor": _multifactor,
    "fair_tree": _fair_tree,
}


def _start_tags(snapshot: Snapshot, order: Ints) -> npt.NDArray[np.generic]:
    """Return when each task's turn comes if projects are served in proportion to their shares.

    A task's tag is its project's use, with all that goes before it in its own project, over the project's share: the start
    tag of start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996). So a plan that starts many tasks at once is as
    fair as one that starts them one by one.
    """
    tasks = snapshot.tasks
    rows = order[order_of(Ranks(tasks.project[order], len(snapshot.projects)))]
    project = tasks.project[rows]
    # Whole micro-hours add up exactly: equals stay equal, whatever order they are added in.
    cost = np.rint(_costs(snapshot) * 1e6).astype(np.int64)
    before = _running_sum(project, cost[tasks.shape[rows]])
    use = use_by_project(decayed_use(snapshot.usage, snapshot.site.fair_share), snapshot.projects)
    tags = np.empty(len(order), dtype=np.float64)
    tags[rows] = (np.array(use)[project] + before * 1e-6) / np.array(due_shares(snapshot))[project]
    return tags


def _running_sum(group: npt.NDArray[np.generic], value: Ints) -> Ints:
    """Return, in a grouped order, the sum of the values before each one in its group."""
    total = np.cumsum(value)
    total -= value
    starts = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
    lengths = np.diff(np.append(starts, len(group)))
    return total - np.repeat(total[starts], lengths)


def _drf(snapshot: Snapshot, order: Ints) -> npt.NDArray[np.generic]:
    due = np.array(due_shares(snapshot))[snapshot.tasks.project]
    share: Floats = dominant_shares(snapshot, order) / due
    return share


LATE_KEYS: Mapping[str, LateKey] = {"fair_share": _start_tags, "drf": _drf, "tiers": tiers}


def ranking(snapshot: Snapshot) -> Ranking:
    """Return the order of all ready tasks.

    A key from outside that raises, or gives anything but one number for each task, is left out, and said so.
    """
    count = len(snapshot.tasks)
    if not count:
        return Ranking(np.zeros(0, dtype=np.int64))
    at_us, notes = ahead_us(snapshot), list[str]()
    ahead = frozenset(np.flatnonzero(at_us <= snapshot.now_us).tolist())
    names = _names(snapshot, any_ahead=bool(ahead))
    keys = _plain_keys(names, at_us, snapshot, notes)
    order = order_of(packed(keys.values(), count))
    late = [name for name in names if name in LATE_KEYS]
    if not late:
        return Ranking(order, tuple(notes), ahead)
    keys |= {name: ranks_of(LATE_KEYS[name](snapshot, order)) for name in late}
    last = max(place for place, name in enumerate(names) if name in LATE_KEYS)
    code = packed([keys[name] for name in names[: last + 1]], count)
    # Equals stay as they are in the order of the other keys.
    return Ranking(order[order_of(Ranks(code.of[order], code.size))], tuple(notes), ahead)


def _names(snapshot: Snapshot, *, any_ahead: bool) -> list[str]:
    """Return the keys in order: tiers and coming of age, where they set anybody apart, before those that the site names."""
    first = ["tiers"] if has_tiers(snapshot) else []
    first += [_AGED] if any_ahead else []
    return [*first, *(name for name in dict.fromkeys(snapshot.site.order) if name not in first)]


_AGED = "aged"


def _plain_keys(names: Sequence[str], at_us: Ints, snapshot: Snapshot, notes: list[str]) -> dict[str, Ranks]:
    """Return the keys that look at one task alone; `at_us` is that of coming of age."""
    plain = [name for name in names if name not in LATE_KEYS]
    return {name: ranks_of(at_us) if name == _AGED else _key(name, snapshot, notes) for name in plain}


def _key(name: str, snapshot: Snapshot, notes: list[str]) -> Ranks:
    if name in ORDER_KEYS:
        return ranks_of(ORDER_KEYS[name](snapshot))
    if name not in snapshot.plugins:
        notes.append(f"order key `{name}` is not there, or rests after failures: left out")
        return _no_opinion(snapshot)
    try:
        key = np.asarray(snapshot.plugins[name](snapshot))
    except Exception as err:  # noqa: BLE001 - code from outside may fail in any way; the plan must not fail with it
        notes.append(f"order key `{name}` failed ({type(err).__name__}: {err}): left out")
        return _no_opinion(snapshot)
    if key.shape != (len(snapshot.tasks),) or key.dtype.kind not in "iuf" or bool(np.isnan(key).any()):
        notes.append(f"order key `{name}` gave no number for each task: left out")
        return _no_opinion(snapshot)
    return ranks_of(key)


def _no_opinion(snapshot: Snapshot) -> Ranks:
    return Ranks(np.zeros(len(snapshot.tasks), dtype=np.int64), 1)


def _costs(snapshot: Snapshot) -> Floats:
    hours = hours_by(snapshot.site.fair_share.billing)
    return np.array([hours(charge) for charge in snapshot.tasks.charges], dtype=np.float64)


def key_columns(snapshot: Snapshot) -> Mapping[str, npt.NDArray[np.generic]]:
    """Return what each key says of every ready task, the most important key first; the smaller goes first.

    `size` tells the billing hours of a full run, a key from outside the place among its values, all others what they sort by.
    Coming of age is told by itself, and a key that had to be left out says nothing.
    """
    at_us = ahead_us(snapshot)
    names = _names(snapshot, any_ahead=bool((at_us <= snapshot.now_us).any()))
    ranks = _plain_keys(names, at_us, snapshot, [])
    order = order_of(packed(ranks.values(), len(snapshot.tasks)))
    told = {name: _told(name, snapshot, order, ranks) for name in names if name != _AGED}
    return {name: column for name, column in told.items() if column is not None}


def _told(name: str, snapshot: Snapshot, order: Ints, ranks: Mapping[str, Ranks]) -> npt.NDArray[np.generic] | None:
    if name in LATE_KEYS:
        return LATE_KEYS[name](snapshot, order)
    if name == "size":
        return _costs(snapshot)[snapshot.tasks.shape]
    if name in ORDER_KEYS:
        return ORDER_KEYS[name](snapshot)
    return ranks[name].of if ranks[name].size > 1 else None
