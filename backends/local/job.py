"""The folder of one local job: what was asked, whether it lives, how it ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path

from elisa.backends.local import supervisor
from elisa.backends.local.numa import ANYWHERE
from elisa.backends.local.slots import Held
from elisa.model.ids import AttemptId, NativeId, is_attempt_id
from elisa.model.native import JobRequest, NativeState, Seen
from elisa.model.states import EndReason

__all__ = ["Life", "LocalJob", "held_of", "native_id_of", "split_native_id"]


def native_id_of(pid: int, attempt: AttemptId) -> NativeId:
    """Return the native id of a local job, such as `4711.t7k2m9qx4t.1`: its supervisor's process and its attempt."""
    return NativeId(f"{pid}.{attempt}")


def split_native_id(native_id: NativeId) -> tuple[int, AttemptId] | None:
    """Return the process and the attempt of a native id; None for a text that this backend never gave out."""
    pid, _, attempt = native_id.partition(".")
    return (int(pid), AttemptId(attempt)) if pid.isdecimal() and pid.isascii() and is_attempt_id(attempt) else None


class Life(Enum):
    """How far a job has come, as its folder and the process table say."""

    UNSTARTED = auto()  # asked for; whether its supervisor comes up is not decided yet
    VOID = auto()  # decided: it never runs
    SUPERVISED = auto()
    ORPHANED = auto()  # its supervisor was killed, its agent lives
    ENDED = auto()
    REBOOTED = auto()  # the machine went down under it
    ELSEWHERE = auto()  # another machine's processes: nothing can be said from here


