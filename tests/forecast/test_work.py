"""What is left of a task, with what it saved and what runs already."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.forecast.runtimes import Runtimes
from elisa.forecast.work import Left, left_of
from elisa.model.columns import UnfinishedRow
from elisa.model.rows import FinishedWork, WorkName

HOUR = 3600
NAME = WorkName("vision", "sweep", "train", "train")


def left(
    *runs: float, walltime_s: int = 10 * HOUR, saved_s: float = 0, running_s: float = 0, speed: float = 1.0
) -> Left:
    known = Runtimes(FinishedWork(NAME, walltime_s, run_s) for run_s in runs)
    return left_of(UnfinishedRow("t1", NAME, walltime_s), known, saved_s=saved_s, running_s=running_s, speed=speed)


def test_without_a_past_the_walltime_is_left() -> None:
    assert left() == Left(10 * HOUR, 10 * HOUR)
    assert left(running_s=4 * HOUR) == Left(6 * HOUR, 6 * HOUR, 4 * HOUR)


def test_with_a_past_what_runs_took_less_what_is_done() -> None:
    found = left(*[2 * HOUR] * 3, saved_s=HOUR, running_s=HOUR // 2)

    assert (found.run_s, found.left_s, found.done_s) == (HOUR // 2, HOUR // 2, 1.5 * HOUR)
    assert found.progress == 0.75


def test_work_of_several_attempts_has_more_left_than_the_next_one_can_do() -> None:
    found = left(*[200 * HOUR] * 3, walltime_s=24 * HOUR)

    assert (found.run_s, found.left_s) == (24 * HOUR, 200 * HOUR)


def test_on_twice_the_nodes_work_goes_twice_as_fast() -> None:
    found = left(*[8 * HOUR] * 3, running_s=HOUR, speed=2.0)

    assert (found.run_s, found.left_s, found.done_s) == (3 * HOUR, 6 * HOUR, 2 * HOUR)


def test_who_took_longer_than_any_before_is_measured_by_the_walltime_again() -> None:
    found = left(*[HOUR] * 3, running_s=2 * HOUR)

    assert (found.run_s, found.left_s, found.estimate) == (8 * HOUR, 8 * HOUR, None)


def test_nothing_to_do_is_no_progress() -> None:
    assert Left(0, 0).progress == 0


@given(
    runs=st.lists(st.floats(1, 1e6), max_size=10),
    walltime_s=st.integers(1, 10**6),
    saved_s=st.floats(0, 1e6),
    running_s=st.floats(0, 1e6),
)
def test_an_attempt_is_never_expected_to_outlast_its_walltime(
    runs: list[float], walltime_s: int, saved_s: float, running_s: float
) -> None:
    found = left(*runs, walltime_s=walltime_s, saved_s=saved_s, running_s=running_s)

    assert 0 <= found.run_s <= max(0, walltime_s - running_s)
    assert found.run_s <= found.left_s
    assert 0 <= found.progress <= 1


@pytest.mark.parametrize("runs", [(), (HOUR, HOUR, HOUR)])
def test_progress_rises_with_what_is_saved(runs: tuple[float, ...]) -> None:
    parts = [left(*runs, saved_s=saved_s).progress for saved_s in (0, 600, 1800, 3000)]

    assert parts == sorted(set(parts))
