"""Native jobs asked to stop: the wish is committed before the call, and no job is asked again while the first may work."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from elisa.engine.leaving import leave_jobs
from elisa.engine.managers import Managers
from elisa.engine.workspace import Workspace
from elisa.model.changes import CancelSent, Change, Noted, TaskMoved
from elisa.model.decisions import Cancel, Park, Preempt, Resize
from elisa.model.ids import AttemptId, BackendName, NativeId
from elisa.model.native import CancelOutcome
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.states import LIVE_ATTEMPT_STATES, TaskState
from elisa.model.task import Attempt
from elisa.policies.lifecycle import Observed
from elisa.policies.plan import Plan
from elisa.store.writer import Writer

__all__ = ["ANSWERED", "Stop", "cancel_idle", "send_stops", "stops_due", "stops_of"]

_log = logging.getLogger(__name__)
ANSWERED = "cancel_answered"
"""What is noted of an attempt whose manager has heard that its job is to stop."""

# A job that is still there this long after its grace was over did not hear that it was asked to leave.
_ASK_AGAIN_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A native job to stop, and why. `is_duplicate`: it is not the attempt's own job, or no more, and only carries its tag."""

    attempt: Attempt
    native_id: NativeId
    reason: Reason
    is_duplicate: bool = False


def cancel_idle(writer: Writer) -> None:
    """Cancel the tasks that somebody wants cancelled and that have no live attempt."""
    wanted = writer.tasks(writer.cancel_wanted())
    idle = [task for task in wanted.values() if task.state is not TaskState.ACTIVE]
    reason = because(ReasonCode.CANCELLED_BY_USER)
    moves = [
        TaskMoved(task=task.id, before=task.state, after=TaskState.CANCELLED, reason=reason)
        for task in sorted(idle, key=lambda task: task.id)
    ]
    if moves:
        writer.apply(moves)


def stops_due(
    writer: Writer, live: Mapping[AttemptId, Attempt], observed: Observed, now: datetime, grace_s: float
) -> list[Stop]:
    """Return the native jobs to stop: of tasks that somebody wants cancelled, duplicates, and any that did not hear us."""
    asked_by = now - timedelta(seconds=grace_s) - _ASK_AGAIN_AFTER
    wanted = set(writer.cancel_wanted())
    reason = because(ReasonCode.CANCELLED_BY_USER)
    cancelled = [
        Stop(attempt=attempt, native_id=attempt.native_id, reason=reason)
        for attempt in live.values()
        if attempt.native_id is not None
        and (_is_unheard(writer, attempt, asked_by) if attempt.cancel_sent else attempt.task in wanted)
    ]
    twins = [
        Stop(attempt=live[attempt], native_id=native_id, reason=why, is_duplicate=True)
        for attempt, native_id, why in observed.cancel
        if attempt in live
    ]
    return [*cancelled, *twins]


def _is_unheard(writer: Writer, attempt: Attempt, asked_by: datetime) -> bool:
    """Tell whether the call may never have been made, or so long ago that it must have been lost on the way."""
    answers = [row.at for row in writer.audit(subject=attempt.id) if row.kind == f"noted.{ANSWERED}"]
    return not answers or max(answers) <= asked_by


def stops_of(plan: Plan, live: Mapping[AttemptId, Attempt]) -> list[Stop]:
    """Return the native jobs that a plan stops, but for those that were asked already."""
    decided = [decision for decision in plan.decisions if isinstance(decision, (Cancel, Preempt, Park, Resize))]
    attempts = [(live[decision.attempt], decision.reason) for decision in decided if decision.attempt in live]
    return [
        Stop(attempt=attempt, native_id=attempt.native_id, reason=reason)
        for attempt, reason in attempts
        if attempt.native_id is not None and not attempt.cancel_sent
    ]


def send_stops(ws: Workspace, writer: Writer, managers: Managers, stops: Sequence[Stop]) -> tuple[AttemptId, ...]:
    """Write the wishes down, ask each manager once for all of them, and write down what it said."""
    reachable = [stop for stop in stops if stop.attempt.backend not in managers.unreachable]
    if not reachable:
        return ()
    # That what its attempt was given up with is to go was written down with that end.
    writer.apply([_wish(stop) for stop in reachable if stop.attempt.state in LIVE_ATTEMPT_STATES])
    ws.crash("stop.sent")
    inside = _stops_inside(reachable, writer.live_attempts())
    leave_jobs(ws, writer, [stop.attempt for stop in inside])
    groups = _by_call(stop for stop in reachable if stop not in inside)
    for (name, has_time), group in sorted(groups.items()):
        call = managers.ask_to_leave if has_time else managers.cancel
        outcomes = call(name, list(dict.fromkeys(stop.native_id for stop in group)))
        ws.crash("stop.asked")
        writer.apply([note for stop in group for note in _answers(stop, outcomes)])
        ws.crash("stop.noted")
    return tuple(stop.attempt.id for stop in reachable)


def _stops_inside(stops: Sequence[Stop], live: Iterable[Attempt]) -> Sequence[Stop]:
    """Return the stops of attempts that share their native job with others which go on: the job itself must not be stopped."""
    leaving = {stop.attempt.id for stop in stops}
    going_on = {attempt.leader for attempt in live if attempt.id not in leaving}
    return [stop for stop in stops if stop.attempt.leader in going_on - {None} and not stop.is_duplicate]


def _by_call(stops: Iterable[Stop]) -> Mapping[tuple[BackendName, bool], list[Stop]]:
    groups: dict[tuple[BackendName, bool], list[Stop]] = defaultdict(list)
    for stop in stops:
        groups[stop.attempt.backend, _has_time(stop)].append(stop)
    return groups


def _has_time(stop: Stop) -> bool:
    """Tell whether a job may take its grace to save and end: it is asked for the first time, by us, and its agent listens."""
    is_ours = not stop.is_duplicate and stop.reason.code is not ReasonCode.CANCELLED_BY_USER
    return is_ours and stop.attempt.claimed and not stop.attempt.cancel_sent


def _wish(stop: Stop) -> Change:
    if stop.is_duplicate:
        return Noted(subject=stop.attempt.id, what="duplicate", facts={"native_id": stop.native_id})
    return CancelSent(attempt=stop.attempt.id, reason=stop.reason)


def _answers(stop: Stop, outcomes: Mapping[NativeId, CancelOutcome]) -> Sequence[Noted]:
    outcome = outcomes.get(stop.native_id, CancelOutcome.FAILED)
    if outcome is CancelOutcome.FAILED:
        _log.warning("attempt=%s native_id=%s could not be asked to stop", stop.attempt.id, stop.native_id)
        return ()
    facts = {"native_id": stop.native_id, "outcome": outcome.value}
    return (Noted(subject=stop.attempt.id, what=ANSWERED, facts=facts),)
