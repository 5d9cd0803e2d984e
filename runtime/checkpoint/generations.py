"""A folder of checkpoints, one subfolder a generation, that is sound after a kill at any moment.

A generation is written under a temporary name, file by file to the disk, its manifest last, and renamed when it is whole.
What goes is renamed before it is deleted. So a name of the right form always stands for a whole checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import time
from typing import Iterable, NamedTuple

from elisa.runtime.checkpoint.codec import Piece
from elisa.runtime.checkpoint.hashing import HASH
from elisa.runtime.checkpoint.manifest import MANIFEST, Manifest, render_manifest
from elisa.runtime.checkpoint.writer import PieceWriter
from elisa.runtime.crash import crash
from elisa.runtime.durable import create_file, sync_folder

__all__ = ["Generation", "Generations"]

_NAME = re.compile(r"g([0-9]{8})-step([0-9]{12})")
_LEFTOVER = re.compile(r"\.(?:tmp|trash)-(?P<host>[A-Za-z0-9_]+)-(?P<pid>[0-9]+)-.*")
_ABANDONED_S = 24 * 3600.0


class Generation(NamedTuple):
    """A checkpoint in the folder. Numbers grow with every save; steps need not, after a fall back."""

    number: int
    step: int
    path: str


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:40]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Generations:
    """The checkpoints in `root`. One process writes there at a time; any number may read."""

    def __init__(self, root: str, writer: PieceWriter | None = None) -> None:
        self.root = root
        self._writer = writer or PieceWriter()

    @property
    def quarantine_folder(self) -> str:
        """Return where damaged ones are kept, each with its reason beside it."""
        return os.path.join(self.root, "quarantine")

    def newest_first(self) -> list[Generation]:
        """Return every whole generation; whether its files are still sound, `verify` tells."""
        found = []
        for name in self._names():
            match = _NAME.fullmatch(name)
            if match:
                found.append(Generation(int(match[1]), int(match[2]), os.path.join(self.root, name)))
        return sorted(found, reverse=True)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.root)
        except FileNotFoundError:
            return []

    def next_number(self) -> int:
        """Return a number that no generation has, nor any that was set aside."""
        aside = [*self._names(), *_listed(self.quarantine_folder)]
        matches = [_NAME.match(name) for name in aside]
        return 1 + max((int(match[1]) for match in matches if match), default=0)

    def write(self, about: Manifest, pieces: Iterable[Piece]) -> tuple[Generation, Manifest]:
        """Write a generation; `about` says everything of it but its files and the seconds the writing took.

        Raises OSError; then there is no new generation, and the older ones are untouched.
        """
        began = time.monotonic()
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        draft = self._hidden("tmp")
        crash("checkpoint.begin")
        os.mkdir(draft, 0o700)
        try:
            files = tuple(self._writer.write(draft, piece) for piece in pieces)
            manifest = about._replace(files=files, hash_name=HASH)
            manifest = manifest._replace(seconds=round(time.monotonic() - began, 6))
            generation = self.seal(draft, manifest)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        self.remember(generation, manifest)
        return generation, manifest

    def seal(self, draft: str, manifest: Manifest) -> Generation:
        """Make a generation of the files in `draft`, each on the disk already."""
        crash("checkpoint.pieces")
        sync_folder(draft)
        create_file(os.path.join(draft, MANIFEST), render_manifest(manifest))
        crash("checkpoint.manifest")
        sync_folder(draft)
        path = os.path.join(self.root, f"g{manifest.generation:08d}-step{manifest.step:012d}")
        crash("checkpoint.rename")
        os.rename(draft, path)
        crash("checkpoint.renamed")
        sync_folder(self.root)
        crash("checkpoint.done")
        return Generation(manifest.generation, manifest.step, path)

    def remember(self, generation: Generation, manifest: Manifest) -> None:
        """Let what did not change since `generation` be linked from there."""
        self._writer.remember(generation.path, manifest)

    def quarantine(self, generation: Generation, why: str) -> str:
        """Set `generation` aside, where it is never resumed from, with `why` beside it; return its new path."""
        os.makedirs(self.quarantine_folder, mode=0o700, exist_ok=True)
        path = os.path.join(self.quarantine_folder, f"{os.path.basename(generation.path)}.{os.urandom(4).hex()}")
        crash("checkpoint.quarantine")
        os.rename(generation.path, path)
        crash("checkpoint.quarantined")
        with contextlib.suppress(OSError), open(path + ".why", "w", encoding="utf-8", errors="replace") as stream:
            stream.write(why)
        return path

    def remove(self, generation: Generation) -> None:
        """Delete `generation`."""
        hidden = self._hidden("trash")
        crash("checkpoint.remove")
        os.rename(generation.path, hidden)
        crash("checkpoint.removed")
        shutil.rmtree(hidden, ignore_errors=True)

    def sweep(self, now: float) -> None:
        """Delete what killed processes left behind: at once if they are known to be dead, else after a day."""
        for name in self._names():
            match = _LEFTOVER.fullmatch(name)
            path = os.path.join(self.root, name)
            if match and self._is_abandoned(path, match["host"], int(match["pid"]), now):
                shutil.rmtree(path, ignore_errors=True)

    def _is_abandoned(self, path: str, host: str, pid: int, now: float) -> bool:
        if host == _host() and not _is_alive(pid):
            return True
        with contextlib.suppress(OSError):
            return now - os.stat(path).st_mtime > _ABANDONED_S
        return False

    def _hidden(self, kind: str) -> str:
        return os.path.join(self.root, f".{kind}-{_host()}-{os.getpid()}-{os.urandom(4).hex()}")


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
