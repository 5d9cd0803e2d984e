"""Carries an agent's events to the shared filesystem, which may be full, slow or away, while the agent goes on."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from typing import Callable, NamedTuple

from elisa.runtime.eventfile import EventFiles, Scalar

__all__ = ["Courier"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MOST_WAITING = 1000
_RETRY_S = 1.0
# Whose node was given up stops within a minute, and the file is so small that a thousand jobs' looks cost nothing.
_LOOK_S = 10.0


class _Letter(NamedTuple):
    kind: str
    data: dict[str, Scalar]
    at: float
    is_durable: bool


class Courier:
    """Writes events in a thread of its own, in order, again and again until each is written.

    `is_superseded` is asked after every heartbeat and every `look_s` seconds, and may raise OSError: it reads the fence.
    Where there is no room to write, an answer shows that the filesystem is in reach; else only a write does, for what is
    read may come from a cache.
    """

    def __init__(
        self,
        files: EventFiles,
        is_superseded: Callable[[], bool],
        retry_s: float = _RETRY_S,
        look_s: float = _LOOK_S,
    ) -> None:
        self.superseded = False
        self._files = files
        self._is_superseded = is_superseded
        self._retry_s = retry_s
        self._look_s = look_s
        self._letters: deque[_Letter] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._contact = time.monotonic()
        self._thread = threading.Thread(target=self._carry, name="courier", daemon=True)
        self._thread.start()

    def send(self, kind: str, data: dict[str, Scalar], *, is_durable: bool = False) -> None:
        """Hand over an event. Of heartbeats that could not be written only the newest waits."""
        with self._changed:
            if kind == "heartbeat":
                self._letters = deque(letter for letter in self._letters if letter.kind != "heartbeat")
            if len(self._letters) < _MOST_WAITING or is_durable:
                self._letters.append(_Letter(kind, data, time.time(), is_durable))
            self._changed.notify()

    def silent_s(self) -> float:
        """Return for how long the filesystem has not been in reach."""
        return time.monotonic() - self._contact

    def close(self, timeout_s: float) -> bool:
        """Wait until everything is written, `timeout_s` at most; tell whether it is."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _carry(self) -> None:
        while True:
            with self._changed:
                if not self._letters and self._is_closing:
                    return
                is_idle = not self._letters and not self._changed.wait(self._look_s)
                letter = self._letters[0] if self._letters else None
            if letter is not None:
                self._deliver(letter)
            elif is_idle:
                self._look_at_fence(proves_contact=False)

    def _deliver(self, letter: _Letter) -> None:
        if self._write(letter):
            self._done_with(letter)
        else:
            time.sleep(self._retry_s)

    def _done_with(self, letter: _Letter) -> None:
        with self._changed:
            if self._letters and self._letters[0] is letter:
                self._letters.popleft()

    def _write(self, letter: _Letter) -> bool:
        try:
            self._files.write(letter.kind, letter.data, letter.at, is_durable=letter.is_durable)
        except OSError as error:
            if error.errno in _FULL:
                self._look_at_fence()
            return False
        self._look_at_fence(needed=letter.kind == "heartbeat")
        return True

    def _look_at_fence(self, *, needed: bool = True, proves_contact: bool = True) -> None:
        try:
            self.superseded = self.superseded or (needed and self._is_superseded())
        except OSError:
            return
        if proves_contact:
            self._contact = time.monotonic()
