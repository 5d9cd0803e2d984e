"""What runs inside a job: the agent, event files and the checkpoint library; stdlib only.

A program may import this room too: `metric`, `progress`, `time_left`, `should_stop` and `checkpoint` do the sensible thing
whether elisa runs the program or not. Each is loaded when it is first used.
"""

from __future__ import annotations

from elisa.runtime.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from elisa.runtime import checkpoint
    from elisa.runtime.program import metric, progress, should_stop, time_left

__all__ = ["checkpoint", "metric", "progress", "should_stop", "time_left"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "checkpoint":
        return import_module("elisa.runtime.checkpoint")
    if name in __all__:
        return getattr(import_module("elisa.runtime.program"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
