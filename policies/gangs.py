"""Gangs over time: how long members wait for one another, and who gives way.

Members are admitted all at once, so a gang never holds part of a cluster by a plan. Native queues may still start them
one by one; then at most one gang of a cluster may sit and wait, the first in the order, and the others give back what they
hold: without a second holder there is no circle of waiting, hence no deadlock (Coffman, Elphick, Shoshani, ACM Computing
Surveys 3, 1971: hold-and-wait broken by order).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Assembling", "Assembly", "assemble"]


class Assembly(StrEnum):
    """What becomes of a gang some of whose members run."""

    COMPLETE = "complete"  # all are there, or the threshold when the time was up: go on
    WAIT = "wait"
    GIVE_BACK = "give_back"  # stop the members that run; the gang is admitted anew, as a whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembling:
    """A gang whose first member has started. `minimum` 0 asks for all; without `timeout_s` it waits as long as it may."""

    name: str
    rank: int
    size: int
    running: int
    waited_s: float
    minimum: int = 0
    timeout_s: float | None = None


def assemble(gangs: Sequence[Assembling]) -> dict[str, Assembly]:
    """Return what becomes of each gang of one cluster: of those that wait, only the first in rank may hold on."""
    outcome: dict[str, Assembly] = {}
    may_hold = True
    for gang in sorted(gangs, key=lambda one: (one.rank, one.name)):
        outcome[gang.name] = _alone(gang)
        if outcome[gang.name] is Assembly.WAIT:
            if not may_hold:
                outcome[gang.name] = Assembly.GIVE_BACK
            may_hold = False
    return outcome


def _alone(gang: Assembling) -> Assembly:
    if gang.running >= gang.size:
        return Assembly.COMPLETE
    is_time_up = gang.timeout_s is not None and gang.waited_s >= gang.timeout_s
    if not is_time_up:
        return Assembly.WAIT
    return Assembly.COMPLETE if gang.minimum and gang.running >= gang.minimum else Assembly.GIVE_BACK
