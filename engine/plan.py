"""What the next tick would do, found out with the tick's own code and nothing changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from elisa.engine.begun import with_begun
from elisa.engine.chaining import Chaining
from elisa.engine.clearing import clearing_stops
from elisa.engine.decide import decide
from elisa.engine.fusing import Fused
from elisa.engine.health import HealthBook
from elisa.engine.managers import Managers
from elisa.engine.stop import stops_of
from elisa.engine.workspace import Workspace
from elisa.model.decisions import Cancel, Decision, Submit
from elisa.model.ids import TaskId
from elisa.model.states import TaskState
from elisa.model.task import Attempt
from elisa.policies.deadlines import Due
from elisa.policies.inputs import PlanInputs
from elisa.policies.plan import Plan
from elisa.store.reader import Reader

__all__ = ["Preview", "preview"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A plan, how what is due stands, all that it was made of, what of it shares native jobs, and the names of its tasks.

    `chained` would be queued behind jobs that live, or that the plan submits; `cleared` has to leave places that close.
    """

    plan: Plan
    due: Due
    inputs: PlanInputs
    fused: Fused
    names: Mapping[TaskId, str]
    chained: tuple[Submit, ...] = ()
    cleared: tuple[Cancel, ...] = ()

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The plan's decisions, each followed by the tasks that still wait and are to run in its native job."""
        ahead: dict[TaskId | None, list[Submit]] = defaultdict(list)
        for submit in self.fused.ahead.values():
            ahead[submit.leader].append(submit)
        return tuple(one for made in self.plan.decisions for one in (made, *ahead.get(_started(made), ())))


def _started(decision: Decision) -> TaskId | None:
    return decision.task if isinstance(decision, Submit) else None


def preview(ws: Workspace, *, looks: bool = False) -> Preview:
    """Return what a tick would decide at this moment; news that nobody has read yet is not in it.

    With `looks`, managers are asked what is free even if nothing is ready.
    """
    now = ws.clock.now()
    health = HealthBook(ws.files, ws.home)
    managers = Managers(ws.backends, health, ws.random, now)
    with Reader.open(ws.home) as reader:
        live = with_begun(managers, reader.live_attempts())
        plan, due, inputs, fused = decide(ws, reader, managers, health, live, now, looks=looks)
        cleared = _cleared(ws, reader, live, plan, now)
        chaining = Chaining(ws=ws, reader=reader, managers=managers, seen=plan.snapshot, due=due, now=now, decided=plan)
        chained = tuple(one for one in chaining.foreseen(plan) if one.task not in fused.ahead)
        later = reader.tasks([*fused.ahead, *(one.task for one in chained)])
        ready = reader.task_rows(states=(TaskState.READY,))
        active = reader.task_rows(states=(TaskState.ACTIVE,))
    names = {row.id: row.name for row in (*ready, *active)} | {task.id: task.spec.name for task in later.values()}
    return Preview(plan=plan, due=due, inputs=inputs, fused=fused, names=names, chained=chained, cleared=cleared)


def _cleared(ws: Workspace, reader: Reader, live: Iterable[Attempt], plan: Plan, now: datetime) -> tuple[Cancel, ...]:
    by_id = {attempt.id: attempt for attempt in live}
    leaving = {stop.attempt.id for stop in stops_of(plan, by_id)}
    stops = clearing_stops(ws, reader, by_id, now, leaving)
    return tuple(Cancel(attempt=stop.attempt.id, reason=stop.reason) for stop in stops)
