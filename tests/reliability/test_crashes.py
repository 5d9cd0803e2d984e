"""Killed at every point at which the world changes, and again while recovering: the next ticks always converge."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from elisa.backends.simulated.backend import Fate
from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.commands import cancel, hold, release, retry
from elisa.engine.config import Site
from elisa.engine.drain import drain
from elisa.engine.projects import change
from elisa.model.pipeline import PriorityClass
from elisa.model.ports import no_crash
from elisa.model.states import TaskState
from elisa.store.reader import Reader
from tests.reliability.believing import a_believing_world
from tests.reliability.forking import Step, enumerate_crashes
from tests.reliability.invariants import assert_sound, assert_still
from tests.reliability.specs import after, job
from tests.reliability.swarm import CrashNow
from tests.reliability.tier import ALIKE_STRIDE, PAIRS, SOAK
from tests.reliability.world import SideBySide, World

SUCCEEDED, CANCELLED, FAILED = TaskState.SUCCEEDED, TaskState.CANCELLED, TaskState.FAILED
DIAMOND = (job("a"), job("b", after("a")), job("c", after("a")), job("d", after("b", "c")))

States = dict[str, TaskState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a user lives through, and how it must end, wherever elisa is killed on the way.

    `again` is what the user does after a crash: they do not know how far the command came. `ends` may name several ends.
    """

    prepare: Step
    act: Step
    again: Step
    ends: tuple[States, ...]
    make: Callable[[Path], World] = World.make


def all_of(state: TaskState, *names: str) -> States:
    return dict.fromkeys(names, state)


def nothing(_: World) -> None:
    """Do nothing."""


def submit_diamond(world: World) -> None:
    if not world.tasks():
        world.submit(*DIAMOND)


def run(world: World) -> None:
    world.run()


def lost_answers(world: World) -> None:
    world.cluster.fail_submit(Fate.ACCEPT_LOST, Fate.LOST, Fate.ACCEPT_LATE, Fate.BUSY, Fate.ACCEPTED, Fate.BUSY)
    world.submit(*DIAMOND)


def running_pair(world: World) -> None:
    world.submit(job("a", lasts_s=240), job("b", after("a")))
    world.tick()
    world.pass_time(60)
    world.tick()


def cancel_all(world: World) -> None:
    cancel(world.workspace(), [task.id for task in world.tasks().values()])
    world.run()


def saving_job(world: World) -> None:
    world.submit(job("train", lasts_s=600, saves_every_s=60), job("report", after("train")))
    world.tick()
    world.pass_time(300)


def lose_the_node(world: World) -> None:
    world.cluster.fail_nodes(*(node.name for node in world.cluster.cluster().nodes), for_s=120)
    world.run()


def failed_task(world: World) -> None:
    failing = {"exit_code": 1, "at": 0.5, "times": 4}
    world.submit(job("a", fails=failing), job("b", after("a")))
    world.run()


def retry_all(world: World) -> None:
    retry(world.workspace(), [task.id for task in world.tasks().values()])
    world.run()


def hold_and_release(world: World) -> None:
    ids = [task.id for task in world.tasks().values()]
    hold(world.workspace(), ids)
    world.tick()
    release(world.workspace(), ids)
    world.run()


def growing(world: World) -> None:
    world.submit(
        job("list", leaves={"items": ["x", "y", "z"]}),
        job("each", after("list"), foreach="list"),
        job("all", after("each")),
    )


def capped(home: Path, cpu_hours: float = 3) -> World:
    site = {
        "backends": {"sim": {"kind": "simulated"}},
        "projects": {"nlp": {"budget": {"cpu_hours": cpu_hours}}},
        "jobs": {"self_fence": "60s"},
    }
    spec = ClusterSpec(nodes=(NodeType(name="node", count=8, cpus=4),), heartbeat_s=30)
    return World.make(home, spec=spec, site=Site.model_validate(site))


def two_that_save(world: World) -> None:
    saving = {"lasts_s": 240, "walltime_s": 600, "saves_every_s": 60, "cpus": 4}
    world.submit(job("low", priority=PriorityClass.LOW, **saving), job("high", priority=PriorityClass.HIGH, **saving))
    world.tick()
    world.pass_time(90)
    world.tick()


def cut(world: World) -> None:
    """Allow half of what is used at once: one of the two saves, leaves and parks, and wakes when the other is through."""
    world.cut_at = world.clock.now()
    change(world.workspace(), "nlp", {"at_once.cpus": "4"})


