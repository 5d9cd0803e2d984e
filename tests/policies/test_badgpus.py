"""Single GPUs that are left out on nodes that go on: what is counted, who is kept off, and for how long."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from elisa.model.ids import TaskId
from elisa.model.native import ClusterView, NodeView
from elisa.model.reasons import ReasonCode
from elisa.model.resources import SHARD
from elisa.model.states import EndReason
from elisa.policies.badgpus import BadGpu, still_refused, without_bad
from elisa.policies.blame import own_bad_nodes
from elisa.policies.plan import Plan
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, a_request, after, ended, started

UNTIL = after(3600)
T1 = TaskId("t1")
TWO = a_cluster(a_node("n1", gpus={"a100": 4}), a_node("n2", gpus={"a100": 4}))


def bad(gpu: str = "0", node: str = "n1") -> BadGpu:
    return BadGpu(node, gpu, UNTIL)


def planned(ready: Ready, *left_out: BadGpu, view: ClusterView = TWO, queues: bool = True) -> Plan:
    return a_plan(ready, view, queueing=[HERE] if queues else [], bad_gpus={HERE: left_out})


def counts(node: NodeView, *left_out: BadGpu) -> tuple[dict[str, int], dict[str, int]]:
    (less,) = without_bad(a_cluster(node), left_out).nodes
    return dict(less.gpus), dict(less.free_gpus)


def test_a_node_counts_as_having_its_good_gpus_only() -> None:
    used = a_node("n1", gpus={"a100": 4}, free_gpus=(("a100", 2),))

    assert counts(used, bad("0"), bad("3")) == ({"a100": 2}, {"a100": 0})
    assert counts(used, bad("GPU-8f")) == ({"a100": 3}, {"a100": 1})
    assert counts(used, bad("9")) == ({"a100": 4}, {"a100": 2})
    assert counts(used, *(bad(str(one)) for one in range(4))) == ({"a100": 0}, {"a100": 0})


def test_the_type_of_a_bad_gpu_follows_from_its_number_and_its_shares_go_with_it() -> None:
    mixed = a_node("n1", gpus={"a100": 1, "h100": 1, SHARD: 8})

    assert counts(mixed, bad("1")) == ({"a100": 1, "h100": 0, SHARD: 4}, {"a100": 1, "h100": 0, SHARD: 4})


def test_a_cluster_without_bad_gpus_is_the_same_one() -> None:
    assert without_bad(TWO, [bad(node="n9")]) is TWO


@given(st.lists(st.tuples(st.sampled_from(["n1", "n2", "n3"]), st.integers(0, 5)), unique=True), st.integers(0, 4))
def test_no_node_loses_more_gpus_than_are_bad_nor_more_than_it_has(pairs: list[tuple[str, int]], free: int) -> None:
    nodes = [a_node(name, gpus={"a100": 4}, free_gpus=(("a100", free),)) for name in ("n1", "n2")]

    less = without_bad(a_cluster(*nodes), [bad(str(gpu), node) for node, gpu in pairs])

    for node in less.nodes:
        lost = len({gpu for name, gpu in pairs if name == node.name and gpu < 4})
        assert node.gpus == (("a100", 4 - lost),)
        assert node.free_gpus == (("a100", max(0, free - lost)),)


def test_work_that_fits_on_the_good_gpus_is_placed_there() -> None:
    made = planned(Ready().add("t1", a_request(3)), bad(), queues=False)

    assert made.nodes(T1) == ("n1",)
    assert made.kept_off(T1) == ()


def test_work_that_needs_more_than_the_good_ones_is_kept_off_the_node() -> None:
    made = planned(Ready().add("t1", a_request(4)), bad())

    assert made.nodes(T1) == ("n2",)
    assert made.kept_off(T1) == ("n1",)


def test_a_node_whose_gpus_are_all_bad_gets_no_work_that_wants_one_and_any_other_work() -> None:
    all_bad = [bad(str(one)) for one in range(4)]

    assert planned(Ready().add("t1", a_request(1)), *all_bad).kept_off(T1) == ("n1",)
    assert planned(Ready().add("t1"), *all_bad).kept_off(T1) == ()


def test_who_waits_in_a_queue_is_kept_off_as_far_as_others_are_left() -> None:
    """A bad GPU looks free: it would get each job that waits, one after another."""
    full = a_cluster(*(replace(node, free_gpus=(("a100", 0),)) for node in TWO.nodes))

    assert planned(Ready().add("t1", a_request(1)), bad(), view=full).kept_off(T1) == ("n1",)
    assert planned(Ready().add("t1", a_request(1)), bad(), bad(node="n2"), view=full).kept_off(T1) == ("n1",)


def test_work_on_several_nodes_is_kept_off_wherever_its_agent_could_not_look() -> None:
    three = a_cluster(*TWO.nodes, a_node("n3", gpus={"a100": 4}))

    assert planned(Ready().add("t1", a_request(1, nodes=2)), bad(), view=three).kept_off(T1) == ("n1",)
    assert planned(Ready().add("t1", a_request(1, nodes=2)), bad()).kept_off(T1) == ()


def test_who_would_fit_but_for_bad_gpus_is_told_which_and_until_when() -> None:
    made = planned(Ready().add("t1", a_request(4)), bad("2"), bad("0", "n2"))

    reason = made.reason(T1)
    assert reason.code is ReasonCode.GPUS_LEFT_OUT
    assert reason.facts == {
        "asked": 4,
        "largest": 3,
        "bad": "GPU 2 of n1, GPU 0 of n2",
        "until": UNTIL.isoformat(timespec="seconds"),
        "backend": HERE,
        "partition": "",
    }
    assert planned(Ready().add("t1", a_request(5)), bad("2")).reason(T1).code is ReasonCode.NEVER_FITS


def test_the_next_attempt_avoids_the_node_that_gave_it_a_bad_gpu_as_long_as_that_is_left_out() -> None:
    given_back = [ended(EndReason.BAD_GPU, "t1.1", nodes="n[1-2]"), ended(EndReason.PREEMPTED, "t1.2", nodes="n2")]

    assert own_bad_nodes(given_back, [bad(), bad(node="n2")]) == {"n1"}
    assert own_bad_nodes(given_back, [bad(node="n2")]) == frozenset()


def test_after_three_times_a_task_runs_on_what_it_is_given() -> None:
    times = [ended(EndReason.BAD_GPU, f"t1.{number}", nodes="n1") for number in (1, 2, 3)]

    assert still_refused(times[:2], [bad()]) == (bad(),)
    assert still_refused(times, [bad(), bad(node="n2")]) == (bad(node="n2"),)


def test_started_work_knows_what_its_agent_must_look_for() -> None:
    made = planned(Ready().add("t1", a_request(1)), bad())

    assert started(made) == ["t1"]
    assert made.bad_gpus(T1) == (bad(),)
