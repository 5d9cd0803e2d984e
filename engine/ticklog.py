"""The log that cron's ticks write, kept from growing for ever."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

__all__ = ["rotate", "tick_log"]

_log = logging.getLogger(__name__)
_LARGEST_BYTES = 5 * 2**20
_KEPT = 3


def tick_log(home: Path) -> Path:
    """Return the file that cron appends to."""
    return home / "tick.log"


def rotate(home: Path, *, largest_bytes: int = _LARGEST_BYTES, kept: int = _KEPT) -> None:
    """Put the log aside once it is large, and keep the last `kept` of those.

    By renaming: whoever has it open goes on writing to the old one, and the next tick of cron begins a new one. A failure
    is told and harmless.
    """
    log = tick_log(home)
    try:
        if not log.is_file() or log.stat().st_size < largest_bytes:
            return
        names = [log, *(log.with_name(f"{log.name}.{number}") for number in range(1, kept + 1))]
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)
    except OSError as err:
        _log.warning("%s could not be put aside: %s", log, err.strerror or err)
