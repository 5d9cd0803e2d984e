"""Run something in a child process that is killed at the k-th crash point it passes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

from elisa.model.ports import CrashPoint

__all__ = ["killed_at"]


def killed_at(k: int, work: Callable[[CrashPoint], None]) -> bool:
    """Do the work in a child; tell whether it was killed at its k-th crash point (from 1) or got to its end before."""
    child = os.fork()
    if child == 0:
        _do(k, work)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def _do(k: int, work: Callable[[CrashPoint], None]) -> None:
    passed = 0

    def crash(point: str) -> None:
        nonlocal passed
        passed += 1
        if passed == k:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        work(crash)
    except BaseException:  # noqa: BLE001 - the child must not go on as a second test run
        traceback.print_exc(file=sys.__stderr__)
        os._exit(1)
    os._exit(0)
