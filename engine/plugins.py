"""Policies of other packages, behind a fence: one that fails is left out, told of, and left to rest."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt

from elisa.engine.health import HealthBook
from elisa.model.ports import RandomSource
from elisa.policies.breaker import guarded
from elisa.policies.opinions import KINDS, checked
from elisa.policies.plan import Plan, plan
from elisa.policies.registry import Plugins
from elisa.policies.snapshot import OrderPlugin, Snapshot

__all__ = ["FencedPlugins", "whole_name"]

_LONGEST_S = 2.0


class FencedPlugins:
    """The plug-ins of one tick. The book remembers failures between ticks: after two, a plug-in rests longer and longer.

    `calls` are all but planners, as a snapshot takes them. `problems` tells of those that could not be loaded; `failed` has
    the whole names of those that failed in this tick.
    """

    def __init__(
        self, plugins: Plugins, health: HealthBook, random: RandomSource, now: datetime, longest_s: float = _LONGEST_S
    ) -> None:
        self._health = health
        self._random = random
        self._now = now
        self._longest_s = longest_s
        self._planners = plugins.planners
        self.problems = plugins.problems
        self.failed: set[str] = set()
        self.calls: Mapping[str, OrderPlugin] = {
            name: partial(self._call, name, plugin)
            for name, plugin in plugins.calls.items()
            if not health.is_resting(whole_name(name), now)
        }

    def plan(self, name: str, snapshot: Snapshot) -> Plan:
        """Return what planner `name` decides, or the built-in plan with a note on why it did not."""
        book_name = f"planner.{name}"
        if name not in self._planners or self._health.is_resting(book_name, self._now):
            return _noted(plan(snapshot), f"planner `{name}` is not there, or rests after failures: left out")
        with suppress(TimeoutError), _time_limit(self._longest_s):
            made, problems = guarded(self._planners[name], snapshot)
            if not problems:
                self._health.worked(book_name)
                return made
            self._failed(book_name, problems[0])
            return _noted(made, f"planner `{name}` failed ({problems[0]}): left out")
        self._failed(book_name, f"it took longer than {self._longest_s:g} s")
        return _noted(plan(snapshot), f"planner `{name}` took longer than {self._longest_s:g} s: left out")

    def _failed(self, book_name: str, words: str) -> None:
        self.failed.add(book_name)
        self._health.failed(book_name, self._now, words, self._random.uniform())

    def _call(self, name: str, plugin: OrderPlugin, snapshot: Snapshot) -> npt.NDArray[np.generic]:
        """Return the plug-in's numbers; raises whatever is wrong with them, noted in the book."""
        try:
            with _time_limit(self._longest_s):
                key = np.asarray(plugin(snapshot))
            _check(name, key, snapshot)
        except Exception as err:
            self._failed(whole_name(name), f"{type(err).__name__}: {err}")
            raise
        self._health.worked(whole_name(name))
        return key


def _noted(made: Plan, note: str) -> Plan:
    """Return the plan with one more thing to tell everybody."""
    made.notes = (*made.notes, note)
    return made


def whole_name(name: str) -> str:
    """Return the name of the entry point of what a snapshot has among its plug-ins."""
    return name if name.startswith(tuple(KINDS)) else f"order.{name}"


def _check(name: str, key: npt.NDArray[Any], snapshot: Snapshot) -> None:
    count = len(snapshot.tasks)
    if name.startswith(tuple(KINDS)):
        checked(name, key, snapshot)
    elif key.shape != (count,) or key.dtype.kind not in "iuf" or bool(np.isnan(key).any()):
        raise ValueError("it gave no number for each task")


class _Overrun(BaseException):
    """Not an `Exception`: a plug-in that catches everything must not catch its own end."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what runs longer; outside of a process's main thread nothing can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _Overrun

    before = signal.signal(signal.SIGALRM, stop)
    # Again and again: a `finally` of the plug-in may swallow the first.
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    try:
        yield
    except _Overrun:
        raise TimeoutError(f"it took longer than {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
