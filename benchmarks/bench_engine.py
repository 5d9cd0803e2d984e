"""How long submitting, planning and ticking take on a real state folder, and how soon one local task follows another.

The state lies on the disk of the working directory's machine, with all its synchronous writes. The load of 10,000
active attempts runs on a simulated cluster under virtual time; each measured tick comes a minute after the last one and
finds every job still running, as most ticks do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.bench_plan import NOW, a_load
from benchmarks.figure import Figure, median_of, seconds_of
from elisa.backends.simulated.clock import VirtualClock
from elisa.engine.kept_plans import keep
from elisa.engine.loop import until_idle
from elisa.engine.plan import preview
from elisa.engine.submit import submit
from elisa.engine.tick import tick
from elisa.engine.workspace import Workspace, init_workspace, open_workspace
from elisa.model import layout
from elisa.model.ids import PipelineId, ProjectName
from elisa.model.pipeline import Need, Pipeline, TaskSpec
from elisa.model.resources import Resources
from elisa.policies.inputs import PlanInputs
from elisa.policies.plan import plan

FIGURES = (
    "submit_1k_s",
    "submit_10k_s",
    "preview_1k_s",
    "tick_10k_active_s",
    "tick_10k_waiting_s",
    "local_gap_s",
    "kept_plan_100k_s",
)

_WIDTH = 100
_CLUSTER = """
default_window: 20000
submits_per_tick: 20000
backends:
  cluster:
    kind: simulated
    options:
      nodes: {n: {count: 1250, cpus: 8, memory: 64GiB}}
      heartbeat: 1h
"""
_TICKS = 7


def measure() -> Iterator[Figure]:
    """Yield the figures, the cheap ones first."""
    yield Figure(figure="submit_1k_s", value=_submit_s(1_000), unit="s", goal="<=1", runs=3)
    yield Figure(figure="submit_10k_s", value=_submit_s(10_000), unit="s", goal="<=5", runs=3)
    yield Figure(figure="preview_1k_s", value=_preview_s(1_000), unit="s", goal="<=0.5", runs=5)
    yield Figure(figure="local_gap_s", value=_local_gap_s(10), unit="s", goal="<=0.5", runs=9)
    yield Figure(figure="kept_plan_100k_s", value=_kept_plan_s(100_000), unit="s", goal="<=1", runs=5)
    yield Figure(figure="tick_10k_active_s", value=_tick_s(10_000, active=True), unit="s", goal="<=1", runs=_TICKS)
    yield Figure(figure="tick_10k_waiting_s", value=_tick_s(10_000, active=False), unit="s", goal="<=1", runs=_TICKS)


@contextmanager
def _workspace(site: str = "") -> Iterator[Workspace]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        init_workspace(home)
        if site:
            layout.site_file(home).write_text(site)
        with open_workspace(home) as workspace:
            yield workspace


def _pipeline(tasks: Sequence[TaskSpec]) -> Pipeline:
    return Pipeline(name="load", project=ProjectName("bench"), tasks=tuple(tasks))


def _layers(count: int) -> list[TaskSpec]:
    """Return a graph of layers a hundred tasks wide; each task needs two of the layer before."""
    return [_spec(f"t{number}", *_before(number)) for number in range(count)]


def _before(number: int) -> tuple[str, ...]:
    layer, place = divmod(number, _WIDTH)
    return tuple(f"t{(layer - 1) * _WIDTH + (place + step) % _WIDTH}" for step in (0, 1)) if layer else ()


def _spec(name: str, *needs: str, command: tuple[str, ...] = ("work",)) -> TaskSpec:
    return TaskSpec(
        name=name,
        command=command,
        needs=(Need(tasks=needs),) if needs else (),
        resources=Resources(walltime_s=30 * 86400),
        metadata=(("sim_duration", "2000000"),),
    )


def _submit_s(count: int) -> float:
    pipeline = _pipeline(_layers(count))
    with _workspace() as workspace:
        return median_of(lambda: seconds_of(lambda: submit(workspace, pipeline)), runs=3)


def _preview_s(count: int) -> float:
    with _workspace() as workspace:
        submit(workspace, _pipeline([_spec(f"t{number}") for number in range(count)]))
        return median_of(lambda: seconds_of(lambda: preview(workspace)))


def _kept_plan_s(count: int) -> float:
    """Return how long keeping a plan of so many ready tasks takes, with its write, once its reasons were told."""
    ready, usage, clusters, site = a_load(count, 1_000, 2_000)
    inputs = PlanInputs(ready=ready, usage=usage, clusters=clusters, live=(), site=site, now=NOW)
    made = plan(inputs.snapshot())
    assert made.decisions
    assert made.passed_over_groups()
    with _workspace() as workspace, workspace.writer() as writer:
        return median_of(lambda: seconds_of(lambda: keep(workspace, writer, inputs, made)))


def _tick_s(count: int, *, active: bool) -> float:
    with _workspace(_CLUSTER if active else _CLUSTER.replace("20000", "0")) as workspace:
        submit(workspace, _pipeline([_spec(f"t{number}") for number in range(count)]))
        report = tick(workspace)
        assert len(report.live) == (count if active else 0)
        return median(_later_tick_s(workspace) for _ in range(_TICKS))


def _later_tick_s(workspace: Workspace) -> float:
    assert isinstance(workspace.clock, VirtualClock)
    workspace.clock.advance(60)
    return seconds_of(lambda: tick(workspace))


def _local_gap_s(count: int) -> float:
    script = "date +%s.%N >${task_dir}/began; sleep 0.2; date +%s.%N >${task_dir}/ended"
    names = [f"t{number}" for number in range(count)]
    tasks = [_spec(names[0], command=("/bin/sh", "-c", script))]
    tasks += [_spec(name, before, command=("/bin/sh", "-c", script)) for before, name in pairwise(names)]
    with _workspace() as workspace:
        pipeline = submit(workspace, _pipeline(tasks)).pipeline_id
        until_idle(workspace)
        return median(_gap_s(workspace.home, pipeline, pair) for pair in pairwise(names))


def _gap_s(home: Path, pipeline: PipelineId, pair: tuple[str, str]) -> float:
    ended, began = (
        layout.task_dir(home, pipeline, pair[0]) / "ended",
        layout.task_dir(home, pipeline, pair[1]) / "began",
    )
    return float(began.read_text()) - float(ended.read_text())
