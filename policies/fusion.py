"""Which tasks share a native job: short ones that ask for the same thing, and the chains that follow from them.

A native job costs its resource manager a second or more, however short the work is; forked from an agent that runs already,
a task costs a few hundredths. While nodes are free each short task gets a job of its own, so that all of them run at once;
once none is free, more of them join these jobs, the emptiest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import NamedTuple

from elisa.model.ids import AttemptId, TaskId
from elisa.model.resources import Resources
from elisa.model.site import FusionRules
from elisa.model.states import AttemptState
from elisa.model.task import Attempt

__all__ = ["Bundle", "Filling", "Member", "Pot", "is_room", "job_s", "native_jobs"]

# What every task costs in its job beside its own time, and how far a prediction is trusted.
_EACH_S, _DOUBT = 1.0, 1.5
# Of resource managers, some count in whole minutes; and jobs that are equally long can be one array.
_GRAIN_S = 60
_ENDING_S = 5.0


class Member(NamedTuple):
    """A task in a bundle, expected to run for `brief_s`; `behind` are attempts in the same bundle that come before it."""

    task: TaskId
    brief_s: float
    behind: tuple[AttemptId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Tasks that share one native job, in the order of their turns; the first is the leader. `lanes` run side by side."""

    members: tuple[Member, ...]
    lanes: int = 1

    @property
    def leader(self) -> TaskId:
        return self.members[0].task

    def resources(self, request: Resources) -> Resources:
        """Return what the native job asks for, all of whose tasks ask for `request`."""
        return replace(
            request,
            tasks_per_node=request.tasks_per_node * self.lanes,
            memory_mib_per_node=request.memory_mib_per_node * self.lanes,
            gpus=replace(request.gpus, per_node=request.gpus.per_node * self.lanes),
            licences=tuple((name, count * self.lanes) for name, count in request.licences),
            walltime_s=job_s(request.walltime_s, [member.brief_s for member in self.members], self.lanes),
        )


def job_s(walltime_s: int, brief_s: Iterable[float], lanes: int) -> int:
    """Return the walltime of a native job for tasks that each ask for `walltime_s`.

    Nobody's task begins unless its own walltime is left: so that much, and what all others are expected to take.
    """
    others_s = sum(min(float(walltime_s), one * _DOUBT) + _EACH_S for one in sorted(brief_s, reverse=True)[1:])
    return ceil((walltime_s + others_s / lanes + _ENDING_S) / _GRAIN_S) * _GRAIN_S


@dataclass(slots=True, kw_only=True)
class Pot:
    """A native job while it is filled: its first task's row, the way and the nodes it was placed by, and all its tasks."""

    host: int
    way: int
    nodes: tuple[int, ...]
    brief_s: list[float]
    lanes: int = 1

    def job_s(self, walltime_s: int, brief_s: float) -> int:
        """Return its walltime with one more task."""
        return job_s(walltime_s, [*self.brief_s, brief_s], self.lanes)


class Filling:
    """The native jobs that a plan starts and that short tasks may join, by what their tasks have in common."""

    def __init__(self, rules: FusionRules) -> None:
        self._rules = rules
        self._pots: dict[object, list[Pot]] = {}

    def is_brief(self, brief_s: float) -> bool:
        """Tell whether a task is short enough to share a job."""
        return self._rules.enabled and brief_s <= self._rules.longest_s

    def begin(self, key: object, pot: Pot) -> None:
        """Let others that ask for the same thing join the job of a short task."""
        self._pots.setdefault(key, []).append(pot)

    def choose(self, key: object, brief_s: float) -> Pot | None:
        """Return the emptiest job that has time for one more task, None if none has."""
        pots = [pot for pot in self._pots.get(key, ()) if is_room(self._rules, pot.brief_s, brief_s, pot.lanes)]
        return min(pots, key=lambda pot: (sum(pot.brief_s) / pot.lanes, pot.host), default=None)

    def widest(self, key: object, brief_s: float) -> Pot | None:
        """Return the newest job if more of its tasks may run side by side."""
        pots = self._pots.get(key)
        if not pots or not pots[-1].nodes or pots[-1].lanes >= self._rules.lanes:
            return None
        return pots[-1] if is_room(self._rules, pots[-1].brief_s, brief_s, pots[-1].lanes) else None


def is_room(rules: FusionRules, filled: Sequence[float], brief_s: float, lanes: int) -> bool:
    """Tell whether one more task may be put into a job that holds these."""
    return len(filled) < rules.most and sum(filled) + brief_s <= rules.fill_s * lanes


def native_jobs(live: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """Return live attempts with those that share a native job taken as one, as long as all of them together.

    It waits in its queue as long as none of them has begun.
    """
    alone: list[Attempt] = []
    shared: dict[AttemptId, list[Attempt]] = {}
    for attempt in live:
        if attempt.leader is None:
            alone.append(attempt)
        else:
            shared.setdefault(attempt.leader, []).append(attempt)
    return (*alone, *(_as_one(members) for members in shared.values()))


def _as_one(members: Sequence[Attempt]) -> Attempt:
    begun = [one for one in members if one.state is AttemptState.RUNNING]
    first = min(begun or members, key=lambda one: (one.started_at.timestamp() if one.started_at else inf, one.id))
    walltime_s = sum(one.request.walltime_s for one in members)
    return replace(first, request=replace(first.request, walltime_s=walltime_s))
