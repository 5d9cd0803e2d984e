"""Stages queued ahead of time behind the jobs they wait for, through whole ticks on a simulated cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.backend import Fate, SimulatedBackend
from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.commands import cancel, hold, release
from elisa.engine.config import Site
from elisa.engine.plan import preview
from elisa.model.columns import UsageRow
from elisa.model.decisions import Submit
from elisa.model.errors import Unavailable
from elisa.model.ids import NativeId, task_of
from elisa.model.native import JobRequest
from elisa.model.pipeline import NeedKind, TaskSpec
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import Attempt
from elisa.report.words import in_words
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound, assert_still
from tests.reliability.specs import after, job
from tests.reliability.world import World, scratch_folder

ACTIVE, WAITING, SUCCEEDED = TaskState.ACTIVE, TaskState.WAITING, TaskState.SUCCEEDED
SPEC = ClusterSpec(nodes=(NodeType(name="node", count=2, cpus=4),), heartbeat_s=30)


def site(chain: int = 8, **more: Any) -> Site:
    backend = {"kind": "simulated", "chain": chain, **more.pop("backend", {})}
    return Site.model_validate({"backends": {"sim": backend}, "jobs": {"self_fence": "60s"}, **more})


@pytest.fixture
def make() -> Iterator[Callable[..., World]]:
    with scratch_folder() as folder:
        yield lambda **more: World.make(Path(folder) / "home", spec=SPEC, site=site(**more))


class NoDependencies:
    """The simulated cluster, which takes no job that is to follow another for now."""

    def __init__(self, cluster: SimulatedBackend) -> None:
        self._cluster = cluster

    def __getattr__(self, name: str) -> object:
        return getattr(self._cluster, name)

    def submit(self, request: JobRequest) -> NativeId:
        if request.after:
            raise Unavailable("Slurm takes no more jobs for now", "QOSMaxSubmitJobPerUserLimit")
        return self._cluster.submit(request)


def stages(count: int, **more: Any) -> list[TaskSpec]:
    """Return s0, s1 ... each of which needs the one before."""
    return [job(f"s{n}", *([after(f"s{n - 1}")] if n else []), **more) for n in range(count)]


def newest(world: World, name: str) -> Attempt:
    return world.attempts(name)[-1]


def behind(world: World, name: str) -> list[str]:
    """Return the names of the tasks that one's newest attempt was queued behind."""
    names = {attempt.id: task for task in world.tasks() for attempt in world.attempts(task)}
    attempts = world.attempts(name)
    return sorted(names[other] for other in attempts[-1].behind) if attempts else []


def test_whole_chain_runs_in_one_go_after_one_tick(make: Callable[..., World]) -> None:
    world = make()
    world.submit(*stages(6, lasts_s=60))

    world.tick()
    world.pass_time(6 * 60 + 5)
    world.tick()

    assert set(world.states().values()) == {SUCCEEDED}
    assert [behind(world, f"s{n}") for n in range(6)] == [[], ["s0"], ["s1"], ["s2"], ["s3"], ["s4"]]
    assert_sound(world)


def test_tick_without_news_changes_nothing(make: Callable[..., World]) -> None:
    world = make()
    world.submit(*stages(4))
    world.tick()

    assert_still(world)
    assert len(world.recorder.accepted) == 4


def test_no_more_stages_are_queued_than_the_site_says(make: Callable[..., World]) -> None:
    world = make(chain=2)
    world.submit(*stages(6))

    for _ in range(3):
        world.tick()
        queued = [name for name, state in world.states().items() if state is ACTIVE]

    assert queued == ["s0", "s1", "s2"]


def test_site_that_says_nothing_leaves_it_to_the_kind_of_backend(world: World) -> None:
    world.submit(*stages(2))

    world.tick()

    assert world.states() == {"s0": ACTIVE, "s1": WAITING}


def test_task_may_decline(make: Callable[..., World]) -> None:
    world = make()
    world.submit(*stages(2), job("slow", after("s0"), chain=False))

    world.tick()

    assert world.states() == {"s0": ACTIVE, "s1": ACTIVE, "slow": WAITING}


def test_join_waits_behind_all_that_it_needs(make: Callable[..., World]) -> None:
    world = make()
    world.submit(job("a"), job("b", lasts_s=600), job("c", after("a", "b")))

    world.tick()
    world.pass_time(300)
    early = newest(world, "c").state
    world.pass_time(600)
    world.tick()

    assert (behind(world, "c"), early) == (["a", "b"], AttemptState.SUBMITTED)
    assert world.states() == dict.fromkeys("abc", SUCCEEDED)
    assert_sound(world)


