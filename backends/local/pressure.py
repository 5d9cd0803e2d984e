"""How much memory this machine has left, where more of it was promised than there is."""

from __future__ import annotations

import psutil

from elisa.backends.local.slots import LocalSlots
from elisa.backends.promises import MemoryLeft, judge

__all__ = ["memory_left"]


def memory_left(slots: LocalSlots) -> MemoryLeft:
    """Return what is left at this moment, as the kernel says: free, or freed when asked for."""
    return judge(slots.memory_mib, psutil.virtual_memory().available // 2**20)
