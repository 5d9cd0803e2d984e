"""Restart files of programs that know nothing of elisa: found when they are complete, kept safe, put back when needed."""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import os
import re
import shutil
import stat
import time
from typing import Any, Iterator, NamedTuple

from elisa.runtime.checkpoint.codec import Chunk, Decoder, Encoder
from elisa.runtime.checkpoint.generations import Generation, Generations
from elisa.runtime.checkpoint.manifest import DamagedError, Manifest, verify
from elisa.runtime.checkpoint.restore import clear_loading_marks, restore_newest
from elisa.runtime.checkpoint.retention import Retention
from elisa.runtime.checkpoint.saver import Saved, Saver
from elisa.runtime.checkpoint.writer import PieceWriter
from elisa.runtime.formats import check_format
from elisa.runtime.job import CheckpointRules

__all__ = ["RestartFiles", "Resumed"]

_BLOCK = 8 * 2**20
_FORMATS = {
    ".nc": "netcdf",
    ".nc4": "netcdf",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".npy": "npy",
    ".npz": "npz",
    ".json": "json",
    ".zip": "zip",
    ".gz": "gzip",
    ".parquet": "parquet",
    ".safetensors": "safetensors",
}


class _Print(NamedTuple):
    """What tells whether a file is still the one that was seen: a program may write the same name again and again."""

    size: int
    mtime_ns: int


_NOTHING = _Print(0, 0)


class Resumed(NamedTuple):
    """The restart file a program is to go on from."""

    path: str
    step: int