@pytest.mark.parametrize(
    "uncertain",
    [
        job("x", after("s0", kind=NeedKind.COMPLETION)),
        job("x", after("s0", "other", at_least=1)),
        job("x", after("s0", timeout_s=600)),
        job("x", after("s0"), when="s0.loss < 1"),
        job("x", after("s0"), after("later")),
    ],
    ids=["completion", "any of several", "with a time limit", "with a condition", "needs one that waits itself"],
)
def test_what_is_not_certain_to_be_wanted_is_not_queued(make: Callable[..., World], uncertain: TaskSpec) -> None:
    world = make()
    world.submit(job("s0"), job("other"), job("later", after("s0"), chain=False), uncertain)

    world.tick()

    assert world.states()["x"] is WAITING


def test_outputs_of_a_predecessor_are_inputs_all_the_same(make: Callable[..., World]) -> None:
    world = make()
    world.submit(job("a", leaves={"model": {"w": 1}}), job("b", after("a")))
    world.tick()

    content = (world.home / "spool" / newest(world, "b").id / "job.json").read_text()

    assert '"name": "model"' in content
    assert newest(world, "a").id in content


def test_failed_stage_sends_its_successors_back_and_they_are_chained_again(make: Callable[..., World]) -> None:
    world = make()
    world.submit(job("s0", fails={"exit_code": 1, "at": 0.5, "times": 1}), *stages(3)[1:])
    world.tick()
    world.pass_time(90)

    world.tick()
    broken = world.states()
    world.run()

    assert broken == {"s0": WAITING, "s1": WAITING, "s2": WAITING}
    first, second = world.attempts("s1")
    assert (first.started_at, first.end and first.end.reason) == (None, EndReason.CANCELLED)
    assert second.behind == (world.attempts("s0")[1].id,)
    assert [world.tasks()[name].failures for name in ("s0", "s1", "s2")] == [1, 0, 0]
    assert set(world.states().values()) == {SUCCEEDED}
    assert_sound(world)


def test_stage_that_fails_for_good_skips_its_successors(make: Callable[..., World]) -> None:
    world = make()
    world.submit(job("s0", fails={"exit_code": 1, "at": 0.5, "times": 9}), *stages(3)[1:])

    world.run()

    assert world.states() == {"s0": TaskState.FAILED, "s1": TaskState.SKIPPED, "s2": TaskState.SKIPPED}
    assert_sound(world)


def test_lost_node_costs_the_chain_no_retry(make: Callable[..., World]) -> None:
    world = make()
    world.submit(*stages(3, lasts_s=600))
    world.tick()
    world.pass_time(60)
    world.tick()

    world.cluster.fail_nodes("node0", "node1", for_s=30)
    world.run()

    assert set(world.states().values()) == {SUCCEEDED}
    assert {task.failures for task in world.tasks().values()} == {0}
    assert_sound(world)


def test_preempted_stage_breaks_the_chain_and_mends_it(make: Callable[..., World]) -> None:
    world = make()
    world.submit(*stages(3, lasts_s=600, saves_every_s=60))
    world.tick()
    world.pass_time(200)
    world.tick()

    world.cluster.preempt(newest(world, "s0").native_id or "")  # type: ignore[arg-type]
    world.run()

    assert [len(world.attempts(name)) for name in ("s0", "s1", "s2")] == [2, 2, 2]
    assert set(world.states().values()) == {SUCCEEDED}
    assert_sound(world)


def test_cancelled_stage_takes_its_successors_out_of_the_queue(make: Callable[..., World]) -> None:
    world = make()
    world.submit(*stages(3, lasts_s=600))
    world.tick()
    world.pass_time(60)
    world.tick()

    cancel(world.workspace(), [world.tasks()["s1"].id])
    for _ in range(4):
        world.tick()
        world.pass_time(1)

    assert world.states() == {"s0": ACTIVE, "s1": TaskState.CANCELLED, "s2": TaskState.SKIPPED}
    assert_sound(world)


def test_task_whose_job_waits_behind_another_can_be_held_and_released(make: Callable[..., World]) -> None:
    world = make()
    world.submit(*stages(3, lasts_s=600))
    world.tick()
    task = world.tasks()["s1"].id

    done = hold(world.workspace(), [task])
    for _ in range(3):
        world.tick()
        world.pass_time(1)
    held = world.states()
    release(world.workspace(), [task])
    world.run()

    assert done.changed == (task,)
    assert held == {"s0": ACTIVE, "s1": TaskState.HELD, "s2": WAITING}
    assert set(world.states().values()) == {SUCCEEDED}
    assert_sound(world)


