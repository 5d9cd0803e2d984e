from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from elisa.model.rows import PastRun
from elisa.model.states import EndReason
from elisa.policies.badnodes import NodeOutcome, Suspect
from elisa.policies.blame import (
    avoid_until,
    may_blame,
    node_outcomes,
    not_by_gpus,
    on_gpus,
    own_bad_nodes,
    suspect_nodes,
)
from elisa.policies.unexplained import UNEXPLAINED
from tests.policies.build import NOW, after, ended

GOOD, BAD, DIED = EndReason.COMPLETED, EndReason.FAILED, EndReason.NODE_FAILURE


def a_run(end: EndReason, nodes: str, task: str = "t1", **fields: Any) -> PastRun:
    ordinary: dict[str, Any] = {
        "attempt": f"{task}.1",
        "pipeline": "p1",
        "group": "train",
        "backend": "slurm",
        "partition": "a100",
        "node_count": 1,
        "started_at": after(-7200),
        "ended_at": after(-3600),
        "save_s": None,
    }
    return PastRun(end=end, nodes=nodes, task=task, **{**ordinary, **fields})  # type: ignore[arg-type]


def failures(runs: list[PastRun]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for outcome in node_outcomes(runs, NOW):
        counts[outcome.node] = counts.get(outcome.node, 0) + outcome.failed
    return counts


def test_a_failed_node_is_to_blame_and_a_finished_run_speaks_for_its_nodes() -> None:
    assert list(node_outcomes([a_run(DIED, "n1"), a_run(GOOD, "n[2-3]")], NOW)) == [
        NodeOutcome("n1", 3600.0, failed=True),
        NodeOutcome("n2", 3600.0, failed=False),
        NodeOutcome("n3", 3600.0, failed=False),
    ]


def test_a_failed_program_speaks_against_its_node_only_if_the_same_work_completed_elsewhere() -> None:
    broken = [a_run(BAD, "n1", task) for task in ("t1", "t2")]

    assert failures(broken) == {}
    assert failures([*broken, a_run(GOOD, "n1", "t3")]) == {"n1": 0}
    assert failures([*broken, a_run(GOOD, "n2", "t3")]) == {"n1": 2, "n2": 0}
    assert failures([*broken, a_run(GOOD, "n2", "t3", group="other")]) == {"n2": 0}


def test_one_task_that_fails_often_counts_once_against_a_node() -> None:
    assert failures([*[a_run(BAD, "n1")] * 5, a_run(GOOD, "n2", "t3")])["n1"] == 1


@pytest.mark.parametrize("end", [EndReason.OUT_OF_MEMORY, EndReason.CANCELLED, EndReason.LOST, EndReason.INVALID_DATA])
def test_ends_that_say_nothing_of_the_node_are_left_out(end: EndReason) -> None:
    assert failures([a_run(end, "n1")]) == {}
    assert not may_blame(end)


def test_a_node_that_keeps_failing_is_avoided_even_in_a_small_cluster() -> None:
    runs = [*[a_run(DIED, "n1", ended_at=NOW)] * 2, *[a_run(GOOD, f"n{i}") for i in range(2, 5)]]

    assert suspect_nodes(runs, "slurm", NOW) == (Suspect("n1", 2.0, 2.0),)
    assert suspect_nodes(runs, "pbs", NOW) == ()


def test_the_only_node_there_is_is_never_avoided() -> None:
    assert suspect_nodes([a_run(DIED, "n1", ended_at=NOW)] * 9, "slurm", NOW) == ()


def test_when_every_node_fails_none_is_to_blame() -> None:
    assert suspect_nodes([a_run(DIED, f"n{i}", ended_at=NOW) for i in (1, 2) for _ in range(5)], "slurm", NOW) == ()


@pytest.mark.parametrize(
    ("count", "hours"),
    [
        pytest.param(1.5, 1.0, id="at least an hour"),
        pytest.param(3.0, 24.0, id="a day"),
        pytest.param(6.0, 48.0, id="two"),
    ],
)
def test_a_node_is_avoided_until_half_as_much_speaks_against_it(count: float, hours: float) -> None:
    assert avoid_until(Suspect("n1", count, 9.0), NOW) == NOW + timedelta(hours=hours)


def test_the_next_attempt_should_see_another_node_than_those_where_the_last_two_broke() -> None:
    attempts = [
        ended(BAD, "t1.1", nodes="n1"),
        ended(DIED, "t1.2", nodes="n2"),
        ended(BAD, "t1.3", nodes="n3"),
    ]

    assert own_bad_nodes(attempts) == {"n2", "n3"}
    assert own_bad_nodes([ended(EndReason.PREEMPTED, nodes="n1"), ended(BAD, "t1.2", nodes="n[1-2]")]) == frozenset()


def test_so_should_one_whose_job_was_cancelled_on_a_node_before_it_began_by_nobody_knows_whom() -> None:
    assert own_bad_nodes([ended(EndReason.CANCELLED, nodes="n1", detail=UNEXPLAINED)]) == {"n1"}
    assert own_bad_nodes([ended(EndReason.CANCELLED, nodes="n1")]) == frozenset()


def test_runs_on_gpus_are_judged_gpu_by_gpu_and_a_nodes_failure_is_no_gpus_fault() -> None:
    runs = [
        a_run(BAD, "vm", "t1", gpus=("2",)),
        a_run(BAD, "", "t2", gpus=("2",)),
        a_run(GOOD, "vm", "t3", gpus=("0", "1")),
        a_run(DIED, "vm", "t4", gpus=("0",)),
        a_run(GOOD, "vm", "t5"),
        a_run(GOOD, "n[1-2]", "t6", gpus=("0",), node_count=2),
    ]

    assert failures(list(on_gpus(runs))) == {"vm:0": 0, "vm:1": 0, "vm:2": 2}
    assert [one.node for one in suspect_nodes(on_gpus(runs), "slurm", NOW)] == ["vm:2"]


def test_a_run_whose_node_is_not_known_says_nothing_of_gpus_where_there_are_several_nodes() -> None:
    runs = [
        a_run(BAD, "", "t1", gpus=("2",)),
        *(a_run(GOOD, f"n{node}", f"t{node + 1}", gpus=("2",)) for node in (1, 2)),
    ]

    assert failures(list(on_gpus(runs))) == {"n1:2": 0, "n2:2": 0}


def test_what_broke_on_a_gpu_that_is_left_out_anyway_says_nothing_against_its_node() -> None:
    broke = [a_run(BAD, "n1", task, gpus=("2",), ended_at=NOW) for task in ("t1", "t2")]
    fine = [a_run(GOOD, "n1", "t3", gpus=("2", "3")), a_run(GOOD, "n2", "t4", gpus=("2",))]
    other = a_run(BAD, "n1", "t5", gpus=("1",))

    assert not_by_gpus([*broke, *fine, other], {("slurm", "n1:2")}) == (*fine, other)
    assert not_by_gpus([*broke, *fine], {("pbs", "n1:2")}) == (*broke, *fine)
