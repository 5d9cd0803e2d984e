"""Which checkpoint to resume from: the newest that is sound and has not brought the program down before."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Any, Callable, NamedTuple, Sequence

from elisa.runtime.checkpoint.codec import Decoder
from elisa.runtime.checkpoint.generations import Generation, Generations
from elisa.runtime.checkpoint.manifest import DamagedError, Manifest, verify
from elisa.runtime.crash import crash
from elisa.runtime.program import tell

__all__ = ["Restored", "clear_loading_marks", "decode_single", "restore_newest"]

_POISON_LOADS = 2  # loads that were begun and never led to a finished step
_MARKS = ".loading"

Decode = Callable[[Generation, Manifest], Any]


class Restored(NamedTuple):
    """A checkpoint that was loaded."""

    generation: Generation
    manifest: Manifest
    state: Any
    folder: Generations


def decode_single(generation: Generation, _manifest: Manifest) -> object:
    """Return the state that one process saved."""
    return Decoder(generation.path).decode_state()


def restore_newest(
    folders: Sequence[Generations], *, decode: Decode = decode_single, at_step: int | None = None
) -> Restored | None:
    """Load the newest sound checkpoint in any of `folders`; None if there is none: the work begins at its beginning.

    Damaged ones are quarantined, and so is one whose loading was begun twice before without a step being finished after
    it. With `at_step` newer checkpoints than that step's are set aside too: somebody wants to go back there. Where two
    folders hold the same generation, the first folder is asked first.
    """
    found = [(generation, generations) for generations in folders for generation in generations.newest_first()]
    for generation, generations in sorted(found, key=lambda pair: -pair[0].number):
        try:
            manifest = _check(generations, generation, at_step)
        except DamagedError as error:
            _set_aside(generations, generation, str(error))
            continue
        _mark_loading(generations, generation)
        try:
            return Restored(generation, manifest, decode(generation, manifest), generations)
        except FileNotFoundError:
            if os.path.exists(generation.path):
                raise
            # somebody cleared it away between the look at it and the loading
    return None


def _check(generations: Generations, generation: Generation, at_step: int | None) -> Manifest:
    loads = _loads(generations, generation)
    if loads >= _POISON_LOADS:
        raise DamagedError(f"the program ended {loads} times while it was loading this")
    manifest = _verify(generation)
    is_own = manifest.attempt == os.environ.get("ELISA_ATTEMPT")  # saved since this attempt went back
    if at_step is not None and generation.step > at_step and not is_own:
        raise DamagedError(f"it is newer than step {at_step}, from which the run was to be resumed")
    return manifest


def _verify(generation: Generation) -> Manifest:
    try:
        manifest = verify(generation.path)
    except OSError as error:
        if error.errno != errno.EIO:
            raise  # the folder may be whole and merely out of reach
        raise DamagedError(f"the disk cannot read it: {error}") from error
    if (manifest.generation, manifest.step) != (generation.number, generation.step):
        raise DamagedError(f"it holds generation {manifest.generation}, step {manifest.step}: it was put here by hand")
    return manifest


def _set_aside(generations: Generations, generation: Generation, why: str) -> None:
    try:
        path = generations.quarantine(generation, why)
    except OSError:
        path = generation.path  # it can be passed over without being moved
    tell("quarantined", {"path": path, "why": why})


def _mark(generations: Generations, generation: Generation) -> str:
    return os.path.join(generations.root, _MARKS, os.path.basename(generation.path))


def _loads(generations: Generations, generation: Generation) -> int:
    try:
        with open(_mark(generations, generation), encoding="ascii", errors="replace") as stream:
            return len(stream.read(100))
    except OSError:
        return 0


def _mark_loading(generations: Generations, generation: Generation) -> None:
    path = _mark(generations, generation)
    crash("checkpoint.mark")
    with contextlib.suppress(OSError):  # a read-only folder can still be resumed from
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path, "a", encoding="ascii") as stream:
            stream.write("x")
    crash("checkpoint.marked")


def clear_loading_marks(generations: Generations) -> None:
    """Say that the program works with what it loaded."""
    folder = os.path.join(generations.root, _MARKS)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
