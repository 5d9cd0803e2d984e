"""Budgets in exact integers: what a request costs, what is left under each cap, and who may be admitted."""

from __future__ import annotations

from elisa.model.changes import Charge
from elisa.model.resources import Resources

__all__ = ["charge_of"]


def charge_of(request: Resources, seconds: int, gpu_type: str | None = None) -> Charge:
    """Return what `request` costs when it runs for `seconds`; `gpu_type` None books its first choice of type."""
    if gpu_type is None:
        gpu_type = request.gpus.types[0] if request.gpus.types else ""
    return Charge(
        node_s=request.nodes * seconds,
        cpu_s=request.cpus * seconds,
        memory_mib_s=request.memory_mib * seconds,
        gpu_s=request.gpu_count * seconds,
        gpu_type=gpu_type if request.gpu_count else "",
    )