def test_task_is_held_even_if_what_it_waited_for_has_ended_meanwhile(make: Callable[..., World]) -> None:
    world = make()
    world.submit(job("s0"), job("s1", after("s0"), cpus=4), *(job(f"busy{n}", cpus=3, lasts_s=3000) for n in range(2)))
    world.tick()
    world.pass_time(60)
    world.tick()
    task = world.tasks()["s1"].id

    hold(world.workspace(), [task])
    world.pass_time(120)
    for _ in range(3):
        world.tick()

    assert (world.states()["s0"], world.states()["s1"]) == (SUCCEEDED, TaskState.HELD)
    assert_sound(world)


def test_wish_to_hold_is_taken_back_by_a_release(make: Callable[..., World]) -> None:
    world = make()
    world.submit(*stages(2))
    world.tick()
    task = world.tasks()["s1"].id

    hold(world.workspace(), [task])
    release(world.workspace(), [task])
    world.tick()

    assert world.states() == {"s0": ACTIVE, "s1": ACTIVE}
    assert newest(world, "s1").cancel_sent is False


def test_chained_jobs_reserve_and_a_cap_stops_the_chain(make: Callable[..., World]) -> None:
    world = make(projects={"nlp": {"budget": {"cpu_hours": 3}}})
    world.submit(*stages(6, walltime_s=3600))

    world.tick()
    states = world.states()
    world.run()

    assert [name for name, state in states.items() if state is ACTIVE] == ["s0", "s1", "s2"]
    assert set(world.states().values()) == {SUCCEEDED}
    assert_sound(world)


def test_what_may_be_used_at_once_is_not_counted_twice_for_jobs_that_never_run_together(
    make: Callable[..., World],
) -> None:
    world = make(projects={"nlp": {"at_once": {"jobs": 1, "cpus": 2}}})
    world.submit(*stages(4, cpus=2))

    world.tick()
    states = world.states()
    held = [(row.jobs, row.cpus) for row in usage(world)]
    world.run()

    chained = [newest(world, name).inherits for name in ("s1", "s2", "s3")]
    assert sorted(name for name, state in states.items() if state is ACTIVE) == ["s0", "s1", "s2", "s3"]
    assert held == [(1, 2)]
    assert chained == [None, None, None]  # each took over when the one in front of it ended
    assert set(world.states().values()) == {SUCCEEDED}
    assert most_at_once(world) == 1
    assert_sound(world)


def test_stage_that_asks_for_more_than_the_one_in_front_counts_by_itself(make: Callable[..., World]) -> None:
    world = make(projects={"nlp": {"at_once": {"cpus": 3}}})
    world.submit(job("small", cpus=1), job("large", after("small"), cpus=3), job("fits", after("small"), cpus=1))

    world.tick()

    assert world.states() == {"small": ACTIVE, "large": WAITING, "fits": ACTIVE}
    assert newest(world, "fits").inherits == newest(world, "small").id
    world.run()
    assert set(world.states().values()) == {SUCCEEDED}
    assert_sound(world)


def test_ready_task_in_front_gets_what_a_stage_would_take_over(make: Callable[..., World]) -> None:
    world = make(projects={"nlp": {"at_once": {"jobs": 1}}}, order=["importance", "fifo"])
    world.submit(*stages(4, lasts_s=300))
    world.tick()
    world.pass_time(60)
    world.submit(job("urgent", importance=5))

    for _ in range(50):
        world.tick()
        assert_sound(world)
        world.pass_time(30)

    began = {task_of(run.attempt): run.began_us for run in world.recorder.runs.values()}
    order = sorted(world.tasks(), key=lambda name: began[world.tasks()[name].id])
    assert order == ["s0", "urgent", "s1", "s2", "s3"]
    assert most_at_once(world) == 1
    assert set(world.states().values()) == {SUCCEEDED}


def test_one_of_several_stages_takes_over_what_the_one_in_front_holds(make: Callable[..., World]) -> None:
    world = make(projects={"nlp": {"at_once": {"jobs": 2}}})
    world.submit(job("a"), *(job(name, after("a")) for name in ("b", "c", "d")))

    world.tick()
    queued = [name for name in "bcd" if world.states()[name] is ACTIVE]
    world.run()

    assert len(queued) == 2
    assert most_at_once(world) == 2
    assert set(world.states().values()) == {SUCCEEDED}
    assert_sound(world)


