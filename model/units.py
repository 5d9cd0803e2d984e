"""Durations and sizes as people write them, read into integers; nothing is guessed."""

from __future__ import annotations

import math
import re

__all__ = ["format_duration", "format_memory", "parse_duration_s", "parse_memory_mib"]

_UNIT_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(min|[smhdw])")
_WHOLE = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?\s*(?:min|[smhdw])\s*)+")
# [days-]hours:minutes:seconds, as Slurm and PBS print it. Two fields are refused: 12:30 is minutes to one, hours to another.
_CLOCK = re.compile(r"(?:([0-9]+)-)?([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB|K|M|G|T)")
# Slurm and PBS read K, M, G and T as powers of 1024; the SI names with a B are powers of 1000.
_BYTES = {
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
    "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip


def parse_duration_s(text: str) -> int:
    """Return the whole seconds in `90s`, `45m`, `2h30m`, `1.5h`, `3d`, `3-12:00:00` or `12:00:00`.

    Raises ValueError, with a sentence for the author, for anything else: a bare number and `12:30` among it.
    """
    text = text.strip()
    clock = _CLOCK.fullmatch(text)
    if clock:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    seconds_in_all = sum(float(number) * _UNIT_S[unit] for number, unit in _PIECE.findall(text))
    if not _WHOLE.fullmatch(text) or math.isinf(seconds_in_all):
        raise ValueError(f"`{text}` is no duration: write it like 90s, 45m, 2h30m, 3d or 3-12:00:00")
    return round(seconds_in_all)


def parse_memory_mib(text: str) -> int:
    """Return the mebibytes in `16GiB`, `512M`, `2TB`, rounded up.

    Raises ValueError, with a sentence for the author, for anything else: a bare number among it.
    """
    match = _SIZE.fullmatch(text.strip())
    size = float(match[1]) * _BYTES[match[2]] if match else math.inf
    if math.isinf(size):
        raise ValueError(f"`{text}` is no amount of memory: write it like 512MiB, 16GiB or 2TiB")
    return int(-(-size // 2**20))


def format_duration(seconds: float) -> str:
    """Return `45s`, `12m30s`, `3h05m` or `2d04h`: two units are enough for a person."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def format_memory(mib: int) -> str:
    """Return `512MiB`, `16GiB` or `1.5TiB`."""
    for unit, size in (("TiB", 2**20), ("GiB", 2**10)):
        if mib >= size:
            return f"{mib / size:.3g}{unit}"
    return f"{mib}MiB"
