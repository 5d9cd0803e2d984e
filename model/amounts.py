"""Metered amounts in a person's units: GPU hours, GiB hours, GiB; never the integers that the ledger keeps."""

from __future__ import annotations

from collections.abc import Mapping

from .metered import Metered
from .shares import UNITS_A_GPU

__all__ = ["UNITS", "in_units", "unit_of"]

_HOUR_S = 3600
# For each metered resource: how many of its integers make one of a person's unit, and what that is called.
UNITS: Mapping[str, tuple[int, str]] = {
    Metered.NODE_S: (_HOUR_S, "node-h"),
    Metered.CPU_S: (_HOUR_S, "core-h"),
    Metered.MEMORY_MIB_S: (_HOUR_S * 1024, "GiB-h"),
    Metered.GPU_S: (_HOUR_S, "gpu-h"),
    Metered.WATT_S: (_HOUR_S * 1000, "kWh"),
    Metered.MEMORY_MIB: (1024, "GiB"),
    Metered.GPU_UNITS: (UNITS_A_GPU, "gpus"),
    Metered.WATTS: (1, "W"),
}


def unit_of(resource: str, gpu_type: str = "") -> str:
    """Return `gpu-h`, `gpu-h of a100`, or the resource itself where it is counted one by one."""
    unit = UNITS.get(resource, (1, str(resource)))[1]
    return f"{unit} of {gpu_type}" if gpu_type else unit


def in_units(resource: str, amount: float) -> str:
    """Return an amount with two decimals at most: what is left of a budget is seldom a whole number of hours."""
    return f"{amount / UNITS.get(resource, (1, ''))[0]:.2f}".rstrip("0").rstrip(".")
