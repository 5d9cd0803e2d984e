from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.backend import Fate
from elisa.backends.simulated.spec import ClusterSpec, NodeType, PartitionSpec
from elisa.engine.commands import cancel, hold
from elisa.engine.config import Site
from elisa.engine.plan import preview
from elisa.model import layout
from elisa.model.errors import Rejected
from elisa.model.ids import NativeId
from elisa.model.native import JobRequest
from elisa.model.pipeline import RetryPolicy, TaskSpec
from elisa.model.resources import GpuRequest
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import Attempt
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import after, job
from tests.reliability.world import World

ACTIVE, READY, SUCCEEDED = TaskState.ACTIVE, TaskState.READY, TaskState.SUCCEEDED
FAILED, SKIPPED, CANCELLED = TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED
NO_RETRY = RetryPolicy(limit=0)


def a_world(
    folder: Path,
    *,
    cpus: int = 4,
    gpus: tuple[tuple[str, int], ...] = (),
    site: dict[str, Any] | None = None,
    **spec: Any,
) -> World:
    rules = {"backends": {"sim": {"kind": "simulated"}}, "jobs": {"self_fence": "60s"}, **(site or {})}
    cluster = ClusterSpec(nodes=(NodeType(name="node", count=1, cpus=cpus, gpus=gpus),), heartbeat_s=30, **spec)
    return World.make(folder / "home", spec=cluster, site=Site.model_validate(rules))


def brief(name: str, *needs: str, **more: Any) -> TaskSpec:
    """A task of 20 s that asks for a minute."""
    return job(name, *((after(*needs),) if needs else ()), **{"lasts_s": 20, "walltime_s": 60, **more})


def chain(*names: str, **more: Any) -> list[TaskSpec]:
    return [brief(name, *names[max(0, place - 1) : place], **more) for place, name in enumerate(names)]


def newest(world: World, name: str) -> Attempt:
    return world.attempts(name)[-1]


def resources_of(world: World, attempt: Attempt) -> dict[str, Any]:
    assert attempt.leader is not None
    content: dict[str, Any] = json.loads(layout.bundle_file(world.home, attempt.leader).read_text())
    return content


