"""What jobs hold in advance while they wait behind others, given back when somebody in front of them needs it now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from elisa.model.ids import AttemptId, TaskId
from elisa.model.metered import Metered
from elisa.model.reasons import Reason, ReasonCode
from elisa.model.task import Attempt, in_front
from elisa.policies.budgets import CapRow, Meter, Owner, demand_of

__all__ = ["Holder", "Refused", "beyond_caps", "give_way", "standing"]

_OF_PROJECT = frozenset({ReasonCode.BUDGET_EXHAUSTED, ReasonCode.CONCURRENCY_CAP})


class Holder(NamedTuple):
    """A job that waits behind others, of `owner`; `rank` and `depth` are those of `standing`."""

    attempt: Attempt
    owner: Owner
    rank: int
    depth: int = 0

    def holds(self, meter: Meter) -> int:
        """Return what it has taken of one thing that is counted: nothing at once while one in front of it holds that."""
        if self.attempt.inherits is not None and not meter.resource.is_cumulative:
            return 0
        kinds = self.attempt.request.gpus.types
        kind = kinds[0] if kinds else ""
        return demand_of(self.attempt.request, kind, meter)


class Refused(NamedTuple):
    """A ready task that was passed over, and why."""

    task: TaskId
    rank: int
    reason: Reason


def give_way(refused: Sequence[Refused], holders: Iterable[Holder]) -> Iterator[tuple[AttemptId, Refused]]:
    """Yield the jobs to withdraw, each with the ready task in front of it that this helps: the last in order go first.

    For a place in a queue one of that queue, for a budget as many of the project as free enough; none if all would not.
    Where what may be used at once is in use, those go that would take it over.
    """
    left = _last_first(holders)
    for one in sorted(refused, key=lambda refused: refused.rank):
        behind = [holder for holder in left if holder.rank > one.rank]
        for holder in _enough(one.reason, behind):
            left.remove(holder)
            yield holder.attempt.id, one


def _last_first(holders: Iterable[Holder]) -> list[Holder]:
    return sorted(holders, key=lambda holder: (-holder.rank, -holder.depth, holder.attempt.id))


def standing(attempt: Attempt, waiting: Mapping[AttemptId, Attempt], rank: Mapping[TaskId, int]) -> tuple[int, int]:
    """Return a chained job's place in elisa's order and its depth: no job comes before one that it waits behind itself."""
    fronts = [standing(waiting[other], waiting, rank) for other in in_front(attempt) if other in waiting]
    own = rank.get(attempt.task, len(rank))
    return max([own, *(front for front, _ in fronts)]), max((depth + 1 for _, depth in fronts), default=0)


def _enough(reason: Reason, behind: Sequence[Holder]) -> Sequence[Holder]:
    if reason.code is ReasonCode.WINDOW_FULL:
        place = (reason.facts["backend"], reason.facts["partition"])
        return [holder for holder in behind if (holder.attempt.backend, holder.attempt.partition) == place][:1]
    if reason.code not in _OF_PROJECT:
        return ()
    resource, _, gpu_type = str(reason.facts["resource"]).partition(":")
    owner = Owner(str(reason.facts["project"]), int(reason.facts.get("user", -1)))  # type: ignore[arg-type]
    meter = Meter(Metered(resource), gpu_type)
    return _until(_missing(reason), meter, owner, behind) or _heirs(_missing(reason), meter, owner, behind)


def _heirs(missing: int, meter: Meter, owner: Owner, behind: Sequence[Holder]) -> Sequence[Holder]:
    """Return the next in line of running work that would take over what is missing, so that it is free when that ends."""
    next_ones = [holder for holder in behind if holder.attempt.inherits is not None and holder.depth == 0]
    as_own = [holder._replace(attempt=replace(holder.attempt, inherits=None)) for holder in next_ones]
    found = {holder.attempt.id for holder in _until(missing, meter, owner, as_own)}
    return [holder for holder in next_ones if holder.attempt.id in found]


def _missing(reason: Reason) -> int:
    facts = reason.facts
    left = facts["left"] if "left" in facts else int(facts["cap"]) - int(facts["in_use"])
    return int(facts["asked"]) - int(left)


def _until(missing: int, meter: Meter, owner: Owner, holders: Iterable[Holder]) -> Sequence[Holder]:
    """Return the first of the holders that together hold what is missing; none if all of them do not."""
    found: list[Holder] = []
    for holder in holders:
        if missing <= 0:
            break
        if _binds(owner, holder) and holder.holds(meter):
            found.append(holder)
            missing -= holder.holds(meter)
    return found if missing <= 0 else ()


def _binds(owner: Owner, holder: Holder) -> bool:
    return owner.counts(*holder.owner)


def beyond_caps(caps: Iterable[CapRow], holders: Iterable[Holder]) -> Iterator[tuple[AttemptId, CapRow]]:
    """Yield the jobs to withdraw because a hard cap was cut below what is held: the last in order, as many as necessary."""
    left = _last_first(holders)
    freed: list[Holder] = []
    for row in caps:
        over = -row.left - sum(holder.holds(row.meter) for holder in freed if _binds(row.owner, holder))
        for holder in tuple(left) if row.cap.is_hard else ():
            if over > 0 and _binds(row.owner, holder) and holder.holds(row.meter):
                over -= holder.holds(row.meter)
                left.remove(holder)
                freed.append(holder)
                yield holder.attempt.id, row