def test_chain_that_breaks_gives_back_what_it_would_have_taken_over(make: Callable[..., World]) -> None:
    world = make(projects={"nlp": {"at_once": {"jobs": 1}}})
    world.submit(job("s0", fails={"exit_code": 1, "at": 0.5, "times": 1}), *stages(4)[1:])
    world.tick()

    while not world.is_over():
        world.pass_time(30)
        world.tick()
        assert_sound(world)

    assert [(row.jobs, row.cpus) for row in usage(world)] == [(0, 0)]
    assert most_at_once(world) == 1


def usage(world: World) -> Sequence[UsageRow]:
    with Reader.open(world.home) as reader:
        return reader.usage(world.clock.now()).rows


def most_at_once(world: World) -> int:
    """Return how many programs ran at the same moment."""
    runs = world.recorder.runs.values()
    return max(
        sum(one.began_us <= run.began_us and (one.ended_us or run.began_us + 1) > run.began_us for one in runs)
        for run in runs
    )


def test_soft_cap_stops_the_chain_too(make: Callable[..., World]) -> None:
    world = make(projects={"nlp": {"soft_budget": {"cpu_hours": 2}}})
    world.submit(*stages(4, walltime_s=3600))

    world.tick()

    assert [name for name, state in world.states().items() if state is ACTIVE] == ["s0", "s1"]


def test_window_counts_chained_jobs(make: Callable[..., World]) -> None:
    world = make(backend={"window": 3})
    world.submit(*stages(8))

    world.tick()

    assert [name for name, state in world.states().items() if state is ACTIVE] == ["s0", "s1", "s2"]


def test_ready_task_in_front_gets_the_place_of_a_chained_one(make: Callable[..., World]) -> None:
    world = make(backend={"window": 3}, order=["importance", "fifo"])
    world.submit(*stages(8, cpus=4, lasts_s=3000))
    world.submit(job("busy", cpus=4, lasts_s=3000))
    world.tick()
    world.pass_time(60)
    world.tick()
    before = [name for name, state in world.states().items() if state is ACTIVE]

    world.submit(job("urgent", cpus=4, importance=5.0))
    for _ in range(3):
        world.tick()
        world.pass_time(1)

    assert before == ["busy", "s0", "s1", "s2", "s3"]
    assert (world.states()["urgent"], world.states()["s3"]) == (ACTIVE, WAITING)
    assert_still(world)
    assert_sound(world)


def test_budget_that_is_cut_takes_the_last_of_the_chain_back(make: Callable[..., World]) -> None:
    world = make(projects={"nlp": {"budget": {"cpu_hours": 4}}})
    world.submit(*stages(4, walltime_s=3600, lasts_s=600))
    world.tick()
    world.pass_time(60)

    world.site = site(projects={"nlp": {"budget": {"cpu_hours": 2}}})
    for _ in range(3):
        world.tick()
        world.pass_time(1)

    assert world.states() == {"s0": ACTIVE, "s1": ACTIVE, "s2": WAITING, "s3": WAITING}
    assert_still(world)


def test_ready_task_in_front_gets_the_budget_that_chained_ones_hold(make: Callable[..., World]) -> None:
    world = make(projects={"nlp": {"budget": {"cpu_hours": 4}}}, order=["importance", "fifo"])
    world.submit(*stages(4, walltime_s=3600, lasts_s=600))
    world.tick()
    world.submit(job("urgent", walltime_s=7200, lasts_s=600, importance=5.0))

    for _ in range(3):
        world.tick()
        world.pass_time(1)

    assert world.states() == {"s0": ACTIVE, "s1": ACTIVE, "s2": WAITING, "s3": WAITING, "urgent": ACTIVE}
    assert_sound(world)


@pytest.mark.parametrize("fate", [Fate.BUSY, Fate.REJECTED])
def test_refused_successor_waits_as_if_it_had_not_been_tried(make: Callable[..., World], fate: Fate) -> None:
    world = make()
    world.submit(*stages(3))
    world.cluster.fail_submit(Fate.ACCEPTED, fate)

    world.tick()
    states = world.states()
    world.run()

    assert (states["s0"], states["s1"]) == (ACTIVE, WAITING)
    assert set(world.states().values()) == {SUCCEEDED}
    assert {task.failures for task in world.tasks().values()} == {0}
    assert_sound(world)


