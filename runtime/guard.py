"""Ends the program of an agent that may be taken for dead, whatever the agent itself is waiting for just then."""

from __future__ import annotations

import _thread

from elisa.runtime.lean import start_thread
from elisa.runtime.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Callable

    from elisa.runtime.courier import Courier

__all__ = ["FenceGuard"]

_LOOK_S = 1.0
_SHORTEST_LOOK_S = 0.01


class FenceGuard:
    """Kills in a thread of its own, which touches no filesystem: neither a hanging one nor a slow look can hold it up.

    `kill` is called again and again, under `lock`, while a newer attempt is allowed or the folder has been out of reach
    for `self_fence_s`: from `start` until `stand_down`.
    """

    def __init__(self, courier: Courier, self_fence_s: float, kill: Callable[[], object]) -> None:
        self.has_fenced = False
        # Of `_thread`, as `threading` is a file more to be read, and takes a short task longer than its program.
        self.lock = _thread.allocate_lock()
        self._courier = courier
        self._self_fence_s = self_fence_s
        self._kill = kill
        self._is_over = False
        self._end = _thread.allocate_lock()  # held until the end
        self._end.acquire()

    def start(self) -> None:
        """Watch from now on."""
        start_thread(self._watch)

    def stand_down(self) -> None:
        """Kill nothing from now on: to be called once, under `lock`."""
        self._is_over = True
        self._end.release()

    def _watch(self) -> None:
        while not self._end.acquire(timeout=self._next_look_s()):
            if self._courier.superseded or self._courier.silent_s() > self._self_fence_s:
                self._fence()

    def _next_look_s(self) -> float:
        left_s = self._self_fence_s - self._courier.silent_s()
        return _LOOK_S if self.has_fenced else max(_SHORTEST_LOOK_S, min(left_s, _LOOK_S))

    def _fence(self) -> None:
        with self.lock:
            if not self._is_over:
                self.has_fenced = True
                self._kill()
