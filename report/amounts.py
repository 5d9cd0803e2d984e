"""Metered amounts as people count them: GPU hours, GiB hours, GiB; never the integers the ledger keeps."""

from __future__ import annotations

from collections.abc import Mapping

from elisa.model.reasons import Fact
from elisa.model.site import Metered

__all__ = ["in_hours"]

_HOUR_S = 3600
# For each metered resource: how many of its integers make one of a person's unit, and what that is called.
_UNITS: Mapping[str, tuple[int, str]] = {
    Metered.NODE_S: (_HOUR_S, "node-h"),
    Metered.CPU_S: (_HOUR_S, "core-h"),
    Metered.MEMORY_MIB_S: (_HOUR_S * 1024, "GiB-h"),
    Metered.GPU_S: (_HOUR_S, "gpu-h"),
    Metered.MEMORY_MIB: (1024, "GiB"),
}
_AMOUNTS = frozenset({"asked", "cap", "left", "in_use", "free", "largest"})


def in_hours(facts: Mapping[str, Fact]) -> Mapping[str, Fact]:
    """Return the facts of a refused budget with its resource and amounts in a person's units; others as they are."""
    resource, _, gpu_type = str(facts.get("resource", "")).partition(":")
    if resource not in _UNITS:
        return facts
    size, unit = _UNITS[resource]
    told: dict[str, Fact] = {
        name: _rounded(fact / size) if name in _AMOUNTS and isinstance(fact, int | float) else fact
        for name, fact in facts.items()
    }
    return told | {"resource": f"{unit} of {gpu_type}" if gpu_type else unit}


def _rounded(amount: float) -> str:
    """Keep two decimals: what is left of a budget is seldom a whole number of hours."""
    return f"{amount:.2f}".rstrip("0").rstrip(".")