def test_successor_whose_manager_does_not_let_it_go_runs_without_the_chain(make: Callable[..., World]) -> None:
    world = make(recovery={"unheard": "10m"})
    cluster = world.cluster._cluster
    let_go = cluster._make_ready
    cluster._make_ready = lambda job: None if job.after else let_go(job)  # type: ignore[method-assign]
    world.submit(*stages(3, lasts_s=60))
    for _ in range(12):
        world.tick()
        world.pass_time(60)
    assert [world.states()[name] for name in ("s0", "s1", "s2")] == [SUCCEEDED, ACTIVE, ACTIVE]

    world.run()

    assert set(world.states().values()) == {SUCCEEDED}
    assert {task.failures for task in world.tasks().values()} == {0}
    assert_sound(world)


def test_limit_that_chained_jobs_meet_is_no_alarm_and_stops_nothing_that_is_ready(make: Callable[..., World]) -> None:
    world = make()
    world.submit(*stages(2, lasts_s=3000))
    world.extra["sim"] = NoDependencies(world.cluster)  # type: ignore[assignment]
    reports = []
    for _ in range(6):
        reports.append(world.tick())
        world.pass_time(60)

    world.submit(job("other"))
    last = world.tick()

    assert world.states()["s1"] is WAITING
    assert [report.alarms for report in reports] == [()] * 6
    assert newest(world, "other").id in last.submitted


def test_successor_that_was_refused_is_not_offered_behind_the_same_job_again(make: Callable[..., World]) -> None:
    world = make()
    world.submit(*stages(2, lasts_s=600))
    world.cluster.fail_submit(Fate.ACCEPTED, Fate.REJECTED)

    for _ in range(4):
        world.tick()
        world.pass_time(60)

    assert [attempt.end and attempt.end.reason for attempt in world.attempts("s1")] == [EndReason.REJECTED]


@pytest.mark.parametrize("fate", [Fate.ACCEPT_LOST, Fate.ACCEPT_LATE, Fate.LOST])
def test_lost_answer_about_a_successor_is_found_or_given_up(make: Callable[..., World], fate: Fate) -> None:
    world = make()
    world.submit(*stages(3, lasts_s=300))
    world.cluster.fail_submit(Fate.ACCEPTED, fate)

    world.run()

    assert set(world.states().values()) == {SUCCEEDED}
    assert_sound(world)


def test_predecessor_that_the_manager_forgot_does_not_let_its_successor_run(make: Callable[..., World]) -> None:
    world = make()
    world.submit(*stages(2, lasts_s=600))
    world.tick()
    world.pass_time(30)
    world.tick()

    world.cluster.forget(newest(world, "s0").native_id or "")  # type: ignore[arg-type]
    world.run()

    assert set(world.states().values()) == {SUCCEEDED}
    assert_sound(world)


def would(world: World) -> list[tuple[str, str]]:
    seen = preview(world.workspace())
    decided = [*seen.plan.decisions, *seen.chained]
    return [(seen.names[one.task], in_words(one.reason)) for one in decided if isinstance(one, Submit)]


def test_preview_tells_what_the_tick_will_queue(make: Callable[..., World]) -> None:
    world = make(backend={"window": 3})
    world.submit(*stages(5))

    foreseen = would(world)
    report = world.tick()

    assert foreseen == [
        ("s0", "it was chosen, as number 1 of this tick, for batch of sim"),
        ("s1", "it was queued behind s0's job, for batch of sim"),
        ("s2", "it was queued behind s1's job, for batch of sim"),
    ]
    assert len(report.submitted) == 3


def test_preview_counts_the_budget_that_stages_in_front_will_hold(make: Callable[..., World]) -> None:
    world = make(projects={"nlp": {"budget": {"cpu_hours": 2}}})
    world.submit(*stages(4, walltime_s=3600))

    assert [name for name, _ in would(world)] == ["s0", "s1"]


def test_preview_names_the_job_that_lives(make: Callable[..., World]) -> None:
    world = make(chain=1)
    world.submit(*stages(3))
    world.tick()
    world.pass_time(130)
    world.tick()

    world.submit(job("other"), job("next", after("other")))
    assert would(world)[-1] == ("next", "it was queued behind other's job, for batch of sim")
    world.cluster.fail_submit(Fate.ACCEPTED, Fate.BUSY)
    world.tick()

    number = (newest(world, "other").native_id or "").partition(".")[0]
    assert would(world)[-1] == ("next", f"it was queued behind other's job {number}, for batch of sim")


def test_preview_of_a_site_without_chains_looks_for_none(make: Callable[..., World]) -> None:
    world = make(chain=0)
    world.submit(*stages(3))

    assert [name for name, _ in would(world)] == ["s0"]
