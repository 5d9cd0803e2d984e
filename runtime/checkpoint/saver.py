"""Bringing a state to the disk, at once or beside the program, and clearing away what it makes superfluous."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from typing import Callable, NamedTuple, Sequence

from elisa.runtime.checkpoint.codec import Piece
from elisa.runtime.checkpoint.generations import Generation, Generations
from elisa.runtime.checkpoint.manifest import DamagedError, Manifest, read_manifest, verify
from elisa.runtime.checkpoint.retention import Kept, Retention, superfluous
from elisa.runtime.checkpoint.snapshot import Snapshots
from elisa.runtime.eventfile import Scalar

__all__ = ["Saved", "Saver", "SaverThread"]

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_ROOM_FACTOR = 1.05


class Saved(NamedTuple):
    """A checkpoint that is on the disk; `seconds` is how long all of it took."""

    generation: Generation
    manifest: Manifest
    seconds: float

    def as_event(self) -> dict[str, Scalar]:
        """Return the data of the event that tells of it."""
        return {
            "path": self.generation.path,
            "step": self.generation.step,
            "size_bytes": self.manifest.size_bytes,
            "seconds": self.manifest.seconds,
        }


class Saver:
    """Saves into one folder, and keeps there what the rules keep."""

    def __init__(self, generations: Generations, rules: Retention) -> None:
        self.generations = generations
        self._rules = rules
        self._sound: set[int] = set()
        self._manifests: dict[int, Manifest] = {}

    def save(self, about: Manifest, pieces: Sequence[Piece]) -> Saved | None:
        """Write a generation; None if there is no room for it even after clearing up, or the disk fails.

        The older ones are there all the time: a run that cannot save goes on.
        """
        began = time.monotonic()
        written = self._write(about, pieces)
        if written is None:
            return None
        generation, manifest = written
        self._manifests[generation.number] = manifest
        self.clear()
        return Saved(generation, manifest, time.monotonic() - began)

    def clear(self) -> None:
        """Delete what the rules do not keep."""
        self._clear(self._rules)

    def take_over(self, generation: Generation, manifest: Manifest) -> None:
        """Build on a checkpoint that was just read and found sound."""
        self._sound.add(generation.number)
        self.generations.remember(generation, manifest)

    def _write(self, about: Manifest, pieces: Sequence[Piece]) -> tuple[Generation, Manifest] | None:
        if not self._has_room(sum(piece.size for piece in pieces)):
            self._make_room()
        try:
            return self.generations.write(about, pieces)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                return None
        self._make_room()
        try:
            return self.generations.write(about, pieces)
        except OSError:
            return None

    def _has_room(self, size: int) -> bool:
        try:
            return shutil.disk_usage(self.generations.root).free > size * _ROOM_FACTOR
        except OSError:  # not there yet
            return True

    def _make_room(self) -> None:
        self._clear(Retention(keep=1))

    def _clear(self, rules: Retention) -> None:
        """Delete what `rules` do not keep, once the newest that stays was read back and found sound."""
        found = self.generations.newest_first()
        numbers = set(superfluous([self._facts(generation) for generation in found], rules))
        if not numbers or not self._is_verified(found[0]):
            return
        for generation in reversed(found):
            if generation.number in numbers:
                self._remove(generation)

    def _remove(self, generation: Generation) -> None:
        try:
            self.generations.remove(generation)
        except OSError:
            return  # it is tried again after the next save
        self._manifests.pop(generation.number, None)

    def _facts(self, generation: Generation) -> Kept:
        manifest = self._manifest(generation)
        return Kept(generation.number, generation.step, manifest.size_bytes, manifest.metrics)

    def _manifest(self, generation: Generation) -> Manifest:
        if generation.number not in self._manifests:
            try:
                self._manifests[generation.number] = read_manifest(generation.path)
            except (DamagedError, OSError):
                return Manifest(generation.number, generation.step, ())
        return self._manifests[generation.number]

    def _is_verified(self, generation: Generation) -> bool:
        if generation.number not in self._sound:
            try:
                verify(generation.path)
            except (DamagedError, OSError):
                return False
            self._sound.add(generation.number)
        return True


class SaverThread:
    """Lets a `Saver` work beside the program, on a snapshot; `told` is called, in that thread, with what was saved."""

    def __init__(
        self, save: Callable[[Manifest, Sequence[Piece]], Saved | None], told: Callable[[Saved], None]
    ) -> None:
        self._save = save
        self._told = told
        self._snapshots = Snapshots()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the last save is still going on."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, about: Manifest, pieces: Sequence[Piece]) -> None:
        """Copy `pieces` and save the copy; waits for the save before, if that still goes on."""
        self.wait()
        frozen = self._snapshots.take(pieces)
        self._thread = threading.Thread(target=self._work, args=(about, frozen), name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when everything is on the disk; raises what went wrong in the thread, if it is a mistake."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._snapshots.give_back()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self, about: Manifest, pieces: Sequence[Piece]) -> None:
        try:
            saved = self._save(about, pieces)
            if saved is not None:
                self._told(saved)
        except BaseException as error:  # noqa: BLE001  (the program's own thread raises it)
            self._error = error
