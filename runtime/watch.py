"""Watching for a program's own restart files while it runs."""

from __future__ import annotations

import threading
import time
from typing import Callable

from elisa.runtime.checkpoint.foreign import RestartFiles
from elisa.runtime.eventfile import Scalar

__all__ = ["Watch"]

_WORKS_AFTER_S = 60.0  # a program that ran so long did not fail at loading its restart file


class Watch:
    """Looks every `period_s`, in a thread of its own, and tells of each restart file that was kept."""

    def __init__(self, files: RestartFiles, tell: Callable[[str, dict[str, Scalar]], None], period_s: float) -> None:
        self.saved_at = float("-inf")
        self._files = files
        self._tell = tell
        self._period_s = period_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watch", daemon=True)
        self._thread.start()

    def close(self, *, is_finished: bool) -> None:
        """Look for the last time; `is_finished`: the program ended in order, and what it left is complete."""
        self._closing.set()
        self._thread.join()
        self._look(is_finished=is_finished)

    def _work(self) -> None:
        began = time.monotonic()
        has_worked = False
        while not self._closing.wait(self._period_s):
            self._look()
            if not has_worked and time.monotonic() - began > _WORKS_AFTER_S:
                self._files.works()
                has_worked = True

    def _look(self, *, is_finished: bool | None = None) -> None:
        for saved in self._files.look(is_finished=is_finished):
            self._files.works()
            self.saved_at = time.monotonic()
            self._tell("checkpoint", saved.as_event())
