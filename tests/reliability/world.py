"""A small universe for tests of the engine: a real state folder, virtual time, seeded chance, a simulated cluster.

The cluster outlives every crash of elisa, as a real one does.
"""

from __future__ import annotations

import os
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from elisa.backends.protocol import Backend
from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.clock import VirtualClock
from elisa.backends.simulated.cluster import Cluster
from elisa.backends.simulated.job import Cause, SimJob
from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.config import Site
from elisa.engine.files import Entry, Files, OsFiles
from elisa.engine.health import Health, HealthBook
from elisa.engine.outcome import TickReport
from elisa.engine.seals import create_secret
from elisa.engine.spool import make_spool
from elisa.engine.submit import submit
from elisa.engine.threads import Background, in_background
from elisa.engine.tick import tick
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.ids import AttemptId, BackendName, NativeId, PipelineId, ProjectName, TaskId, task_of
from elisa.model.native import Capabilities, JobRequest
from elisa.model.pipeline import Pipeline, TaskSpec
from elisa.model.ports import CrashPoint, no_crash
from elisa.model.states import FINAL_TASK_STATES, TaskState
from elisa.model.task import Attempt, Task
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.builders import SeededRandom

__all__ = ["START", "Run", "SideBySide", "World", "scratch_folder"]

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
UID = os.geteuid()
_SITE = Site.model_validate({"backends": {"sim": {"kind": "simulated"}}, "jobs": {"self_fence": "60s"}})


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a fresh folder, in memory where there is such a place: thousands of these tests wait for no disk."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


@dataclass(slots=True, kw_only=True)
class Run:
    """A program that ran on the cluster; `ended_us` None: it still does."""

    task: TaskId
    attempt: AttemptId
    native_id: str
    began_us: int
    ended_us: int | None = None
    is_complete: bool = False
    saved: int = -1


class CopiedFiles(OsFiles):
    """Files whose inodes follow from their names, so that a copy of a state folder is as good as the original."""

    def entries(self, folder: Path) -> tuple[Entry, ...]:
        found = super().entries(folder)
        return tuple(replace(entry, inode=zlib.crc32(f"{folder.parent.name}/{entry.name}".encode())) for entry in found)


class Recorder:
    """Sees every job that the cluster takes, and every program that it starts and ends, before the cluster forgets."""

    def __init__(self, cluster: Cluster) -> None:
        self.runs: dict[tuple[int, int, str], Run] = {}
        self.accepted: list[AttemptId] = []
        self._cluster = cluster
        self._begin, self._say_end, self._accept, self._leave, self._forget = (
            cluster._agent.begin,
            cluster._agent.end,
            cluster.accept,
            cluster._leave,
            cluster.forget,
        )
        cluster._agent.begin = self.begin  # type: ignore[method-assign]
        cluster._agent.end = self.end  # type: ignore[method-assign]
        cluster.accept = self.accept  # type: ignore[method-assign]
        cluster._leave = self.leave  # type: ignore[method-assign]
        cluster.forget = self.forget  # type: ignore[method-assign]

    def accept(self, job: SimJob) -> None:
        self.accepted.append(job.attempt)
        self._accept(job)

    def begin(self, job: SimJob, us: int) -> str:
        why = self._begin(job, us)
        if not why:
            attempt = AttemptId(job.attempt_now)
            run = Run(task=task_of(attempt), attempt=attempt, native_id=job.id, began_us=us)
            self.runs[job.order, job.restarts, attempt] = run
        return why

    def end(self, job: SimJob, us: int) -> None:
        self._say_end(job, us)
        self._end(job, is_complete=job.cause is Cause.COMPLETION)

    def leave(self, job: SimJob) -> None:
        self._end(job, is_complete=job.cause is Cause.COMPLETION)
        self._leave(job)

    def forget(self, native_id: NativeId) -> None:
        job = self._cluster.jobs.get(native_id)
        if job is not None and job.is_up:
            self._end(job, is_complete=False)
        self._forget(native_id)

    def _end(self, job: SimJob, *, is_complete: bool) -> None:
        run = self.runs.get((job.order, job.restarts, job.attempt_now))
        if run is not None and run.ended_us is None:
            run.ended_us, run.is_complete, run.saved = self._cluster.now_us, is_complete, job.saved or -1