class RestartFiles:
    """Watches for the files that match `rules.pattern` in `folder` or directly in `kept_in`, and keeps copies in `kept_in`.

    A file is complete when what `rules.complete_when` names is there ("{}" stands for the file), no older than the file.
    Without it: when the file is sound, for formats that show it; else when it has not changed between two looks.
    """

    def __init__(self, rules: CheckpointRules, folder: str, kept_in: str, attempt: str) -> None:
        self._rules = rules
        self._folder = folder
        self._attempt = attempt
        # A program's own files are read by other programs: they are kept as they are.
        self._saver = Saver(Generations(kept_in, PieceWriter(compress=False)), Retention(keep=max(1, rules.keep)))
        self._seen: dict[str, _Print] = {}
        self._kept: dict[str, _Print] = {}

    def look(self, *, is_finished: bool | None = None) -> list[Saved]:
        """Keep what became complete since the last look.

        `is_finished` says that the program has ended: True in order, False in the middle of something.
        """
        saved = []
        for path in self._matching():
            found = _print(path)
            if found is None or found == self._kept.get(path):
                continue
            is_quiet = self._seen.get(path) == found if is_finished is None else is_finished
            self._seen[path] = found
            if self._is_complete(path, found, is_quiet=is_quiet):
                kept = self._keep(path, found)
                if kept is not None:
                    saved.append(kept)
        return saved

    def works(self) -> None:
        """Say that the program works with what it was given."""
        clear_loading_marks(self._saver.generations)

    def prepare(self, *, at_step: int | None = None, is_first: bool = False) -> Resumed | None:
        """Make the folder ready for a start: the newest sound restart file in its place, no unfinished one beside it.

        To be called while no program runs. None: there is nothing to go on from. Before the first start of all
        (`is_first`) what lies there is the author's, and stays.
        """
        self._saver.generations.sweep(time.time())
        self._recall()
        self.look(is_finished=False)
        restored = restore_newest([self._saver.generations], decode=_decode, at_step=at_step)
        if restored is None:
            if not is_first:
                self._set_aside_after(-1)
            return None
        path = os.path.join(self._folder, restored.state["path"])
        self._put_back(restored.generation, restored.state, path)
        self._saver.take_over(restored.generation, restored.manifest)
        if not is_first:
            self._set_aside_after(restored.state["mtime_ns"])
        return Resumed(path, restored.generation.step)

    def _recall(self) -> None:
        """Remember, of each sound checkpoint, which file it is a copy of: that need not be copied again.

        Nor may what is older than all of these: its copy was removed, and a new one would pass for the newest.
        """
        for generation in self._saver.generations.newest_first():
            try:
                tree = _decode(generation, verify(generation.path))
            except (DamagedError, OSError):
                continue
            self._kept.setdefault(os.path.join(self._folder, tree["path"]), _Print(tree["size"], tree["mtime_ns"]))
        newest_ns = max((kept.mtime_ns for kept in self._kept.values()), default=0)
        for path in self._matching():
            found = _print(path)
            if found is not None and found.mtime_ns < newest_ns:
                self._kept.setdefault(path, found)

    def _matching(self) -> list[str]:
        """Return the files of the pattern, the oldest first."""
        kept_in = self._saver.generations.root
        own = glob.glob(os.path.join(glob.escape(self._folder), self._rules.pattern), recursive=True)
        paths = [path for path in own if not _is_below(path, kept_in)]
        if os.path.basename(self._rules.pattern) == self._rules.pattern:
            paths += glob.glob(os.path.join(glob.escape(kept_in), self._rules.pattern))
        found = [(_print(path), path) for path in paths]
        return [path for seen, path in sorted(found, key=lambda pair: (pair[0] or _NOTHING).mtime_ns) if seen]

    def _name(self, path: str) -> str:
        """Return a file's name as the pattern has it."""
        kept_in = self._saver.generations.root
        return os.path.relpath(path, kept_in if _is_below(path, kept_in) else self._folder)

    def _marker(self, path: str) -> str:
        """Return the file that says that another is complete."""
        name = self._name(path)
        root = path[: len(path) - len(name)]
        return os.path.join(root, self._rules.complete_when.replace("{}", name))

    def _is_complete(self, path: str, found: _Print, *, is_quiet: bool) -> bool:
        if self._rules.complete_when:
            marker = _print(self._marker(path))
            return marker is not None and marker.mtime_ns >= found.mtime_ns
        known = _FORMATS.get(os.path.splitext(path)[1].lower())
        if known is not None:
            return check_format(path, known)[0]
        return is_quiet and found.size > 0

    def _keep(self, path: str, found: _Print) -> Saved | None:
        encoder = Encoder()
        name = encoder.add(os.path.splitext(path)[1][:16], found.size, lambda: _content(path, found))
        tree = {"path": os.path.relpath(path, self._folder), "at": name, "size": found.size, "mtime_ns": found.mtime_ns}
        pieces = encoder.encode_state(tree)
        about = Manifest(
            generation=self._saver.generations.next_number(),
            step=self._step(path),
            files=(),
            saved_at=round(time.time(), 6),
            attempt=self._attempt,
        )
        saved = self._saver.save(about, pieces)
        if saved is not None:
            self._kept[path] = found
        return saved

    def _step(self, path: str) -> int:
        """Return the number in the part of the name that the pattern leaves open; else one more than before."""
        name = self._name(path)
        digits = re.sub(r"[^0-9]", "", "".join(_open_parts(self._rules.pattern, name)))
        if digits:
            return int(digits[-12:])
        newest = self._saver.generations.newest_first()
        return newest[0].step + 1 if newest else 1

    def _put_back(self, generation: Generation, tree: dict[str, Any], path: str) -> None:
        """Copy the file back, unless just that is still in its place."""
        kept = os.path.join(generation.path, tree["at"])
        if not _is_same(kept, path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            draft = f"{path}.{os.getpid()}.tmp"
            with open(kept, "rb") as source, open(draft, "wb") as target:
                target.writelines(iter(lambda: source.read(_BLOCK), b""))
                target.flush()
                os.fsync(target.fileno())
            os.replace(draft, path)
        os.utime(path, ns=(tree["mtime_ns"], tree["mtime_ns"]))
        self._kept[path] = _Print(tree["size"], tree["mtime_ns"])

    def _set_aside_after(self, newest_ns: int) -> None:
        """Move away what came later: it is unfinished, or known to be bad, and the program would take it for good."""
        for path in self._matching():
            if (_print(path) or _NOTHING).mtime_ns > newest_ns:
                aside = os.path.join(self._saver.generations.root, "quarantine", f"unfinished.{os.urandom(4).hex()}")
                os.makedirs(aside, mode=0o700)
                shutil.move(path, aside)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))


def _print(path: str) -> _Print | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return _Print(found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def _content(path: str, expected: _Print) -> Iterator[Chunk]:
    """Yield the bytes of the file; raises OSError if it is not the expected one, at the end as at the beginning."""
    with open(path, "rb") as stream:
        yield from iter(lambda: stream.read(_BLOCK), b"")
    if _print(path) != expected:
        raise OSError(f"{path} changed while it was copied")


def _open_parts(pattern: str, name: str) -> tuple[str, ...]:
    parts = re.split(r"(\*\*/|\*|\?|\[[^\]]*\])", pattern)
    regex = "".join(f"({_wild(part)})" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    match = re.fullmatch(regex, name)
    return match.groups() if match else ()


def _wild(part: str) -> str:
    return ".*" if part in {"*", "**/"} else ("." if part == "?" else fnmatch.translate(part)[4:-3])


def _decode(generation: Generation, _manifest: Manifest) -> Any:  # noqa: ANN401  (the tree `_keep` made)
    return Decoder(generation.path).decode_state()


def _is_same(kept: str, path: str) -> bool:
    try:
        return os.path.getsize(kept) == os.path.getsize(path) and _digest(kept) == _digest(path)
    except OSError:
        return False


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()
