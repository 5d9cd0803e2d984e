"""Calls made ahead: a few at a time beside the tick, which meanwhile writes down what comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from elisa.engine.asking import Answer
from elisa.engine.threads import Background, threads
from elisa.model.errors import Rejected
from elisa.model.ids import BackendName

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Flight", "Leg"]

T = TypeVar("T")


class Leg(NamedTuple, Generic[T]):
    """Calls to one manager, in order, of which `at_once` may be under way: the next begins as the oldest of them ends.

    So none is overtaken by more than `at_once` - 1 others.
    """

    manager: BackendName
    calls: Sequence[Callable[[], T]]
    at_once: int


class Flight(Generic[T]):
    """Makes the calls that are added to it, in their order, until one fails in a way that others would share."""

    def __init__(self, background: Background) -> None:
        self._legs: SimpleQueue[Leg[T] | None] = SimpleQueue()
        self._answers: SimpleQueue[Answer[T] | None] = SimpleQueue()
        self._manager = BackendName("")
        self._under_way: deque[Future[T]] = deque()
        self.is_over = False
        self._wait = background(self._make)

    def add(self, legs: Sequence[Leg[T]]) -> None:
        """Have these calls made after those that were added before; none of them if the flight is over."""
        for leg in legs:
            self._legs.put(leg)

    def answers(self, count: int) -> Iterator[Answer[T]]:
        """Yield, as they come, how to get the answers of the next so many calls; of those only that are made."""
        for _ in range(count):
            answer = self._answers.get()
            if answer is None:
                self._answers.put(None)
                return
            yield answer

    def call_back(self) -> None:
        """Begin no further call, and wait for those that are being made."""
        self.is_over = True
        self._legs.put(None)
        self._wait()

    def _make(self) -> None:
        try:
            while not self.is_over and (leg := self._next()) is not None:
                self._fly(leg)
            while self._under_way:
                self._land_oldest()
        finally:
            self.is_over = True
            self._answers.put(None)

    def _next(self) -> Leg[T] | None:
        """Return what comes next; while there is nothing, hand over what was begun."""
        while self._under_way:
            try:
                return self._legs.get_nowait()
            except Empty:
                self._land_oldest()
        return None if self.is_over else self._legs.get()

    def _fly(self, leg: Leg[T]) -> None:
        at_once = leg.at_once
        while self._under_way and leg.manager != self._manager:
            self._land_oldest()
        self._manager = leg.manager
        for call in leg.calls:
            while len(self._under_way) >= at_once:
                self._land_oldest()
            self.is_over |= any(one.done() and _stops(one.result) for one in self._under_way)
            if self.is_over:
                return
            self._under_way.append(threads().submit(call))

    def _land_oldest(self) -> None:
        """Wait for the end of a call, and hand its answer over."""
        call = self._under_way.popleft()
        self.is_over |= _stops(call.result)
        self._answers.put(call.result)


def _stops(answer: Answer[T]) -> bool:
    """Tell whether after an answer like this nothing more may be asked before it is looked at."""
    try:
        answer()
    except Rejected:
        return False  # what one job asks for is no matter of the others'
    except Exception:  # noqa: BLE001 - whatever it is, whoever takes the answer deals with it
        return True
    return False
