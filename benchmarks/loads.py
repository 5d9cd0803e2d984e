"""Loads for comparing how work is ordered and placed: pipelines with the moments at which they come, and a simulated site.

Everything is drawn from a seed. A task's real duration stands in its `sim_duration`; the walltime it asks for is longer, as
people ask. No cluster has a queue of its own, so that whoever submits decides alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple

from elisa.model.ids import ProjectName
from elisa.model.pipeline import Need, Pipeline, TaskSpec
from elisa.model.resources import GpuRequest, Resources

__all__ = ["BEGIN", "Arrival", "Load", "conflicting", "due", "duration_s", "gpu_s_of"]

BEGIN = datetime(2001, 1, 1, tzinfo=UTC)  # where the virtual clock of a new state folder stands
_HOUR_S = 3600


class Arrival(NamedTuple):
    """A pipeline and when it is submitted, in seconds from the beginning."""

    at_s: int
    pipeline: Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A site, what it has, and what comes. `caps` says how many GPUs each project may hold at once; others are free."""

    site: str
    gpus: int
    caps: dict[str, int]
    arrivals: tuple[Arrival, ...]

    @property
    def gpu_s(self) -> float:
        """All the GPU seconds that the load really needs."""
        return sum(gpu_s_of(task) for one in self.arrivals for task in one.pipeline.tasks)


def duration_s(task: TaskSpec) -> int:
    """Return how long a task really runs."""
    return int(dict(task.metadata)["sim_duration"])


def gpu_s_of(task: TaskSpec) -> float:
    return task.resources.gpu_count * duration_s(task)


def conflicting(seed: int, *, pipelines: int = 100, projects: int = 50, nodes: int = 8) -> Load:
    """Return pipelines that all come within an hour and want more than there is, in ways that stand in each other's way.

    Eight-GPU nodes of two types in the ratio of three to one. Each pipeline prepares its data on cores, trains four to
    eight models, and evaluates them together. A training takes 1, 2, 4 or 8 GPUs of a node, or two whole nodes, for one
    to six hours, on one type or on either; every third project may hold no more than a twelfth of all GPUs at once.
    """
    rng = Random(seed)
    h100 = max(1, nodes // 4)
    names = [f"project-{number:02}" for number in range(projects)]
    caps = {name: max(16, nodes * 8 // 12) for name in names[::3]}
    arrivals = [
        Arrival(rng.randrange(_HOUR_S), _study(rng, number, names[number % projects])) for number in range(pipelines)
    ]
    site = _site({"a": ("a100", nodes - h100), "h": ("h100", h100)}, caps)
    return Load(site=site, gpus=nodes * 8, caps=caps, arrivals=tuple(sorted(arrivals, key=_at)))


_SITE = """\
aged: 4h
backfill_depth: 6
backends:
  cluster:
    kind: simulated
    options:
      queue: false
      heartbeat: 30d
      nodes:
"""


def _site(kinds: dict[str, tuple[str, int]], caps: dict[str, int]) -> str:
    nodes = "".join(
        f"        {name}: {{count: {count}, cpus: 64, memory: 512GiB, gpus: {{{gpu_type}: 8}}}}\n"
        for name, (gpu_type, count) in kinds.items()
    )
    projects = "".join(f"  {name}: {{at_once: {{gpus: {gpus}}}}}\n" for name, gpus in caps.items())
    return _SITE + nodes + ("projects:\n" + projects if projects else "")


def _study(rng: Random, number: int, project: str) -> Pipeline:
    prepare = _task(rng, "prepare", 60 * rng.randrange(10, 40), Resources(cpus_per_task=8))
    trainings = [_training(rng, f"train{place}") for place in range(rng.randrange(4, 9))]
    needs = tuple(training.name for training in trainings)
    one_gpu = Resources(cpus_per_task=4, gpus=GpuRequest(per_node=1))
    evaluate = _task(rng, "evaluate", 60 * rng.randrange(15, 45), one_gpu, needs)
    return Pipeline(name=f"study-{number:03}", project=ProjectName(project), tasks=(prepare, *trainings, evaluate))


def _training(rng: Random, name: str) -> TaskSpec:
    gpus = rng.choices((1, 2, 4, 8, 16), weights=(30, 25, 20, 20, 5))[0]
    types = rng.choices((("a100",), ("h100",), ("a100", "h100"), ()), weights=(40, 12, 24, 24))[0]
    request = Resources(
        nodes=max(1, gpus // 8),
        cpus_per_task=4 * min(gpus, 8),
        gpus=GpuRequest(per_node=min(gpus, 8), types=types if gpus <= 8 else ("a100",)),
    )
    return _task(rng, name, 60 * rng.randrange(60, 360), request, ("prepare",))


def _task(rng: Random, name: str, runs_s: int, request: Resources, needs: Sequence[str] = ()) -> TaskSpec:
    """Return a task that asks for a twentieth to nine tenths more time than it takes."""
    return TaskSpec(
        name=name,
        command=("work",),
        needs=(Need(tasks=tuple(needs)),) if needs else (),
        resources=replace(request, walltime_s=round(runs_s * rng.uniform(1.05, 1.9))),
        metadata=(("sim_duration", str(runs_s)),),
    )


def due(seed: int, *, pipelines: int = 120, nodes: int = 4, fill: float = 1.5) -> Load:
    """Return pipelines with deadlines that come at random times, for a cluster that they fill to nine tenths.

    A pipeline is a chain of two to four trainings of 1 to 4 GPUs. Four in ten are urgent: due after 1.5 to 2.5 times the
    time that their walltimes add up to; the others have 8 to 20 times as much.
    """
    rng = Random(seed)
    chains = [_chain(rng) for _ in range(pipelines)]
    work_s = sum(gpu_s_of(task) for tasks in chains for task in tasks)
    span_s = work_s / (fill * nodes * 8)
    return Load(
        site=_site({"a": ("a100", nodes)}, {}),
        gpus=nodes * 8,
        caps={},
        arrivals=tuple(sorted((_due(rng, number, tasks, span_s) for number, tasks in enumerate(chains)), key=_at)),
    )


def _chain(rng: Random) -> tuple[TaskSpec, ...]:
    tasks: list[TaskSpec] = []
    for place in range(rng.randrange(2, 5)):
        request = Resources(cpus_per_task=4, gpus=GpuRequest(per_node=rng.choice((1, 2, 4)), types=("a100",)))
        needs = [task.name for task in tasks[-1:]]
        tasks.append(_task(rng, f"stage{place}", 60 * rng.randrange(30, 240), request, needs))
    return tuple(tasks)


def _due(rng: Random, number: int, tasks: Sequence[TaskSpec], span_s: float) -> Arrival:
    at_s = rng.randrange(round(span_s))
    asked_s = sum(task.resources.walltime_s for task in tasks)
    slack = rng.uniform(1.5, 2.5) if rng.random() < 0.4 else rng.uniform(8, 20)
    deadline = BEGIN + timedelta(seconds=at_s + slack * asked_s)
    name, project = f"due-{number:03}", ProjectName(f"project-{number % 20:02}")
    return Arrival(at_s, Pipeline(name=name, project=project, tasks=tuple(tasks), deadline=deadline))


def _at(arrival: Arrival) -> int:
    return arrival.at_s
