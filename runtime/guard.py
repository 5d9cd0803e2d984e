"""Ends the program of an agent that may be taken for dead, whatever the agent itself is waiting for just then."""

from __future__ import annotations

import threading
from typing import Callable

from elisa.runtime.courier import Courier

__all__ = ["FenceGuard"]

_LOOK_S = 1.0
_SHORTEST_LOOK_S = 0.01


class FenceGuard:
    """Kills in a thread of its own, which touches no filesystem: neither a hanging one nor a slow look can hold it up.

    `kill` is called again and again, under `lock`, while a newer attempt is allowed or the folder has been out of reach
    for `self_fence_s`: until `stand_down`.
    """

    def __init__(self, courier: Courier, self_fence_s: float, kill: Callable[[], object]) -> None:
        self.has_fenced = False
        self.lock = threading.Lock()
        self._courier = courier
        self._self_fence_s = self_fence_s
        self._kill = kill
        self._is_over = threading.Event()
        threading.Thread(target=self._watch, name="fence", daemon=True).start()

    def stand_down(self) -> None:
        """Kill nothing from now on: to be called under `lock`."""
        self._is_over.set()

    def _watch(self) -> None:
        while not self._is_over.wait(self._next_look_s()):
            if self._courier.superseded or self._courier.silent_s() > self._self_fence_s:
                self._fence()

    def _next_look_s(self) -> float:
        left_s = self._self_fence_s - self._courier.silent_s()
        return _LOOK_S if self.has_fenced else max(_SHORTEST_LOOK_S, min(left_s, _LOOK_S))

    def _fence(self) -> None:
        with self.lock:
            if not self._is_over.is_set():
                self.has_fenced = True
                self._kill()
