"""How a ready task stood in the plan of a tick: its place, its factors, what refused it, and what would change that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from elisa.engine.files import Files
from elisa.engine.kept_plans import KeptPlan, made_again, newest, read
from elisa.model.errors import UsageError
from elisa.model.ids import TaskId
from elisa.model.reasons import Reason, ReasonCode
from elisa.model.resources import Resources
from elisa.policies.ageing import Ageing
from elisa.policies.factors import FactorLine
from elisa.policies.order import KeyLine
from elisa.policies.relief import Relief, relief_of
from elisa.policies.score import Weighed, weighed
from elisa.policies.whatif import what_would_help

__all__ = ["Standing", "standing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`rank` counts from 1, of `ready` tasks; `keys` is what it rests on. `places` is where it may run, the best first.

    `helps` names the single obstacles without which it would start at once.
    """

    tick: int
    at: datetime
    rank: int
    ready: int
    request: Resources
    keys: tuple[KeyLine, ...]
    factors: tuple[FactorLine, ...]
    places: tuple[Weighed, ...]
    reason: Reason
    helps: tuple[str, ...] = ()
    relief: Relief | None = None
    ageing: Ageing | None = None

    @property
    def starts(self) -> bool:
        """Tell whether the plan started it."""
        return self.reason.code is ReasonCode.CHOSEN


def standing(files: Files, home: Path, task: TaskId, tick: int | None = None) -> Standing | None:
    """Return how a task stood in the plan of a tick (None: the newest that is kept), None if it was not ready then.

    Raises UsageError if the plan of that tick is not kept.
    """
    if tick is not None:
        return _of(tick, read(files, home, tick), task)
    try:
        found = newest(files, home)
    except UsageError:
        # An older elisa wrote it, or it is damaged: the next tick keeps another, and all else can be told without it.
        return None
    return _of(*found, task) if found is not None else None


def _of(tick: int, kept: KeptPlan, task: TaskId) -> Standing | None:
    if task not in kept.inputs.ready.task:
        return None
    made = made_again(kept.inputs)
    tasks, reason = made.snapshot.tasks, made.reason(task)
    request = made.snapshot.shapes[int(tasks.shape[tasks.ids.index(task)])].request
    starts = reason.code is ReasonCode.CHOSEN
    return Standing(
        tick=tick,
        at=kept.inputs.now,
        rank=made.rank(task),
        ready=len(tasks),
        request=request,
        keys=made.keys(task),
        factors=made.factors(task),
        places=tuple(weighed(place, made.snapshot) for place in made.places(task)),
        reason=reason,
        helps=() if starts else what_would_help(made.snapshot, task),
        relief=relief_of(kept.inputs, reason, request.walltime_s, made.beginnings),
        ageing=made.ageing(task),
    )
