"""Which filesystem a folder lies on, and whether SQLite may trust its locks. What is not known counts as a network."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Filesystem", "choose_filesystem", "magic_of", "probe"]

_MOUNTS = Path("/proc/self/mountinfo")
_LOCAL_NAMES = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"}
)
# The numbers of statfs(2) for the same: linux/magic.h, and OpenZFS for its own.
_LOCAL_MAGIC = frozenset({
    0x9123683E,  # btrfs
    0xCA451A4E,  # bcachefs
    0xEF53,  # ext2, ext3, ext4
    0xF2F52010,  # f2fs
    0x794C7630,  # overlay
    0x858458F6,  # ramfs
    0x01021994,  # tmpfs
    0x58465342,  # xfs
    0x2FC12FC1,  # zfs
})  # fmt: skip
_OCTAL = re.compile(r"\\([0-7]{3})")
# More than any kernel's `struct statfs` takes.
_STATFS_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Filesystem:
    """Where a folder lies. Not `is_local`: other hosts may write there too, and locks may reach one host only."""

    name: str
    mount_point: str
    is_local: bool


def probe(folder: Path) -> Filesystem:
    """Return the filesystem of a folder that exists."""
    path = os.path.realpath(folder)
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        mounts = ""
    return choose_filesystem(mounts, path, magic_of(path))


def choose_filesystem(mounts: str, path: str, magic: int | None) -> Filesystem:
    """Return the filesystem of an absolute path, given the text of mountinfo and the number that statfs tells.

    Local only if both say so. https://www.kernel.org/doc/Documentation/filesystems/proc.txt, section 3.5.
    """
    name, mount_point = "unknown", "/"
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields.split(" ")[4])
        # Of two mounts on one point the later hides the earlier.
        if _is_below(path, point) and (len(point) >= len(mount_point) or name == "unknown"):
            name, mount_point = rest.split(" ")[0], point
    return Filesystem(name=name, mount_point=mount_point, is_local=name in _LOCAL_NAMES and magic in _LOCAL_MAGIC)


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def magic_of(path: str) -> int | None:
    """Return the number by which statfs(2) names a filesystem, None where it cannot be asked."""
    import ctypes  # 6 ms, which only writers pay

    try:
        statfs = ctypes.CDLL(None, use_errno=True).statfs
    except (AttributeError, OSError):
        return None
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    if statfs(os.fsencode(path), answer) != 0:
        return None
    return ctypes.c_ulong.from_buffer(answer).value & 0xFFFFFFFF
