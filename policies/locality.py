"""Which input data lie where: what the site says of its data sets, as the places of one cluster see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.ids import BackendName
from elisa.model.resources import DataWish, Resources
from elisa.model.site import DataPlace, DataSet

__all__ = ["Holding", "holdings_of", "missing_data", "part_held", "required_here"]

_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]


class Holding(NamedTuple):
    """How much a data set is, and which nodes of a cluster hold it; `everywhere`: all of a partition's, known or not."""

    size_mib: int
    nodes: _Bools
    everywhere: bool

    def spread(self, count: int) -> Holding:
        """Return it for `count` nodes of a partition whose nodes are not known."""
        return self._replace(nodes=np.full(count, self.everywhere))


def holdings_of(
    sets: Sequence[DataSet], backend: BackendName, partition: str, names: Sequence[str]
) -> Mapping[str, Holding]:
    """Return what nodes of one partition hold of the site's data sets, by their names and by their paths."""
    holdings: dict[str, Holding] = {}
    for one in sets:
        places = [place for place in one.places if _is_here(place, backend, partition)]
        everywhere = any(not place.nodes for place in places)
        named = {node for place in places for node in place.nodes}
        nodes = np.array([everywhere or name in named for name in names], dtype=np.bool_)
        holdings |= dict.fromkeys((one.name, *one.paths), Holding(max(1, one.size_mib), nodes, everywhere))
    return holdings


def _is_here(place: DataPlace, backend: BackendName, partition: str) -> bool:
    return place.backend == backend and place.partition in {"", partition}


def _holding(wish: DataWish, holdings: Mapping[str, Holding]) -> Holding | None:
    """Return the data set of this name, or the one in whose folder a path lies: the innermost."""
    if not wish.name.startswith("/"):
        return holdings.get(wish.name)
    path = wish.name.rstrip("/")
    inside = [known for known in holdings if known.startswith("/") and f"{path}/".startswith(f"{known.rstrip('/')}/")]
    return holdings[max(inside, key=len)] if inside else None


def _found(request: Resources, holdings: Mapping[str, Holding]) -> Iterator[tuple[DataWish, Holding | None]]:
    return ((wish, _holding(wish, holdings)) for wish in request.data)


def part_held(request: Resources, holdings: Mapping[str, Holding], count: int) -> _Floats:
    """Return for each of `count` nodes which part of the bytes that a request reads it holds, 0 to 1.

    What the site says nothing of is held nowhere, and is as much as a data set without a size.
    """
    parts: _Floats = np.zeros(count)
    total = 0
    for _, holding in _found(request, holdings):
        total += 1 if holding is None else holding.size_mib
        if holding is not None:
            parts += holding.size_mib * holding.nodes
    return parts / total if total else parts


def required_here(request: Resources, holdings: Mapping[str, Holding], count: int) -> _Bools:
    """Tell for each of `count` nodes whether it holds all data that a request cannot do without."""
    mask: _Bools = np.ones(count, dtype=np.bool_)
    for wish, holding in _found(request, holdings):
        if wish.required:
            mask &= np.zeros(count, dtype=np.bool_) if holding is None else holding.nodes
    return mask


def missing_data(request: Resources, holdings: Mapping[str, Holding], *, wholly: bool) -> str:
    """Return the first data set that a request cannot do without and no node here holds, or `wholly` not all; "" if none."""
    for wish, holding in _found(request, holdings):
        is_held = holding is not None and (holding.everywhere or (not wholly and bool(holding.nodes.any())))
        if wish.required and not is_held:
            return wish.name
    return ""
