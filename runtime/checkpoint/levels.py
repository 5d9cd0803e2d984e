"""Two levels: each checkpoint goes to the node's own fast disk, and now and then one from there to the shared one."""

from __future__ import annotations

import os
import threading
import time
from typing import Callable, Iterator, Sequence

from elisa.runtime.checkpoint.codec import Chunk, Piece
from elisa.runtime.checkpoint.interval import choose_interval
from elisa.runtime.checkpoint.manifest import DamagedError, FileEntry, Manifest, verify
from elisa.runtime.checkpoint.saver import Saved, Saver

__all__ = ["Levels"]

_BLOCK = 8 * 2**20


class Levels:
    """Saves to `local`, and lets a thread carry the newest on to `shared`, as often as that is worth its cost.

    `told` is called with each checkpoint that has reached the shared disk: only those survive the node.
    """

    def __init__(self, local: Saver, shared: Saver, told: Callable[[Saved], None]) -> None:
        self._local = local
        self._shared = shared
        self._every_s = 0.0
        self._told = told
        self._thread: threading.Thread | None = None
        self._carried_at = float("-inf")

    def save(self, about: Manifest, pieces: Sequence[Piece]) -> Saved | None:
        """Save locally; where that fails, on the shared disk at once."""
        saved = self._local.save(about, pieces)
        if saved is None:
            return self._save_shared(about, pieces)
        is_carrying = self._thread is not None and self._thread.is_alive()
        if not is_carrying and time.monotonic() - self._carried_at >= self._every_s:
            self._carry(saved)
        return saved

    def wait(self) -> None:
        """Return when nothing is under way any more."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def carry_newest(self) -> None:
        """Bring the newest local checkpoint to the shared disk, and return when it is there: before the node is left."""
        self.wait()
        found = self._local.generations.newest_first()
        there = {generation.number for generation in self._shared.generations.newest_first()}
        if found and found[0].number not in there:
            self._carry_now(found[0].path)

    def _save_shared(self, about: Manifest, pieces: Sequence[Piece]) -> Saved | None:
        saved = self._shared.save(about, pieces)
        if saved is not None:
            self._every_s = choose_interval(saved.seconds).interval_s
            self._told(saved)
        return saved

    def _carry(self, saved: Saved) -> None:
        self.wait()
        self._carried_at = time.monotonic()
        self._thread = threading.Thread(target=self._carry_now, args=(saved.generation.path,), daemon=True)
        self._thread.start()

    def _carry_now(self, path: str) -> None:
        try:
            manifest = verify(path)
        except (DamagedError, OSError):
            return  # what is not sound here must not become the newest there
        self._save_shared(manifest._replace(files=()), [_piece(path, entry) for entry in manifest.files])


def _piece(folder: str, entry: FileEntry) -> Piece:
    path = os.path.join(folder, entry.name)
    return Piece(entry.name, entry.size, lambda: _blocks(path))


def _blocks(path: str) -> Iterator[Chunk]:
    with open(path, "rb") as stream:
        yield from iter(lambda: stream.read(_BLOCK), b"")
