"""How often a task saves its work and how early it is told of its end, with the numbers that this follows from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from elisa.engine.experience import Experience
from elisa.engine.seals import read_secret
from elisa.engine.spool import Reading, read_new
from elisa.engine.workspace import Workspace
from elisa.model.events import EventKind
from elisa.model.states import LIVE_ATTEMPT_STATES
from elisa.model.task import Attempt, Task, own_attempts
from elisa.policies.experience import Interruptions, Lead
from elisa.runtime.checkpoint.interval import Choice, choose_interval
from elisa.store.reader import Reader

__all__ = ["Schedule", "read_schedule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The interval that an attempt released now would choose. `choice` is None before the first save was measured.

    `fixed_s` is the interval that the author asked for; `remaining_s` the walltime that is left to the live attempt, or
    all of it for the next one. `has_policy`: the author has the task saved. `in_job` is what the newest attempt's program
    itself said with its last checkpoint.
    """

    task: Task
    has_policy: bool
    fixed_s: float | None
    choice: Choice | None
    in_job: Choice | None
    interruptions: Interruptions | None
    remaining_s: float
    lead: Lead

    @property
    def interval_s(self) -> float | None:
        """Seconds between two saves, None while that is open."""
        return self.fixed_s if self.fixed_s is not None else (self.choice.interval_s if self.choice else None)

    @property
    def share(self) -> float | None:
        """The share of the time that saving takes at this interval; None if it cannot be known."""
        if self.choice is None or not self.interval_s:
            return None
        return self.choice.save_s / (self.interval_s + self.choice.save_s)


def read_schedule(ws: Workspace, reader: Reader, task: Task) -> Schedule:
    """Return the schedule of a task's saves by what is known now."""
    now = ws.clock.now()
    experience = Experience(reader, now)
    attempts = own_attempts(reader.attempts_of(task.id))
    newest = attempts[-1] if attempts else None
    rate = _rate(experience, task, newest)
    remaining_s = _remaining_s(task, newest, now)
    save_s = experience.save_s(task)
    policy = task.spec.checkpoint
    return Schedule(
        task=task,
        has_policy=policy is not None,
        fixed_s=policy.interval_s if policy is not None else None,
        choice=_choice(save_s, rate, remaining_s),
        in_job=_said_in_job(ws, newest) if newest is not None else None,
        interruptions=rate,
        remaining_s=remaining_s,
        lead=_lead(experience, task),
    )


def _choice(save_s: float | None, rate: Interruptions | None, remaining_s: float) -> Choice | None:
    if save_s is None:
        return None
    return choose_interval(save_s, mtbf_s=rate.mtbf_s if rate else None, remaining_s=remaining_s or math.inf)


def _said_in_job(ws: Workspace, attempt: Attempt) -> Choice | None:
    """Return the choice that came with the last checkpoint of an attempt, None if its program chooses nothing."""
    reading = Reading(files=ws.files, home=ws.home, secret=read_secret(ws.files, ws.home), uid=ws.uid)
    said = [one for one in read_new(reading, [attempt.id], {}).events if one.kind is EventKind.CHECKPOINT]
    if not said:
        return None
    last = max(said, key=lambda one: one.at).data
    numbers = [last.get(name) for name in ("interval_s", "blocked_s", "mtbf_s", "optimum_s")]
    if not all(isinstance(number, (int, float)) for number in numbers):
        return None
    interval_s, save_s, mtbf_s, optimum_s = (float(number or 0) for number in numbers)
    return Choice(interval_s, str(last.get("bound", "")), save_s, mtbf_s, optimum_s)


def _rate(experience: Experience, task: Task, newest: Attempt | None) -> Interruptions | None:
    backend = newest.backend if newest else task.spec.placement.backend
    partition = newest.partition if newest else task.spec.placement.partition
    return experience.interruptions(backend, partition, task.request.nodes)


def _remaining_s(task: Task, newest: Attempt | None, now: datetime) -> float:
    if newest is None or newest.state not in LIVE_ATTEMPT_STATES or newest.started_at is None:
        return float(task.request.walltime_s)
    return max(0.0, newest.request.walltime_s - (now - newest.started_at).total_seconds())


def _lead(experience: Experience, task: Task) -> Lead:
    policy = task.spec.checkpoint
    if policy is not None and policy.lead_s is not None:
        return Lead(policy.lead_s, whose="author")
    return experience.lead(task)
