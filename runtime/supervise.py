"""Watching over a running program until nothing of it is left: heartbeats, limits, signals, and its end."""

from __future__ import annotations

import os
import time

from elisa.runtime.guard import FenceGuard
from elisa.runtime.job import Job
from elisa.runtime.lean import Ignored, signal
from elisa.runtime.limits import Limits, OverLimit, Seen, first_over, next_look_s
from elisa.runtime.sample import GpuUse, Sample, Sampler, catches_signal, descendants
from elisa.runtime.segment import has_steps_left
from elisa.runtime.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import IO, Callable, Mapping

    from elisa.runtime.courier import Courier
    from elisa.runtime.deletion import Inquiry
    from elisa.runtime.eventfile import Scalar
    from elisa.runtime.gpu import GpuSampler

__all__ = ["FENCED", "SAVED_AND_LEFT", "SIGNALS", "Ending", "Supervisor", "block_signals", "usage_data"]

SIGNALS = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT, signal.SIGCHLD}
)
"""What an agent waits for. They are blocked, so that each is received in its turn and none can interrupt anything."""

_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
FENCED = "fenced"
"""Why a program ended that was killed because another may run in its place, or because its node was cut off."""
SAVED_AND_LEFT = 85
"""The status with which the checkpoint library ends a program that is to go on later."""

_USUAL_LEAD_S = 30.0
_LEFTOVER_GRACE_S = 1.0
_LEFTOVER_LIMIT_S = 10.0
_POLL_S = 0.02
_UNWATCHED_S = 0.05
_UNWATCHED_SHARE = 0.05  # of the silence that is taken for death
_WAIT_FOR_SAVE_S = 0.2
_SAVE_SHARE = 0.7  # of the grace, for a program that saves when it is asked to; the rest is to end in


class Ending(NamedTuple):
    """How the program ended. `why` is empty when it ended by itself; `taken` says who deletes the job, if that is known."""

    exit_code: int | None
    signal: int | None
    why: str
    run_s: float
    usage: Sample
    gpu_use: GpuUse
    taken: Mapping[str, str] = {}

    def status(self) -> int:
        """Return the status a shell would report."""
        return 128 + self.signal if self.signal else self.exit_code or 0


class _Stop(NamedTuple):
    why: str
    number: int
    term_at: float
    kill_at: float


