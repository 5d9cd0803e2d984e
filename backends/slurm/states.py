"""What Slurm's words about a job mean.

Job states: https://slurm.schedmd.com/job_state_codes.html (24.11) and squeue(1) of 22.05; reasons:
https://slurm.schedmd.com/job_reason_codes.html. Exit codes as measured on 22.05: squeue prints the wait status, sacct
`code:signal`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo

from elisa.backends.slurm.identity import component_of
from elisa.model.ids import NativeId
from elisa.model.native import NativeState, Seen
from elisa.model.states import EndReason

__all__ = ["HELD_BY_USER", "HOPELESS", "Record", "describe", "parse_exit", "parse_time", "whole"]

_ALIVE: Mapping[str, NativeState] = {
    "PENDING": NativeState.QUEUED,
    "REQUEUED": NativeState.QUEUED,
    "REQUEUE_FED": NativeState.QUEUED,
    "REQUEUE_HOLD": NativeState.HELD,
    "RESV_DEL_HOLD": NativeState.HELD,
    "SPECIAL_EXIT": NativeState.HELD,
    # nodes are granted but not booted yet: nothing runs
    "CONFIGURING": NativeState.QUEUED,
    "POWER_UP_NODE": NativeState.QUEUED,
    "RUNNING": NativeState.RUNNING,
    "COMPLETING": NativeState.RUNNING,
    "SUSPENDED": NativeState.RUNNING,
    "STOPPED": NativeState.RUNNING,
    "SIGNALING": NativeState.RUNNING,
    "STAGE_OUT": NativeState.RUNNING,
    "RESIZING": NativeState.RUNNING,
}

_ENDED: Mapping[str, EndReason] = {
    "COMPLETED": EndReason.COMPLETED,
    "FAILED": EndReason.FAILED,
    "TIMEOUT": EndReason.TIMEOUT,
    "PREEMPTED": EndReason.PREEMPTED,
    "NODE_FAIL": EndReason.NODE_FAILURE,
    "OUT_OF_MEMORY": EndReason.OUT_OF_MEMORY,
    "CANCELLED": EndReason.CANCELLED,
    "BOOT_FAIL": EndReason.BOOT_FAILURE,
    "LAUNCH_FAILED": EndReason.BOOT_FAILURE,
    "RECONFIG_FAIL": EndReason.BOOT_FAILURE,
    # ended by its own --deadline, which only a task's extras can set
    "DEADLINE": EndReason.TIMEOUT,
}

# slurmstepd reports this signal when it could not start the job's script at all: no folder, no output file, failed setup.
_LAUNCH_FAILURE_SIGNAL = 53

# In all other states the exit status is Slurm's doing: squeue shows the signal it sent, sacct 0:0, NODE_FAIL even 0:1.
_OWN_STATUS = ("COMPLETED", "FAILED")

HELD_BY_USER = "JobHeldUser"
_HELD_REASONS = (HELD_BY_USER, "JobHeldAdmin")
_HELD_WORDS = "held"

HOPELESS = frozenset(
    {
        "AccountNotAllowed",
        "AssocMaxWallDurationPerJobLimit",
        "BadConstraints",
        "DependencyNeverSatisfied",
        "InvalidAccount",
        "InvalidQOS",
        "PartitionConfig",
        "PartitionNodeLimit",
        "PartitionTimeLimit",
        "QOSMaxWallDurationPerJobLimit",
        "QOSNotAllowed",
    }
)
"""Reasons for which a pending job waits for a person: no other job's end will start it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One job in Slurm's own words, as squeue or sacct listed it.

    `is_managers_doing`: Slurm itself or root cancelled it, which sacct alone can tell; `is_unexplained`: its owner may have
    done so as well, who is root.
    """

    job: str
    name: str
    state: str
    is_managers_doing: bool = False
    is_unexplained: bool = False
    exit_code: int | None = None
    signal: int | None = None
    restarts: int = 0
    reason: str = ""
    nodes: str = ""
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


# Of a heterogeneous job, what ended one component ends the others: these words say why, theirs only that.
_OWN_ENDS = ("NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT", "DEADLINE")


def whole(components: Sequence[Record]) -> Record:
    """Return a job as its first component shows it, but with the end of whichever component ended all of them."""
    first, *others = sorted(components, key=lambda record: component_of(record.job)[1])
    number, _ = component_of(first.job)
    ends = {record.state: record for record in reversed((first, *others))}
    cause = next((ends[state] for state in _OWN_ENDS if state in ends), first)
    is_over = first.state in _ENDED and first.state != "COMPLETED"
    state, reason = (cause.state, cause.reason) if is_over else (first.state, first.reason)
    nodes = ",".join(filter(None, (record.nodes for record in (first, *others))))
    return replace(first, job=number, state=state, reason=reason, nodes=nodes)


def describe(record: Record, native_id: NativeId) -> Seen:
    """Return what a record says, in the words of the model; a state that nobody knows changes nothing."""
    if record.state in _ENDED:
        return _ended(record, native_id)
    state = _ALIVE.get(record.state, NativeState.UNKNOWN)
    if state is NativeState.QUEUED and _is_held(record.reason):
        state = NativeState.HELD
    return Seen(
        native_id=native_id,
        state=state,
        detail=_detail_alive(record, state),
        nodes=record.nodes,
        restarts=record.restarts,
        queued_at=record.submitted_at,
        given_at=record.started_at if record.state == "RUNNING" else None,
        # while it waits, Slurm shows here when it expects to start it
        started_at=record.started_at if state is NativeState.RUNNING else None,
        raw=record.state,
    )


def _is_held(reason: str) -> bool:
    return reason in _HELD_REASONS or _HELD_WORDS in reason.lower().replace("_", " ").split()


def _detail_alive(record: Record, state: NativeState) -> str:
    reason = "" if record.reason in {"", "None"} else record.reason
    if state is NativeState.RUNNING:
        return "" if record.state == "RUNNING" else record.state.lower()
    if record.state not in {"PENDING", "REQUEUED"}:
        return f"{record.state.lower()} {reason}".rstrip()
    return f"{reason}: it will never start as it is" if reason in HOPELESS else reason


def _ended(record: Record, native_id: NativeId) -> Seen:
    reason, detail = _end_reason(record)
    is_own = record.state in _OWN_STATUS and reason is not EndReason.REJECTED
    return Seen(
        native_id=native_id,
        state=NativeState.ENDED,
        end_reason=reason,
        is_managers_doing=record.is_managers_doing and bool(record.nodes),
        exit_code=record.exit_code if is_own else None,
        signal=record.signal if is_own else None,
        detail=detail,
        nodes=record.nodes,
        restarts=record.restarts,
        queued_at=record.submitted_at,
        started_at=record.started_at,
        ended_at=record.ended_at,
        raw=record.state,
    )


def _end_reason(record: Record) -> tuple[EndReason, str]:
    if record.state == "FAILED" and not record.nodes:
        return EndReason.REJECTED, f"it never started: {record.reason or 'no node fits what it asks for'}"
    if record.state == "FAILED" and record.signal == _LAUNCH_FAILURE_SIGNAL:
        where = f" on {record.nodes}" if record.nodes else ""
        return EndReason.BOOT_FAILURE, f"launch failed{where}: its working folder or log can't be reached there"
    if record.state == "DEADLINE":
        return EndReason.TIMEOUT, "its deadline (--deadline) came first"
    has_words = record.reason not in {"", "None", "NonZeroExitCode", "JobLaunchFailure"}
    return _ENDED[record.state], f"{record.state} {record.reason}" if has_words else record.state


def parse_exit(text: str) -> tuple[int | None, int | None]:
    """Return the exit code and the signal in `3:0` (sacct) or in a wait status such as `768` (squeue of 22.05).

    The code is None for a job that died of a signal, and both are for a text that is neither.
    """
    code, colon, signal = text.partition(":")
    if not code.isdecimal() or (colon and not signal.isdecimal()):
        return None, None
    if colon:
        return (None, int(signal)) if int(signal) else (int(code), None)
    # the low byte is a signal and the core flag, the next one the exit code (wait(2))
    status = int(code)
    return (None, status & 0x7F) if status & 0x7F else (status >> 8, None)


def parse_time(text: str, zone: tzinfo | None = UTC) -> datetime | None:
    """Return a time such as `2026-11-24T02:27:33`; None for `N/A`, `NONE` and `Unknown`.

    It was printed under the TZ of a `zone`, or None for that of this process.
    """
    try:
        return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)
    except ValueError:
        return None
