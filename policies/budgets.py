"""Budgets in exact integers: what a request costs, what is left under each cap, and who may be admitted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.charge import Charge
from elisa.model.columns import UsageRow
from elisa.model.ids import ProjectName
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.site import Cap, Metered, SitePolicy

__all__ = [
    "Admission",
    "CapRow",
    "Meter",
    "Owner",
    "amount_of",
    "cap_rows",
    "charge_of",
    "demand_of",
    "meter_words",
    "refusal_of",
    "use_of",
]

# numpy compares 64-bit integers; no budget of a real site comes near (2**62 node-seconds: a million nodes for ages).
_UNLIMITED = 2**62


def charge_of(request: Resources, seconds: int, gpu_type: str | None = None) -> Charge:
    """Return what `request` costs when it runs for `seconds`; `gpu_type` None books its first choice of type."""
    if gpu_type is None:
        types = (gpus.types for gpus in (request.gpus, *(part.gpus for part in request.components)) if gpus.types)
        gpu_type = next(types, ("",))[0]
    return Charge(
        node_s=request.node_count * seconds,
        cpu_s=request.cpus * seconds,
        memory_mib_s=request.memory_mib * seconds,
        gpu_s=request.gpu_count * seconds,
        gpu_type=gpu_type if request.gpu_count else "",
        watt_s=(request.watts + request.gpu_watts) * seconds,
    )


class Meter(NamedTuple):
    """One thing that is counted: a resource, narrowed to one type of GPU unless that is ""."""

    resource: Metered
    gpu_type: str = ""

    def counts(self, gpu_type: str) -> bool:
        """Tell whether use by work on GPUs of `gpu_type` ("" for none) is counted here."""
        return not self.gpu_type or self.gpu_type == gpu_type


class Owner(NamedTuple):
    """Whose use is counted: a project, or with `uid` one member of it (-1: all members)."""

    project: ProjectName
    uid: int = -1


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


def demand_of(request: Resources, gpu_type: str) -> Mapping[Metered, int]:
    """Return how much of everything that can be capped `request` takes, for its whole walltime."""
    charge = charge_of(request, request.walltime_s, gpu_type)
    return {
        Metered.NODE_S: charge.node_s,
        Metered.CPU_S: charge.cpu_s,
        Metered.MEMORY_MIB_S: charge.memory_mib_s,
        Metered.GPU_S: charge.gpu_s,
        Metered.WATT_S: charge.watt_s,
        Metered.JOBS: 1,
        Metered.NODES: request.node_count,
        Metered.CPUS: request.cpus,
        Metered.MEMORY_MIB: request.memory_mib,
        Metered.GPUS: request.gpu_count,
    }


_AMOUNT: Mapping[Metered, Callable[[Charge], int]] = {
    Metered.NODE_S: lambda charge: charge.node_s,
    Metered.CPU_S: lambda charge: charge.cpu_s,
    Metered.MEMORY_MIB_S: lambda charge: charge.memory_mib_s,
    Metered.GPU_S: lambda charge: charge.gpu_s,
    Metered.WATT_S: lambda charge: charge.watt_s,
}


def amount_of(charge: Charge, meter: Meter) -> int:
    """Return what a charge puts on a cumulative meter; 0 on one that counts only what is held."""
    amount = _AMOUNT.get(meter.resource)
    return amount(charge) if amount is not None and meter.counts(charge.gpu_type) else 0


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
}


def use_of(rows: Sequence[UsageRow], meter: Meter) -> int:
    """Return what usage rows count on a meter: amounts reserved and spent, or what is held now."""
    use = _USE[meter.resource]
    return sum(use(row) for row in rows if meter.counts(row.gpu_type))


def cap_rows(site: SitePolicy, owners: Sequence[Owner], usage: Sequence[UsageRow]) -> tuple[CapRow, ...]:
    """Return every cap, hard and soft, that binds one of `owners` (members of projects), with what is used of it."""
    policies = {policy.name: policy for policy in site.projects}
    used = _Totals(usage)
    rows: list[CapRow] = []
    for project in dict.fromkeys(owner.project for owner in owners):
        rows.extend(used.of(Owner(project), policies.get(project, site.unlisted).caps))
    for owner in owners:
        rows.extend(used.of(owner, policies.get(owner.project, site.unlisted).user_caps))
    return tuple(rows)


class _Totals:
    """Use by owner, added up once for each meter that anybody asks for."""

    def __init__(self, usage: Sequence[UsageRow]) -> None:
        self._usage = usage
        self._place: dict[tuple[str, int], int] = {}
        self._places = [(self._number(row.project, row.owner_uid), self._number(row.project, -1)) for row in usage]
        self._by_meter: dict[tuple[Metered, str], list[int]] = {}

    def _number(self, project: str, uid: int) -> int:
        return self._place.setdefault((project, uid), len(self._place))

    def of(self, owner: Owner, caps: Sequence[Cap]) -> list[CapRow]:
        """Return the caps with what their owner uses of each."""
        place = self._place.get(owner)
        return [CapRow(owner, cap, 0 if place is None else self._totals(cap)[place]) for cap in caps]

    def _totals(self, cap: Cap) -> list[int]:
        key = (cap.resource, cap.gpu_type)
        totals = self._by_meter.get(key)
        if totals is None:
            totals = self._by_meter[key] = self._added_up(Meter(*key))
        return totals

    def _added_up(self, meter: Meter) -> list[int]:
        use = _USE[meter.resource]
        totals = [0] * len(self._place)
        for row, (member, project) in zip(self._usage, self._places, strict=True):
            if (amount := use(row)) and meter.counts(row.gpu_type):
                totals[member] += amount
                totals[project] += amount
        return totals


@dataclass(slots=True)
class Admission:
    """The hard caps during one plan: every admission lowers what is left, so that a refusal stays a refusal.

    Owners and variants (a request with a type of GPU) are numbered as in `owners` and `variants`.
    """

    rows: Sequence[CapRow]
    owners: Sequence[Owner]
    variants: Sequence[tuple[Resources, str]]
    left: list[int] = field(init=False)
    _bound: dict[Owner, list[int]] = field(init=False)
    _rows: dict[int, tuple[int, ...]] = field(init=False)
    _demand: list[tuple[int, ...]] = field(init=False)
    _meters: tuple[Meter, ...] = field(init=False)
    _meter_of: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = tuple([row for row in self.rows if row.cap.is_hard])
        self.left = [row.cap.limit - row.used for row in self.rows]
        place: dict[tuple[Metered, str], int] = {}
        self._meter_of = [place.setdefault((row.cap.resource, row.cap.gpu_type), len(place)) for row in self.rows]
        self._meters = tuple(Meter(*key) for key in place)
        self._bound, self._rows = defaultdict(list), {}
        for index, row in enumerate(self.rows):
            self._bound[row.owner].append(index)
        self._demand = [self._demands(request, gpu_type) for request, gpu_type in self.variants]

    def _demands(self, request: Resources, gpu_type: str) -> tuple[int, ...]:
        demand = demand_of(request, gpu_type)
        return tuple(demand[meter.resource] if meter.counts(gpu_type) else 0 for meter in self._meters)

    def _rows_of(self, owner: int) -> tuple[int, ...]:
        """Return the caps that bind one owner: those of the project, then those of the member."""
        rows = self._rows.get(owner)
        if rows is None:
            who = self.owners[owner]
            rows = self._rows[owner] = (*self._bound.get(Owner(who.project), ()), *self._bound.get(who, ()))
        return rows

    def refused_at_start(self) -> npt.NDArray[np.bool_]:
        """Return, for each owner and variant, whether a cap refuses it before anything is admitted."""
        least = self._least()
        refused = np.zeros((len(self.owners), len(self.variants)), dtype=np.bool_)
        demand = np.array(self._demand, dtype=np.int64).reshape(len(self.variants), len(self._meters))
        for meter in range(len(self._meters)):
            asked = demand[None, :, meter]
            refused |= (asked > least[:, meter, None]) & (asked > 0)
        return refused

    def _least(self) -> npt.NDArray[np.int64]:
        """Return, for each owner and meter, what the tightest of its caps leaves."""
        bearer = {owner: number for number, owner in enumerate(self._bound)}
        least = np.full((len(bearer) + 1, len(self._meters)), _UNLIMITED, dtype=np.int64)
        place = ([bearer[row.owner] for row in self.rows], self._meter_of)
        np.minimum.at(least, place, np.array(self.left, dtype=np.int64))
        # Whoever has no cap of its own gets the last row, which limits nothing.
        of_project = {owner.project: number for owner, number in bearer.items() if owner.uid < 0}
        project = least[[of_project.get(owner.project, -1) for owner in self.owners]]
        member = least[[bearer.get(owner, -1) for owner in self.owners]]
        return np.minimum(project, member)

    def refusing_row(self, owner: int, variant: int) -> int | None:
        """Return the first cap that refuses one more of `variant`, None if all admit it. What asks for nothing is admitted."""
        demand = self._demand[variant]
        for row in self._rows_of(owner):
            asked = demand[self._meter_of[row]]
            if asked > self.left[row] and asked > 0:
                return row
        return None

    def take(self, owner: int, variant: int, times: int = 1) -> None:
        """Book `times` of `variant`; negative `times` give it back."""
        demand = self._demand[variant]
        for row in self._rows_of(owner):
            self.left[row] -= times * demand[self._meter_of[row]]

    def refusal(self, row: int, variant: int) -> Reason:
        """Return the words for a refusal by cap number `row`, as things stand now."""
        return refusal_of(self.rows[row], self._demand[variant][self._meter_of[row]], self.left[row])

    def first_refusal(self, owner: int, variant: int) -> Reason:
        """Return why `variant` was refused at the start, before anything was admitted."""
        demand = self._demand[variant]
        rows = ((self.rows[row], demand[self._meter_of[row]]) for row in self._rows_of(owner))
        row, asked = next((row, asked) for row, asked in rows if asked > row.left and asked > 0)
        return refusal_of(row, asked, row.left)


def meter_words(meter: Meter) -> str:
    """Return a meter as it stands among the facts of a reason: `gpu_s`, or `gpu_s:a100` for one type of GPU."""
    return f"{meter.resource.value}:{meter.gpu_type}" if meter.gpu_type else meter.resource.value


def refusal_of(row: CapRow, asked: int, left: int) -> Reason:
    """Return why a cap refuses `asked` with `left` under it."""
    facts: dict[str, str | int | float] = {
        "project": row.owner.project,
        "resource": meter_words(row.meter),
        "asked": asked,
        "cap": row.cap.limit,
    }
    if row.owner.uid >= 0:
        facts["user"] = row.owner.uid
    if row.cap.resource.is_cumulative:
        return because(ReasonCode.BUDGET_EXHAUSTED, left=left, **facts)
    return because(ReasonCode.CONCURRENCY_CAP, in_use=row.cap.limit - left, **facts)
