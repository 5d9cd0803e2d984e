"""Points at which a test may end the process, around every statement that changes the world.

`ELISA_CRASH_AT=<point>:<k>` ends it with status 137, as a kill -9 would, when `point` is passed for the k-th time; the
point `*` counts every point. Without the variable a point costs one comparison.
"""

from __future__ import annotations

import os

from elisa.runtime.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Callable

    Hook = Callable[[str], None]

__all__ = ["crash", "crash_hook", "set_crash_hook"]


def crash_hook(plan: str, end: Callable[[int], object] = os._exit) -> Hook:
    """Return a hook that calls `end(137)` where `plan` (`<point>:<k>`) says."""
    wanted, _, count = plan.rpartition(":")
    left = [int(count)]

    def hook(point: str) -> None:
        if wanted not in {"*", point}:
            return
        left[0] -= 1
        if left[0] == 0:
            end(137)

    return hook


_plan = os.environ.get("ELISA_CRASH_AT", "")
_hook: Hook | None = crash_hook(_plan) if _plan else None


def set_crash_hook(hook: Hook | None) -> None:
    """Call `hook` at every point from now on; None ends that."""
    global _hook  # noqa: PLW0603  (one process, one plan)
    _hook = hook


def crash(point: str) -> None:
    """Pass `point`."""
    if _hook is not None:
        _hook(point)
