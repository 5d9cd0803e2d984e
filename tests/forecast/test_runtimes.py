"""What past runs say of the next one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.forecast.runtimes import Estimate, Runtimes
from elisa.model.rows import FinishedWork, WorkName

HOUR = 3600


def named(
    task: str = "train-lr=1", *, pipeline: str = "sweep", project: str = "vision", group: str = "train"
) -> WorkName:
    return WorkName(project, pipeline, task, group)


def ran(*seconds: float, name: WorkName | None = None, walltime_s: int = 10 * HOUR) -> list[FinishedWork]:
    return [FinishedWork(name or named(), walltime_s, work_s) for work_s in seconds]


def estimate(
    finished: Sequence[FinishedWork], name: WorkName | None = None, walltime_s: int = 10 * HOUR
) -> Estimate | None:
    return Runtimes(finished).estimate(name or named(), walltime_s)


def test_runs_of_the_same_name_tell_how_long_nine_in_ten_and_half_of_them_took() -> None:
    found = estimate(ran(*range(100, 1100, 100)))

    assert found is not None
    assert (found.total_s, found.usual_s, found.whose) == (900, 500, "task")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_runs_of_its_own_say_nothing(count: int) -> None:
    assert estimate(ran(*[60.0] * count, name=named(group=""))) is None


def test_where_its_own_runs_are_too_few_those_of_its_group_count_as_parts_of_their_walltimes() -> None:
    others = [
        one for number in range(5) for one in ran(HOUR, name=named(f"train-lr={number + 2}"), walltime_s=4 * HOUR)
    ]

    found = estimate(others, walltime_s=8 * HOUR)

    assert found is not None
    assert (found.total_s, found.whose) == (2 * HOUR, "group")
    assert estimate(others[1:], walltime_s=8 * HOUR) is None


@pytest.mark.parametrize("other", [named(pipeline="other"), named(project="nlp"), named("test", group="test")])
def test_work_of_other_names_says_nothing(other: WorkName) -> None:
    assert estimate(ran(*[60.0] * 9, name=other)) is None


def test_only_the_newest_runs_count() -> None:
    found = estimate([*ran(*[60.0] * 20), *ran(*[9000.0] * 20)])

    assert found is not None
    assert found.total_s == 60


def test_who_ran_longer_than_most_is_measured_by_those_that_ran_longer_still() -> None:
    found = estimate(ran(100, 200, 300, 1000))

    assert found is not None
    assert [found.left_s(done_s) for done_s in (0, 250, 300, 999, 1000)] == [1000, 750, 700, 1, None]


def test_nothing_finished_is_nothing_known() -> None:
    assert not Runtimes([])
    assert Runtimes(ran(1))


@given(
    runs=st.lists(st.floats(1, 1e6), min_size=3, max_size=40),
    done=st.floats(0, 1e6),
    more=st.floats(0, 1e6),
)
def test_what_is_left_is_positive_and_never_ends_later_than_the_longest_run(
    runs: list[float], done: float, more: float
) -> None:
    found = estimate(ran(*runs))
    assert found is not None
    newest = runs[:20]

    left, later = found.left_s(done), found.left_s(done + more)

    assert (left is None) == (done >= max(newest))
    if left is not None:
        assert 0 < left <= max(newest) - done
        assert min(newest) <= found.usual_s <= found.total_s <= max(newest)
    if left is not None and later is not None:
        assert done + left <= done + more + later + 1e-6  # the expected end never moves to an earlier moment
