"""A plan as slowly as it can be made: one task after the other, in plain Python that shares no code with the real one.

It knows budgets, fair share, deadlines and free nodes. Gangs, shared jobs, queues, room kept for later and elastic work are
left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from elisa.model.charge import Charge
from elisa.model.columns import UsageRow
from elisa.model.native import NodeView
from elisa.model.reasons import ReasonCode
from elisa.model.resources import Resources
from elisa.model.site import Cap, Metered, SitePolicy
from tests.policies.build import NOW

__all__ = ["Outcome", "Reference", "Row"]


class Row(NamedTuple):
    """A ready task; `deadline_s` counts from now, 0 is none."""

    project: str
    user: int
    request: Resources
    rank: int = 2
    importance: float = 0.0
    age_s: int = 60
    deadline_s: int = 0


class Outcome(NamedTuple):
    """Who starts, in order and on which nodes, and the code of the reason that everybody else gets."""

    starts: list[tuple[str, tuple[str, ...]]]
    codes: dict[str, ReasonCode]


@dataclass(kw_only=True)
class Reference:
    """Ready tasks by their ids, the rules, and what is used and free."""

    rows: Mapping[str, Row]
    site: SitePolicy
    usage: Sequence[UsageRow]
    nodes: Sequence[NodeView]
    taken: dict[tuple[str, int, int], int] = field(default_factory=dict)

    def decide(self) -> Outcome:
        """Start who can be started, in order."""
        outcome = Outcome([], {})
        free = [_Free(node) for node in sorted(self.nodes, key=_tightness)]
        order = self.order()
        at_first = {task: self.refusal(self.rows[task]) for task in order}
        capped: dict[tuple[str, int, Resources], ReasonCode] = {}
        closed: list[Resources] = []
        for task in order:
            row = self.rows[task]
            group = (row.project, row.user, row.request)
            code = at_first[task] or capped.get(group)
            if sum(_could_hold(node, row.request) for node in self.nodes) < row.request.nodes:
                code = ReasonCode.NEVER_FITS
            elif code is None and row.request in closed:
                code = ReasonCode.NO_ROOM
            elif code is None and (code := self.refusal(row)) is not None:
                capped[group] = code
            fits = [one for one in free if one.holds(row.request)][: row.request.nodes]
            if code is None and len(fits) < row.request.nodes:
                code = ReasonCode.NO_ROOM
                closed.append(row.request)
            if code is not None:
                outcome.codes[task] = code
                continue
            for one in fits:
                one.take(row.request)
            for place, cap in self.caps(row):
                self.taken[place] = self.taken.get(place, 0) + _asked(row.request, cap)
            outcome.starts.append((task, tuple(one.name for one in fits)))
        return outcome

    def order(self) -> list[str]:
        """Return the tasks by class, importance, slack, turn of their project, age, size and id."""
        first = sorted(self.rows, key=lambda task: (*self._pressing(task), *self._patience(task), task))
        served: dict[str, int] = {}
        tags: dict[str, float] = {}
        for task in first:
            row = self.rows[task]
            tags[task] = (self._hours(row.project) + served.get(row.project, 0) * 1e-6) / self._due(row.project)
            served[row.project] = served.get(row.project, 0) + round(_cost(row.request) * 1e6)
        return sorted(first, key=lambda task: (*self._pressing(task), tags[task]))

    def _pressing(self, task: str) -> tuple[float, float, float]:
        row, now_s = self.rows[task], NOW.timestamp()
        due_s = int((now_s + row.deadline_s) * 1e6) * 1e-6 if row.deadline_s else float("inf")
        return max(row.rank, 1), -row.importance, due_s - now_s - row.request.walltime_s

    def _patience(self, task: str) -> tuple[float, float]:
        return -self.rows[task].age_s, _cost(self.rows[task].request)

    def _hours(self, project: str) -> float:
        charges = [side for row in self.usage if row.project == project for side in (row.reserved, row.spent)]
        return sum((one.cpu_s + 16 * one.gpu_s) / 3600 for one in charges)

    def _due(self, project: str) -> float:
        shares: dict[str, float] = {policy.name: policy.shares for policy in self.site.projects}
        return shares[project] / sum(shares.values())

    def caps(self, row: Row) -> Iterator[tuple[tuple[str, int, int], Cap]]:
        """Yield the hard caps that bind a task, those of its project first, each with a key of its own."""
        policy = next(one for one in self.site.projects if one.name == row.project)
        for uid, caps in ((-1, policy.caps), (row.user, policy.user_caps)):
            yield from (((row.project, uid, place), cap) for place, cap in enumerate(caps) if cap.is_hard)

    def refusal(self, row: Row) -> ReasonCode | None:
        """Return by which kind of cap a task is refused as things stand."""
        for place, cap in self.caps(row):
            asked = _asked(row.request, cap)
            if asked > 0 and self._used(row.project, place[1], cap) + self.taken.get(place, 0) + asked > cap.limit:
                return ReasonCode.BUDGET_EXHAUSTED if cap.resource.is_cumulative else ReasonCode.CONCURRENCY_CAP
        return None

    def _used(self, project: str, uid: int, cap: Cap) -> int:
        rows = [row for row in self.usage if row.project == project and uid in {-1, row.owner_uid}]
        return sum(_held(row, cap.resource) for row in rows if cap.gpu_type in {"", row.gpu_type})


class _Free:
    """What is free on one node."""

    def __init__(self, node: NodeView) -> None:
        self.name = node.name
        self._cpus, self._memory_mib, self._gpus = node.free_cpus, node.free_memory_mib, dict(node.free_gpus)

    def holds(self, request: Resources) -> bool:
        kind, gpus = _kind(request), request.gpus.per_node
        has_gpus = not gpus or self._gpus.get(kind, 0) >= gpus
        return has_gpus and self._cpus >= request.cpus_per_task and self._memory_mib >= request.memory_mib_per_node

    def take(self, request: Resources) -> None:
        self._cpus -= request.cpus_per_task
        self._memory_mib -= request.memory_mib_per_node
        if request.gpus.per_node:
            self._gpus[_kind(request)] -= request.gpus.per_node


def _tightness(node: NodeView) -> tuple[int, int, int, str]:
    return sum(count for _, count in node.free_gpus), node.free_cpus, node.free_memory_mib, node.name


def _could_hold(node: NodeView, request: Resources) -> bool:
    has_gpus = not request.gpus.per_node or dict(node.gpus).get(_kind(request), 0) >= request.gpus.per_node
    return has_gpus and node.cpus >= request.cpus_per_task and node.memory_mib >= request.memory_mib_per_node


def _kind(request: Resources) -> str:
    return request.gpus.types[0] if request.gpus.types else ""


def _cost(request: Resources) -> float:
    """Return the billing hours of a full run."""
    gib = 0.25 * (request.nodes * request.memory_mib_per_node * request.walltime_s) / 1024
    gpu_s = request.nodes * request.gpus.per_node * request.walltime_s
    return (request.nodes * request.cpus_per_task * request.walltime_s + gib + 16.0 * gpu_s) / 3600


def _asked(request: Resources, cap: Cap) -> int:
    if cap.gpu_type not in {"", _kind(request)}:
        return 0
    cpus, gpus = request.nodes * request.cpus_per_task, request.nodes * request.gpus.per_node
    asked = {
        Metered.CPU_S: cpus * request.walltime_s,
        Metered.GPU_S: gpus * request.walltime_s,
        Metered.JOBS: 1,
        Metered.CPUS: cpus,
        Metered.GPUS: gpus,
    }
    return asked[cap.resource]


def _held(row: UsageRow, resource: Metered) -> int:
    both = Charge(
        cpu_s=row.reserved.cpu_s + row.spent.cpu_s,
        gpu_s=row.reserved.gpu_s + row.spent.gpu_s,
    )
    held = {
        Metered.CPU_S: both.cpu_s,
        Metered.GPU_S: both.gpu_s,
        Metered.JOBS: row.jobs,
        Metered.CPUS: row.cpus,
        Metered.GPUS: row.gpus,
    }
    return held[resource]
