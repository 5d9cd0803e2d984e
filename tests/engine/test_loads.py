from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from benchmarks.bench_policies import compliance, longest, over_cap, utilisation
from benchmarks.loads import BEGIN, Arrival, Load, conflicting, due
from benchmarks.players import Run, by_elisa, in_order
from elisa.model.ids import ProjectName
from elisa.model.pipeline import Pipeline, TaskSpec
from elisa.model.resources import GpuRequest, Resources


@pytest.mark.slow
def test_conflicting_pipelines_fill_the_gpus_and_nobody_passes_a_cap_or_starves() -> None:
    load = conflicting(1, pipelines=3, projects=2, nodes=3)

    ours, theirs = by_elisa(load), in_order(load)

    assert len(ours) == len(theirs) == sum(len(one.pipeline.tasks) for one in load.arrivals)
    assert over_cap(load, ours) == 0
    assert utilisation(load, ours) >= 1.2 * utilisation(load, theirs)
    assert longest(ours) <= longest(theirs)


@pytest.mark.slow
def test_deadlines_are_met_that_the_order_of_arrival_misses() -> None:
    load = due(1, pipelines=2, nodes=1)
    long = [a_pipeline(f"long{n}", hours=4, due_h=40) for n in range(4)]
    urgent = [a_pipeline(f"urgent{n}", hours=1, due_h=9) for n in range(3)]
    load = replace(load, arrivals=(*(Arrival(0, one) for one in long), *(Arrival(600, one) for one in urgent)))

    assert compliance(load, by_elisa(load)) == 1
    assert compliance(load, in_order(load)) == len(long) / len(load.arrivals)


def a_pipeline(name: str, *, hours: int, due_h: int) -> Pipeline:
    task = TaskSpec(
        name="train",
        command=("work",),
        resources=Resources(walltime_s=3600 * hours, gpus=GpuRequest(per_node=8)),
        metadata=(("sim_duration", str(3600 * hours)),),
    )
    deadline = BEGIN + timedelta(hours=due_h)
    return Pipeline(name=name, project=ProjectName("nlp"), tasks=(task,), deadline=deadline)


def a_run(project: str, gpus: int, start_h: int, end_h: int, pipeline: str = "a") -> Run:
    return Run(pipeline, project, gpus, 0.0, 3600.0 * start_h, 3600.0 * end_h)


def test_a_cap_is_judged_at_the_worst_moment() -> None:
    load = Load(site="", gpus=8, caps={"nlp": 3, "vision": 3}, arrivals=())
    runs = [a_run("nlp", 2, 0, 2), a_run("nlp", 2, 1, 3), a_run("vision", 3, 0, 1), a_run("vision", 3, 1, 2)]

    assert over_cap(load, runs) == 1


def test_a_pipeline_is_in_time_when_its_last_task_is() -> None:
    first, second = (one.pipeline for one in due(1, pipelines=2, nodes=1).arrivals)
    late_h = round((second.deadline - BEGIN) / timedelta(hours=1)) + 1 if second.deadline is not None else 0
    load = Load(site="", gpus=8, caps={}, arrivals=(Arrival(0, first), Arrival(0, second)))
    runs = [a_run("p", 1, 0, 1, first.name), a_run("p", 1, 0, 1, second.name), a_run("p", 1, 1, late_h, second.name)]

    assert compliance(load, runs) == 0.5
