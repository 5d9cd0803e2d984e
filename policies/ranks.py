"""Several sort keys packed into one integer: one fast sort instead of a slow stable one for each key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Ranks", "order_of", "packed", "ranks_of"]

_MOST = 2**62  # of a signed 64-bit integer, with room for one addition
_SMALL = np.int32  # ranks are below the number of tasks: half the memory, and memory is what these functions wait for


class Ranks(NamedTuple):
    """Whole numbers from 0 to below `size` that stand in the same order as some key."""

    of: npt.NDArray[np.signedinteger]
    size: int


def ranks_of(key: npt.NDArray[np.generic]) -> Ranks:
    """Return ranks in the order of `key`; equal keys have equal ranks, and infinities are numbers like others."""
    whole = _whole(key)
    if whole is not None:
        return whole
    order = _order(key)
    ordered = key[order]
    step = np.zeros(len(key), dtype=_SMALL)
    np.cumsum(ordered[1:] != ordered[:-1], out=step[1:])
    rank = np.empty(len(key), dtype=_SMALL)
    rank[order] = step
    return Ranks(rank, int(step[-1]) + 1)


def _whole(key: npt.NDArray[np.generic]) -> Ranks | None:
    """Return whole numbers of small range as they are, from 0; None for all other keys."""
    low, high = float(key.min()), float(key.max())
    if not high - low <= 4 * len(key) + 2**15:
        return None
    whole = key.astype(np.int64)
    if key.dtype.kind == "f" and not bool((whole == key).all()):
        return None
    whole -= int(low)
    return Ranks(whole.astype(_SMALL), int(high - low) + 1)


def _order(key: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Return the rows in the order of a key, equals in any order; whole numbers are sorted with their rows packed in."""
    if key.dtype.kind == "i":
        whole = key.astype(np.int64)
        low = int(whole.min())
        size = int(whole.max()) - low + 1
        if size << len(whole).bit_length() < _MOST:
            return order_of(Ranks(whole - low, size))
    return np.argsort(key)


def packed(keys: Iterable[Ranks], count: int) -> Ranks:
    """Return ranks in the order of the first key, ties by the next, and so on; `count` is the keys' length."""
    code, size = np.zeros(count, dtype=np.int64), 1
    for key in keys:
        if size * key.size >= _MOST:
            code, size = _closed_up(code)
        code *= key.size
        code += key.of
        size *= key.size
    return Ranks(code, size)


def _closed_up(code: npt.NDArray[np.signedinteger]) -> tuple[npt.NDArray[np.int64], int]:
    """Return a code without the numbers that nobody has: fewer tasks than that are there."""
    ranks = ranks_of(code)
    return ranks.of.astype(np.int64), ranks.size


def order_of(code: Ranks) -> npt.NDArray[np.int64]:
    """Return the rows in the order of a code, ties by row.

    With the row packed in, no two are equal, and numbers are sorted much faster than places: the row is read off again.
    """
    bits = len(code.of).bit_length()
    rows = code.of.astype(np.int64) if code.size << bits < _MOST else _closed_up(code.of)[0]
    rows <<= bits
    rows |= np.arange(len(rows))
    rows.sort()
    rows &= (1 << bits) - 1
    return rows
