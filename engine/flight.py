"""Calls made ahead: wave after wave beside the tick, which meanwhile writes down what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

from elisa.engine.asking import Answer, side_by_side
from elisa.engine.threads import Background
from elisa.model.errors import Rejected

__all__ = ["Flight"]

T = TypeVar("T")


class Flight(Generic[T]):
    """Makes the calls of one wave after another, until one fails in a way that others would share."""

    def __init__(self, waves: Sequence[Sequence[Callable[[], T]]], background: Background) -> None:
        self._waves = waves
        self._answers: SimpleQueue[Answer[T] | None] = SimpleQueue()
        self._is_called_back = False
        self._wait = background(self._make)

    def answers(self) -> Iterator[Answer[T]]:
        """Yield, once and as they come, how to get the answers of the calls that are made: these are the first ones."""
        while (answer := self._answers.get()) is not None:
            yield answer
        self._wait()

    def call_back(self) -> None:
        """Begin no further wave, and wait for the one that is being made."""
        self._is_called_back = True
        self._wait()

    def _make(self) -> None:
        try:
            for wave in self._waves:
                if self._is_called_back:
                    break
                answers = side_by_side(wave)
                for answer in answers:
                    self._answers.put(answer)
                if any(map(_stops, answers)):
                    break
        finally:
            self._answers.put(None)


def _stops(answer: Answer[T]) -> bool:
    """Tell whether after an answer like this nothing more may be asked before it is looked at."""
    try:
        answer()
    except Rejected:
        return False  # what one job asks for is no matter of the others'
    except Exception:  # noqa: BLE001 - whatever it is, whoever takes the answer deals with it
        return True
    return False
