"""Pipelines as users write them, in YAML or with decorators, turned into model.Pipeline.

Importing this package imports nothing else: a job's Python passes through it for `from elisa import task`, and has
neither YAML nor, perhaps, the Python that the command line needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elisa.pipelines.decorators import pipeline, task

__all__ = ["pipeline", "task"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name in __all__:
        return getattr(import_module("elisa.pipelines.decorators"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