@dataclass(frozen=True, slots=True)
class LocalJob:
    """One job's folder. What is in it was written by the backend (request, cancel) and its supervisor (the rest)."""

    folder: Path
    attempt: AttemptId

    @property
    def record(self) -> Mapping[str, str] | None:
        """Who supervises the job, once that is decided; it never changes then."""
        return supervisor.read_fields(f"{self.folder}/job")

    @property
    def native_id(self) -> NativeId | None:
        """The job's native id; None if it has none yet, or never will."""
        record = self.record
        return None if record is None or "void" in record else native_id_of(int(record["pid"]), self.attempt)

    def life(self) -> Life:
        """Look at the folder and at the process table."""
        record = self.record
        if record is None:
            return Life.UNSTARTED
        if "void" in record:
            return Life.VOID
        if self.has_last_word:
            return Life.ENDED
        if record["boot"] != supervisor.boot_id():
            return Life.REBOOTED if record["host"] == supervisor.host_name() else Life.ELSEWHERE
        if _lives(record):
            return Life.SUPERVISED
        # The supervisor may have written its last word and left since we looked for it.
        return Life.ORPHANED if not self.has_last_word and _lives(self._program()) else Life.ENDED

    @property
    def has_last_word(self) -> bool:
        """Its supervisor wrote down how it ended."""
        return os.path.exists(f"{self.folder}/exit")

    def _program(self) -> Mapping[str, str]:
        return supervisor.read_fields(f"{self.folder}/program") or {}

    def write_request(self, request: JobRequest, environment: Mapping[str, str]) -> None:
        """Write down what the supervisor is to run."""
        fields = [request.attempt, request.workdir, request.stdout, request.stderr]
        fields += [str(request.resources.walltime_s), str(request.grace_s), str(len(environment))]
        fields += [f"{name}={value}" for name, value in environment.items()]
        fields += request.argv
        data = b"".join(os.fsencode(field) + b"\0" for field in fields)
        handle = os.open(f"{self.folder}/request", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as file:
            file.write(data)

    def void(self) -> bool:
        """Decide that the job never runs; False if its supervisor was faster."""
        return supervisor.link_once(f"{self.folder}/job", {"void": 1})

    def allow_again(self) -> None:
        """Take back that the job never runs."""
        os.unlink(f"{self.folder}/job")

    def stop(self, why: str, now: datetime) -> None:
        """Write down that the job is to end, and tell whoever can end it gently."""
        if not os.path.exists(f"{self.folder}/cancel"):
            supervisor.write_fields(f"{self.folder}/cancel", {"why": why, "at": now.timestamp()})
        if self.life() is Life.SUPERVISED and self.record is not None:
            _send(self.record, signal.SIGTERM)
        else:
            _send(self._program(), signal.SIGTERM)

    def enforce(self, now: datetime) -> None:
        """Do for an orphan what its supervisor would have done: its time limit, and the end of its grace."""
        request = supervisor.Request(Path(f"{self.folder}/request").read_bytes())
        cancel = supervisor.read_fields(f"{self.folder}/cancel")
        if cancel is not None:
            if now.timestamp() > float(cancel["at"]) + request.grace_s:
                self.sweep()
        elif request.walltime_s and now.timestamp() > float(self._program()["at"]) + request.walltime_s:
            self.stop("walltime", now)

    def sweep(self) -> int:
        """Kill what is left of the job, wherever it hides; return how many processes that were."""
        native_id, program = self.native_id, self._program()
        session = int(program.get("pid", -1))
        return supervisor.kill_all(os.fsencode(native_id or "-"), session, signal.SIGKILL)

    def describe(self, life: Life, native_id: NativeId) -> Seen:
        """Say what is known of a job that once was started."""
        started_at = _time(self._program()) or _time(self.record or {})
        match life:
            case Life.SUPERVISED | Life.ORPHANED:
                state, reason, detail = NativeState.RUNNING, None, ""
            case Life.ELSEWHERE:
                host = (self.record or {})["host"]
                state, reason, detail = NativeState.UNKNOWN, None, f"started on {host}: ask there"
            case Life.REBOOTED:
                state, reason, detail = NativeState.ENDED, EndReason.NODE_FAILURE, "the machine was restarted"
            case _:
                return self._describe_end(native_id, started_at)
        queued_at = _time(self.record or {})
        return Seen(
            native_id=native_id,
            state=state,
            end_reason=reason,
            detail=detail,
            nodes=(self.record or {}).get("host", ""),
            queued_at=queued_at,
            started_at=started_at,
            raw=life.name.lower(),
        )

    def _describe_end(self, native_id: NativeId, started_at: datetime | None) -> Seen:
        last = supervisor.read_fields(f"{self.folder}/exit")
        if last is None:
            cancel = supervisor.read_fields(f"{self.folder}/cancel") or {}
            last = {"stopped": cancel.get("why", "lost"), "why": "its processes are gone and nobody saw them end"}
        status = int(last["status"]) if "status" in last else None
        return Seen(
            native_id=native_id,
            state=NativeState.ENDED,
            end_reason=_reason(last, status),
            exit_code=os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else None,
            signal=os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None,
            detail=last.get("why", _STOPPED_WORDS.get(last["stopped"], "")),
            nodes=(self.record or {}).get("host", ""),
            queued_at=_time(self.record or {}),
            started_at=started_at,
            ended_at=_time(last),
            raw=" ".join(f"{name}={value}" for name, value in last.items()),
        )


_STOPPED_REASONS = {
    "cancel": EndReason.CANCELLED,
    "walltime": EndReason.TIMEOUT,
    "outside": EndReason.NODE_FAILURE,
    "lost": EndReason.LOST,
}
_STOPPED_WORDS = {
    "cancel": "cancelled",
    "walltime": "stopped at its time limit",
    "outside": "stopped with everything else on this machine",
}


def _reason(last: Mapping[str, str], status: int | None) -> EndReason:
    if last["stopped"]:
        return _STOPPED_REASONS[last["stopped"]]
    if last.get("oom") == "1":
        return EndReason.OUT_OF_MEMORY
    return EndReason.COMPLETED if status == 0 else EndReason.FAILED


def _lives(process: Mapping[str, str]) -> bool:
    return bool(process) and supervisor.start_ticks(int(process["pid"])) == int(process["start"])


def _send(process: Mapping[str, str], number: int) -> None:
    """Signal a process by a handle to it, so that another one with its number is never hit."""
    try:
        handle = os.pidfd_open(int(process.get("pid", -1)))
    except (ProcessLookupError, OSError):
        return
    try:
        if _lives(process):
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def _time(fields: Mapping[str, str]) -> datetime | None:
    return datetime.fromtimestamp(float(fields["at"]), UTC) if "at" in fields else None


def held_of(fields: Mapping[str, str]) -> Held:
    """Return what the marker of a live job says it holds."""
    gpus = tuple(int(gpu) for gpu in fields.get("gpus", "").split(",") if gpu)
    numa = int(fields.get("numa", ANYWHERE))
    return Held(cpus=int(fields["cpus"]), memory_mib=int(fields["memory_mib"]), gpus=gpus, numa=numa)