def test_a_chain_of_short_tasks_runs_in_one_native_job(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(*chain(*"abcd"))

    report = world.tick()

    attempts = [newest(world, name) for name in "abcd"]
    assert len(report.submitted) == 4
    assert len(world.recorder.accepted) == 1
    assert {attempt.native_id for attempt in attempts} == {"1"}
    assert {attempt.leader for attempt in attempts} == {attempts[0].id}
    assert [attempt.behind for attempt in attempts] == [(), *((one.id,) for one in attempts[:-1])]
    world.pass_time(100)
    world.tick()
    assert set(world.states().values()) == {SUCCEEDED}
    assert_sound(world)


def test_each_member_begins_when_its_turn_comes_and_ends_by_itself(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(*chain(*"abc"))
    world.tick()
    world.pass_time(30)

    world.tick()

    assert world.states() == {"a": SUCCEEDED, "b": ACTIVE, "c": ACTIVE}
    assert [newest(world, name).state for name in "abc"] == [
        AttemptState.ENDED,
        AttemptState.RUNNING,
        AttemptState.QUEUED,
    ]


def test_short_tasks_join_the_jobs_that_fill_the_nodes(tmp_path: Path) -> None:
    world = a_world(tmp_path, cpus=4)
    world.submit(*(brief(f"t{number}") for number in range(20)))

    world.tick()

    assert len(world.recorder.accepted) == 4
    assert set(world.states().values()) == {ACTIVE}
    world.run()
    assert set(world.states().values()) == {SUCCEEDED}
    assert len(world.recorder.accepted) == 4
    assert_sound(world)


def test_while_nodes_are_free_each_short_task_has_a_job_of_its_own(tmp_path: Path) -> None:
    world = a_world(tmp_path, cpus=4)
    world.submit(*(brief(name) for name in "abc"))

    world.tick()

    assert len(world.recorder.accepted) == 3
    assert {newest(world, name).leader for name in "abc"} == {None}


def test_with_lanes_tasks_run_side_by_side_in_one_job(tmp_path: Path) -> None:
    world = a_world(tmp_path, cpus=4, site={"fusion": {"lanes": 4}})
    world.submit(*(brief(f"t{number}") for number in range(6)))

    world.tick()

    [leader] = world.recorder.accepted
    assert resources_of(world, newest(world, "t0"))["lanes"] == 4
    assert len(world.attempts("t0")) == 1
    assert world.cluster._cluster.jobs[NativeId("1")].shape.cpus == 4
    assert leader in {newest(world, f"t{number}").id for number in range(6)}


def test_what_has_percents_of_a_gpu_never_runs_side_by_side_in_one_job(tmp_path: Path) -> None:
    """The percents are told once for all of a native job: each program in it would get those of all."""
    world = a_world(tmp_path, cpus=4, gpus=(("mps:0", 100),), site={"fusion": {"lanes": 4}})
    percents = GpuRequest(per_node=20, types=("mps",), parts=100)
    specs = [brief(f"t{number}") for number in range(6)]
    world.submit(*(replace(spec, resources=replace(spec.resources, gpus=percents)) for spec in specs))

    world.tick()

    assert len(world.recorder.accepted) == 4
    assert {resources_of(world, one)["lanes"] for n in range(6) if (one := newest(world, f"t{n}")).leader} == {1}


@pytest.mark.parametrize(
    "differs",
    [{"cpus": 2}, {"fuse": False}, {"walltime_s": 600}, {"saves_every_s": 30}],
    ids=["another request", "the author's word", "too long", "it saves"],
)
def test_what_may_not_share_has_a_job_of_its_own(tmp_path: Path, differs: dict[str, Any]) -> None:
    world = a_world(tmp_path)
    world.submit(brief("a"), brief("b", "a"), brief("c", "b", **differs))

    world.tick()

    assert newest(world, "b").leader is not None
    assert not any(attempt.leader for attempt in world.attempts("c"))


def test_a_site_can_switch_it_off(tmp_path: Path) -> None:
    world = a_world(tmp_path, site={"fusion": {"enabled": False}})
    world.submit(*chain(*"ab"))

    world.tick()

    assert newest(world, "a").leader is None


def test_an_expected_run_time_counts_in_place_of_a_long_walltime(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(*chain(*"abc", walltime_s=3600, expected_s=20))

    world.tick()

    assert len(world.recorder.accepted) == 1
    # what the others are expected to take, and then the whole of the longest
    assert resources_of(world, newest(world, "a"))["walltime_s"] == 3720


def test_past_runs_count_for_more_than_what_was_expected(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    long = {"walltime_s": 3600, "lasts_s": 20}
    for _ in range(3):
        world.submit(brief("a", **long), brief("b", **long))
        for _ in range(4):
            world.tick()
            world.pass_time(60)
    world.submit(brief("a", **long), brief("b", "a", **long))

    world.tick()

    with Reader.open(world.home) as reader:
        live = reader.live_attempts()
    assert len(live) == 2
    assert len({attempt.native_id for attempt in live}) == 1


def test_a_job_is_filled_no_further_than_the_site_says(tmp_path: Path) -> None:
    world = a_world(tmp_path, site={"fusion": {"fill": "3m"}})
    world.submit(*chain(*"abcde"))

    world.tick()

    assert [bool(world.attempts(name)) and newest(world, name).leader is not None for name in "abcde"] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_no_job_is_longer_than_its_partition_allows(tmp_path: Path) -> None:
    short = PartitionSpec(name="batch", is_default=True, max_walltime_s=200)
    world = a_world(tmp_path, partitions=(short,))
    world.submit(*chain(*"abcde"))

    world.run()

    assert set(world.states().values()) == {SUCCEEDED}
    assert len(world.recorder.accepted) > 1


def test_a_failing_member_keeps_back_only_what_follows_from_it(tmp_path: Path) -> None:
    world = a_world(tmp_path, cpus=1)
    fails = {"exit_code": 1, "at": 0.5, "times": 9}
    world.submit(brief("x"), brief("a", fails=fails, retry=NO_RETRY), brief("b", "a"), brief("c", "b"), brief("y"))
    world.tick()
    assert len(world.recorder.accepted) == 1

    world.run()

    assert world.states() == {"a": FAILED, "b": SKIPPED, "c": SKIPPED, "x": SUCCEEDED, "y": SUCCEEDED}
    assert newest(world, "b").end is not None
    assert [end.reason for name in "bc" if (end := newest(world, name).end)] == [EndReason.NOT_BEGUN] * 2
    assert_sound(world)


def test_a_member_is_retried_by_itself_and_what_follows_comes_after(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    fails = {"exit_code": 1, "at": 0.5, "times": 1}
    world.submit(brief("a"), brief("b", "a", fails=fails), brief("c", "b"))

    world.run()

    assert set(world.states().values()) == {SUCCEEDED}
    tasks = world.tasks()
    assert [tasks[name].failures for name in "abc"] == [0, 1, 0]
    assert [len(world.attempts(name)) for name in "ab"] == [1, 2]
    assert_sound(world)


def test_a_preemption_in_the_middle_loses_nothing_and_costs_no_retry(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(*chain(*"abcd", retry=NO_RETRY))
    world.tick()
    world.pass_time(30)
    world.cluster.preempt(NativeId("1"))

    world.run()

    assert set(world.states().values()) == {SUCCEEDED}
    assert [len(world.attempts(name)) for name in "abcd"] == [1, 2, 2, 2]
    assert {task.failures for task in world.tasks().values()} == {0}
    assert_sound(world)


def test_a_node_failure_in_the_middle_loses_nothing_and_costs_no_retry(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(*chain(*"abcd", retry=NO_RETRY))
    world.tick()
    world.pass_time(30)
    world.cluster.fail_nodes("node1", *(node.name for node in world.cluster.cluster().nodes), for_s=60)

    world.run()

    assert set(world.states().values()) == {SUCCEEDED}
    assert len(world.attempts("a")) == 1
    assert {task.failures for task in world.tasks().values()} == {0}
    assert_sound(world)


def test_a_requeued_job_goes_on_with_the_member_it_was_at(tmp_path: Path) -> None:
    world = a_world(tmp_path, requeue=True)
    world.submit(*chain(*"abc"))
    world.tick()
    world.pass_time(30)
    world.cluster.preempt(NativeId("1"))

    world.run()

    assert set(world.states().values()) == {SUCCEEDED}
    assert [len(world.attempts(name)) for name in "abc"] == [1, 1, 1]
    assert len(world.recorder.accepted) == 1
    assert_sound(world)


def test_members_for_which_the_time_does_not_reach_are_ready_again(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(*chain(*"abcd", walltime_s=3600, expected_s=1, lasts_s=1000))

    world.run()

    assert set(world.states().values()) == {SUCCEEDED}
    assert {task.failures for task in world.tasks().values()} == {0}
    assert newest(world, "a").end is not None
    assert_sound(world)


@pytest.mark.parametrize("fate", [Fate.ACCEPT_LOST, Fate.ACCEPT_LATE, Fate.LOST])
def test_every_member_is_adopted_after_a_lost_answer(tmp_path: Path, fate: Fate) -> None:
    world = a_world(tmp_path)
    world.cluster.fail_submit(fate)
    world.submit(*chain(*"abc"))

    report = world.tick()

    assert len(report.unsettled) == 3
    world.run()
    assert set(world.states().values()) == {SUCCEEDED}
    assert len(world.recorder.accepted) == 1
    assert_sound(world)


def test_a_full_manager_leaves_all_members_as_they_were(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.cluster.fail_submit(Fate.BUSY)
    world.submit(*chain(*"abc"))

    report = world.tick()

    assert len(report.withdrawn) == 3
    assert world.states() == {"a": READY, "b": TaskState.WAITING, "c": TaskState.WAITING}
    assert_sound(world)


class NoBundles:
    """A cluster that refuses every job that is longer than two minutes."""

    def __init__(self, world: World) -> None:
        self._inner = world.cluster

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def submit(self, request: JobRequest) -> NativeId:
        if request.resources.walltime_s > 120:
            raise Rejected("too long")
        return self._inner.submit(request)


def test_where_only_the_bundle_is_refused_its_first_task_runs_alone(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.extra["sim"] = NoBundles(world)  # type: ignore[assignment]  # it answers as the cluster does
    world.submit(*chain(*"abc"))

    report = world.tick()

    assert len(report.submitted) == 1
    assert world.states() == {"a": ACTIVE, "b": TaskState.WAITING, "c": TaskState.WAITING}
    world.run()
    assert set(world.states().values()) == {SUCCEEDED}
    assert_sound(world)


def test_a_refusal_of_the_task_itself_is_one_for_all_that_ask_for_the_same(tmp_path: Path) -> None:
    world = a_world(tmp_path, cpus=1)
    world.cluster.fail_submit(Fate.REJECTED, Fate.REJECTED)
    world.submit(brief("a"), brief("b"))

    report = world.tick()

    assert len(report.rejected) == 2
    assert world.states() == {"a": FAILED, "b": FAILED}
    assert_sound(world)


def test_a_member_whose_turn_is_to_come_is_cancelled_at_once(tmp_path: Path) -> None:
    world = a_world(tmp_path, cpus=1)
    world.submit(*(brief(name) for name in "abc"))
    world.tick()
    [last] = [one for one in "abc" if newest(world, one).id not in world.recorder.accepted][-1:]

    cancel(world.workspace(), [world.tasks()[last].id])
    world.tick()

    assert world.states()[last] is CANCELLED
    world.run()
    assert sorted(world.states().values()) == [CANCELLED, SUCCEEDED, SUCCEEDED]
    assert not any(run.attempt == newest(world, last).id for run in world.recorder.runs.values())
    assert_sound(world)


def test_when_all_members_are_cancelled_the_native_job_is(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(*chain(*"abc"))
    world.tick()

    cancel(world.workspace(), [task.id for task in world.tasks().values()])
    world.run()

    assert set(world.states().values()) == {CANCELLED}
    assert_sound(world)


def test_a_waiting_link_can_be_held(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(*chain(*"abc"))
    world.tick()

    hold(world.workspace(), [world.tasks()["b"].id])
    for _ in range(8):
        world.tick()
        world.pass_time(60)

    assert world.states()["a"] is SUCCEEDED
    assert world.states()["b"] is TaskState.HELD
    assert_sound(world)


def test_members_reserve_what_each_asks_for_and_give_back_what_none_used(tmp_path: Path) -> None:
    site = {"projects": {"nlp": {"budget": {"cpu_hours": 0.05}}}}
    world = a_world(tmp_path, site=site)
    world.submit(*chain(*"abcd"))

    world.tick()

    assert [newest(world, name).leader is not None for name in "abc"] == [True] * 3
    assert not world.attempts("d")
    world.run()
    assert set(world.states().values()) == {SUCCEEDED}
    with Reader.open(world.home) as reader:
        [row] = reader.usage(world.clock.now()).rows
    assert row.reserved.cpu_s == 0
    assert 80 <= row.spent.cpu_s <= 84
    assert_sound(world)


def test_the_plan_shows_what_shares_a_job_and_changes_nothing(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(*chain(*"abc"))

    seen = preview(world.workspace())

    [bundle] = seen.fused.bundles.values()
    assert [seen.names[member.task] for member in bundle.members] == ["a", "b", "c"]
    assert set(seen.fused.ahead) == {member.task for member in bundle.members[1:]}
    assert not world.attempts("a")


def test_chains_in_bundles_are_elements_of_one_array(tmp_path: Path) -> None:
    world = a_world(tmp_path, cpus=8, arrays=1000)
    calls: list[int] = []
    inner = world.cluster.submit_array
    world.cluster.submit_array = lambda requests: (calls.append(len(requests)), inner(requests))[1]  # type: ignore[method-assign]
    world.submit(*(spec for start in range(5) for spec in chain(*(f"c{start}-{place}" for place in range(6)))))

    report = world.tick()

    assert calls == [5]
    assert len(report.submitted) == 30
    world.run()
    assert set(world.states().values()) == {SUCCEEDED}
    assert_sound(world)


def test_an_attempt_without_a_bundle_is_still_written_as_one(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(replace(brief("a"), fuse=False))

    world.tick()

    assert newest(world, "a").leader is None
    assert not layout.bundle_file(world.home, newest(world, "a").id).exists()
