"""Numbers of other packages that take part in built-in decisions: factors, terms of places, costs of victims.

Each is asked once for the whole plan, before anything is decided, so that all of a plan sees the same. One that fails, or
whose numbers are not what they must be, has no say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from math import inf
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from elisa.model.columns import RunningRow
from elisa.model.site import SitePolicy
from elisa.policies.snapshot import Floats, Snapshot

__all__ = ["COST", "FACTOR", "KINDS", "SCORE", "checked", "heard", "opinions_named"]

FACTOR, SCORE, COST = "factor.", "score.", "cost."

# The shape of what a plug-in returns, and the largest number in it; the least is 0.
KINDS: Mapping[str, Callable[[Snapshot], tuple[tuple[int, ...], float]]] = MappingProxyType(
    {
        FACTOR: lambda snapshot: ((len(snapshot.tasks),), 1.0),
        SCORE: lambda snapshot: ((len(snapshot.shapes), len(snapshot.pools)), 1.0),
        COST: lambda snapshot: ((len(snapshot.running),), inf),
    }
)


def opinions_named(site: SitePolicy) -> Iterator[str]:
    """Yield the plug-ins, by their whole names, that a site gives a weight or a say."""
    yield from (FACTOR + name for name, _ in site.factors.others)
    yield from (SCORE + name for name, _ in site.placement.others)
    yield from (COST + name for name in site.preemption.costs)


def checked(name: str, given: object, snapshot: Snapshot) -> Floats:
    """Return what a plug-in gave as numbers. Raises ValueError if they are not as many, or as large, as they must be.

    A cost may be infinite: then nobody gets the place.
    """
    kind = next(kind for kind in KINDS if name.startswith(kind))
    shape, largest = KINDS[kind](snapshot)
    numbers: npt.NDArray[Any] = np.asarray(given)
    if numbers.shape != shape or numbers.dtype.kind not in "biuf":
        raise ValueError(f"it gave no numbers of shape {shape}")
    floats: Floats = numbers.astype(np.float64)
    if not bool(((floats >= 0) & (floats <= largest)).all()):
        raise ValueError("it gave a number that is negative, too large or none at all")
    return floats


def heard(snapshot: Snapshot, kinds: Collection[str] = tuple(KINDS)) -> tuple[Snapshot, tuple[str, ...]]:
    """Return the snapshot with what the plug-ins of these kinds that its site names say, and a note on each without a say."""
    said: dict[str, Floats] = {}
    notes: list[str] = []
    for name in opinions_named(snapshot.site):
        if not name.startswith(tuple(kinds)):
            continue
        plugin = snapshot.plugins.get(name)
        if plugin is None:
            notes.append(f"`{name}` is not there, or rests after failures: left out")
            continue
        try:
            said[name] = checked(name, plugin(snapshot), snapshot)
        except Exception as err:  # noqa: BLE001 - code from outside may fail in any way; the plan must not fail with it
            notes.append(f"`{name}` failed ({type(err).__name__}: {err}): left out")
    if not said:
        return snapshot, tuple(notes)
    return replace(snapshot, said=said, running=tuple(_dearer(snapshot, said))), tuple(notes)


def _dearer(snapshot: Snapshot, said: Mapping[str, Floats]) -> Iterator[RunningRow]:
    costs = [numbers for name, numbers in said.items() if name.startswith(COST)]
    for place, row in enumerate(snapshot.running):
        extra = sum(float(numbers[place]) for numbers in costs)
        yield row._replace(extra_cost=extra) if extra else row
