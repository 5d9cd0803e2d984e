"""Digests of files, computed block by block, so that several threads can share the work.

SHA-256: with the instructions that processors have for it, nothing else in the standard library that is as safe is faster
(docs/measurements.md). Reading and hashing go on beside other threads.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Callable, Generator, Iterator, List, NamedTuple, Sequence, Union

__all__ = ["HASH", "HASHES", "BlockDigest", "Extent", "digests_of", "open_regular"]

HASH = "sha256-1m"
"""How a file's digest is made now: the SHA-256 of the SHA-256 of each mebibyte of it."""

_WHOLE = "sha256"
HASHES = (HASH, _WHOLE)
"""What can be read: checkpoints of the first version have the SHA-256 of each whole file."""

_BLOCK = 2**20
_SPAN = 8 * _BLOCK  # what one thread takes at a time
_MOST_THREADS = 8
_AHEAD = 32  # blocks: what is written waits for what is hashed

Content = Union[bytes, memoryview]
Task = Callable[[], List[bytes]]


class Extent(NamedTuple):
    """A file to be read, how long it should be, and how its digest is made."""

    path: str
    size: int
    hash_name: str = HASH


def _threads() -> int:
    return max(1, min(_MOST_THREADS, len(os.sched_getaffinity(0))))


def open_regular(path: str) -> int:
    """Open a file for reading; raises OSError for a symbolic link, and for a pipe instead of waiting for it."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise IsADirectoryError(f"{os.path.basename(path)} is not a file")
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


class BlockDigest:
    """The digest of a file that is being written, computed by other threads meanwhile."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._whole = hashlib.sha256()
        self._pending: list[memoryview] = []
        self._room = _BLOCK
        self._under_way: deque[Future[bytes]] = deque()

    def update(self, content: Content) -> None:
        """Take the next bytes; they must not change before `finish`."""
        view = memoryview(content).cast("B")
        while len(view):
            part = view[: self._room]
            self._pending.append(part)
            self._room -= len(part)
            view = view[len(part) :]
            if not self._room:
                self._begin_block()

    def _begin_block(self) -> None:
        self._pool = self._pool or ThreadPoolExecutor(_threads(), thread_name_prefix=_WHOLE)
        self._under_way.append(self._pool.submit(_digest, self._pending))
        self._pending, self._room = [], _BLOCK
        if len(self._under_way) > _AHEAD:
            self._whole.update(self._under_way.popleft().result())

    def finish(self) -> str:
        """Return the digest, in hexadecimal digits."""
        for block in self._under_way:
            self._whole.update(block.result())
        if self._pending:
            self._whole.update(_digest(self._pending))
        if self._pool is not None:
            self._pool.shutdown()
        return self._whole.hexdigest()


def _digest(parts: Sequence[Content]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def digests_of(extents: Sequence[Extent]) -> Generator[str, None, None]:
    """Yield the digest of each file, in order, read by one thread more than there are processors: one may wait for the disk.

    Memory: a mebibyte a thread. Raises OSError where a file cannot be read; closed early, it reads no further.
    """
    tasks = [_tasks(extent) for extent in extents]
    if sum(len(parts) for parts in tasks) <= 1 or _threads() == 1:
        for extent, parts in zip(extents, tasks):
            yield _joined(extent, [part() for part in parts])
        return
    is_over = threading.Event()
    with ThreadPoolExecutor(_threads() + 1, thread_name_prefix=_WHOLE) as pool:
        try:
            under_way = [[pool.submit(_unless, is_over, part) for part in parts] for parts in tasks]
            for extent, futures in zip(extents, under_way):
                yield _joined(extent, [future.result() for future in futures])
        finally:
            is_over.set()


def _unless(is_over: threading.Event, task: Task) -> list[bytes]:
    return [] if is_over.is_set() else task()


def _tasks(extent: Extent) -> list[Task]:
    """Return what together reads the file, each piece of it for whichever thread is free."""
    if extent.hash_name == _WHOLE:
        return [partial(_whole_digest, extent.path)]
    return [partial(_block_digests, extent.path, at) for at in range(0, max(1, extent.size), _SPAN)]


def _joined(extent: Extent, parts: list[list[bytes]]) -> str:
    blocks = b"".join(block for part in parts for block in part)
    return blocks.hex() if extent.hash_name == _WHOLE else hashlib.sha256(blocks).hexdigest()


def _block_digests(path: str, at: int) -> list[bytes]:
    return [hashlib.sha256(block).digest() for block in _blocks(path, at, at + _SPAN)]


def _whole_digest(path: str) -> list[bytes]:
    digest = hashlib.sha256()
    for block in _blocks(path, 0, None):
        digest.update(block)
    return [digest.digest()]


def _blocks(path: str, at: int, end: int | None) -> Iterator[memoryview]:
    """Yield the file's mebibytes from `at` on, one after another in the same memory."""
    buffer = memoryview(bytearray(_BLOCK))
    fd = open_regular(path)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while end is None or at < end:
            count = _fill(fd, buffer, at)
            if not count:
                return
            yield buffer[:count]
            at += count
    finally:
        os.close(fd)


def _fill(fd: int, buffer: memoryview, at: int) -> int:
    """Read at `at` until the buffer is full or the file ends: a network may give less than was asked for."""
    done = 0
    while done < len(buffer):
        count = os.preadv(fd, [buffer[done:]], at + done)
        if not count:
            break
        done += count
    return done
