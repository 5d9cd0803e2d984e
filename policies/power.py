"""What work draws: estimated from what the site says of nodes, cores and GPUs, measured where its agent could."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import ceil

from elisa.model.charge import Charge
from elisa.model.columns import ReadyColumns, Shape
from elisa.model.resources import Resources
from elisa.model.site import Power
from elisa.model.task import Attempt
from elisa.policies.budgets import charge_of
from elisa.policies.shares import sized

__all__ = ["priced", "spent_by"]


def priced(ready: ReadyColumns, power: Power, shares: Iterable[tuple[str, int]] = ()) -> ReadyColumns:
    """Return the columns with what each request is expected to draw: the most of all types of GPU that it may get.

    And with what part of a GPU its shares are: of each type of `shares` so many make one.

    A request keeps it when it becomes an attempt, so that one is settled as it was reserved, whatever the site says by then.
    """
    sizes = dict(shares)
    if sizes:
        ready = ready._replace(shapes=[shape._replace(request=sized(shape.request, sizes)) for shape in ready.shapes])
    if power == Power():
        return ready
    return ready._replace(shapes=[shape._replace(request=_priced(shape, power)) for shape in ready.shapes])


def _priced(shape: Shape, power: Power) -> Resources:
    request = shape.request
    node = dict(power.nodes).get(shape.placement.partition or "", power.node)
    kinds = dict(power.gpu_types)
    types = {kind for gpus in (request.gpus, *(part.gpus for part in request.components)) for kind in gpus.types}
    share = power.gpu / request.gpu_parts
    gpu = max((kinds.get(kind, share) for kind in types), default=max(power.gpu, *kinds.values(), 0.0))
    watts = ceil(request.node_count * node + request.cpus * power.cpu)
    return replace(request, watts=watts, gpu_watts=ceil(request.gpu_count * gpu))


def spent_by(attempt: Attempt, billed_s: int, ran_s: int) -> Charge:
    """Return what an attempt that ran for `ran_s` is billed, `billed_s` of it: its GPUs as they were measured, if they were.

    An agent sees the GPUs of its own node, so the estimate holds for work on several nodes.
    """
    estimate = charge_of(attempt.request, billed_s)
    if not attempt.usage.gpu_j or attempt.request.node_count > 1 or ran_s <= 0:
        return estimate
    measured_j = ceil(attempt.usage.gpu_j * billed_s / ran_s)
    return replace(estimate, watt_s=attempt.request.watts * billed_s + measured_j)
