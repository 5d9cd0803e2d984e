"""Copies of the database: when the next one is due, and which old ones are no longer needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["daily_name", "forget_all_but", "is_due", "kept"]

_NAME = re.compile(r"^elisa-([0-9]{1,18})\.db$")


def daily_name(now_us: int) -> str:
    """Return the name of a copy made now. Those from before a migration are called otherwise, and never forgotten."""
    return f"elisa-{now_us}.db"


def kept(folder: Path) -> Sequence[Path]:
    """Return the copies in a folder, the newest last."""
    found = ((match, path) for path in folder.glob("elisa-*.db") if (match := _NAME.match(path.name)))
    return [path for _, path in sorted((int(match[1]), path) for match, path in found)]


def is_due(folder: Path, now_us: int, every_s: float) -> bool:
    """Tell whether the newest copy is older than that, or none is there; one from the future counts as of today."""
    newest = kept(folder)[-1:]
    return not newest or now_us - _made_us(newest[0]) >= every_s * 1_000_000


def _made_us(path: Path) -> int:
    match = _NAME.match(path.name)
    return int(match[1]) if match else 0


def forget_all_but(folder: Path, count: int) -> None:
    """Remove the oldest copies until `count` are left."""
    for path in kept(folder)[:-count]:
        with suppress(FileNotFoundError):
            path.unlink()
