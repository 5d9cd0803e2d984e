"""Calls made ahead: a few at a time beside the tick, which meanwhile writes down what comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from threading import Lock
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
        self._background = background
        self._lock = Lock()
        self._legs: deque[Leg[T]] = deque()
        self._answers: SimpleQueue[Answer[T] | None] = SimpleQueue()
        self._manager = BackendName("")
        self._under_way: deque[Future[T]] = deque()
        self._is_flying = False
        self.is_over = False
        self._wait: Callable[[], None] = lambda: None

    def add(self, legs: Sequence[Leg[T]]) -> None:
        """Have these calls made after those that were added before; none of them if the flight is over."""
        with self._lock:
            self._legs.extend(legs)
            if self._is_flying or self.is_over:
                return
            self._is_flying = True
        self._wait = self._background(self._make)

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
        try:
            self._wait()
        finally:
            self._answers.put(None)

    def _make(self) -> None:
        try:
            while (leg := self._next()) is not None:
                self._fly(leg)
        except BaseException:
            self.is_over = True
            # Whatever happened, what was asked is heard.
            while self._under_way:
                self._land_oldest()
            self._answers.put(None)
            raise

    def _next(self) -> Leg[T] | None:
        """Return what comes next; while there is nothing, hand over what was begun, and land when that is done."""
        while True:
            with self._lock:
                if self._legs and not self.is_over:
                    return self._legs.popleft()
                if not self._under_way:
                    # From here on another thread may fly on.
                    self._is_flying = False
                    if self.is_over:
                        self._answers.put(None)
                    return None
            self._land_oldest()

    def _fly(self, leg: Leg[T]) -> None:
        while self._under_way and leg.manager != self._manager:
            self._land_oldest()
        self._manager = leg.manager
        for call in leg.calls:
            while len(self._under_way) >= leg.at_once:
                self._land_oldest()
            self.is_over |= any(one.done() and _stops(one) for one in self._under_way)
            if self.is_over:
                return
            self._under_way.append(threads().submit(call))

    def _land_oldest(self) -> None:
        """Wait for the end of a call, and hand its answer over."""
        call = self._under_way.popleft()
        self.is_over |= _stops(call)
        self._answers.put(call.result)


def _stops(call: Future[T]) -> bool:
    """Tell whether after an answer like this nothing more may be asked before it is looked at; waits for it."""
    error = call.exception()
    # What one job asks for is no matter of the others'; whoever takes the answer deals with whatever else it is.
    return error is not None and not isinstance(error, Rejected)
