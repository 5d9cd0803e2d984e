"""The text in which PBS describes jobs, queues, servers and nodes, and the values in it.

Text, not JSON, on purpose: of several jobs OpenPBS prints only the first as JSON (development version of April 2026), one
job with a backslash or an odd variable makes the JSON of all of them invalid (23.06.06, openpbs #2541, #1255, #2049), and
values change their type (`007` becomes 7). The text has none of that, and Torque and old releases print the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

__all__ = ["Attributes", "parse_mib", "parse_nodes", "parse_records", "parse_seconds", "parse_time", "whole"]

Attributes = Mapping[str, str]

# qstat breaks lines at 80 columns, in the midst of a word if need be, and indents what follows with a tab.
_FOLD = "\n\t"
_PAIR = re.compile(r"^ +([A-Za-z_][A-Za-z0-9_.@-]*) = ?(.*)$")
_CLOCK = re.compile(r"(?:(\d+):)?(?:(\d+):)?(\d+)(?:\.\d+)?")
_SIZE = re.compile(r"(\d+)([kmgtp]?)([bw]?)", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_WORD_BYTES = 8


def parse_records(text: str, header: str) -> Iterator[tuple[str, Attributes]]:
    """Return what `qstat -f` printed: a name after each line that begins with `header`, and its attributes.

    An attribute that comes twice counts as it came first.
    """
    name, pairs = "", dict[str, str]()
    for line in text.replace(_FOLD, "").split("\n"):
        if line.startswith(header):
            if name:
                yield name, pairs
            name, pairs = line.removeprefix(header).strip(), {}
        elif found := _PAIR.match(line):
            pairs.setdefault(found[1], found[2].strip())
    if name:
        yield name, pairs


def parse_nodes(text: str) -> Iterator[tuple[str, Attributes]]:
    """Return what `pbsnodes -a` printed: the name of each node and its attributes."""
    name, pairs = "", dict[str, str]()
    for line in text.split("\n"):
        found = _PAIR.match(line)
        if found:
            pairs.setdefault(found[1], found[2].strip())
        elif line and not line[0].isspace():
            if name:
                yield name, pairs
            name, pairs = line.strip(), {}
    if name:
        yield name, pairs


def whole(text: str | None) -> int | None:
    """Return the whole number in `text`; None if it is none."""
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def parse_seconds(text: str | None) -> int:
    """Return the seconds of `26:00:00`, `10:00` or `90`; 0 for anything else."""
    found = _CLOCK.fullmatch(text or "")
    if found is None:
        return 0
    parts = [int(part) for part in found.groups() if part is not None]
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def parse_mib(text: str | None) -> int:
    """Return the MiB, rounded down, of a size such as `16gb`, `102400kb` or `1048576`; 0 for anything else.

    PBS counts in powers of 1024, and in bytes where no unit is given; `w` are words of 8 bytes.
    """
    found = _SIZE.fullmatch(text or "")
    if found is None:
        return 0
    unit = _WORD_BYTES if found[3].lower() == "w" else 1
    return int(found[1]) * unit * int(1024 ** _POWERS[found[2].lower()]) // 1024**2


def parse_time(text: str | None) -> datetime | None:
    """Return a time such as `Mon Nov 23 23:58:15 2026`, printed under TZ=UTC and LC_ALL=C, or epoch seconds."""
    if text is None:
        return None
    try:
        return datetime.fromtimestamp(int(text), UTC) if text.isdecimal() else _from_ctime(text)
    except (ValueError, OverflowError, OSError):
        return None


def _from_ctime(text: str) -> datetime:
    return datetime.strptime(text, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