def block_signals() -> None:
    """Receive `SIGNALS` by waiting for them from now on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


class Supervisor:
    """Watches one program. All times inside are of the monotonic clock; `saved_at` tells of its last restart file."""

    def __init__(
        self,
        job: Job,
        pid: int,
        courier: Courier,
        outputs: tuple[IO[bytes], ...],
        saved_at: Callable[[], float] = lambda: float("-inf"),
    ) -> None:
        self._job = job
        self._saved_at = saved_at
        self._pid = pid
        self._courier = courier
        self._outputs = outputs
        self._limits = Limits(job.memory_mib, job.walltime_s, job.output_limit_mib)
        self._sampler = Sampler(exact_above_mib=job.memory_mib)
        self._gpus = _gpus(job)
        self._gpu_use = GpuUse()
        self._began = time.monotonic()
        self._usage = Sample()
        self._seen = Seen()
        # Most of what is short has ended before it is worth watching. Nobody may be taken for dead so soon.
        self._watch_at = self._began + min(_UNWATCHED_S, job.self_fence_s * _UNWATCHED_SHARE)
        self._look_at = self._watch_at
        self._beat_at = self._watch_at
        self._save_at = self._first_save_at()
        self._asked_at = float("inf")
        self._was_announced = False  # that the walltime ends
        self._was_warned = False  # by the resource manager
        self._stop: _Stop | None = None
        self._inquiry: Inquiry | None = None
        self._taken: Mapping[str, str] = {}
        self._wait_status: int | None = None
        self._guard = FenceGuard(courier, job.self_fence_s, lambda: self._signal_group(signal.SIGKILL))

    def _first_save_at(self) -> float:
        """Return when the program is asked to save because its walltime comes to an end."""
        rules = self._job.checkpoint
        if rules is None or not self._job.walltime_s:
            return float("inf")
        lead_s = _USUAL_LEAD_S if rules.lead_s is None else rules.lead_s
        return self._began + max(self._job.walltime_s - lead_s, self._job.walltime_s / 2)

    def run(self) -> Ending:
        """Watch until the program has ended and nothing of it is left."""
        while self._wait_status is None:
            self._do_what_is_due()
            self._receive(self._next_due() - time.monotonic())
        run_s = time.monotonic() - self._began
        if self._inquiry is not None:
            self._taken = self._inquiry.answer()
        self._end_leftovers()
        if self._stop is not None and self._stop.why == "output_limit":
            self._cut_outputs()
        return self._ending(run_s)

    def kill(self) -> None:
        """End the program and everything below it at once."""
        self._signal_group(signal.SIGKILL)
        self._end_leftovers()

    def _begin_watching(self) -> None:
        """Fence from now on: before the first look at a file that may lie on a disk which does not answer."""
        if self._watch_at != float("inf"):
            self._watch_at = float("inf")
            self._guard.start()
            self._courier.start()

    def _next_due(self) -> float:
        stop_at = min(self._stop.term_at, self._stop.kill_at) if self._stop else float("inf")
        if self._stop and self._stop.term_at != float("inf"):
            stop_at = min(stop_at, time.monotonic() + _WAIT_FOR_SAVE_S)
        return min(self._watch_at, self._look_at, self._beat_at, self._save_at, stop_at)

    def _receive(self, timeout_s: float) -> None:
        info = signal.sigtimedwait(SIGNALS, max(0.0, timeout_s))
        if info is None:
            return
        if info.si_signo == signal.SIGCHLD:
            self._reap()
            return
        self._begin_watching()
        if info.si_signo in _ENDING:
            self._reap()  # of two signals that wait, this one comes first: the program may have ended before
            if self._wait_status is None:
                self._courier.send("stopping", {"signal": info.si_signo, "why": "asked"})
                self._begin_stop("stopped", info.si_signo, self._job.grace_s, save_first=self._ask_to_save())
                self._ask_who_deletes()
        elif info.si_signo == signal.SIGCONT:
            self._signal_group(signal.SIGCONT)
        else:
            self._was_warned = True
            self._courier.send("stopping", {"signal": info.si_signo, "why": "warned"})
            self._ask_to_save()

    def _ask_who_deletes(self) -> None:
        from elisa.runtime.deletion import inquire  # most jobs are never asked to leave

        self._inquiry = self._inquiry or inquire(os.environ)

    def _reap(self) -> None:
        with self._guard.lock:  # once it is reaped, its number may be another's
            self._wait_for_children()

    def _wait_for_children(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._guard.stand_down()
                self._wait_status = status

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        if now >= self._watch_at:
            self._begin_watching()
        if now >= self._look_at:
            self._look(now)
        if now >= self._beat_at:
            self._beat_at = now + self._job.heartbeat_s
            self._courier.send("heartbeat", usage_data(self._usage, self._gpu_use))
        if now >= self._save_at:
            self._save_at = float("inf")
            self._was_announced = True
            self._courier.send("stopping", {"signal": None, "why": "walltime"})
            self._ask_to_save()
        if self._stop:
            self._go_on_stopping(self._stop, now)

    def _go_on_stopping(self, stop: _Stop, now: float) -> None:
        has_saved = self._saved_at() > self._asked_at and stop.term_at != float("inf")
        if now >= stop.term_at or has_saved:
            self._stop = stop = stop._replace(term_at=float("inf"))
            self._signal_group(stop.number)
            self._signal_group(signal.SIGCONT)
        if now >= stop.kill_at:
            self._stop = stop._replace(kill_at=now + 1.0)
            self._signal_group(signal.SIGKILL)

    def _look(self, now: float) -> None:
        """Sample, and act on limits and on the fence."""
        before = self._seen
        self._usage = self._sampler.sample()
        if self._gpus is not None:
            self._gpu_use = self._gpus.sample(now)
        self._seen = Seen(self._usage.memory_mib, now - self._began, self._output_mib())
        self._look_at = min(
            now + next_look_s(self._limits, before, self._seen, self._job.sample_s), self._walltime_ends_after(now)
        )
        over = first_over(self._limits, self._seen)
        self._reap()  # who has ended meanwhile is over no limit
        if over is not None and self._wait_status is None and self._may_be_stopped(over):
            self._stop_because(over)

    def _may_be_stopped(self, over: OverLimit) -> bool:
        return self._stop is None or (over.is_emergency and self._stop.why == "stopped")

    def _walltime_ends_after(self, now: float) -> float:
        end = self._began + self._job.walltime_s
        return end if self._job.walltime_s and end > now else float("inf")

    def _output_mib(self) -> float:
        return sum(os.fstat(output.fileno()).st_size for output in self._outputs) / 2**20

    def _stop_because(self, over: OverLimit) -> None:
        self._tell_over(over)
        self._begin_stop(over.why, signal.SIGTERM, 0.0 if over.is_emergency else self._job.grace_s)

    def _tell_over(self, over: OverLimit) -> None:
        data: dict[str, Scalar] = {"resource": over.resource, "limit": over.limit, "seen": round(over.seen, 3)}
        self._courier.send("over_limit", data, is_durable=True)

    def _begin_stop(self, why: str, number: int, grace_s: float, *, save_first: bool = False) -> None:
        now = time.monotonic()
        term_at = now + grace_s * _SAVE_SHARE if save_first else now
        if self._stop is None:
            self._stop = _Stop(why, number, term_at, now + grace_s)
        else:
            self._stop = self._stop._replace(term_at=now, kill_at=min(now + grace_s, self._stop.kill_at))
        self._go_on_stopping(self._stop, now)

    def _ask_to_save(self) -> bool:
        """Tell the program's library by a file, and those of its processes that listen to it by the agreed signal.

        Return whether there is a program of another kind that listens, and that needs time to save before it ends.
        """
        self._asked_at = time.monotonic()
        with Ignored(OSError):  # the signal says the same
            os.close(os.open(self._job.stop_file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        number = _signal_number(self._job)
        listening = [pid for pid in descendants(os.getpid()) if catches_signal(pid, number)]
        for pid in listening:
            _send(pid, number)
        return bool(listening and self._job.checkpoint and self._job.checkpoint.pattern)

    def _cut_outputs(self) -> None:
        """Keep the beginning of what flooded the disk: there stands why."""
        most = int(self._limits.output_mib * 2**20)
        for output in self._outputs:
            if os.fstat(output.fileno()).st_size > most:
                os.truncate(output.fileno(), most)
                output.write(b"\n[elisa: the rest is cut off, and the program was stopped]\n")

    def _signal_group(self, number: int) -> None:
        _send(-self._pid, number)
        if number == signal.SIGKILL:
            for pid in descendants(os.getpid()):
                _send(pid, number)

    def _end_leftovers(self) -> None:
        """End every process the program left, wherever it hid."""
        began = time.monotonic()
        while time.monotonic() - began < _LEFTOVER_LIMIT_S:
            self._reap()
            left = descendants(os.getpid())
            if not left:
                return
            self._courier.start()
            is_patient = time.monotonic() - began < _LEFTOVER_GRACE_S
            for pid in left:
                _send(pid, signal.SIGTERM if is_patient else signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, _POLL_S)

    def _ending(self, run_s: float) -> Ending:
        status = self._wait_status or 0
        usage = self._sampler.final()
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        exit_code = None if number else os.WEXITSTATUS(status)
        why = self._why(exit_code, run_s)
        taken = self._taken if why == "stopped" else {}
        return Ending(exit_code, number, why, round(run_s, 3), usage, self._gpu_use, taken)

    def _why(self, exit_code: int | None, run_s: float) -> str:
        if self._guard.has_fenced:
            return FENCED
        if self._stop is not None:
            return self._stop.why
        if exit_code not in {0, SAVED_AND_LEFT} and _tells_of_memory(self._outputs):
            return "out_of_memory"
        if exit_code == 0 and not self._has_left_early():
            return ""
        if exit_code not in {0, SAVED_AND_LEFT} and not self._was_announced:
            return ""
        if self._was_warned and run_s < self._job.walltime_s / 2:
            return "stopped"
        self._tell_over(OverLimit("walltime", self._job.walltime_s, run_s, "timeout"))
        return "timeout"

    def _has_left_early(self) -> bool:
        """Tell whether a program that was warned calls it a success to have saved, with steps still to do."""
        if not (self._was_warned or self._was_announced):
            return False
        try:
            return has_steps_left(self._job)
        except OSError:
            return False  # as if it had not counted


def _gpus(job: Job) -> GpuSampler | None:
    if not job.gpus_per_node:
        return None
    from elisa.runtime.gpu import open_gpus  # most jobs ask for none

    return open_gpus(os.environ)


def _tells_of_memory(outputs: tuple[IO[bytes], ...]) -> bool:
    from elisa.runtime.stepwords import tells_of_memory  # most programs do not fail

    return tells_of_memory(outputs)


def usage_data(usage: Sample, gpu_use: GpuUse) -> dict[str, Scalar]:
    """Return what was used as the data of an event."""
    return {
        "cpu_s": round(usage.cpu_s, 3),
        "memory_mib": round(usage.memory_mib),
        "max_memory_mib": round(usage.max_memory_mib),
        "gpu_s": round(gpu_use.gpu_s, 3),
        "max_gpu_memory_mib": round(gpu_use.max_memory_mib),
        "gpu_j": round(gpu_use.energy_j, 1),
        "processes": usage.processes,
    }


def _signal_number(job: Job) -> int:
    name = job.checkpoint.signal if job.checkpoint else "USR2"
    return int(getattr(signal, "SIG" + name.upper().replace("SIG", "", 1), signal.SIGUSR2))


def _send(pid: int, number: int) -> None:
    with Ignored(ProcessLookupError, PermissionError):  # it has ended, or is somebody else's by now
        os.kill(pid, number)
