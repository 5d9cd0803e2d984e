"""Promising trials first, through whole ticks on a simulated cluster."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.engine.config import Site
from elisa.model.pipeline import Promise, TaskSpec
from elisa.model.states import AttemptState
from tests.reliability.specs import after, job
from tests.reliability.world import World

from .test_preemption import HOUR, ONE_NODE, minutes

pytestmark = pytest.mark.slow
PROMISE = Promise(metric="accuracy", worst=0.0, best=1.0)


def a_world(home: Path, **factors: float) -> World:
    only = {"age": 0, "fair_share": 0, "deadline": 0, "importance": 0, "size": 0, "progress": 0, **factors}
    site = {"backends": {"sim": {"kind": "simulated"}}, "order": ["multifactor", "fifo"], "factors": only}
    return World.make(home, spec=ONE_NODE, site=Site.model_validate(site))


def trial(name: str, accuracy: float) -> tuple[TaskSpec, TaskSpec]:
    """A short first stage that reports its accuracy, and a long second one on the whole machine."""
    first = job(f"{name}-first", cpus=1, lasts_s=60)
    first = replace(first, metadata=(*first.metadata, ("sim_metrics", json.dumps({"accuracy": accuracy}))))
    return first, job(f"{name}-second", after(f"{name}-first"), cpus=4, lasts_s=HOUR, promise=PROMISE)


@pytest.mark.parametrize(("weight", "running"), [(1000.0, "good-second"), (0.0, "bad-second")])
def test_the_second_stage_of_the_trial_that_promises_most_goes_first_where_promise_counts(
    tmp_path: Path, weight: float, running: str
) -> None:
    world = a_world(tmp_path / "home", promise=weight)
    world.submit(*trial("bad", 0.2))
    world.submit(*trial("good", 0.9))

    minutes(world, 4)

    states = {name: one.state for name in ("bad-second", "good-second") for one in world.attempts(name)}
    assert [name for name, state in states.items() if state is AttemptState.RUNNING] == [running]
