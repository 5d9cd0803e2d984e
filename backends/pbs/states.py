"""What PBS's words about a job mean.

States and substates: "Job States" and "Job Substates" in the PBS Professional Reference Guide, chapter 8
(https://help.altair.com/2024.1.0/PBS%20Professional/PBSReferenceGuide2024.1.pdf); exit statuses: `JOB_EXEC_*` in
https://github.com/openpbs/openpbs/blob/v23.06.06/src/include/job.h. Torque's statuses:
http://docs.adaptivecomputing.com/torque/6-1-2/adminGuide/torque.htm#topics/torque/2-jobs/jobExitStatus.htm. All but
Torque's were also seen on a running OpenPBS 23.06.06.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from elisa.backends.pbs.attributes import Attributes, parse_seconds, parse_time, whole
from elisa.backends.pbs.options import Dialect
from elisa.model.ids import NativeId
from elisa.model.native import NativeState, Seen
from elisa.model.states import EndReason

__all__ = ["LAUNCH_SIGNAL", "Record", "describe", "read_record"]

_ALIVE: Mapping[str, NativeState] = {
    "Q": NativeState.QUEUED,
    "H": NativeState.HELD,
    "W": NativeState.QUEUED,
    "T": NativeState.QUEUED,
    "B": NativeState.RUNNING,
    "R": NativeState.RUNNING,
    "E": NativeState.RUNNING,
    "S": NativeState.RUNNING,
    "U": NativeState.RUNNING,
}
_WORDS: Mapping[str, str] = {
    "W": "waits for its time",
    "T": "moves between queues",
    "E": "is ending",
    "S": "suspended",
    "U": "suspended: its workstation is in use",
}
# X is a finished part of an array, C what Torque calls F.
_ENDED = frozenset({"F", "X", "C"})

_WAITS_FOR_A_JOB = 22
_SENT = 41
_DELETED = 91

_OPENPBS_STATUSES: Mapping[int, tuple[EndReason, str]] = {
    -1: (EndReason.BOOT_FAILURE, "could not be started"),
    -2: (EndReason.BOOT_FAILURE, "could not be started after its files were staged in"),
    -3: (EndReason.BOOT_FAILURE, "could not be started this time"),
    -4: (EndReason.NODE_FAILURE, "its node's daemon was restarted"),
    -5: (EndReason.NODE_FAILURE, "its node's daemon was restarted"),
    -6: (EndReason.NODE_FAILURE, "its node's daemon was restarted"),
    -7: (EndReason.BOOT_FAILURE, "could not be restarted"),
    -10: (EndReason.BOOT_FAILURE, "its user or group is not known on the node"),
    -11: (EndReason.NODE_FAILURE, "was to be run again, and may not"),
    -12: (EndReason.PREEMPTED, "was checkpointed by PBS and killed"),
    -13: (EndReason.BOOT_FAILURE, "its password was refused"),
    -14: (EndReason.NODE_FAILURE, "a sister node failed it"),
    -16: (EndReason.BOOT_FAILURE, "a hook of the site did not let it start"),
    -17: (EndReason.BOOT_FAILURE, "a hook of the site did not let it start"),
    -18: (EndReason.PREEMPTED, "a hook of the site wanted it run again"),
    -19: (EndReason.CANCELLED, "a hook of the site deleted it"),
    -20: (EndReason.NODE_FAILURE, "its first node was lost"),
    -21: (EndReason.BOOT_FAILURE, "the node's PBS folders are not safe"),
    -22: (EndReason.BOOT_FAILURE, "a hook of the site went wrong"),
    -23: (EndReason.BOOT_FAILURE, "it had no Kerberos credentials"),
    -24: (EndReason.FAILED, "used more cores than it asked for"),
    -25: (EndReason.FAILED, "used more core time than it asked for"),
    -26: (EndReason.OUT_OF_MEMORY, "over its limit of virtual memory"),
    -27: (EndReason.OUT_OF_MEMORY, "over its limit of memory"),
    -28: (EndReason.TIMEOUT, "over its limit of processor time"),
    -29: (EndReason.TIMEOUT, "over its time limit"),
    -30: (EndReason.BOOT_FAILURE, "its nodes did not come together"),
}
_TORQUE_STATUSES: Mapping[int, tuple[EndReason, str]] = {
    **{status: ending for status, ending in _OPENPBS_STATUSES.items() if status >= -7},
    -8: (EndReason.BOOT_FAILURE, "its program could not be executed"),
    -9: (EndReason.BOOT_FAILURE, "its output files could not be opened"),
    -10: (EndReason.OUT_OF_MEMORY, "over its limit of memory"),
    -11: (EndReason.TIMEOUT, "over its time limit"),
    -12: (EndReason.TIMEOUT, "over its limit of processor time"),
    -13: (EndReason.BOOT_FAILURE, "its control groups could not be made"),
    -14: (EndReason.BOOT_FAILURE, "the site's prologue failed"),
}
_STATUSES = {Dialect.OPENPBS: _OPENPBS_STATUSES, Dialect.TORQUE: _TORQUE_STATUSES}

_SIGNAL_BASE = 256
_NO_PROGRAM = 254
_TERM = 15

LAUNCH_SIGNAL = 31
"""SIGSYS: what our own first line kills itself with where a job's folder or log can't be reached on its node.

