"""Carries an agent's events to the shared filesystem, which may be full, slow or away, while the agent goes on."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Callable, NamedTuple

from elisa.runtime.eventfile import EventFiles, Scalar

__all__ = ["Courier"]

_MOST_WAITING = 1000
_RETRY_S = 1.0
# Whose node was given up stops within a minute, and the files are so small that a thousand jobs' looks cost nothing.
_LOOK_S = 10.0


class _Letter(NamedTuple):
    kind: str
    data: dict[str, Scalar]
    at: float
    is_durable: bool


class Courier:
    """Writes events in a thread of its own, in order, again and again until each is written.

    `look` is called after every heartbeat and every `look_s` seconds. It leaves a sign of life where the engine sees it,
    tells whether this attempt is superseded, and raises OSError where the filesystem is out of reach. Nothing else proves
    contact: an event is written to memory first, and what is read may come from a cache. `contact` is the monotonic time
    before the sign of life that was left last, now if None.
    """

    def __init__(
        self,
        files: EventFiles,
        look: Callable[[], bool],
        *,
        contact: float | None = None,
        retry_s: float = _RETRY_S,
        look_s: float = _LOOK_S,
    ) -> None:
        self.superseded = False
        self._files = files
        self._look_at_folder = look
        self._retry_s = retry_s
        self._look_s = look_s
        self._letters: deque[_Letter] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._contact = time.monotonic() if contact is None else contact
        self._look_at = self._contact + look_s
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
        """Return for how long the filesystem has not been in reach.

        It counts from before the last sign of life was left, so that whoever counts from that sign counts longer.
        """
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
                if not self._letters:
                    self._changed.wait(max(0.0, self._look_at - time.monotonic()))
                letter = self._letters[0] if self._letters else None
            if letter is not None:
                self._deliver(letter)
            if time.monotonic() >= self._look_at:
                self._look()

    def _deliver(self, letter: _Letter) -> None:
        try:
            self._files.write(letter.kind, letter.data, letter.at, is_durable=letter.is_durable)
        except OSError:
            time.sleep(self._retry_s)
            return
        self._done_with(letter)
        if letter.kind == "heartbeat":
            self._look()

    def _done_with(self, letter: _Letter) -> None:
        with self._changed:
            if self._letters and self._letters[0] is letter:
                self._letters.popleft()

    def _look(self) -> None:
        began = time.monotonic()
        self._look_at = began + self._look_s
        try:
            self.superseded = self.superseded or self._look_at_folder()
        except OSError:
            return
        self._contact = began
