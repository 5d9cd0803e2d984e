"""The newest hash of the audit, repeated outside of the database: rewriting the chain alone is then not enough."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from elisa.model import layout

__all__ = ["mirror_head", "mirrored_head"]


def mirror_head(home: Path, seq: int, head: str) -> None:
    """Write the number and hash of the newest audit row to a file that only its owner may read.

    A copy that cannot be written is no reason to fail: the transaction is committed already.
    """
    path = _own_file(home)
    new = path.with_name(f"{path.name}.new-{os.getpid()}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{seq} {head}\n")
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()


def mirrored_head(home: Path) -> tuple[int, str] | None:
    """Return the number and hash that this user last wrote down, None if there are none."""
    try:
        seq, head = _own_file(home).read_text(encoding="ascii").split()
        return int(seq), head
    except (OSError, ValueError):
        return None


def _own_file(home: Path) -> Path:
    path = layout.audit_head(home)
    if home.stat().st_uid == os.getuid():
        return path
    return path.with_name(f"{path.name}.{os.getuid()}")
