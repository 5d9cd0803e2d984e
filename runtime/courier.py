"""Carries an agent's events to the shared filesystem, which may be full, slow or away, while the agent goes on."""

from __future__ import annotations

import _thread
import time

from elisa.runtime.lean import start_thread
from elisa.runtime.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Callable

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
    """Writes events in order, again and again until each is written: from `start` on in a thread of its own.

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
        self._letters: list[_Letter] = []
        self._lock = _thread.allocate_lock()  # of `_thread`: see FenceGuard
        self._bell = _thread.allocate_lock()  # free while there is something new
        self._bell.acquire()
        self._end = _thread.allocate_lock()  # held while the thread works
        self._is_started = False
        self._is_closing = False
        self._contact = time.monotonic() if contact is None else contact
        self._look_at = self._contact + look_s

    def start(self) -> None:
        """Write and look from now on; to be called by one thread only, the same that calls `close`."""
        if self._is_started:
            return
        self._is_started = True
        self._end.acquire()
        start_thread(self._work)

    def send(self, kind: str, data: dict[str, Scalar], *, is_durable: bool = False) -> None:
        """Hand over an event. Of heartbeats that could not be written only the newest waits."""
        with self._lock:
            if kind == "heartbeat":
                self._letters = [letter for letter in self._letters if letter.kind != "heartbeat"]
            if len(self._letters) < _MOST_WAITING or is_durable:
                self._letters.append(_Letter(kind, data, time.time(), is_durable))
        self._ring()

    def silent_s(self) -> float:
        """Return for how long the filesystem has not been in reach.

        It counts from before the last sign of life was left, so that whoever counts from that sign counts longer.
        """
        return time.monotonic() - self._contact

    def close(self, timeout_s: float) -> bool:
        """Wait until everything is written, `timeout_s` at most; tell whether it is.

        Where nothing has been started, all is written here and now, if it can be.
        """
        self._is_closing = True
        if not self._is_started and self._write_all():
            return True
        self.start()
        self._ring()
        return self._end.acquire(timeout=timeout_s)

    def _write_all(self) -> bool:
        """Write what waits; tell whether all of it could be.

        A disk that does not answer holds the agent here, as it would a moment later at the mark that its claim is released.
        """
        while self._letters:
            if not self._write(self._letters[0]):
                return False
            self._letters.pop(0)
        return True

    def _ring(self) -> None:
        with self._lock:
            if self._bell.locked():
                self._bell.release()

    def _work(self) -> None:
        try:
            self._carry()
        finally:
            self._end.release()

    def _carry(self) -> None:
        while True:
            letter = self._next()
            if letter is not None:
                self._deliver(letter)
            elif self._is_closing:
                return
            else:
                self._bell.acquire(timeout=max(0.0, self._look_at - time.monotonic()))
            if time.monotonic() >= self._look_at:
                self._look()

    def _next(self) -> _Letter | None:
        with self._lock:
            return self._letters[0] if self._letters else None

    def _deliver(self, letter: _Letter) -> None:
        if not self._write(letter):
            time.sleep(self._retry_s)
            return
        self._done_with(letter)
        if letter.kind == "heartbeat":
            self._look()

    def _write(self, letter: _Letter) -> bool:
        try:
            self._files.write(letter.kind, letter.data, letter.at, is_durable=letter.is_durable)
        except OSError:
            return False
        return True

    def _done_with(self, letter: _Letter) -> None:
        with self._lock:
            if self._letters and self._letters[0] is letter:
                self._letters.pop(0)

    def _look(self) -> None:
        began = time.monotonic()
        self._look_at = began + self._look_s
        try:
            self.superseded = self.superseded or self._look_at_folder()
        except OSError:
            return
        self._contact = began