def cut_and_restore(world: World) -> None:
    """Leave of the budget less than is used and reserved, so that neither may go on; then give all of it back."""
    world.cut_at = world.clock.now()
    change(world.workspace(), "nlp", {"budget.cpu_hours": "0.2"})
    for _ in range(3):
        world.tick()
        world.pass_time(60)
    restore(world)
    world.run()


def restore(world: World) -> None:
    change(world.workspace(), "nlp", {"budget.cpu_hours": "30"})


def close_a_node(world: World) -> None:
    if not closed(world):
        drain(world.workspace(), "sim", nodes="node0001", end=world.clock.now() + timedelta(minutes=30))


def closed(world: World) -> bool:
    with Reader.open(world.home) as reader:
        return bool(reader.closures(world.clock.now()))


def with_arrays(home: Path) -> World:
    spec = ClusterSpec(nodes=(NodeType(name="node", count=8, cpus=4),), arrays=3, heartbeat_s=30)
    return World.make(home, spec=spec)


def beside(home: Path) -> World:
    world = with_arrays(home)
    world.extra["sim"] = SideBySide(world.cluster, 3)
    world.background = at_once
    return world


def lost_side_by_side(world: World) -> None:
    world.cluster.fail_submit(Fate.ACCEPT_LOST, Fate.ACCEPTED, Fate.LOST, Fate.ACCEPT_LATE)
    world.submit(*(job(f"t{number}", lasts_s=300, cpus=1 + number % 4) for number in range(5)))


def at_once(work: Callable[[], None]) -> Callable[[], None]:
    """Do what may be done beside the tick before the tick goes on: a crash in its thread would leave that running."""
    work()
    return lambda: None


def in_two_pieces(home: Path) -> World:
    """Return a cluster that takes jobs side by side, and more of them than are written down together."""
    world = World.make(home, spec=ClusterSpec(nodes=(NodeType(name="node", count=8, cpus=16),), heartbeat_s=30))
    world.extra["sim"] = SideBySide(world.cluster, 4)
    world.background = at_once
    world.submit(*(job(f"t{number}", cpus=1 + number) for number in range(9)))
    return world


def lost_arrays(world: World) -> None:
    world.cluster.fail_submit(Fate.ACCEPT_LOST, Fate.BUSY, Fate.LOST, Fate.ACCEPT_LATE)
    wide(world)


def chaining(home: Path) -> World:
    site = {"backends": {"sim": {"kind": "simulated", "chain": 4}}, "jobs": {"self_fence": "60s"}}
    spec = ClusterSpec(nodes=(NodeType(name="node", count=2, cpus=4),), heartbeat_s=30)
    return World.make(home, spec=spec, site=Site.model_validate(site))


def breaking_chain(world: World) -> None:
    fails = {"exit_code": 1, "at": 0.5, "times": 1}
    world.submit(job("a", fails=fails), job("b", after("a")), job("c", after("a")), job("d", after("b", "c")))
    world.cluster.fail_submit(Fate.ACCEPTED, Fate.ACCEPTED, Fate.ACCEPT_LOST)


def chain_in_the_queue(world: World) -> None:
    world.submit(
        *(job(name, *needs, lasts_s=240) for name, needs in (("a", ()), ("b", [after("a")]), ("c", [after("b")])))
    )
    world.tick()


def hold_the_middle(world: World) -> None:
    middle = [world.tasks()["b"].id]
    hold(world.workspace(), middle)
    world.tick()
    world.tick()
    release(world.workspace(), middle)
    world.run()


def one_node(home: Path) -> World:
    spec = ClusterSpec(nodes=(NodeType(name="node", count=1, cpus=4),), heartbeat_s=30)
    return World.make(home, spec=spec)


def one_that_waits(world: World) -> None:
    world.submit(job("a", cpus=4, lasts_s=240), job("b", cpus=4, lasts_s=60))
    world.tick()


def hold_it(world: World) -> None:
    """Hold the job that waits until after its turn would have come."""
    waiting = [world.tasks()["b"].id]
    hold(world.workspace(), waiting)
    world.tick()
    world.pass_time(300)
    world.tick()
    release(world.workspace(), waiting)
    world.run()


def short_chain(world: World) -> None:
    world.cluster.fail_submit(Fate.ACCEPT_LOST)
    failing = {"exit_code": 1, "at": 0.5, "times": 1}
    short = {"lasts_s": 20, "walltime_s": 60}
    world.submit(job("a", **short), job("b", after("a"), fails=failing, **short), job("c", after("b"), **short))


