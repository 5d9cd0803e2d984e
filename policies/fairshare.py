"""Fair share: what a project used, weighed and half forgotten, against what it is due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from elisa.model.changes import Charge
from elisa.model.columns import ProjectUsage
from elisa.model.site import Billing, FairShare

__all__ = ["billed", "decayed_use", "use_by_project"]


def billed(charge: Charge, billing: Billing) -> float:
    """Return a charge in billing hours: the weighted sum of node, core, memory and GPU hours."""
    gpu_weight = dict(billing.gpu_types).get(charge.gpu_type, billing.gpu)
    weighted_s = (
        billing.node * charge.node_s
        + billing.cpu * charge.cpu_s
        + billing.memory_gib * charge.memory_mib_s / 1024
        + gpu_weight * charge.gpu_s
    )
    return weighted_s / 3600


def decayed_use(usage: ProjectUsage, rules: FairShare, now_age_s: float = 0.0) -> Mapping[tuple[str, int], float]:
    """Return each member's use by (project, uid) in billing hours, old use counting less.

    Use that ended t seconds ago counts `0.5 ** (t / half_life_s)`, the decay of Slurm's multifactor plugin
    (slurm.schedmd.com/priority_multifactor.html). What is reserved now counts in full. `now_age_s` is added to every age.
    """
    use: dict[tuple[str, int], float] = defaultdict(float)
    for row in usage.rows:
        use[row.project, row.owner_uid] += billed(row.reserved, rules.billing)
        if not usage.past:
            use[row.project, row.owner_uid] += billed(row.spent, rules.billing)
    for slice_ in usage.past:
        weight = 0.5 ** ((slice_.age_s + now_age_s) / rules.half_life_s) if rules.half_life_s > 0 else 1.0
        use[slice_.project, slice_.owner_uid] += weight * billed(slice_.spent, rules.billing)
    return use


def use_by_project(use: Mapping[tuple[str, int], float], projects: Sequence[str]) -> list[float]:
    """Return the summed use of each project's members."""
    total: dict[str, float] = defaultdict(float)
    for (project, _), hours in use.items():
        total[project] += hours
    return [total[project] for project in projects]
