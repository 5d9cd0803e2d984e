"""Which checkpoints may go. Pure: told what there is, it names what is not needed any more."""

from __future__ import annotations

import math
from typing import NamedTuple, Sequence

from elisa.runtime.checkpoint.manifest import Number

__all__ = ["Kept", "Retention", "superfluous"]


class Retention(NamedTuple):
    """What to keep: the newest `keep`, every one whose step is a multiple of `keep_every`, the `keep_best_count` best.

    `keep_best` names the metric of `save(..., metrics=...)`; a leading "-" means that less is better, as with a loss.
    Over `max_bytes` (0: no limit) the oldest go first, whatever they were kept for, but never the newest.
    """

    keep: int = 2
    keep_every: int = 0
    keep_best: str = ""
    keep_best_count: int = 1
    max_bytes: int = 0


class Kept(NamedTuple):
    """A checkpoint, as far as retention cares."""

    number: int
    step: int
    size_bytes: int
    metrics: dict[str, Number]


def superfluous(found: Sequence[Kept], rules: Retention) -> list[int]:
    """Return the numbers of those of `found` (newest first) that the rules do not keep, oldest first."""
    wanted = {kept.number for kept in found[: max(1, rules.keep)]} | _best(found, rules)
    if rules.keep_every:
        wanted |= {kept.number for kept in found if kept.step % rules.keep_every == 0}
    wanted -= _over_space([kept for kept in found if kept.number in wanted], rules.max_bytes)
    return [kept.number for kept in reversed(found) if kept.number not in wanted]


def _best(found: Sequence[Kept], rules: Retention) -> set[int]:
    name = rules.keep_best.lstrip("-")
    if not name:
        return set()
    sign = -1.0 if rules.keep_best.startswith("-") else 1.0
    scored = [(sign * float(kept.metrics[name] or 0.0), kept.number) for kept in found if name in kept.metrics]
    finite = sorted((item for item in scored if math.isfinite(item[0])), reverse=True)
    return {number for _, number in finite[: rules.keep_best_count]}


def _over_space(kept: Sequence[Kept], max_bytes: int) -> set[int]:
    """Return the numbers of those, of `kept` (newest first), that do not fit into `max_bytes` beside newer ones."""
    over, total = set(), 0
    for index, one in enumerate(kept):
        total += one.size_bytes
        if max_bytes and index and total > max_bytes:
            over.add(one.number)
    return over
