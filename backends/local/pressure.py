"""How much memory this machine has left, where more of it was promised than there is."""

from __future__ import annotations

from typing import NamedTuple

import psutil

from elisa.backends.local.slots import LocalSlots

__all__ = ["PLENTY", "MemoryLeft", "judge", "memory_left"]

# Of what jobs may use: below the first somebody leaves, below the second nobody starts. Between both nothing changes, so that
# who left is not back at once.
_SHORT, _SCARCE = 0.05, 0.10


class MemoryLeft(NamedTuple):
    """What is missing to be out of danger, in MiB; and whether more work may start."""

    short_mib: int
    is_enough: bool


PLENTY = MemoryLeft(0, is_enough=True)


def memory_left(slots: LocalSlots) -> MemoryLeft:
    """Return what is left at this moment, as the kernel says: free, or freed when asked for."""
    return judge(slots, psutil.virtual_memory().available // 2**20)


def judge(slots: LocalSlots, available_mib: int) -> MemoryLeft:
    """Return what so much available memory means for the memory that jobs may use."""
    reserve_mib = round(slots.memory_mib * _SHORT)
    scarce_mib = round(slots.memory_mib * _SCARCE)
    return MemoryLeft(max(0, reserve_mib - available_mib), available_mib >= scarce_mib)