The agent never dies of it: it ends with 128 + 31 if its program does.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One job in PBS's own words."""

    name: str
    state: str
    substate: int | None = None
    exit_status: int | None = None
    holds: str = ""
    comment: str = ""
    depend: str = ""
    command: str = ""
    nodes: str = ""
    runs: int = 0
    used_s: int = 0
    limit_s: int = 0
    queued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    changed_at: datetime | None = None


def read_record(attributes: Attributes) -> Record:
    """Return the record in a job's attributes; what is missing is empty."""
    return Record(
        name=attributes.get("Job_Name", ""),
        state=attributes.get("job_state", ""),
        substate=whole(attributes.get("substate")),
        exit_status=whole(attributes.get("Exit_status", attributes.get("exit_status"))),
        holds=attributes.get("Hold_Types", "n"),
        comment=attributes.get("comment", ""),
        depend=_waits_for(attributes.get("depend", "")),
        command=attributes.get("argument_list", ""),
        nodes=_hosts(attributes.get("exec_host", "")),
        runs=whole(attributes.get("run_count", attributes.get("start_count"))) or 0,
        used_s=parse_seconds(attributes.get("resources_used.walltime")),
        limit_s=parse_seconds(attributes.get("Resource_List.walltime")),
        queued_at=parse_time(attributes.get("qtime")),
        started_at=parse_time(attributes.get("stime", attributes.get("start_time"))),
        ended_at=_ended_at(attributes),
        changed_at=parse_time(attributes.get("mtime")),
    )


def _waits_for(depend: str) -> str:
    """Return what a job waits for: PBS lists there too who waits for it, as `beforeok:7.server@server`."""
    return ",".join(part for part in depend.split(",") if part.startswith("after"))


def _hosts(exec_host: str) -> str:
    """Return each host of `n1/0*2+n2/1` once, in order, joined by commas."""
    return ",".join(dict.fromkeys(part.partition("/")[0] for part in exec_host.split("+") if part))


def _ended_at(attributes: Attributes) -> datetime | None:
    for name in ("comp_time", "obittime", "mtime"):
        if name in attributes:
            return parse_time(attributes[name])
    return None


def describe(record: Record, native_id: NativeId, dialect: Dialect) -> Seen:
    """Return what a record says, in the words of the model; a state that nobody knows changes nothing."""
    if record.state in _ENDED:
        return _ended(record, native_id, dialect)
    state = _ALIVE.get(record.state, NativeState.UNKNOWN)
    if (state is NativeState.HELD and _waits_for_a_job(record)) or _is_only_sent(record):
        state = NativeState.QUEUED
    return Seen(
        native_id=native_id,
        state=state,
        detail=_detail_alive(record, state),
        nodes=record.nodes if state is NativeState.RUNNING else "",
        restarts=max(0, record.runs - 1),
        queued_at=record.queued_at,
        given_at=_given_at(record),
        started_at=record.started_at if state is NativeState.RUNNING else None,
        raw=record.state,
    )


def _waits_for_a_job(record: Record) -> bool:
    """Tell a dependency from a hold: PBS shows both as H, with its own hold `s` for the first."""
    if record.substate is None:
        return bool(record.depend) and record.holds == "s"
    return record.substate == _WAITS_FOR_A_JOB and record.holds in {"s", "n"}


