"""One seed, one life: a random pipeline on a random cluster with a random set of faults, crashes and second thoughts.

Faults stop after a while; from then on everything must come to an end within a bounded time (I1), and at no moment may
any other invariant break. The same seed gives the same life.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from elisa.backends.simulated.dice import Distribution
from elisa.backends.simulated.spec import AnswerFaults, ClusterSpec, FaultSpec, NodeType, PartitionSpec
from elisa.engine.commands import cancel, hold, release, retry
from elisa.engine.config import Site
from elisa.model.errors import BackendError, PolicyError, StoreBusy
from elisa.model.pipeline import NeedKind, OnUnmet, TaskSpec
from elisa.model.states import FINAL_TASK_STATES
from elisa.model.task import Task
from tests.reliability.invariants import assert_sound, assert_still
from tests.reliability.specs import after, job
from tests.reliability.world import World, scratch_folder

__all__ = ["CrashNow", "Life", "live"]

_TROUBLED_TICKS = 25
_CALM_TICKS = 600
_SITE = {
    "projects": {"nlp": {"budget": {"cpu_hours": 100000}, "at_once": {"cpus": 9}}},
    "jobs": {"self_fence": "60s"},
}


class CrashNow(BaseException):
    """What a process that is killed sees of it: nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What happened, for the one who must find out why it went wrong."""

    seed: int
    ticks: int
    crashes: int
    spec: ClusterSpec


def live(seed: int) -> Life:
    """Live through one seed; raises AssertionError where an invariant breaks."""
    chance = Random(seed)
    spec = _cluster(chance, seed)
    with scratch_folder() as folder:
        site = {**_SITE, "backends": {"sim": {"kind": "simulated", "chain": 4 if seed % 2 else 0}}}
        world = World.make(Path(folder) / "home", seed=seed, spec=spec, site=Site.model_validate(site))
        world.submit(*_pipeline(chance))
        crashes = sum(_troubled_tick(world, chance) for _ in range(_TROUBLED_TICKS))
        _heal(world)
        ticks = _come_to_an_end(world)
        assert_sound(world)
        assert_still(world)
        return Life(seed=seed, ticks=_TROUBLED_TICKS + ticks, crashes=crashes, spec=spec)


def _cluster(chance: Random, seed: int) -> ClusterSpec:
    """Draw which faults there are at all, then how frequent each is: all at once would hide some behind others."""

    def maybe(value: float) -> float:
        return value * chance.uniform(0.2, 1.0) if chance.random() < 0.4 else 0.0

    answers = AnswerFaults(
        accept_lost=maybe(0.3),
        accept_late=maybe(0.3),
        lost=maybe(0.3),
        reject=0.0,
        busy=maybe(0.4),
        unreachable=maybe(0.4),
        partial=maybe(0.2),
        late_s=chance.choice([20, 90, 300]),
    )
    faults = FaultSpec(
        node_down_every_s=chance.choice([0, 0, 900]),
        node_down_for_s=300,
        nodes_at_once=chance.choice([1, 2]),
        preempt_every_s=chance.choice([0, 0, 600]),
        outage_every_s=chance.choice([0, 0, 1200]),
        outage_for_s=400,
        answers=answers,
    )
    wait = Distribution(kind="uniform", numbers=(0.0, chance.choice([1.0, 200.0])))
    return ClusterSpec(
        nodes=(NodeType(name="node", count=chance.choice([2, 4]), cpus=4),),
        partitions=(PartitionSpec(name="batch", is_default=True, wait=wait),),
        faults=faults,
        requeue=chance.random() < 0.3,
        accounting=chance.random() < 0.7,
        purge_after_s=chance.choice([60, 3600]),
        reuse_ids=chance.choice([0, 0, 12]),
        heartbeat_s=30,
        seed=seed,
    )


def _pipeline(chance: Random) -> Sequence[TaskSpec]:
    specs: list[TaskSpec] = []
    for number in range(chance.randint(2, 7)):
        earlier = [spec.name for spec in specs]
        needs = [
            after(
                name,
                kind=chance.choice([NeedKind.SUCCESS, NeedKind.COMPLETION]),
                on_unmet=chance.choice(list(OnUnmet)[:2]),
            )
            for name in chance.sample(earlier, k=min(len(earlier), chance.choice([0, 1, 1, 2])))
        ]
        specs.append(
            job(
                f"t{number}",
                *needs,
                lasts_s=chance.choice([30, 200, 1000]),
                cpus=chance.choice([1, 2, 4]),
                saves_every_s=chance.choice([None, 60, 120]),
                fails=chance.choice([None, None, {"exit_code": 1, "at": 0.5, "times": 1}]),
            )
        )
    return specs


def _troubled_tick(world: World, chance: Random) -> int:
    """Let a while pass, a person do something, and a tick run, which may die on the way; return 1 if it did."""
    world.pass_time(chance.choice([5, 30, 60, 60, 300]))
    if chance.random() < 0.2:
        _wish(world, chance)
    left = chance.randint(1, 150) if chance.random() < 0.4 else -1

    def die_at(_point: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise CrashNow

    world.crash = die_at
    died = 0
    try:
        with suppress(StoreBusy, BackendError):
            world.tick()
    except CrashNow:
        died = 1
    world.crash = _go_on
    assert_sound(world)
    return died


def _go_on(_point: str) -> None:
    """Die no more."""


def _wish(world: World, chance: Random) -> None:
    tasks = sorted(world.tasks().values(), key=lambda task: task.id)
    one: Task = chance.choice(tasks)
    wish = chance.choice([cancel, hold, release, retry, retry])
    with suppress(PolicyError):
        wish(world.workspace(), [one.id])


def _heal(world: World) -> None:
    inside = world.cluster
    calm = replace(inside.spec, faults=FaultSpec())
    inside.spec = inside._cluster.spec = calm
    inside._cluster.faults.timers.clear()
    inside.fail_answers(0)
    release(world.workspace(), [task.id for task in world.tasks().values()])


def _come_to_an_end(world: World) -> int:
    for count in range(1, _CALM_TICKS):
        world.pass_time(60)
        world.tick()
        if all(task.state in FINAL_TASK_STATES for task in world.tasks().values()):
            assert_sound(world)
            return count
    raise AssertionError(f"I1: not over after {_CALM_TICKS} calm ticks: {world.states()}")
