"""One tick at a time: a lock that the kernel takes back from whoever dies, so that it never needs unlocking by hand."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from elisa.model import layout
from elisa.model.errors import StoreBusy

__all__ = ["holder", "tick_lock"]


@contextmanager
def tick_lock(home: Path, now: datetime) -> Iterator[None]:
    """Hold the tick lock of `home`; raises StoreBusy, saying who holds it and since when, if somebody does.

    The lock is flock on a file opened close-on-exec: a resource manager's program that outlives us does not keep it.
    """
    path = layout.tick_lock(home)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(descriptor, path)
        # What the file says is for people alone: only the kernel's lock counts.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()} {now.isoformat()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        raise StoreBusy(
            "another tick is running", holder(path), "it will do what this one would have done; nothing needs unlocking"
        ) from err


def holder(path: Path) -> str:
    """Return a sentence on who took the lock last, as its file says."""
    try:
        pid, host, since = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return "its holder has not said who it is yet"
    return f"process {pid} on {host} since {since}"