def long_work(world: World) -> None:
    world.submit(job("a", lasts_s=300, walltime_s=120, saves_every_s=30, expected_s=300), job("b", after("a")))
    world.cluster.fail_submit(Fate.ACCEPTED, Fate.ACCEPT_LOST, Fate.ACCEPT_LATE)


def long_work_that_runs(world: World) -> None:
    world.submit(job("a", lasts_s=300, walltime_s=120, saves_every_s=30, expected_s=300))
    world.tick()
    world.pass_time(5)
    world.tick()


def chaining_one_at_a_time(home: Path) -> World:
    site = {
        "backends": {"sim": {"kind": "simulated", "chain": 4}},
        "projects": {"nlp": {"at_once": {"jobs": 1}}},
        "jobs": {"self_fence": "60s"},
    }
    spec = ClusterSpec(nodes=(NodeType(name="node", count=2, cpus=4),), heartbeat_s=30)
    return World.make(home, spec=spec, site=Site.model_validate(site))


def heirs_of_a_failure(world: World) -> None:
    fails = {"exit_code": 1, "at": 0.5, "times": 1}
    world.submit(job("a", fails=fails), job("b", after("a")), job("c", after("b")), job("d"))
    world.cluster.fail_submit(Fate.ACCEPTED, Fate.ACCEPT_LOST)


def never_begun(world: World) -> None:
    world.submit(job("a", lasts_s=1200), job("b", after("a")))
    world.tick()
    world.tick()


def wait_for_a_sign(world: World) -> None:
    world.pass_time(601)
    world.run()


def wide(world: World) -> None:
    world.submit(*(job(f"t{number}", lasts_s=300) for number in range(5)))


STORIES = {
    "a diamond": Story(
        prepare=nothing,
        act=lambda w: (submit_diamond(w), run(w)),
        again=submit_diamond,
        ends=(all_of(SUCCEEDED, *"abcd"),),
    ),
    "lost answers": Story(prepare=lost_answers, act=run, again=nothing, ends=(all_of(SUCCEEDED, *"abcd"),)),
    "a cancel": Story(
        prepare=running_pair,
        act=cancel_all,
        again=lambda w: cancel(w.workspace(), [task.id for task in w.tasks().values()]),
        ends=(all_of(CANCELLED, *"ab"),),
    ),
    "a lost node": Story(
        prepare=saving_job, act=lose_the_node, again=nothing, ends=(all_of(SUCCEEDED, "train", "report"),)
    ),
    "a job that never began": Story(
        prepare=never_begun,
        act=wait_for_a_sign,
        again=nothing,
        ends=(all_of(SUCCEEDED, *"ab"),),
        make=lambda home: a_believing_world(home)[0],
    ),
    "a retry": Story(
        prepare=failed_task,
        act=retry_all,
        again=lambda w: retry(w.workspace(), [task.id for task in w.tasks().values()]),
        ends=(all_of(SUCCEEDED, *"ab"),),
    ),
    "a hold": Story(
        prepare=running_pair,
        act=hold_and_release,
        again=lambda w: release(w.workspace(), [task.id for task in w.tasks().values()]),
        ends=(all_of(SUCCEEDED, *"ab"),),
    ),
    "an expansion": Story(
        prepare=growing,
        act=run,
        again=nothing,
        ends=(all_of(SUCCEEDED, "list", "each", "each-item=x", "each-item=y", "each-item=z", "all"),),
    ),
    "arrays": Story(
        prepare=lost_arrays,
        act=run,
        again=nothing,
        ends=(all_of(SUCCEEDED, *(f"t{n}" for n in range(5))),),
        make=with_arrays,
    ),
    "side by side": Story(
        prepare=lost_side_by_side,
        act=run,
        again=nothing,
        ends=(all_of(SUCCEEDED, *(f"t{n}" for n in range(5))),),
        make=beside,
    ),
    "a broken chain": Story(
        prepare=breaking_chain, act=run, again=nothing, ends=(all_of(SUCCEEDED, *"abcd"),), make=chaining
    ),
    "a hold in a chain": Story(
        prepare=chain_in_the_queue,
        act=hold_the_middle,
        again=lambda w: release(w.workspace(), [w.tasks()["b"].id]),
        ends=(all_of(SUCCEEDED, *"abc"),),
        make=chaining,
    ),
    "a hold in the queue": Story(
        prepare=one_that_waits,
        act=hold_it,
        again=lambda w: release(w.workspace(), [w.tasks()["b"].id]),
        ends=(all_of(SUCCEEDED, *"ab"),),
        make=one_node,
    ),
    "heirs of a failure": Story(
        prepare=heirs_of_a_failure,
        act=run,
        again=nothing,
        ends=(all_of(SUCCEEDED, *"abcd"),),
        make=chaining_one_at_a_time,
    ),
    "long work": Story(prepare=long_work, act=run, again=nothing, ends=(all_of(SUCCEEDED, *"ab"),), make=chaining),
    "a lost node under long work": Story(
        prepare=long_work_that_runs, act=lose_the_node, again=nothing, ends=(all_of(SUCCEEDED, "a"),), make=chaining
    ),
    "a cancel of long work": Story(
        prepare=long_work_that_runs,
        act=cancel_all,
        again=lambda w: cancel(w.workspace(), [task.id for task in w.tasks().values()]),
        ends=(all_of(CANCELLED, "a"),),
        make=chaining,
    ),
    "a drain": Story(
        prepare=saving_job,
        act=lambda w: (close_a_node(w), run(w)),
        again=close_a_node,
        ends=(all_of(SUCCEEDED, "train", "report"),),
    ),
    "a shared job": Story(prepare=short_chain, act=run, again=nothing, ends=(all_of(SUCCEEDED, *"abc"),)),
    "parking under a cap that was cut": Story(
        prepare=two_that_save,
        act=lambda w: (cut(w), run(w)),
        again=cut,
        ends=(all_of(SUCCEEDED, "low", "high"),),
        make=lambda home: capped(home, 30),
    ),
    "parking until a budget is back": Story(
        prepare=two_that_save,
        act=cut_and_restore,
        again=restore,
        ends=(all_of(SUCCEEDED, "low", "high"),),
        make=lambda home: capped(home, 30),
    ),
    "a budget": Story(
        prepare=wide, act=run, again=nothing, ends=(all_of(SUCCEEDED, *(f"t{n}" for n in range(5))),), make=capped
    ),
}


