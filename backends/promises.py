"""Nodes that promise more than they have: how often, as a site says it, and what little memory there means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["PLENTY", "MemoryLeft", "judge", "promised_of", "read_promised"]

# More than that no machine bears; and who means percent is told.
_MOST = 16
# Of what jobs may use: below the first somebody leaves, below the second nobody starts. Between both nothing changes, so that
# who left is not back at once.
_SHORT, _SCARCE = 0.05, 0.10


class MemoryLeft(NamedTuple):
    """What is missing to be out of danger, in MiB; and whether more work may start."""

    short_mib: int
    is_enough: bool


PLENTY = MemoryLeft(0, is_enough=True)


def judge(memory_mib: int, available_mib: int) -> MemoryLeft:
    """Return what so much available memory means for the memory that jobs may use."""
    reserve_mib, scarce_mib = round(memory_mib * _SHORT), round(memory_mib * _SCARCE)
    return MemoryLeft(max(0, reserve_mib - available_mib), available_mib >= scarce_mib)


def promised_of(cpus: int, memory_mib: int, promised: tuple[int, int]) -> tuple[int, int]:
    """Return the cores and the memory that jobs may ask for together, where so many percent of both are promised.

    Rounded up, as is what guaranteed work counts for: so all of a node can be guaranteed, and never more than that.
    """
    return -(-cpus * promised[0] // 100), -(-memory_mib * promised[1] // 100)


def read_promised(value: object) -> tuple[int, int]:
    """Return what a mapping from `cpus` and `memory` to ratios promises, in percent; ValueError says what it is else."""
    if not isinstance(value, Mapping) or not {"cpus", "memory"}.issuperset(value):
        raise ValueError(f"`{value}` is no mapping from `cpus` and `memory` to ratios")
    return _ratio(value.get("cpus", 1)), _ratio(value.get("memory", 1))


def _ratio(value: object) -> int:
    if type(value) not in {int, float} or not 1 <= float(str(value)) <= _MOST:
        raise ValueError(f"`{value}` is no ratio from 1 to {_MOST}")
    return round(float(str(value)) * 100)
