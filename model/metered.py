"""What use is counted in, and whose, where it is capped, shared or reserved."""

from __future__ import annotations

from enum import StrEnum

from .ids import ProjectName

__all__ = ["EVERYBODY", "Metered"]

EVERYBODY = ProjectName("/")
"""In place of a project: all of elisa's work together. No project can have this name."""


class Metered(StrEnum):
    """What may be capped. Those that end in `_s` add up over time; the others count what live attempts hold at one moment."""

    NODE_S = "node_s"
    CPU_S = "cpu_s"
    MEMORY_MIB_S = "memory_mib_s"
    GPU_S = "gpu_s"
    WATT_S = "watt_s"  # joules
    JOBS = "jobs"
    NODES = "nodes"
    CPUS = "cpus"
    MEMORY_MIB = "memory_mib"
    GPUS = "gpus"
    GPU_UNITS = "gpu_units"  # parts of GPUs of all types, where some are given away in shares: see `model.shares`
    WATTS = "watts"

    # Equal as texts, so hashed as texts: an enum's own hash is a Python function, and plans look thousands of caps up.
    __hash__ = str.__hash__

    @property
    def is_cumulative(self) -> bool:
        """Tell whether use of it is never given back by an attempt's end."""
        return self.value.endswith("_s")
