"""Lists of nodes as resource managers write them: `n1,gpu[01-03,7]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

__all__ = ["expand_hosts"]

_PART = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")
_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
# More nodes than the largest machine has: what says more is no list of nodes.
_MOST = 100_000


@lru_cache(maxsize=4096)
def expand_hosts(text: str) -> tuple[str, ...]:
    """Return the names in a list, in its order, each once; zeros in front of a number are kept.

    What cannot be understood is taken for a name as it stands.
    """
    names: dict[str, None] = {}
    for part in _PART.findall(text):
        for name in _expand(part.strip()):
            names[name] = None
            if len(names) >= _MOST:
                return tuple(names)
    return tuple(name for name in names if name)


def _expand(part: str) -> Iterator[str]:
    bracket = _BRACKET.search(part)
    numbers = list(_numbers(bracket[1])) if bracket else []
    if bracket is None or not numbers:
        yield part
        return
    before, after = part[: bracket.start()], part[bracket.end() :]
    for number in numbers:
        yield from _expand(f"{before}{number}{after}")


def _numbers(text: str) -> Iterator[str]:
    """Yield the numbers of `01-03,7`; nothing if one of them makes no sense."""
    ranges = [_RANGE.fullmatch(piece.strip()) for piece in text.split(",")]
    spans = [(found[1], found[2] or found[1]) for found in ranges if found is not None]
    lengths = [int(last) - int(first) for first, last in spans]
    if len(spans) != len(ranges) or min(lengths) < 0 or sum(lengths) > _MOST:
        return
    for first, last in spans:
        yield from (f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
