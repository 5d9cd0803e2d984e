"""Writing the files of one checkpoint: hashed while they are written, linked if unchanged, compressed where it pays."""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from typing import Iterator, NamedTuple

from elisa.runtime.checkpoint.codec import COMPRESSED, Chunk, Piece
from elisa.runtime.checkpoint.hashing import HASH, BlockDigest
from elisa.runtime.checkpoint.manifest import FileEntry, Manifest
from elisa.runtime.crash import crash
from elisa.runtime.durable import new_file, write_all

__all__ = ["PieceWriter"]

_BLOCK = 8 * 2**20
_SAMPLE = 256 * 1024
_LEAST_LINKED = 2**20  # bytes: below, looking for a link costs more than writing
_LEAST_COMPRESSED = 64 * 1024
_LEAST_SAVED = 0.2  # of the size, in the sample
_MOST_LINKS = 8  # generations that share a file; then it is written anew, so that one bad block cannot spoil them all
_PATIENCE = 8  # saves until a file that changed is compared again
_UNKNOWN_SPEED = 200e6  # bytes a second, until the first save has measured it


class _Earlier(NamedTuple):
    folder: str
    entries: dict[str, FileEntry]


class PieceWriter:
    """Writes files into one folder after another, and learns from each: what changes, and how fast the disk is."""

    def __init__(self, *, incremental: bool = True, compress: bool = True) -> None:
        self._incremental = incremental
        self._compress = compress
        self._earlier: _Earlier | None = None
        self._patience: dict[str, int] = {}
        self._speed = _UNKNOWN_SPEED

    def remember(self, folder: str, manifest: Manifest) -> None:
        """Take the checkpoint in `folder`, known to be sound, for the one that unchanged files are linked from."""
        is_comparable = manifest.hash_name == HASH
        self._earlier = _Earlier(folder, {entry.name: entry for entry in manifest.files}) if is_comparable else None

    def write(self, folder: str, piece: Piece) -> FileEntry:
        """Write one file to the disk and return its entry. Raises OSError."""
        return self._link(folder, piece) or self._write(folder, piece)

    def _link(self, folder: str, piece: Piece) -> FileEntry | None:
        """Link the file of the earlier checkpoint if it holds just these bytes."""
        entry = self._candidate(piece)
        if entry is None:
            return None
        digest = BlockDigest()
        for block in _blocks(piece):
            digest.update(block)
        if digest.finish() != entry.digest:
            self._patience[piece.name] = _PATIENCE
            return None
        crash("checkpoint.link")
        try:
            os.link(os.path.join(self._earlier_folder(), piece.name), os.path.join(folder, piece.name))
        except OSError:  # the earlier checkpoint is gone, or the filesystem has no links
            return None
        return entry

    def _earlier_folder(self) -> str:
        return self._earlier.folder if self._earlier else ""

    def _candidate(self, piece: Piece) -> FileEntry | None:
        entry = self._earlier.entries.get(piece.name) if self._earlier and self._incremental else None
        if entry is None or entry.size < _LEAST_LINKED:
            return None
        patience = self._patience.get(piece.name, 0)
        self._patience[piece.name] = patience - 1
        if patience > 0 or entry.size != piece.size or self._is_shared_enough(piece.name):
            return None
        return entry

    def _is_shared_enough(self, name: str) -> bool:
        try:
            return os.stat(os.path.join(self._earlier_folder(), name)).st_nlink >= _MOST_LINKS
        except OSError:
            return True

    def _write(self, folder: str, piece: Piece) -> FileEntry:
        compressor = self._compressor(piece)
        name = piece.name + COMPRESSED if compressor else piece.name
        began = time.monotonic()
        crash("checkpoint.piece")
        fd = new_file(os.path.join(folder, name))
        try:
            blocks = _compressed(piece, compressor) if compressor else _blocks(piece)
            size, digest = _write_blocks(fd, blocks)
            crash("checkpoint.piece_sync")
            os.fsync(fd)
        finally:
            os.close(fd)
        self._learn(size, time.monotonic() - began, is_compressed=compressor is not None)
        return FileEntry(name, size, digest)

    def _learn(self, size: int, seconds: float, *, is_compressed: bool) -> None:
        if size > _LEAST_LINKED and not is_compressed:
            self._speed = 0.5 * self._speed + 0.5 * size / max(seconds, 1e-6)

    def _compressor(self, piece: Piece) -> zlib._Compress | None:
        """Return a compressor if a sample says that compressing takes less time than the writing it saves."""
        if not self._compress or piece.size < _LEAST_COMPRESSED or piece.name.endswith(COMPRESSED):
            return None
        sample = _sample(piece)
        began = time.perf_counter()
        saved = 1 - len(zlib.compress(sample, 1)) / len(sample)
        cost_s = (time.perf_counter() - began) / len(sample)
        is_worth_it = saved > _LEAST_SAVED and cost_s < saved / self._speed
        return zlib.compressobj(1) if is_worth_it else None


def _write_blocks(fd: int, blocks: Iterator[Chunk]) -> tuple[int, str]:
    digest = BlockDigest()
    size = 0
    try:
        for block in blocks:
            digest.update(block)
            crash("checkpoint.block")
            write_all(fd, block)
            _hurry(fd, size, len(block))
            size += len(block)
    finally:
        text = digest.finish()
    return size, text


def _hurry(fd: int, start: int, size: int) -> None:
    """Let the disk begin with what was written: else it is idle until the system's memory is full of it, or the sync."""
    if size >= _BLOCK:
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, start, size, os.POSIX_FADV_DONTNEED)


def _blocks(piece: Piece) -> Iterator[Chunk]:
    for chunk in piece.chunks():
        view = memoryview(chunk)
        for start in range(0, len(view), _BLOCK):
            yield view[start : start + _BLOCK]


def _compressed(piece: Piece, compressor: zlib._Compress) -> Iterator[Chunk]:
    for block in _blocks(piece):
        packed = compressor.compress(block)
        if packed:
            yield packed
    yield compressor.flush()


def _sample(piece: Piece) -> bytes:
    """Return bytes from the middle of the first large chunk: a header says nothing of what follows it."""
    chunk = memoryview(b"")
    for block in _blocks(piece):
        chunk = memoryview(block)
        if len(chunk) >= min(_SAMPLE, piece.size // 2):
            break
    start = max(0, len(chunk) // 2 - _SAMPLE // 2)
    return bytes(chunk[start : start + _SAMPLE])
