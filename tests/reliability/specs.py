"""Tasks for the simulated cluster, said in few words."""

from __future__ import annotations

import json
from typing import Any

from elisa.model.pipeline import (
    Backoff,
    CheckpointPolicy,
    Expansion,
    Need,
    NeedKind,
    Output,
    RetryPolicy,
    TaskSpec,
)
from elisa.model.resources import Resources

__all__ = ["after", "job"]

_RETRY = RetryPolicy(limit=3, backoff=Backoff(initial_s=30, maximum_s=120, jitter=0.5))


def after(*names: str, kind: NeedKind = NeedKind.SUCCESS, **more: Any) -> Need:
    return Need(tasks=names, kind=kind, **more)


def job(
    name: str,
    *needs: Need,
    lasts_s: int = 120,
    cpus: int = 1,
    saves_every_s: float | None = None,
    fails: dict[str, Any] | None = None,
    leaves: dict[str, Any] | None = None,
    foreach: str = "",
    walltime_s: int = 3600,
    retry: RetryPolicy = _RETRY,
    **more: Any,
) -> TaskSpec:
    """A task of `lasts_s` of work. `fails` is `sim_fail`; `leaves` are outputs with what they hold."""
    told: dict[str, Any] = {"sim_duration": lasts_s}
    if fails:
        told["sim_fail"] = fails
    if leaves:
        told["sim_outputs"] = leaves
    return TaskSpec(
        name=name,
        command=("work",),
        needs=needs,
        resources=Resources(cpus_per_task=cpus, walltime_s=walltime_s),
        checkpoint=CheckpointPolicy(interval_s=saves_every_s) if saves_every_s else None,
        outputs=tuple(Output(name=output, path=f"{output}.json") for output in leaves or {}),
        expansion=Expansion(source=foreach, output="items") if foreach else None,
        retry=retry,
        metadata=tuple((key, json.dumps(value)) for key, value in told.items()),
        **more,
    )
