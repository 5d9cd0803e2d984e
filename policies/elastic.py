"""Elastic work: how many nodes of those that would do it gets, and when it is worth starting again with another number.

It starts with the least. What that leaves idle, once everybody of its class and of better ones was tried, is its own, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil

from elisa.model.reasons import Fact
from elisa.model.resources import Resources

__all__ = ["size_facts", "sized", "sizes_above"]

# Each size costs a look at the nodes: of a wide range so many are tried, evenly spread.
_SIZES = 16


def sizes_above(request: Resources) -> tuple[int, ...]:
    """Return the numbers of nodes beyond those that a request names that would do as well, the largest first."""
    if request.elastic is None:
        return ()
    step, most = request.elastic.step, request.elastic.most
    first = request.nodes + step - request.nodes % step
    sizes = range(first, most + 1, step)[::-1]
    return tuple(sizes[:: ceil(len(sizes) / _SIZES) or 1])


def sized(request: Resources, nodes: int) -> Resources:
    """Return an elastic request with another number of nodes."""
    watts, gpu_watts = (ceil(watt * nodes / request.nodes) for watt in (request.watts, request.gpu_watts))
    return replace(request, nodes=nodes, watts=watts, gpu_watts=gpu_watts)


def size_facts(request: Resources) -> Mapping[str, Fact]:
    """Return how many nodes an elastic request got, of how many, as facts of a reason; none for any other."""
    if request.elastic is None:
        return {}
    return {"size": request.nodes, "least": request.elastic.least, "most": request.elastic.most}