# After these the disk or the cluster differs from what it was at the point before.
TELLING = frozenset(
    {"store.committed", "files.write.renamed", "files.remove.done", "simulated.submit.accepted", "stop.asked"}
)
# Here it differs too, but in ways that look much alike: a journal to roll back, one more empty folder, a torn file.
ALIKE = frozenset({"store.commit", "files.folder.made", "files.write.written"})


def picked(count: int, point: str) -> bool:
    """Tell whether to die here: at every single point in the long search, at those that can matter in the short one."""
    return SOAK or point in TELLING or (point in ALIKE and count % ALIKE_STRIDE == 0)


def recover(story: Story, world: World) -> None:
    assert_sound(world)
    story.again(world)
    world.run()
    assert_sound(world)
    assert_still(world)
    assert world.states() in story.ends


def recover_through_another_crash(story: Story, world: World) -> None:
    """Recover, but die on the way, a few ticks in; then recover for good."""
    chance = Random(len(world.recorder.runs) * 1000 + int(world.clock.now().timestamp()))
    for _ in range(PAIRS):
        left = chance.randint(1, 120)

        def die(_point: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise CrashNow

        world.crash = die
        with suppress(CrashNow):
            story.again(world)
            world.tick()
            world.pass_time(60)
            world.tick()
        world.crash = no_crash
    recover(story, world)


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_killed_at_every_point_it_converges(name: str) -> None:
    story = STORIES[name]

    crashes = enumerate_crashes(
        story.act, lambda world: recover(story, world), make=story.make, prepare=story.prepare, picks=picked
    )

    assert crashes.died >= 10


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_killed_again_while_recovering_it_converges(name: str) -> None:
    story = STORIES[name]
    stride = 1 if SOAK else 29

    crashes = enumerate_crashes(
        story.act,
        lambda world: recover_through_another_crash(story, world),
        make=story.make,
        prepare=story.prepare,
        picks=lambda count, _point: count % stride == 0,
    )

    assert crashes.died > 1


@pytest.mark.slow
def test_killed_while_the_next_job_is_written_down_none_that_was_asked_about_runs_twice() -> None:
    begun = recorded = 0

    def between(count: int, point: str) -> bool:
        nonlocal begun, recorded
        begun += point == "act.submit.begin"
        recorded += point == "act.recorded"
        return bool(begun) and not recorded and picked(count, point)

    story = Story(
        prepare=lambda world: world.cluster.fail_submit(*[Fate.ACCEPTED] * 7, Fate.ACCEPT_LOST),
        act=World.tick,
        again=nothing,
        ends=(all_of(SUCCEEDED, *(f"t{n}" for n in range(9))),),
    )

    crashes = enumerate_crashes(
        story.act, lambda world: recover(story, world), make=in_two_pieces, prepare=story.prepare, picks=between
    )

    assert crashes.died >= 10
