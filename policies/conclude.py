"""Why an attempt ended: the manager knows why the allocation ended, the program its own exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from math import ceil

from elisa.model.events import RuntimeEvent
from elisa.model.native import Seen
from elisa.model.states import EndReason
from elisa.model.task import Attempt, End
from elisa.policies.evidence import Heard
from elisa.policies.unexplained import UNEXPLAINED

__all__ = ["STOPPED", "conclude", "is_firm", "own_word", "ran_s", "said_node", "started_at"]

# What took the allocation away is known to the manager alone, whatever the dying program said of itself.
_MANAGER_KNOWS = frozenset(
    {
        EndReason.PREEMPTED,
        EndReason.NODE_FAILURE,
        EndReason.BOOT_FAILURE,
        EndReason.OUT_OF_MEMORY,
        EndReason.TIMEOUT,
        EndReason.CANCELLED,
    }
)
# What the agent stopped or refused by itself: no manager knows better.
_AGENT_KNOWS = frozenset({EndReason.INVALID_DATA, EndReason.OUT_OF_MEMORY, EndReason.TIMEOUT, EndReason.BAD_GPU})
_OVER_LIMIT: Mapping[object, EndReason] = {"memory": EndReason.OUT_OF_MEMORY, "walltime": EndReason.TIMEOUT}
# Its last event says these by name: a limit that it told of before may have been heard, and forgotten, in an earlier tick.
# `fenced`: it killed its program because it could not reach the state folder, which is no fault of the program.
_TOLD: Mapping[object, EndReason] = {
    **{reason.value: reason for reason in (*_AGENT_KNOWS, EndReason.NOT_BEGUN)},
    "fenced": EndReason.NODE_FAILURE,
}
_TAKEN: Mapping[object, EndReason] = {one.value: one for one in (EndReason.CANCELLED, EndReason.PREEMPTED)}
_NOT_BEGUN = EndReason.NOT_BEGUN.value
# These say in a sentence of their own why the program was not even started.
_NEVER_RAN = frozenset({_NOT_BEGUN, EndReason.BAD_GPU.value})
_REFUSED = 75
# The agent's own exit statuses, for when its event did not reach us: sysexits.h data error, temporary failure; fenced; bad GPU.
_AGENT_EXITS: Mapping[int, EndReason] = {
    74: EndReason.INVALID_DATA,
    _REFUSED: EndReason.LOST,
    76: EndReason.NODE_FAILURE,
    77: EndReason.BAD_GPU,
}
# What the checkpoint library ends a program with that saved when it was asked to leave. A manager that warns before it
# preempts (Slurm's preempt_send_user_signal) sees a program that ended by itself.
_SAVED_AND_LEFT = 85
_FIRST_SIGNAL_STATUS = 128

STOPPED = "stopped"
"""What the agent calls an end that a signal from outside brought about."""

_NOT_LAUNCHED = "launch failed: its resource manager cancelled it before its script began"


def own_word(attempt: Attempt, heard: Heard) -> End | None:
    """Return the end as the job itself tells it, now or earlier; None as long as it says nothing of an end.

    Success with steps missing, after a signal to stop, is no success: the program saved and left its place.
    """
    event = heard.exited
    if event is None:
        return _refusal(attempt, heard)
    return End(
        reason=_own_reason(event, heard),
        exit_code=_integer(event, "exit_code"),
        signal=_integer(event, "signal"),
        detail=_own_detail(event),
        step=_step(attempt, heard),
        gpus=str(event.data.get("gpus") or ""),
    )


def _own_detail(event: RuntimeEvent) -> str:
    why = str(event.data.get("why") or "")
    return str(event.data.get("detail") or why) if why in _NEVER_RAN or _taken(event) is not None else why


def _taken(event: RuntimeEvent) -> EndReason | None:
    """Return what its manager said to the job while it deleted it, which it may not remember afterwards; None if nothing."""
    taken, why = _TAKEN.get(event.data.get("taken")), event.data.get("why")
    # preempted or not, what had not begun lost nothing
    return taken if why == STOPPED or (why == _NOT_BEGUN and taken is EndReason.CANCELLED) else None


def said_node(attempt: Attempt, heard: Heard) -> str:
    """Return the node that the job names in its last word, if nobody has told yet where it ran; "" if it names none."""
    named = heard.exited.data.get("node") if heard.exited is not None and not attempt.nodes else None
    return str(named or "")


def _refusal(attempt: Attempt, heard: Heard) -> End | None:
    """Return what an earlier tick heard, or that the agent gave way to another job, unless this attempt runs after all."""
    refused = heard.refused
    end = attempt.end
    if refused is not None and refused.data.get("native_id") in {None, "", attempt.native_id}:
        why = str(refused.data.get("why") or "")
        end = End(reason=EndReason.LOST, exit_code=_REFUSED, detail=f"refused to start: {why}")
    return None if end is not None and end.reason is EndReason.LOST and attempt.claimed else end


def _own_reason(event: RuntimeEvent, heard: Heard) -> EndReason:
    why = event.data.get("why")
    if why == _NOT_BEGUN and _taken(event) is not None:
        return EndReason.CANCELLED
    if why in _TOLD:
        return _TOLD[why]
    if heard.over_limit is not None:
        return _OVER_LIMIT.get(heard.over_limit.data.get("resource"), EndReason.FAILED)
    taken = _taken(event)
    if taken is not None:
        return taken
    if why == STOPPED and event.data.get("exit_code") == _SAVED_AND_LEFT:
        return EndReason.PREEMPTED
    if event.data.get("exit_code") != 0:
        return EndReason.FAILED
    if heard.stopping is not None and heard.is_unfinished:
        return EndReason.PREEMPTED
    return EndReason.COMPLETED


def is_firm(end: End, heard: Heard) -> bool:
    """Tell whether the job's word stands without the manager's: nothing outside may have forced this end."""
    if end.reason in _AGENT_KNOWS:
        return True
    if end.reason is EndReason.NOT_BEGUN:
        return heard.exited is not None and heard.stopping is None
    # An earlier tick may have heard that it was to stop: its last event says so again.
    if heard.exited is None or heard.stopping is not None or heard.exited.data.get("why") == STOPPED:
        return False
    return end.signal is None and end.exit_code is not None and end.exit_code < _FIRST_SIGNAL_STATUS


def conclude(attempt: Attempt, heard: Heard, seen: Seen) -> End:
    """Return the end of a native job that the manager calls ended, from both words."""
    own = own_word(attempt, heard)
    if own is None:
        return _not_launched(attempt, heard, seen) or End(
            reason=_reason_alone(seen),
            exit_code=seen.exit_code,
            signal=seen.signal,
            detail=seen.detail,
            step=_step(attempt, heard),
        )
    if own.reason is EndReason.NOT_BEGUN and seen.end_reason is not EndReason.CANCELLED:
        return own
    if seen.end_reason in _MANAGER_KNOWS and not (own.reason is EndReason.COMPLETED and is_firm(own, heard)):
        return replace(own, reason=seen.end_reason, detail=seen.detail or own.detail)
    if attempt.cancel_sent and own.detail == STOPPED and own.reason in {EndReason.FAILED, EndReason.PREEMPTED}:
        return replace(
            own, reason=EndReason.CANCELLED
        )  # we asked by a signal alone, of which its manager knows no more
    return own if own.detail else replace(own, detail=seen.detail)


def _not_launched(attempt: Attempt, heard: Heard, seen: Seen) -> End | None:
    """Return the end of a job that was cancelled before it began, by others than its owner as far as anybody knows."""
    if attempt.cancel_sent or attempt.claimed or heard.is_alive:
        return None
    if seen.is_managers_doing:
        return End(reason=EndReason.BOOT_FAILURE, detail=_NOT_LAUNCHED, step=_step(attempt, heard))
    return (
        End(reason=EndReason.CANCELLED, detail=UNEXPLAINED, step=_step(attempt, heard)) if seen.is_unexplained else None
    )


def _reason_alone(seen: Seen) -> EndReason:
    if seen.end_reason in _MANAGER_KNOWS or seen.end_reason is EndReason.REJECTED:
        return seen.end_reason
    if seen.exit_code is None:
        return seen.end_reason or EndReason.LOST
    if seen.exit_code == 0:
        return EndReason.COMPLETED if seen.signal is None else EndReason.FAILED
    return _AGENT_EXITS.get(seen.exit_code, EndReason.FAILED)


def ran_s(attempt: Attempt, heard: Heard, seen: Seen | None, now: datetime) -> int:
    """Return the whole seconds to book: the manager's elapsed time, else the job's own, else what our clock can say.

    Of several attempts in one native job each is booked with its share, as their agent divided the time among them.
    Only the manager's word may exceed the walltime: our own clock may have jumped.
    """
    share_s = heard.exited.data.get("share_s") if heard.exited is not None else None
    if isinstance(share_s, int):
        return max(0, share_s)
    if seen is not None and seen.started_at is not None and seen.ended_at is not None:
        return max(0, ceil((seen.ended_at - seen.started_at).total_seconds()))
    run_s = heard.exited.data.get("run_s") if heard.exited is not None else None
    if isinstance(run_s, (int, float)):
        return max(0, ceil(run_s))
    began_at = started_at(attempt, heard, seen)
    if began_at is None:
        return 0
    ended_at = heard.exited.at if heard.exited is not None else now
    return min(max(0, ceil((ended_at - began_at).total_seconds())), attempt.request.walltime_s)


def started_at(attempt: Attempt, heard: Heard, seen: Seen | None) -> datetime | None:
    """Return when the attempt began, by the best word there is; None if it never did as far as anybody knows."""
    said_at = heard.started.at if heard.started is not None else None
    return (seen.started_at if seen is not None else None) or attempt.started_at or said_at


def _step(attempt: Attempt, heard: Heard) -> int | None:
    if heard.step is not None:
        return heard.step
    return attempt.last_checkpoint.step if attempt.last_checkpoint is not None else None


def _integer(event: RuntimeEvent, key: str) -> int | None:
    value = event.data.get(key)
    return int(value) if isinstance(value, (int, float)) else None