def _is_only_sent(record: Record) -> bool:
    """Tell whether a job that PBS shows as R is still on its way to its node, which has not said that it began."""
    return record.state == "R" and record.substate == _SENT and record.started_at is None


def _given_at(record: Record) -> datetime | None:
    """Return since when a job should run that PBS shows as R: of one that is only sent, its record has not changed since."""
    if record.state != "R":
        return None
    return record.changed_at if _is_only_sent(record) else record.started_at


def _detail_alive(record: Record, state: NativeState) -> str:
    if record.state == "H":
        return f"waits for {record.depend}" if state is NativeState.QUEUED else _hold_words(record)
    if record.state == "Q":
        return record.comment.removeprefix("Not Running: ")
    if _is_only_sent(record):
        return "is sent to its node"
    return _WORDS.get(record.state, "")


def _hold_words(record: Record) -> str:
    return record.comment or f"held ({record.holds})"


def _ended(record: Record, native_id: NativeId, dialect: Dialect) -> Seen:
    reason, detail = _ending(record, dialect)
    status = record.exit_status
    return Seen(
        native_id=native_id,
        state=NativeState.ENDED,
        end_reason=reason,
        exit_code=_exit_code(status) if reason is not EndReason.LOST else None,
        signal=status - _SIGNAL_BASE if status is not None and status > _SIGNAL_BASE else None,
        detail=detail,
        nodes=record.nodes,
        restarts=max(0, record.runs - 1),
        queued_at=record.queued_at,
        started_at=record.started_at,
        ended_at=record.ended_at,
        raw=record.state if status is None else f"{record.state} {status}",
    )


def _exit_code(status: int | None) -> int | None:
    return status if status is not None and 0 <= status < _SIGNAL_BASE else None


def _ending(record: Record, dialect: Dialect) -> tuple[EndReason, str]:
    """Return why a job ended. The order matters: a deleted job has any status at all, 271, 143 or its program's own."""
    status = record.exit_status
    if status is None:
        return _never_ran(record)
    if status < 0:
        words = f"ended by PBS with status {status}"
        return _STATUSES[dialect].get(status, (EndReason.FAILED, words))
    if record.substate == _DELETED:
        return _deleted(_after_and(record.comment))
    if status == _SIGNAL_BASE + _TERM and dialect is Dialect.TORQUE:
        is_over = 0 < record.limit_s <= record.used_s
        return (EndReason.TIMEOUT, "over its time limit") if is_over else (EndReason.CANCELLED, "deleted")
    if status == 0:
        is_known = record.started_at is not None or dialect is Dialect.TORQUE
        return (EndReason.COMPLETED, "") if is_known else _killed_or_done()
    if status == _SIGNAL_BASE + LAUNCH_SIGNAL:
        return EndReason.BOOT_FAILURE, f"its folder or log can't be reached on {record.nodes or 'its node'}"
    return EndReason.FAILED, "PBS says this too of a program it can't start" if status == _NO_PROGRAM else ""


def _killed_or_done() -> tuple[EndReason, str]:
    # `qterm -t immediate` after `-t quick`: SIGKILL after 13 s of 60, Exit_status 0, substate 92, no stime (OpenPBS 23.06.06)
    return EndReason.LOST, "its server was restarted: status 0 then means success, or killed with the server"


def _never_ran(record: Record) -> tuple[EndReason, str]:
    if record.substate != _DELETED and record.depend:
        return EndReason.LOST, f"never ran: what it waited for failed or is unknown ({record.depend})"
    if record.started_at is None or record.substate == _DELETED:
        return EndReason.CANCELLED, "deleted before it ran" if record.started_at is None else "deleted"
    return EndReason.LOST, "ended without an exit status"


def _deleted(words: str) -> tuple[EndReason, str]:
    # by `preempt_order` D, or where suspending is not allowed and -r n forbids to requeue (seen on OpenPBS 23.06.06)
    if words.startswith("terminated by Scheduler@"):
        return EndReason.PREEMPTED, words
    return EndReason.CANCELLED, words


def _after_and(comment: str) -> str:
    """Return the end of `Job run at ... on (...) and terminated by somebody@host`."""
    return comment.rpartition(" and ")[2] if " and " in comment else "deleted"
