"""Where the checkpoints of one run go: one folder or two, at once or beside the program."""

from __future__ import annotations

import time
from typing import Callable, Sequence

from elisa.runtime.checkpoint.codec import Piece
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.checkpoint.levels import Levels
from elisa.runtime.checkpoint.manifest import Manifest
from elisa.runtime.checkpoint.restore import Restored, restore_newest
from elisa.runtime.checkpoint.retention import Retention
from elisa.runtime.checkpoint.saver import Saved, Saver, SaverThread
from elisa.runtime.checkpoint.writer import PieceWriter
from elisa.runtime.program import tell

__all__ = ["Alone", "Storage", "announce", "open_storage"]

_LOCAL_KEEP = 2


Told = Callable[[Saved], None]


def announce(saved: Saved) -> None:
    """Tell elisa of a checkpoint that a resume can count on."""
    tell("checkpoint", saved.as_event())


class Alone:
    """The agreement of a program that is one process: with itself."""

    is_stop = False

    def is_agreed(self, _step: int, *, is_due: bool, is_stop: bool, is_certain: bool) -> bool:
        """Tell whether to save now; `is_stop` is remembered."""
        self.is_stop = is_stop
        return is_due or is_stop or is_certain

    def leave(self, *, is_well: bool) -> None:
        """Nobody waits."""

    def is_broken(self) -> bool:
        """Nobody else can have died."""
        return False


class Storage:
    """Saves, and knows when everything is safe. `folders` are where checkpoints may be found, the fastest first."""

    prefix = ""

    def __init__(self, shared: Saver, local: Saver | None, took: Callable[[float], None] | None, told: Told) -> None:
        self._savers = [local, shared] if local else [shared]
        self._levels = Levels(local, shared, told) if local else None
        self._told = told
        self._shared = shared
        self._number = 0
        self.agreement = Alone()
        self._thread = SaverThread(self._save_now, lambda saved: took(saved.seconds)) if took else None

    @property
    def folders(self) -> list[Generations]:
        return [saver.generations for saver in self._savers]

    def restore(self, at_step: int | None) -> Restored | None:
        """Load the newest sound checkpoint; what does not change from then on is linked from it."""
        for folder in self.folders:
            folder.sweep(time.time())
        restored = restore_newest(self.folders, at_step=at_step)
        for saver in self._savers:
            if restored is not None and saver.generations is restored.folder:
                saver.take_over(restored.generation, restored.manifest)
        return restored

    def next_number(self) -> int:
        """Return the number of the next generation, greater than all before, those under way included."""
        self._number = max(self._number + 1, *(folder.next_number() for folder in self.folders))
        return self._number

    def save(self, about: Manifest, pieces: Sequence[Piece]) -> bool:
        """Save, or begin to; tell whether the program may count on it."""
        if self._thread is not None:
            self._thread.begin(about, pieces)
            return True
        return self._save_now(about, pieces) is not None

    def _save_now(self, about: Manifest, pieces: Sequence[Piece]) -> Saved | None:
        if self._levels is not None:
            return self._levels.save(about, pieces)
        saved = self._shared.save(about, pieces)
        if saved is not None:
            self._told(saved)
        return saved

    def finish(self, *, is_leaving: bool) -> None:
        """Return when everything is on the disk; if the node `is_leaving`, on the one that others reach."""
        if self._thread is not None:
            self._thread.wait()
        if self._levels is not None:
            self._levels.wait()
            if is_leaving:
                self._levels.carry_newest()


def open_storage(
    folder: str,
    local_folder: str,
    rules: Retention,
    *,
    took: Callable[[float], None] | None = None,
    told: Told = announce,
) -> Storage:
    """Return the storage of a run; nothing is read or written yet.

    With `took` the program does not wait for a save: it is told afterwards how long that took. `told` is called with
    each checkpoint that a resume can count on.
    """
    local = None
    if local_folder:
        local = Saver(Generations(local_folder, PieceWriter(compress=False)), Retention(_LOCAL_KEEP))
    return Storage(Saver(Generations(folder), rules), local, took, told)
