"""Two ways to bring a load to its simulated cluster: elisa's own ticks, and a script that submits in order."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from benchmarks.loads import BEGIN, Load, duration_s
from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.clock import VirtualClock
from elisa.engine.submit import submit
from elisa.engine.tick import tick
from elisa.engine.workspace import Workspace, init_workspace, open_workspace
from elisa.model import layout
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import Answered, JobRequest, NativeState, Seen
from elisa.model.pipeline import Pipeline, TaskSpec
from elisa.store.reader import Reader

__all__ = ["Run", "by_elisa", "in_order"]

_TICK = timedelta(minutes=1)  # as cron does it


class Run(NamedTuple):
    """One task's run, in seconds from the beginning: when all it needs was there, when it began, when it ended."""

    pipeline: str
    project: str
    gpus: int
    ready_s: float
    started_s: float
    ended_s: float


def by_elisa(load: Load) -> list[Run]:
    """Return how the load went with elisa: each pipeline submitted when it comes, a tick a minute when there is news."""
    with _workspace(load.site) as ws:
        assert isinstance(ws.clock, VirtualClock)
        coming = deque(load.arrivals)
        while True:
            while coming and _at(coming[0].at_s) <= ws.clock.now():
                submit(ws, coming.popleft().pipeline)
            report = tick(ws)
            if not coming and not report.live and not report.waiting:
                return list(_history(ws))
            assert coming or report.live or report.moved, "something waits that can never run"
            news = [*_foretold(ws), *(_at(arrival.at_s) for arrival in list(coming)[:1])]
            ws.clock.jump_to(max(min(news, default=ws.clock.now()), ws.clock.now() + _TICK))


def _at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def _since(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - BEGIN).total_seconds()


@contextmanager
def _workspace(site: str) -> Iterator[Workspace]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        init_workspace(home)
        layout.site_file(home).write_text(site)
        with open_workspace(home) as workspace:
            yield workspace


def _foretold(ws: Workspace) -> Iterator[datetime]:
    (backend,) = ws.backends.values()
    assert isinstance(backend, SimulatedBackend)
    at = backend.next_event_at()
    yield from () if at is None else (at,)


def _history(ws: Workspace) -> Iterator[Run]:
    with Reader.open(ws.home) as reader:
        names = {row.id: row.name for row in reader.pipelines()}
        tasks = reader.tasks([row.id for row in reader.task_rows()])
        for task in tasks.values():
            (attempt,) = reader.attempts_of(task.id)
            yield Run(
                pipeline=names[task.pipeline],
                project=task.project,
                gpus=attempt.request.gpu_count,
                ready_s=_since(task.ready_at),
                started_s=_since(attempt.started_at),
                ended_s=_since(attempt.ended_at),
            )


class _Job(NamedTuple):
    """A task that a script has to submit; `number` tells it from all others."""

    number: int
    pipeline: Pipeline
    task: TaskSpec
    ready_s: float


def in_order(load: Load) -> list[Run]:
    """Return how the load went with a plain script on the same cluster.

    It submits tasks in the order in which all they need was there, and the next one when the last one has begun to run.
    """
    with _workspace(load.site) as ws:
        (backend,) = ws.backends.values()
        assert isinstance(backend, SimulatedBackend)
        assert isinstance(ws.clock, VirtualClock)
        script = _Script(load, backend, ws.clock)
        while not script.is_over:
            script.look()
        return script.runs


class _Script:
    def __init__(self, load: Load, backend: SimulatedBackend, clock: VirtualClock) -> None:
        self.runs: list[Run] = []
        self._left = sum(len(one.pipeline.tasks) for one in load.arrivals)
        self._coming = deque(load.arrivals)
        self._line: deque[_Job] = deque()
        self._live: dict[NativeId, _Job] = {}
        self._done: dict[str, set[str]] = {}
        self._backend = backend
        self._clock = clock
        self._count = 0

    @property
    def is_over(self) -> bool:
        return len(self.runs) == self._left

    def look(self) -> None:
        """Take in what came and what ended, submit what can begin, and wait for what happens next."""
        while self._coming and _at(self._coming[0].at_s) <= self._clock.now():
            self._line_up(self._coming.popleft().pipeline)
        waits = self._poll()
        while self._line and not waits:
            self._submit(self._line.popleft())
            waits = self._poll()
        foretold = self._backend.next_event_at()
        news = [foretold] if foretold is not None else []
        news += [_at(arrival.at_s) for arrival in list(self._coming)[:1]]
        self._clock.jump_to(max(min(news, default=self._clock.now()), self._clock.now() + _TICK))

    def _line_up(self, pipeline: Pipeline) -> None:
        """Put the tasks of a pipeline that wait for nothing now into the line."""
        done = self._done.setdefault(pipeline.name, set())
        for task in pipeline.tasks:
            needs = {name for need in task.needs for name in need.tasks}
            if task.name not in done and f"queued {task.name}" not in done and needs <= done:
                done.add(f"queued {task.name}")
                self._line.append(_Job(self._count, pipeline, task, _since(self._clock.now())))
                self._count += 1

    def _submit(self, job: _Job) -> None:
        request = JobRequest(
            attempt=AttemptId(f"job{job.number}.1"),
            argv=("work",),
            workdir="/",
            stdout="/dev/null",
            stderr="/dev/null",
            resources=job.task.resources,
            environment=(("SIM_DURATION", str(duration_s(job.task))),),
        )
        self._live[self._backend.submit(request)] = job

    def _poll(self) -> bool:
        """Take in the jobs that ended; tell whether one has not begun."""
        answer = self._backend.poll(tuple(self._live))
        assert isinstance(answer, Answered)
        seen = [one for one in answer.observations.values() if isinstance(one, Seen)]
        for one in seen:
            if one.state is NativeState.ENDED:
                self._end(self._live.pop(one.native_id), one)
        return any(one.state is NativeState.QUEUED for one in seen)

    def _end(self, job: _Job, seen: Seen) -> None:
        started_s, ended_s = _since(seen.started_at), _since(seen.ended_at)
        gpus = job.task.resources.gpu_count
        self.runs.append(Run(job.pipeline.name, job.pipeline.project, gpus, job.ready_s, started_s, ended_s))
        self._done[job.pipeline.name].add(job.task.name)
        self._line_up(job.pipeline)
