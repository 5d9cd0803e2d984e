"""The checkpoint library that runs inside a job, under its public name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elisa.runtime import checkpoint as _library

if TYPE_CHECKING:
    from elisa.runtime.checkpoint import *  # noqa: F403  (one list of public names, kept where they live)

__all__ = _library.__all__  # noqa: PLE0605  (that same list)


def __getattr__(name: str) -> object:
    return getattr(_library, name)  # what needs a framework is loaded when it is first used
