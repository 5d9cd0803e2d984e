"""A backend on the test bench, with all that a check may do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from elisa.backends.protocol import Backend
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import Answered, JobRequest, NativeState, Observation, Seen
from elisa.model.resources import Resources

__all__ = ["BackendUnderTest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendUnderTest:
    """A backend and how its world is handled.

    `pass_time` lets seconds go by, really or virtually. `reopen` gives the same resource manager as another process would
    see it. `patience_s` is how long the start and the end of a job may take. `ahead_s` is how long a job runs behind which
    another is submitted. `shortest_walltime_s` 0: too long to wait for. Without `runs_programs` jobs only pretend; they are
    told what by variables that begin with SIM_.
    """

    backend: Backend
    reopen: Callable[[], Backend]
    folder: Path
    pass_time: Callable[[float], None]
    patience_s: float = 20.0
    step_s: float = 0.05
    ahead_s: float = 3.0
    shortest_walltime_s: int = 1
    runs_programs: bool = True

    def observe(self, native_id: NativeId) -> Observation:
        """Return what a poll says of one job; it must be an answer."""
        poll = self.backend.poll([native_id])
        if not isinstance(poll, Answered):
            raise AssertionError(poll)
        if set(poll.observations) != {native_id}:
            raise AssertionError(poll)
        return poll.observations[native_id]

    def wait_for(self, native_id: NativeId, *states: NativeState) -> Seen:
        """Let time pass until the job is in one of these states."""
        waited_s = 0.0
        while True:
            seen = self.observe(native_id)
            if isinstance(seen, Seen) and seen.state in states:
                return seen
            if waited_s >= self.patience_s:
                raise AssertionError(f"after {waited_s:g} s: {seen}")
            self.pass_time(self.step_s)
            waited_s += self.step_s

    def end_of(self, native_id: NativeId) -> Seen:
        """Let time pass until the job has ended."""
        return self.wait_for(native_id, NativeState.ENDED)

    def job(
        self, attempt: AttemptId, script: str, *arguments: str, seconds: float = 0.1, exit_code: int = 0
    ) -> JobRequest:
        """Return a job that runs a shell script; `seconds` and `exit_code` tell a simulation what that comes to."""
        return JobRequest(
            attempt=attempt,
            argv=("/bin/sh", "-c", script, "sh", *arguments),
            workdir=str(self.folder),
            stdout=str(self.folder / f"{attempt}.out"),
            stderr=str(self.folder / f"{attempt}.err"),
            resources=Resources(walltime_s=600),
            environment=(("PATH", "/usr/bin:/bin"), ("SIM_DURATION", str(seconds)), ("SIM_EXIT", str(exit_code))),
            grace_s=2.0,
        )
