"""A Slurm backend on a real private cluster, and what tests do with it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from elisa.backends.runner import SubprocessRunner
from elisa.backends.slurm.backend import SlurmBackend
from elisa.backends.slurm.options import SlurmOptions
from elisa.backends.under_test import BackendUnderTest
from elisa.model.ids import AttemptId, BackendName, NativeId, TaskId, attempt_id
from elisa.model.native import Answered, JobRequest, NativeState, Observation, Seen
from elisa.model.resources import Resources
from tests.real.slurm_cluster import SlurmCluster

__all__ = ["RealClock", "SlurmWorld", "a_world", "wait_until"]

_INSTANCES = itertools.count()
_TASKS = itertools.count()
_DEFAULT = SlurmOptions()


class RealClock:
    """The time of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmWorld:
    """A backend of an instance of its own on a real cluster; `folder` holds its jobs' output."""

    cluster: SlurmCluster
    backend: SlurmBackend
    folder: Path
    resources: Resources = field(default_factory=lambda: Resources(walltime_s=600, memory_mib_per_node=100))

    def job(self, script: str, **more: object) -> JobRequest:
        """Return a request for a shell script, under a task id of its own."""
        attempt = more.pop("attempt", None) or attempt_id(TaskId(f"t{next(_TASKS):09d}"), 1)
        fields = {
            "attempt": attempt,
            "argv": ("/bin/sh", "-c", script),
            "workdir": str(self.folder),
            "stdout": str(self.folder / f"{attempt}.out"),
            "stderr": str(self.folder / f"{attempt}.out"),
            "resources": self.resources,
            "environment": (("PATH", os.environ["PATH"]),),
        }
        return JobRequest(**(fields | more))  # type: ignore[arg-type]  # a builder passes on what it is given

    def submit(self, script: str, **more: object) -> NativeId:
        return self.backend.submit(self.job(script, **more))

    def see(self, native_id: NativeId) -> Observation:
        poll = self.backend.poll([native_id])
        assert isinstance(poll, Answered), poll
        return poll.observations[native_id]

    def wait_for(self, native_id: NativeId, *states: NativeState, within_s: float = 60.0) -> Seen:
        """Wait until a job is in one of these states."""
        found: list[Seen] = []

        def is_there() -> bool:
            seen = self.see(native_id)
            found[:] = [seen] if isinstance(seen, Seen) and seen.state in states else []
            return bool(found)

        wait_until(is_there, within_s=within_s)
        return found[0]

    def end_of(self, native_id: NativeId, within_s: float = 60.0) -> Seen:
        return self.wait_for(native_id, NativeState.ENDED, within_s=within_s)

    def output(self, attempt: AttemptId) -> str:
        return (self.folder / f"{attempt}.out").read_text()

    def on_the_bench(self) -> BackendUnderTest:
        """Return this world as the conformance checks want it."""
        return BackendUnderTest(
            backend=self.backend,
            reopen=lambda: self.backend,
            folder=self.folder,
            pass_time=time.sleep,
            patience_s=60.0,
            step_s=0.2,
            shortest_walltime_s=0,  # Slurm's grain is a minute: the time limit has a test of its own
        )


def a_world(cluster: SlurmCluster, folder: Path, options: SlurmOptions = _DEFAULT) -> SlurmWorld:
    """Return a world on a cluster that shares no tag with any other."""
    folder.mkdir(parents=True, exist_ok=True)
    backend = SlurmBackend(
        name=BackendName("slurm"),
        instance=f"{next(_INSTANCES):04x}",
        options=options,
        runner=SubprocessRunner(environment=cluster.env()),
        clock=RealClock(),
        uid=os.getuid(),
    )
    return SlurmWorld(cluster=cluster, backend=backend, folder=folder)


def wait_until(claim: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Wait for a claim to become true."""
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)
