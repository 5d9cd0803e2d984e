"""What use is counted in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Charge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """An amount for the ledger, in exact integers. Watt seconds are joules."""

    node_s: int = 0
    cpu_s: int = 0
    memory_mib_s: int = 0
    gpu_s: int = 0
    gpu_type: str = ""
    watt_s: int = 0
