"""Looking at a folder of checkpoints from outside of the job: what is there, and whether it is sound."""

from __future__ import annotations

import os
from typing import NamedTuple

from elisa.runtime.checkpoint.generations import Generation, Generations
from elisa.runtime.checkpoint.manifest import DamagedError, Manifest, Number, verify

__all__ = ["Described", "SetAside", "describe", "set_aside"]


class Described(NamedTuple):
    """A checkpoint as it was found. `problem` is empty if nothing is wrong with it."""

    number: int
    step: int
    path: str
    size_bytes: int = 0
    saved_at: float = 0.0
    seconds: float = 0.0
    attempt: str = ""
    world_size: int = 1
    metrics: dict[str, Number] = {}  # noqa: RUF012  (never changed)
    problem: str = ""


class SetAside(NamedTuple):
    """A checkpoint in quarantine, and why it is there."""

    path: str
    why: str


def describe(folder: str, *, read_all: bool = False) -> list[Described]:
    """Return the checkpoints in `folder`, the newest first.

    With `read_all` every byte is read and compared with its hash: exact, and too much for a login node. Without, only
    names and sizes are looked at.
    """
    return [_describe(generation, read_all=read_all) for generation in Generations(folder).newest_first()]


def _describe(generation: Generation, *, read_all: bool) -> Described:
    try:
        manifest = verify(generation.path, read_all=read_all)
    except DamagedError as error:
        return Described(generation.number, generation.step, generation.path, problem=str(error))
    except OSError as error:
        problem = f"it cannot be read: {error.strerror}"
        return Described(generation.number, generation.step, generation.path, problem=problem)
    return Described(
        generation.number,
        generation.step,
        generation.path,
        manifest.size_bytes,
        manifest.saved_at,
        manifest.seconds,
        manifest.attempt,
        manifest.world_size,
        manifest.metrics,
        _misplaced(generation, manifest),
    )


def _misplaced(generation: Generation, manifest: Manifest) -> str:
    is_right = (manifest.generation, manifest.step) == (generation.number, generation.step)
    return "" if is_right else f"it holds step {manifest.step}: it was put here by hand"


def set_aside(folder: str) -> list[SetAside]:
    """Return what is in quarantine in `folder`."""
    root = Generations(folder).quarantine_folder
    try:
        names = sorted(name for name in os.listdir(root) if not name.endswith(".why"))
    except FileNotFoundError:
        return []
    return [SetAside(os.path.join(root, name), _why(os.path.join(root, name + ".why"))) for name in names]


def _why(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(1000)
    except OSError:
        return ""