class SideBySide:
    """The simulated cluster as one that takes submissions side by side. It works on one of them at a time."""

    def __init__(self, cluster: SimulatedBackend, at_once: int) -> None:
        self._cluster = cluster
        self._at_once = at_once
        self._here = 0
        self.most_at_once = 0
        # by process: a child that is forked in the middle of a submission must not wait for that to end
        self._turns: dict[int, threading.Lock] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    @property
    def capabilities(self) -> Capabilities:
        return replace(self._cluster.capabilities, submits_at_once=self._at_once)

    def submit(self, request: JobRequest) -> NativeId:
        with self._alone():
            return self._cluster.submit(request)

    def submit_array(self, requests: Sequence[JobRequest]) -> Mapping[AttemptId, NativeId]:
        with self._alone():
            return self._cluster.submit_array(requests)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._here += 1
        self.most_at_once = max(self.most_at_once, self._here)
        try:
            with self._turns.setdefault(os.getpid(), threading.Lock()):
                yield
        finally:
            self._here -= 1


@dataclass(slots=True, kw_only=True)
class World:
    """Everything a test drives. `crash` is what the next workspace is opened with.

    `cut_at` is when a cap was lowered last: what was admitted before may stand above it.
    """

    home: Path
    clock: VirtualClock
    random: SeededRandom
    cluster: SimulatedBackend
    recorder: Recorder
    site: Site = _SITE
    crash: CrashPoint = no_crash
    files: Callable[[CrashPoint], Files] = CopiedFiles
    extra: dict[str, Backend] = field(default_factory=dict)
    cut_at: datetime | None = None
    background: Background = in_background

    @classmethod
    def make(cls, home: Path, *, seed: int = 0, spec: ClusterSpec | None = None, site: Site = _SITE) -> World:
        clock = VirtualClock(START)
        spec = spec or ClusterSpec(nodes=(NodeType(name="node", count=2, cpus=4),), seed=seed, heartbeat_s=30)
        cluster = SimulatedBackend(spec, clock, name="sim")
        recorder = Recorder(cluster._cluster)
        world = cls(home=home, clock=clock, random=SeededRandom(seed), cluster=cluster, recorder=recorder, site=site)
        cluster._crash = world.pass_point
        files = OsFiles()
        for folder in (home, layout.claims(home), layout.runs(home)):
            files.make_folder(folder)
        create_secret(files, home, world.random)
        make_spool(files, home)
        Writer.create(home, clock=clock, random=world.random, actor="ada").close()
        return world

    def workspace(self) -> Workspace:
        """Return a workspace as a fresh process would open it."""
        return Workspace(
            home=self.home,
            site=self.site,
            clock=self.clock,
            random=self.random,
            crash=self.crash,
            files=self.files(self.crash),
            backends={BackendName("sim"): self.cluster, **{BackendName(k): v for k, v in self.extra.items()}},
            actor="ada",
            uid=UID,
            environment={"PATH": "/usr/bin:/bin"},
            background=self.background,
        )

    def pass_point(self, point: str) -> None:
        """Pass a crash point of the cluster: elisa may die while the cluster works on its request."""
        self.crash(point)

    def submit(self, *specs: TaskSpec, project: str = "nlp") -> PipelineId:
        pipeline = Pipeline(name="study", project=ProjectName(project), tasks=specs)
        return submit(self.workspace(), pipeline).pipeline_id

    def tick(self) -> TickReport:
        return tick(self.workspace())

    def health(self) -> Mapping[str, Health]:
        """Return what of the managers is not well, as the last tick left it."""
        return HealthBook(OsFiles(), self.home).sick

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def tasks(self) -> dict[str, Task]:
        with Reader.open(self.home) as reader:
            ids = [row.id for row in reader.task_rows()]
            return {task.spec.name: task for task in reader.tasks(ids).values()}

    def attempts(self, name: str) -> tuple[Attempt, ...]:
        task = self.tasks()[name].id
        with Reader.open(self.home) as reader:
            return reader.attempts_of(task)

    def states(self) -> dict[str, TaskState]:
        return {name: task.state for name, task in sorted(self.tasks().items())}

    def is_over(self) -> bool:
        return all(state in FINAL_TASK_STATES for state in self.states().values())

    def run_until(self, name: str) -> None:
        """Go on to the moment before the tick that submits `name`."""
        needed = {need for one in self.tasks()[name].spec.needs for need in one.tasks}
        while any(self.states()[one] is not TaskState.ACTIVE for one in needed):
            self.tick()
        self.pass_time(600)

    def run(self, *, step_s: float = 60.0, ticks: int = 500) -> int:
        """Tick, minute after minute, until every task is over; return how many ticks that took."""
        for count in range(1, ticks + 1):
            self.tick()
            if self.is_over():
                return count
            self.pass_time(step_s)
        raise AssertionError(f"not over after {ticks} ticks: {self.states()}")
