"""What each project has used and holds, from the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from elisa.model.rows import LedgerRow

__all__ = ["ProjectCost", "costs"]

_HOUR_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectCost:
    """Exact seconds: `spent` for ended attempts, `held` reserved by live ones. `gpu_s` counts by type."""

    project: str
    attempts: int
    node_s: int
    cpu_s: int
    gpu_s: tuple[tuple[str, int], ...]
    held_cpu_s: int
    held_gpu_s: int

    @property
    def cpu_h(self) -> float:
        """Core hours spent."""
        return float(Fraction(self.cpu_s, _HOUR_S))

    @property
    def gpu_h(self) -> float:
        """GPU hours spent, over all types."""
        return float(Fraction(sum(seconds for _, seconds in self.gpu_s), _HOUR_S))


def costs(ledger: Iterable[LedgerRow]) -> tuple[ProjectCost, ...]:
    """Return one row a project, by name. Spend and overrun count as used; reserve less spend and refund is held."""
    rows: dict[str, list[LedgerRow]] = defaultdict(list)
    for row in ledger:
        rows[row.project].append(row)
    return tuple(_cost(project, rows[project]) for project in sorted(rows))


_USED = frozenset({"spend", "overrun"})
# A reservation is given back by what was spent of it and by the refund of the rest.
_HELD = {"reserve": 1, "spend": -1, "refund": -1}


def _cost(project: str, rows: list[LedgerRow]) -> ProjectCost:
    used = [row.charge for row in rows if row.kind in _USED]
    gpus: dict[str, int] = defaultdict(int)
    for charge in used:
        if charge.gpu_s:
            gpus[charge.gpu_type or "any"] += charge.gpu_s
    return ProjectCost(
        project=project,
        attempts=len({row.attempt for row in rows}),
        node_s=sum(charge.node_s for charge in used),
        cpu_s=sum(charge.cpu_s for charge in used),
        gpu_s=tuple(sorted(gpus.items())),
        held_cpu_s=sum(_HELD.get(row.kind, 0) * row.charge.cpu_s for row in rows),
        held_gpu_s=sum(_HELD.get(row.kind, 0) * row.charge.gpu_s for row in rows),
    )
