"""Do something in a child process that may be killed, or be another user, without paying for its imports again."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from posix import _exit  # which coverage leaves alone: what thousands of children ran need not be written down

from elisa.model.errors import StoreError
from elisa.model.ports import CrashPoint

__all__ = ["Child", "killed_at", "said"]


class Child:
    """A process that does `work` and says what it returns; an expected error is said, too, and is its exit status."""

    def __init__(self, work: Callable[[], object], uid: int | None = None) -> None:
        self._output, into = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._output)
            _do(work, into, uid)
        os.close(into)

    def outcome(self) -> tuple[int, str]:
        """Wait for its end; return its exit status (below 0 the signal that killed it) and what it said."""
        with os.fdopen(self._output, encoding="utf-8") as output:
            words = output.read()
        _, status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(status), words


def _do(work: Callable[[], object], into: int, uid: int | None) -> None:
    status, words = 1, ""
    try:
        if uid is not None:
            os.setgid(uid)
            os.setuid(uid)
        words, status = str(work()), 0
    except StoreError as err:
        words, status = str(err), int(err.exit_code)
    except BaseException:  # noqa: BLE001 - the child must not go on as a second test run
        words = traceback.format_exc()
        sys.__stderr__.write(words) if sys.__stderr__ else None
    os.write(into, words.encode())
    _exit(status)


def said(work: Callable[[], object], uid: int | None = None) -> tuple[int, str]:
    """Return the exit status of a child that does `work`, and what it said."""
    return Child(work, uid).outcome()


def killed_at(k: int, work: Callable[[CrashPoint], None]) -> bool:
    """Do the work in a child; tell whether it was killed at its k-th crash point (from 1) or got to its end before."""
    passed = 0

    def crash(point: str) -> None:
        nonlocal passed
        passed += 1
        if passed == k:
            os.kill(os.getpid(), signal.SIGKILL)

    status, words = said(lambda: work(crash))
    assert status in {0, -signal.SIGKILL}, words
    return status != 0
