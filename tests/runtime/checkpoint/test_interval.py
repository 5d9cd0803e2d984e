from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.runtime.checkpoint.interval import choose_interval, optimum_s
from elisa.runtime.checkpoint.pace import Pace

HOUR = 3600.0


class Clock:
    """A clock that is set by hand, and the walltime left on it."""

    def __init__(self, left_s: float = math.inf) -> None:
        self.now = 1000.0
        self.end = self.now + left_s

    def __call__(self) -> float:
        return self.now

    def left_s(self) -> float:
        return self.end - self.now


def a_pace(clock: Clock, fixed_s: float | None = None, mtbf_s: float | None = None) -> Pace:
    return Pace(fixed_s=fixed_s, mtbf_s=mtbf_s, left_s=clock.left_s, clock=clock)


@given(st.floats(0.001, 1000), st.floats(1, 1e7))
def test_the_optimum_loses_less_than_its_neighbours(save_s: float, mtbf_s: float) -> None:
    """Daly's expectation of the run time (eq. 20 there), per second of work, without the restart's share."""

    def loss(interval_s: float) -> float:
        return mtbf_s * math.expm1(min(700, (interval_s + save_s) / mtbf_s)) / interval_s

    best = optimum_s(save_s, mtbf_s)

    if save_s < mtbf_s / 20:
        assert loss(best) <= 1.01 * min(loss(best * 0.7), loss(best * 1.4))
    assert best <= math.sqrt(2 * save_s * mtbf_s) * 1.5


def test_saves_that_take_longer_than_failures_are_apart_come_once_between_failures() -> None:
    assert optimum_s(100, 10) == 10


@pytest.mark.parametrize(
    ("save_s", "given_", "bound", "interval_s"),
    [
        (1.0, {}, "optimum", 414.7),  # a failure a day is assumed
        (60.0, {}, "overhead", 6000.0),  # 1 % of the time
        (60.0, {"mtbf_s": 4 * HOUR}, "optimum", 1275),  # measured failures ask for more than 1 %
        (60.0, {"mtbf_s": 300.0}, "overhead", 1200.0),  # but never for more than 5 %
        (1.0, {"remaining_s": 100.0}, "remaining", 50.0),
        (10.0, {"remaining_s": 20.0}, "remaining", 200.0),  # too little time is left for its cost
        (0.0, {}, "optimum", 4.16),
    ],
)
def test_the_interval_follows_from_cost_failures_and_walltime(
    save_s: float, given_: dict[str, float], bound: str, interval_s: float
) -> None:
    choice = choose_interval(save_s, **given_)  # type: ignore[arg-type]  # floats by name

    assert choice.bound == bound
    assert choice.interval_s == pytest.approx(interval_s, rel=0.01)


def test_the_first_save_is_due_at_once_and_the_next_by_its_cost() -> None:
    clock = Clock()
    pace = a_pace(clock)
    assert pace.is_due()

    pace.saved(1.0)
    clock.now += 400
    assert not pace.is_due()
    clock.now += 20
    assert pace.is_due()


def test_an_interval_that_was_asked_for_holds() -> None:
    clock = Clock()
    pace = a_pace(clock, fixed_s=5.0)
    pace.saved(1.0)
    clock.now += 5

    assert pace.is_due()
    assert (pace.choice().interval_s, pace.choice().bound) == (5.0, "fixed")


def test_one_slow_save_does_not_change_the_interval_much() -> None:
    pace = a_pace(Clock())
    for seconds in (1.0, 1.0, 1.0, 50.0):
        pace.saved(seconds)

    assert pace.choice().save_s == 1.0


def test_a_resumed_run_knows_the_cost_and_does_not_save_at_once() -> None:
    pace = a_pace(Clock())
    pace.restored(2.0)

    assert not pace.is_due()
    assert pace.choice().save_s == 2.0


def test_the_last_save_begins_in_time() -> None:
    clock = Clock(left_s=1000)
    pace = a_pace(clock)
    for seconds in [1.0] * 18 + [30.0, 30.0]:
        pace.took(seconds)
    clock.now += 4
    pace.stepped()

    assert pace.lead_s() == 2 + 2 * 30 + 1.5 * 4
    clock.now = clock.end - 69
    assert not pace.is_late()
    clock.now += 2
    assert pace.is_late()


def test_a_short_walltime_is_not_all_lead() -> None:
    pace = a_pace(Clock(left_s=10))

    assert pace.lead_s() == 5
    assert not pace.is_late()


def test_without_a_walltime_it_is_never_late() -> None:
    assert not a_pace(Clock()).is_late()
