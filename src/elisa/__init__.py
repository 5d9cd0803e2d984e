"""A meta-scheduler for HPC login nodes.

Importing this package imports nothing else: each public name is resolved when it is first used (PEP 562). It must stay
readable for the oldest Python that runs jobs (3.8), because the agent inside a job passes through it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` and `importlib` would be half of what the agent of a job takes to start
if TYPE_CHECKING:
    from typing import Any

    from elisa import checkpoint
    from elisa.pipelines.decorators import pipeline, task

__all__ = ["__version__", "checkpoint", "pipeline", "task"]

__version__ = "0.1.0"

_HOMES = {"pipeline": "elisa.pipelines.decorators", "task": "elisa.pipelines.decorators"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "checkpoint":
        return import_module("elisa.checkpoint")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
