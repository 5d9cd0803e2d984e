"""Long work whose next attempt is queued ahead behind the present one, through whole ticks on a simulated cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.backend import Fate
from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.commands import cancel
from elisa.engine.config import Site
from elisa.engine.plan import preview
from elisa.engine.script import script_of
from elisa.model import layout
from elisa.model.ids import AttemptId, NativeId
from elisa.model.pipeline import RestartWhen, RetryPolicy, TaskSpec
from elisa.model.ports import no_crash
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.report.explain import read_explanation
from elisa.report.words import in_words
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound, assert_still
from tests.reliability.specs import after, job
from tests.reliability.swarm import CrashNow
from tests.reliability.world import World, scratch_folder

ACTIVE, SUCCEEDED, CANCELLED = TaskState.ACTIVE, TaskState.SUCCEEDED, TaskState.CANCELLED
SPEC = ClusterSpec(nodes=(NodeType(name="node", count=2, cpus=4),), heartbeat_s=30)
TIMEOUT, COMPLETED = EndReason.TIMEOUT, EndReason.COMPLETED


def site(chain: int = 1, **more: Any) -> Site:
    backend = {"kind": "simulated", "chain": chain, **more.pop("backend", {})}
    return Site.model_validate({"backends": {"sim": backend}, "jobs": {"self_fence": "60s"}, **more})


@pytest.fixture
def make() -> Iterator[Callable[..., World]]:
    with scratch_folder() as folder:
        yield lambda **more: World.make(Path(folder) / "home", spec=SPEC, site=site(**more))


def long_job(lasts_s: int = 2400, *, walltime_s: int = 600, expected_s: int | None = 2400, **more: Any) -> TaskSpec:
    """A task of four walltimes that saves every minute, and whose author says how long it takes."""
    return job("long", lasts_s=lasts_s, walltime_s=walltime_s, saves_every_s=60, expected_s=expected_s, **more)


def begun(world: World) -> World:
    """Let the first attempt run, and a tick see it run."""
    world.tick()
    world.pass_time(5)
    world.tick()
    return world


def ends(world: World, name: str = "long") -> list[tuple[EndReason | None, bool]]:
    """Return how each attempt ended, and whether it was its task's own."""
    return [(one.end and one.end.reason, one.continues is None) for one in world.attempts(name)]


