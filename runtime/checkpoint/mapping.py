"""A file's bytes as memory that may be written to, without the file ever changing."""

from __future__ import annotations

import mmap
import os
from functools import lru_cache

from elisa.runtime.checkpoint.hashing import open_regular

__all__ = ["private_bytes"]

_LEAST_MAPPED = 2**20  # bytes: below, reading costs less than setting up pages
# Where a file that is deleted, here or on another node, stays readable for who has it open: pages are fetched when they are
# first touched. NFS is not among them.
_LASTING = frozenset(
    ("btrfs", "ext2", "ext3", "ext4", "f2fs", "gpfs", "lustre", "overlay", "ramfs", "tmpfs", "xfs", "zfs")
)
_MOUNTS = "/proc/self/mountinfo"
_AT_ONCE = 2**30  # bytes: the system reads no more than 2 GiB in one call


def private_bytes(path: str) -> memoryview:
    """Return all bytes of a file as memory of this process's own. Raises OSError.

    A large file is mapped, where that is safe: nothing is copied, and a page takes memory of its own only once it is
    written to. Elsewhere it is read.
    """
    fd = open_regular(path)
    try:
        size = os.fstat(fd).st_size
        if size >= _LEAST_MAPPED and _kind_of_disk(os.path.dirname(os.path.realpath(path))) in _LASTING:
            try:
                return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_COPY))
            except OSError:  # a limit on what may be mapped: reading may still do
                pass
        return _read(fd, size)
    finally:
        os.close(fd)


def _read(fd: int, size: int) -> memoryview:
    content = memoryview(bytearray(size))
    at = 0
    while at < size:
        count = os.preadv(fd, [content[at : at + _AT_ONCE]], at)
        if not count:
            raise EOFError(f"a file of {size} bytes ended after {at}")
        at += count
    return content


@lru_cache(maxsize=64)
def _kind_of_disk(folder: str) -> str:
    """Return the name of the filesystem that holds `folder`; empty if the system does not tell."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as stream:
            return _kind_at(folder, stream.read())
    except OSError:
        return ""


def _kind_at(folder: str, mounts: str) -> str:
    """Return what is mounted nearest above `folder`, of lines as in proc(5), "/proc/pid/mountinfo"; the last one holds."""
    nearest, kind = "", ""
    for line in mounts.splitlines():
        place, _, source = line.partition(" - ")
        mounted = place.split(" ")[4].encode().decode("unicode_escape") if "\\" in place else place.split(" ")[4]
        is_above = (folder + "/").startswith(mounted.rstrip("/") + "/")
        if is_above and len(mounted) >= len(nearest):
            nearest, kind = mounted, source.split(" ")[0]
    return kind
