from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.rows import PastRun
from elisa.model.states import EndReason
from elisa.model.task import CheckpointRef
from elisa.policies.experience import USUAL_LEAD_S, Interruptions, Lead, interruptions, lead_of, usual_save_s
from tests.policies.build import NOW, after

HOUR = 3600.0


def a_run(end: EndReason, *, hours: float = 1.0, **fields: Any) -> PastRun:
    ordinary: dict[str, Any] = {
        "attempt": "t1.1",
        "task": "t1",
        "pipeline": "p1",
        "group": "train",
        "backend": "slurm",
        "partition": "a100",
        "nodes": "n1",
        "node_count": 1,
        "started_at": NOW,
        "ended_at": after(hours * HOUR),
        "save_s": None,
    }
    return PastRun(end=end, **{**ordinary, **fields})


def saves(*seconds: float, every_s: float = 100.0, steps: int = 10) -> list[CheckpointRef]:
    return [
        CheckpointRef(path=f"c{i}", step=i * steps, seconds=took, saved_at=after(i * every_s))
        for i, took in enumerate(seconds)
    ]


def test_nothing_is_known_before_the_third_interruption() -> None:
    runs = [a_run(EndReason.COMPLETED, hours=100), a_run(EndReason.PREEMPTED), a_run(EndReason.NODE_FAILURE)]

    assert interruptions(runs, "slurm", "a100", 1) is None


def test_the_mean_time_between_interruptions_is_the_time_run_over_their_number() -> None:
    runs = [a_run(EndReason.COMPLETED, hours=7), *[a_run(EndReason.PREEMPTED)] * 3]

    assert interruptions(runs, "slurm", "a100", 4) == Interruptions(
        pytest.approx(10 / 3 * HOUR), 3, 10 * HOUR, "partition a100 of slurm"
    )


def test_failures_of_nodes_come_as_often_as_there_are_nodes() -> None:
    runs = [a_run(EndReason.NODE_FAILURE, hours=10, node_count=2)] * 3

    one, eight = (interruptions(runs, "slurm", "a100", nodes) for nodes in (1, 8))

    assert one is not None
    assert eight is not None
    assert one.mtbf_s == pytest.approx(20 * HOUR)
    assert eight.mtbf_s == pytest.approx(2.5 * HOUR)


@pytest.mark.parametrize(
    ("backend", "partition", "where"),
    [
        pytest.param("slurm", "v100", "slurm", id="a partition without a past goes by its backend"),
        pytest.param("slurm", "", "slurm", id="no partition"),
        pytest.param("pbs", "batch", "all backends", id="a backend without a past goes by all"),
    ],
)
def test_where_little_is_known_a_wider_circle_counts(backend: str, partition: str, where: str) -> None:
    found = interruptions([a_run(EndReason.PREEMPTED)] * 3, backend, partition, 1)

    assert found is not None
    assert found.where == where


@pytest.mark.parametrize("end", [EndReason.FAILED, EndReason.TIMEOUT, EndReason.CANCELLED, EndReason.OUT_OF_MEMORY])
def test_what_a_program_does_to_itself_is_no_interruption(end: EndReason) -> None:
    assert interruptions([a_run(end)] * 9, "slurm", "a100", 1) is None


def test_jobs_that_were_interrupted_before_they_ran_teach_nothing() -> None:
    assert interruptions([a_run(EndReason.BOOT_FAILURE, hours=0)] * 3, "slurm", "a100", 1) is None


def test_the_lead_is_two_slow_saves_and_the_way_to_the_next_step() -> None:
    own = saves(*[1.0] * 19, 4.0, every_s=100, steps=10)

    assert lead_of(own, (), ()) == Lead(2 + 2 * 1.0 + 1.5 * 10, 1.0, 10.0, 20, "task")


def test_one_slow_save_in_ten_makes_the_lead_longer() -> None:
    assert lead_of(saves(*[1.0] * 9, 30.0, every_s=0), (), ()).save_s == 30.0


@pytest.mark.parametrize(
    ("own", "group", "site", "lead"),
    [
        pytest.param([], [], [], Lead(USUAL_LEAD_S), id="nothing known"),
        pytest.param([9.0], [100.0, 200.0], [], Lead(402.0, 200.0, 0.0, 3, "group"), id="its own and its group's"),
        pytest.param([300.0], [], [5.0], Lead(602.0, 300.0, 0.0, 1, "group"), id="one slow save of its own"),
        pytest.param([], [1.0] * 3, [], Lead(USUAL_LEAD_S, 1.0, 0.0, 3, "group"), id="others never shorten the lead"),
        pytest.param([], [], [90.0] * 3, Lead(182.0, 90.0, 0.0, 3, "site"), id="the site's"),
    ],
)
def test_the_lead_of_a_task_with_little_past(
    own: list[float], group: list[float], site: list[float], lead: Lead
) -> None:
    assert lead_of(saves(*own), group, site) == lead


def test_steps_that_went_back_do_not_tell_how_long_a_step_takes() -> None:
    own = [CheckpointRef(path="c", step=step, seconds=1.0, saved_at=NOW) for step in (30, 20, 10)]

    assert lead_of(own, (), ()).step_s == 0.0


def test_the_usual_save_is_the_median_of_its_own_or_else_of_its_group() -> None:
    assert usual_save_s(saves(1.0, 9.0, 2.0), (5.0,)) == 2.0
    assert usual_save_s([], (5.0, 7.0)) == 6.0
    assert usual_save_s([], ()) is None


@given(st.lists(st.floats(0, 1e5), min_size=3, max_size=50))
def test_the_lead_is_at_least_twice_what_nearly_every_save_took(seconds: list[float]) -> None:
    lead = lead_of(saves(*seconds), (), ())

    within = sum(2 * one <= lead.lead_s for one in seconds[-100:])
    assert within >= 0.95 * len(seconds)