def runs(world: World) -> list[tuple[AttemptId, int, int | None]]:
    """Return the programs that ran, in order, with the seconds at which they began and ended."""
    found = sorted(world.recorder.runs.values(), key=lambda run: run.began_us)
    return [(run.attempt, run.began_us // 1_000_000, run.ended_us and run.ended_us // 1_000_000) for run in found]


def test_work_of_four_walltimes_runs_through_without_a_tick_between(make: Callable[..., World]) -> None:
    world = make(chain=8)
    world.submit(long_job())

    begun(world)
    world.pass_time(2500)
    world.tick()

    ran = runs(world)
    assert [began - (ended or 0) for (_, _, ended), (_, began, _) in pairwise(ran)] == [0, 0, 0]
    assert ends(world) == [(TIMEOUT, True), (TIMEOUT, True), (TIMEOUT, True), (COMPLETED, True)]
    assert world.states() == {"long": SUCCEEDED}
    assert_sound(world)


def test_each_end_brings_the_next_attempt_in_front_and_another_behind_it(make: Callable[..., World]) -> None:
    world = make(chain=1)
    world.submit(long_job())
    begun(world)

    first = [one.continues for one in world.attempts("long")]
    world.pass_time(600)
    world.tick()
    world.tick()

    one, two, three = world.attempts("long")
    assert first == [None, one.id]
    assert (one.state, two.state, three.state) == (AttemptState.ENDED, AttemptState.RUNNING, AttemptState.QUEUED)
    assert (two.continues, three.continues) == (None, two.id)
    assert two.resume_from == one.last_checkpoint
    with Reader.open(world.home) as reader:
        (row,) = reader.task_rows()
    assert (row.attempt, row.attempt_state) == (two.id, AttemptState.RUNNING)
    assert_still(world)
    assert_sound(world)


def test_nothing_is_queued_ahead_of_work_that_fits_its_walltime(make: Callable[..., World]) -> None:
    world = make(chain=8)
    world.submit(long_job(500, expected_s=550))

    begun(world)

    assert ends(world) == [(None, True)]


def test_nothing_is_queued_ahead_of_work_of_which_nothing_is_known(make: Callable[..., World]) -> None:
    world = make(chain=8)
    world.submit(long_job(expected_s=None))

    begun(world)

    assert ends(world) == [(None, True)]


def test_work_tells_by_its_own_progress_that_it_needs_another_attempt(make: Callable[..., World]) -> None:
    world = make(chain=1)
    world.submit(long_job(expected_s=None))
    begun(world)

    world.pass_time(300)
    world.tick()

    assert [one.continues is None for one in world.attempts("long")] == [True, False]


@pytest.mark.parametrize("more", [{"chain": False}, {"retry": RetryPolicy(restart=RestartWhen.NEVER)}])
def test_task_may_decline(make: Callable[..., World], more: dict[str, Any]) -> None:
    world = make(chain=8)
    world.submit(long_job(**more))

    begun(world)

    assert ends(world) == [(None, True)]


def test_what_saves_nothing_is_not_gone_on_with(make: Callable[..., World]) -> None:
    world = make(chain=8)
    world.submit(job("long", lasts_s=2400, walltime_s=600, expected_s=2400))

    begun(world)

    assert ends(world) == [(None, True)]


def test_what_was_queued_in_vain_runs_nothing_and_costs_nothing(make: Callable[..., World]) -> None:
    world = make(chain=8)
    world.submit(long_job(500))

    begun(world)
    queued = len(world.attempts("long"))
    world.pass_time(520)
    world.tick()
    world.pass_time(60)
    world.tick()

    assert queued > 1
    assert [attempt for attempt, _, _ in runs(world)] == [world.attempts("long")[0].id]
    assert world.states() == {"long": SUCCEEDED}
    assert not any(own for _, own in ends(world)[1:])
    assert all(one.end is not None for one in world.attempts("long"))
    assert_sound(world)


def test_attempt_that_fails_is_not_followed_by_what_was_queued_behind_it(make: Callable[..., World]) -> None:
    world = make(chain=2)
    world.submit(long_job(fails={"exit_code": 3, "at": 0.2, "times": 1}))
    begun(world)

    world.run()

    assert ends(world)[0] == (EndReason.FAILED, True)
    assert world.tasks()["long"].failures == 1
    assert world.states() == {"long": SUCCEEDED}
    assert_sound(world)


def test_next_attempt_waits_for_the_fence_after_a_node_failure(make: Callable[..., World]) -> None:
    world = make(chain=2)
    world.submit(long_job())
    begun(world)
    world.pass_time(300)
    world.tick()

    world.cluster.fail_nodes(*(node.name for node in world.cluster.cluster().nodes), for_s=30)
    world.run(step_s=10)

    (_, _, lost_at), (_, again_at, _), *_ = runs(world)
    assert lost_at is not None
    assert again_at - lost_at >= 60
    assert world.states() == {"long": SUCCEEDED}
    assert_sound(world)


@pytest.mark.parametrize("has_released", [True, False], ids=["nothing of it runs", "it may still run"])
def test_preempted_work_goes_on_in_the_place_that_was_queued_ahead(
    make: Callable[..., World], *, has_released: bool
) -> None:
    """The nodes are another's by then, so the place waits on, and a tick comes in time to give it the word."""
    world = make(chain=1)
    world.submit(long_job(cpus=4), *(job(name, cpus=4, lasts_s=900, walltime_s=1200) for name in ("beside", "next")))
    begun(world)
    front, ahead = world.attempts("long")
    world.pass_time(200)

    world.cluster.preempt(front.native_id or NativeId(""))
    if has_released:
        layout.released(world.home, front.id, 0).touch()
    world.pass_time(60)
    world.tick()
    after_it = world.attempts("long")
    world.run()

    assert ends(world)[:2] == [
        (EndReason.PREEMPTED, True),
        (TIMEOUT if has_released else EndReason.CANCELLED, has_released),
    ]
    assert (after_it[1].id, after_it[1].continues) == (ahead.id, None if has_released else front.id)
    assert world.states()["long"] == SUCCEEDED
    assert_sound(world)


def test_tick_killed_when_it_has_given_preempted_work_the_word_leaves_one_that_goes_on(
    make: Callable[..., World],
) -> None:
    world = make(chain=1)
    world.submit(long_job(cpus=4), *(job(name, cpus=4, lasts_s=900, walltime_s=1200) for name in ("beside", "next")))
    begun(world)
    front, ahead = world.attempts("long")
    world.pass_time(200)
    world.cluster.preempt(front.native_id or NativeId(""))
    layout.released(world.home, front.id, 0).touch()
    world.pass_time(60)

    def crash(point: str) -> None:
        if point == "segments.word":
            raise CrashNow

    world.crash = crash
    with pytest.raises(CrashNow):
        world.tick()
    world.crash = no_crash
    before = ends(world)
    world.run()

    assert before[0] == (None, True)
    assert ends(world)[:2] == [(EndReason.PREEMPTED, True), (TIMEOUT, True)]
    assert ahead.id in [attempt for attempt, _, _ in runs(world)]
    assert world.states()["long"] == SUCCEEDED
    assert_sound(world)


def test_cancelled_task_takes_back_what_is_queued_ahead(make: Callable[..., World]) -> None:
    world = make(chain=2)
    world.submit(long_job())
    begun(world)

    cancel(world.workspace(), [world.tasks()["long"].id])
    world.run()
    world.pass_time(600)
    world.tick()

    assert world.states() == {"long": CANCELLED}
    assert all(one.end is not None for one in world.attempts("long"))
    assert len(runs(world)) == 1
    assert_sound(world)


def test_no_more_is_queued_ahead_than_a_budget_pays_for_and_a_cut_takes_it_back(make: Callable[..., World]) -> None:
    world = make(chain=8, projects={"nlp": {"budget": {"cpu_hours": 0.5}}})
    world.submit(long_job())
    begun(world)
    paid_for = len(world.attempts("long"))

    world.site = site(chain=8, projects={"nlp": {"budget": {"cpu_hours": 0.34}}})
    world.tick()
    world.tick()

    assert paid_for == 3
    assert [one.continues is None for one in world.attempts("long") if one.end is None] == [True, False]
    assert world.states() == {"long": ACTIVE}
    assert_sound(world)


def test_plan_foretells_what_would_be_queued_ahead(make: Callable[..., World]) -> None:
    world = make(chain=1)
    world.submit(long_job())
    world.tick()
    world.pass_time(5)
    world.site = site(chain=0)
    world.tick()
    world.site = site(chain=1)

    (foreseen,) = preview(world.workspace()).chained
    world.tick()

    assert (
        in_words(foreseen.reason) == "it was queued ahead behind long's job 1, which it goes on from, for batch of sim"
    )
    assert [one.continues is None for one in world.attempts("long")] == [True, False]


def test_explain_names_what_is_queued_ahead_and_why(make: Callable[..., World]) -> None:
    world = make(chain=1)
    world.submit(long_job())
    begun(world)

    with Reader.open(world.home) as reader:
        told = read_explanation(reader, "study/long", world.clock.now())
        (script,) = [script_of(world.workspace(), reader, told.task.id)]

    assert told.now == "active: attempt 1 is running on sim as 1; queued ahead to go on: attempt 2 as 2"
    assert "it was queued ahead behind long's job 1, which it goes on from, for batch of sim" in [
        one.words for one in told.history
    ]
    assert script.attempt == told.attempts[-1].id


@pytest.mark.parametrize("fate", [Fate.ACCEPT_LOST, Fate.LOST, Fate.ACCEPT_LATE, Fate.BUSY])
def test_answer_that_is_lost_harms_nobody(make: Callable[..., World], fate: Fate) -> None:
    world = make(chain=1)
    world.submit(long_job())
    world.tick()
    world.pass_time(5)

    world.cluster.fail_submit(fate)
    world.run()

    assert world.states() == {"long": SUCCEEDED}
    assert sum(own for _, own in ends(world)) >= 4
    assert len(runs(world)) == 4
    assert_sound(world)


def test_next_attempt_that_is_refused_leaves_the_present_one_alone(make: Callable[..., World]) -> None:
    world = make(chain=1)
    world.submit(long_job())
    world.tick()
    world.pass_time(5)

    world.cluster.fail_submit(Fate.REJECTED)
    world.tick()
    world.tick()

    assert ends(world) == [(None, True), (EndReason.REJECTED, False)]
    assert world.states() == {"long": ACTIVE}
    assert_sound(world)


def test_stage_behind_long_work_waits_for_its_last_attempt(make: Callable[..., World]) -> None:
    world = make(chain=8)
    world.submit(long_job(), job("report", after("long")))
    begun(world)

    world.run()

    assert world.states() == {"long": SUCCEEDED, "report": SUCCEEDED}
    assert_sound(world)


def test_manager_that_forgets_the_one_in_front_lets_nothing_start_beside_it(make: Callable[..., World]) -> None:
    world = make(chain=1)
    world.submit(long_job())
    begun(world)
    front, ahead = world.attempts("long")

    job_ahead = world.cluster._cluster.jobs[ahead.native_id or NativeId("")]
    job_ahead.after_any = ()
    world.cluster._cluster._make_ready(job_ahead)
    world.pass_time(30)
    world.tick()
    world.tick()

    assert [attempt for attempt, _, _ in runs(world)] == [front.id]
    assert world.states() == {"long": ACTIVE}
    world.run()
    assert world.states() == {"long": SUCCEEDED}
    assert_sound(world)
