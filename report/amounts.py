"""The facts of a refused budget as people count them."""

from __future__ import annotations

from collections.abc import Mapping

from elisa.model.amounts import UNITS, in_units, unit_of
from elisa.model.reasons import Fact

__all__ = ["in_hours"]

_AMOUNTS = frozenset({"asked", "cap", "left", "in_use", "free", "largest"})


def in_hours(facts: Mapping[str, Fact]) -> Mapping[str, Fact]:
    """Return the facts of a refused budget with its resource and amounts in a person's units; others as they are."""
    resource, _, gpu_type = str(facts.get("resource", "")).partition(":")
    if resource not in UNITS:
        return facts
    told: dict[str, Fact] = {
        name: in_units(resource, fact) if name in _AMOUNTS and isinstance(fact, int | float) else fact
        for name, fact in facts.items()
    }
    return told | {"resource": unit_of(resource, gpu_type)}
