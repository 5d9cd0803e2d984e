"""Calls made beside the tick: in waves, each answer to be had as it comes, and none made after one that tells of trouble."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from elisa.engine.flight import Flight
from elisa.engine.threads import in_background
from elisa.model.errors import AtLimit, Rejected, SubmitUncertain, Unavailable


class Calls:
    """Calls that answer with their numbers, or raise what is set for them; `made` are the numbers of those made."""

    def __init__(self, count: int, errors: dict[int, Exception] | None = None) -> None:
        self.made: set[int] = set()
        self._count = count
        self._errors = errors or {}

    def waves(self, size: int) -> Sequence[Sequence[Callable[[], int]]]:
        numbers = range(self._count)
        return [[self._call(n) for n in numbers[at : at + size]] for at in numbers[::size]]

    def _call(self, number: int) -> Callable[[], int]:
        def call() -> int:
            self.made.add(number)
            if number in self._errors:
                raise self._errors[number]
            return number

        return call


def test_all_calls_are_made_and_answered_in_their_order() -> None:
    flight = Flight(Calls(7).waves(3), in_background)

    assert [answer() for answer in flight.answers()] == list(range(7))


@pytest.mark.parametrize(
    "error", [AtLimit("full"), Unavailable("away"), SubmitUncertain("who knows"), ValueError("a bug")]
)
def test_after_trouble_the_wave_it_came_in_is_the_last(error: Exception) -> None:
    calls = Calls(9, {4: error})

    flight = Flight(calls.waves(3), in_background)

    answers = list(flight.answers())
    assert calls.made == set(range(6))
    assert [answers[number]() for number in (0, 1, 2, 3, 5)] == [0, 1, 2, 3, 5]
    with pytest.raises(type(error)):
        answers[4]()


def test_a_refusal_of_one_job_stops_no_other() -> None:
    calls = Calls(6, {1: Rejected("no such partition")})

    assert len(list(Flight(calls.waves(2), in_background).answers())) == 6


def test_called_back_it_begins_no_further_wave() -> None:
    calls = Calls(6)
    started: list[Callable[[], None]] = []

    def later(work: Callable[[], None]) -> Callable[[], None]:
        started.append(work)
        return work

    flight = Flight(calls.waves(2), later)
    flight.call_back()

    assert (len(started), calls.made) == (1, set())
