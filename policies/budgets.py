"""Budgets in exact integers: what a request costs, what is used on a meter, and what a cap says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from elisa.model.charge import Charge
from elisa.model.columns import UsageRow
from elisa.model.ids import ProjectName
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.shares import booked_kind, parts_of, plain_kind, whole_gpus
from elisa.model.site import EVERYBODY, Cap, Metered

__all__ = [
    "Beginning",
    "CapRow",
    "Meter",
    "Owner",
    "amount_of",
    "charge_of",
    "demand_of",
    "meter_words",
    "refusal_of",
    "use_of",
    "uses",
]


def charge_of(request: Resources, seconds: int, gpu_type: str | None = None) -> Charge:
    """Return what `request` costs when it runs for `seconds`; `gpu_type` None books its first choice of type."""
    if gpu_type is None:
        types = (gpus.types for gpus in (request.gpus, *(part.gpus for part in request.components)) if gpus.types)
        gpu_type = next(types, ("",))[0]
    gpus = request.gpu_count
    return Charge(
        node_s=request.node_count * seconds,
        cpu_s=request.cpus * seconds,
        memory_mib_s=request.memory_mib * seconds,
        gpu_s=gpus * seconds,
        gpu_type=booked_kind(plain_kind(gpu_type), request.gpu_parts) if gpus else "",
        watt_s=request.draw_w * seconds,
    )


class Meter(NamedTuple):
    """One thing that is counted: a resource, narrowed to one type of GPU unless that is ""."""

    resource: Metered
    gpu_type: str = ""

    def counts(self, gpu_type: str) -> bool:
        """Tell whether use by work on GPUs of `gpu_type` ("" for none) is counted here."""
        return not self.gpu_type or self.gpu_type == gpu_type or self.gpu_type == plain_kind(gpu_type)


class Owner(NamedTuple):
    """Whose use is counted: a project, or with `uid` one member of it (-1: all members); or `EVERYBODY`."""

    project: ProjectName
    uid: int = -1

    def counts(self, project: str, uid: int) -> bool:
        """Tell whether what this member of a project uses is counted."""
        return self.project in {EVERYBODY, project} and self.uid in {-1, uid}


class Beginning(NamedTuple):
    """A task that a plan starts: whose it is, what it takes, and of which type of GPU."""

    owner: Owner
    request: Resources
    gpu_type: str


class CapRow(NamedTuple):
    """One cap as it stands: `used` of it is spent, reserved or held now."""

    owner: Owner
    cap: Cap
    used: int

    @property
    def meter(self) -> Meter:
        """What the cap counts."""
        return Meter(self.cap.resource, self.cap.gpu_type)

    @property
    def left(self) -> int:
        """What may still be asked for; negative when a cap was cut below what is in use."""
        return self.cap.limit - self.used


_DEMAND: Mapping[Metered, Callable[[Resources], int]] = {
    Metered.NODE_S: lambda request: request.node_count * request.walltime_s,
    Metered.CPU_S: lambda request: request.cpus * request.walltime_s,
    Metered.MEMORY_MIB_S: lambda request: request.memory_mib * request.walltime_s,
    Metered.GPU_S: lambda request: request.gpu_count * request.walltime_s,
    Metered.WATT_S: lambda request: request.draw_w * request.walltime_s,
    Metered.JOBS: lambda _: 1,
    Metered.NODES: lambda request: request.node_count,
    Metered.CPUS: lambda request: request.cpus,
    Metered.MEMORY_MIB: lambda request: request.memory_mib,
    Metered.GPUS: lambda request: request.gpu_count,
    Metered.GPU_UNITS: lambda request: request.gpu_count,
    Metered.WATTS: lambda request: request.draw_w,
}


def demand_of(request: Resources, gpu_type: str, meter: Meter) -> int:
    """Return how much of what a meter counts `request` takes on GPUs of one type ("" for none), for its whole walltime.

    Shares are counted as such by their own type, and as what they are of GPUs, rounded up, where all types count together.
    """
    if not meter.counts(gpu_type):
        return 0
    amount = _DEMAND[meter.resource](request)
    return amount if meter.gpu_type else whole_gpus(meter.resource, amount, request.gpu_parts)


_AMOUNT: Mapping[Metered, Callable[[Charge], int]] = {
    Metered.NODE_S: lambda charge: charge.node_s,
    Metered.CPU_S: lambda charge: charge.cpu_s,
    Metered.MEMORY_MIB_S: lambda charge: charge.memory_mib_s,
    Metered.GPU_S: lambda charge: charge.gpu_s,
    Metered.WATT_S: lambda charge: charge.watt_s,
}


def amount_of(charge: Charge, meter: Meter) -> int:
    """Return what a charge puts on a cumulative meter; 0 on one that counts only what is held."""
    read = _AMOUNT.get(meter.resource)
    if read is None or not meter.counts(charge.gpu_type):
        return 0
    amount = read(charge)
    return amount if meter.gpu_type else whole_gpus(meter.resource, amount, parts_of(charge.gpu_type))


_USE: Mapping[Metered, Callable[[UsageRow], int]] = {
    Metered.NODE_S: lambda row: row.reserved.node_s + row.spent.node_s,
    Metered.CPU_S: lambda row: row.reserved.cpu_s + row.spent.cpu_s,
    Metered.MEMORY_MIB_S: lambda row: row.reserved.memory_mib_s + row.spent.memory_mib_s,
    Metered.GPU_S: lambda row: row.reserved.gpu_s + row.spent.gpu_s,
    Metered.WATT_S: lambda row: row.reserved.watt_s + row.spent.watt_s,
    Metered.JOBS: lambda row: row.jobs,
    Metered.NODES: lambda row: row.nodes,
    Metered.CPUS: lambda row: row.cpus,
    Metered.MEMORY_MIB: lambda row: row.memory_mib,
    Metered.GPUS: lambda row: row.gpus,
    Metered.GPU_UNITS: lambda row: row.gpus,
    Metered.WATTS: lambda row: row.watts,
}
_OF_GPUS = frozenset({Metered.GPU_S, Metered.GPUS, Metered.GPU_UNITS})


def uses(rows: Sequence[UsageRow], resource: Metered, *, as_gpus: bool = True) -> list[int]:
    """Return what each usage row has of a resource, on every type of GPU: shares `as_gpus`, or one by one."""
    found = list(map(_USE[resource], rows))
    if not as_gpus or resource not in _OF_GPUS:
        return found
    if resource is not Metered.GPU_UNITS and all(parts_of(kind) == 1 for kind in {row.gpu_type for row in rows}):
        return found  # thousands of rows, and whole GPUs alone: each would be looked at to find nothing
    return [whole_gpus(resource, use, parts_of(row.gpu_type)) for use, row in zip(found, rows, strict=True)]


def use_of(rows: Sequence[UsageRow], meter: Meter) -> int:
    """Return what usage rows count on a meter: amounts reserved and spent, or what is held now."""
    counted = [row for row in rows if meter.counts(row.gpu_type)]
    return sum(uses(counted, meter.resource, as_gpus=not meter.gpu_type))


def meter_words(meter: Meter) -> str:
    """Return a meter as it stands among the facts of a reason: `gpu_s`, or `gpu_s:a100` for one type of GPU."""
    return f"{meter.resource.value}:{meter.gpu_type}" if meter.gpu_type else meter.resource.value


def refusal_of(row: CapRow, asked: int, left: int) -> Reason:
    """Return why a cap refuses `asked` with `left` under it."""
    facts: dict[str, str | int | float] = {
        "project": row.owner.project,
        "resource": meter_words(row.meter),
        "asked": asked,
        "cap": row.cap.limit - row.cap.before,
    }
    if row.owner.uid >= 0:
        facts["user"] = row.owner.uid
    if row.cap.every:
        facts["every"] = row.cap.every
    if row.cap.resource.is_cumulative:
        return because(ReasonCode.BUDGET_EXHAUSTED, left=left, **facts)
    return because(ReasonCode.CONCURRENCY_CAP, in_use=row.cap.limit - left, **facts)
