"""Calls made beside the tick: a few at a time, each answer to be had as it comes, and none begun after trouble was met."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import pytest

from elisa.engine import flight as flights
from elisa.engine.flight import Flight, Leg
from elisa.engine.threads import in_background, threads
from elisa.model.errors import AtLimit, Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import BackendName


class Calls:
    """Calls that answer with their numbers, or raise what is set for them; `made` are the numbers of those made."""

    def __init__(self, count: int, errors: dict[int, Exception] | None = None) -> None:
        self.made: set[int] = set()
        self.most = 0
        self._count = count
        self._errors = errors or {}
        self._under_way = 0
        self._lock = threading.Lock()

    def leg(self, at_once: int, manager: str = "slurm") -> Leg[int]:
        return Leg(BackendName(manager), [self._call(number) for number in range(self._count)], at_once)

    def _call(self, number: int) -> Callable[[], int]:
        def call() -> int:
            with self._lock:
                self._under_way += 1
                self.most = max(self.most, self._under_way)
            self.made.add(number)
            try:
                if number in self._errors:
                    raise self._errors[number]
                return number
            finally:
                with self._lock:
                    self._under_way -= 1

        return call


def fly(*legs: Leg[int]) -> Sequence[Callable[[], int]]:
    """Return all answers of one flight."""
    flight = Flight[int](in_background)
    flight.add(legs)
    answers = list(flight.answers(sum(len(leg.calls) for leg in legs)))
    flight.call_back()
    return answers


def test_all_calls_are_made_and_answered_in_their_order() -> None:
    calls = Calls(40)

    assert [answer() for answer in fly(calls.leg(3))] == list(range(40))
    assert calls.most <= 3


def test_the_next_call_begins_when_the_oldest_ends_not_when_all_have() -> None:
    second, met = threading.Event(), threading.Barrier(2)

    def wait_for_another() -> int:
        second.set()
        return met.wait(timeout=10)

    # Of the first two, one ends at once; the other only when the third is there.
    legs = [Leg(BackendName("slurm"), [lambda: 0, wait_for_another, wait_for_another], 2)]

    answers = fly(*legs)

    assert len([answer() for answer in answers]) == 3
    assert second.is_set()


@pytest.mark.parametrize(
    "error", [AtLimit("full"), Unavailable("away"), SubmitUncertain("who knows"), ValueError("a bug")]
)
def test_after_trouble_only_those_are_made_that_were_under_way(error: Exception) -> None:
    calls = Calls(90, {4: error})

    answers = fly(calls.leg(3))

    assert calls.made == set(range(len(answers)))
    assert 5 <= len(answers) <= 7
    assert [answers[number]() for number in (0, 1, 2, 3)] == [0, 1, 2, 3]
    with pytest.raises(type(error)):
        answers[4]()


def test_a_refusal_of_one_job_stops_no_other() -> None:
    assert len(fly(Calls(6, {1: Rejected("no such partition")}).leg(2))) == 6


def test_what_is_added_while_it_flies_comes_after_what_was_there() -> None:
    flight = Flight[int](in_background)
    flight.add([Calls(3).leg(2)])
    first = [answer() for answer in flight.answers(3)]

    flight.add([Calls(2).leg(2)])

    assert (first, [answer() for answer in flight.answers(2)]) == ([0, 1, 2], [0, 1])
    flight.call_back()


def test_what_is_added_after_trouble_is_not_made() -> None:
    later = Calls(3)
    flight = Flight[int](in_background)
    flight.add([Calls(1, {0: Unavailable("away")}).leg(2)])
    assert len(list(flight.answers(1))) == 1
    flight.add([later.leg(2)])
    flight.call_back()

    assert list(flight.answers(3)) == []
    assert (flight.is_over, later.made) == (True, set())


def test_calls_to_another_manager_wait_for_those_to_the_first() -> None:
    ended: list[int] = []
    released = threading.Event()

    def slow() -> int:
        assert released.wait(timeout=10)
        ended.append(1)
        return 1

    def quick() -> int:
        released.set()
        return 0

    first = Leg(BackendName("one"), [slow, quick], 2)
    second = Leg(BackendName("two"), [lambda: len(ended)], 2)

    assert [answer() for answer in fly(first, second)] == [1, 0, 1]


def test_without_a_thread_all_is_done_when_it_is_added() -> None:
    def at_once(work: Callable[[], None]) -> Callable[[], None]:
        work()
        return lambda: None

    flight = Flight[int](at_once)
    for _ in range(2):
        calls = Calls(3)
        flight.add([calls.leg(2)])
        assert calls.made == {0, 1, 2}
        assert [answer() for answer in flight.answers(3)] == [0, 1, 2]
    flight.call_back()


def test_what_was_begun_is_heard_though_no_more_can_be_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    class Few:
        """Threads of which there are too few for a third call."""

        left = 2

        def submit(self, call: Callable[[], int]) -> Future[int]:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("can't start new thread")
            return threads().submit(call)

    few = Few()
    monkeypatch.setattr(flights, "threads", lambda: few)
    flight = Flight[int](in_background)
    flight.add([Calls(3).leg(3)])

    assert [answer() for answer in flight.answers(3)] == [0, 1]
    with pytest.raises(RuntimeError, match="new thread"):
        flight.call_back()


def test_called_back_it_begins_nothing_more() -> None:
    calls = Calls(6)
    started: list[Callable[[], None]] = []

    def later(work: Callable[[], None]) -> Callable[[], None]:
        started.append(work)
        return work

    flight = Flight[int](later)
    flight.add([calls.leg(2)])
    flight.call_back()

    assert (len(started), calls.made, list(flight.answers(6))) == (1, set(), [])
    flight.add([calls.leg(2)])
    assert (len(started), list(flight.answers(6))) == (1, [])
