"""Fair share: what a project used, weighed and half forgotten, against what it is due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache

from elisa.model.charge import Charge
from elisa.model.columns import ProjectUsage
from elisa.model.ids import ProjectName
from elisa.model.shares import parts_of, plain_kind
from elisa.model.site import Billing, FairShare
from elisa.policies.fairtree import fair_tree, tree_of
from elisa.policies.snapshot import Snapshot

__all__ = ["billed", "decayed_use", "due_shares", "hours_by", "owner_factors", "use_by_project"]

_NO_SHARE = 1e-9


def billed(charge: Charge, billing: Billing) -> float:
    """Return a charge in billing hours: the weighted sum of node, core, memory and GPU hours."""
    return hours_by(billing)(charge)


def hours_by(billing: Billing) -> Callable[[Charge], float]:
    """Return what bills charges: of many, the rules are read once."""
    node, cpu, memory_gib, gpu, of_type = (
        billing.node,
        billing.cpu,
        billing.memory_gib,
        billing.gpu,
        dict(billing.gpu_types),
    )

    @cache
    def gpu_weight(kind: str) -> float:
        """Return the weight of one of a type: of a share that has none of its own its part of a GPU's."""
        return of_type.get(plain_kind(kind), gpu / parts_of(kind))

    def hours(charge: Charge) -> float:
        weighted_s = (
            node * charge.node_s
            + cpu * charge.cpu_s
            + memory_gib * charge.memory_mib_s / 1024
            + (gpu_weight(charge.gpu_type) if charge.gpu_s else 0.0) * charge.gpu_s
        )
        return weighted_s / 3600

    return hours


def decayed_use(usage: ProjectUsage, rules: FairShare) -> Mapping[tuple[str, int], float]:
    """Return each member's use by (project, uid) in billing hours, old use counting less.

    Use that ended t seconds ago counts `0.5 ** (t / half_life_s)`, the decay of Slurm's multifactor plugin
    (slurm.schedmd.com/priority_multifactor.html). What is reserved now counts in full.
    """
    use: dict[tuple[str, int], float] = defaultdict(float)
    hours = hours_by(rules.billing)
    for row in usage.rows:
        own = hours(row.reserved)
        if not usage.past:
            own += hours(row.spent)
        use[row.project, row.owner_uid] += own
    for slice_ in usage.past:
        weight = 0.5 ** (slice_.age_s / rules.half_life_s) if rules.half_life_s > 0 else 1.0
        use[slice_.project, slice_.owner_uid] += weight * hours(slice_.spent)
    return use


def use_by_project(use: Mapping[tuple[str, int], float], projects: Sequence[str]) -> list[float]:
    """Return the summed use of each project's members."""
    total: dict[str, float] = defaultdict(float)
    for (project, _), hours in use.items():
        total[project] += hours
    return [total[project] for project in projects]


def owner_factors(snapshot: Snapshot) -> list[float]:
    """Return the fair-tree factor of each owner of ready tasks, 1 for the one who is due most."""
    site = snapshot.site
    groups = {policy.name: _path(policy.group) for policy in site.projects}
    shares = {_path(name): share for name, share in site.fair_share.group_shares}
    shares |= {(*_path(policy.group), policy.name): policy.shares for policy in site.projects}
    use = decayed_use(snapshot.usage, site.fair_share)
    members = dict.fromkeys([*((owner.project, owner.uid) for owner in snapshot.owners), *use])
    leaves = {member: (*groups.get(ProjectName(member[0]), ()), member[0], str(member[1])) for member in members}
    factors = fair_tree(tree_of([(path, use.get(member, 0.0)) for member, path in leaves.items()], shares))
    return [factors[leaves[owner.project, owner.uid]] for owner in snapshot.owners]


def due_shares(snapshot: Snapshot) -> list[float]:
    """Return the part of the whole that each project of ready tasks is due: the product of its shares down the tree."""
    site = snapshot.site
    weights = {_path(name): share for name, share in site.fair_share.group_shares}
    leaves = {policy.name: (*_path(policy.group), policy.name) for policy in site.projects}
    for name, policy in zip(snapshot.projects, snapshot.policies, strict=True):
        leaves.setdefault(name, (*_path(policy.group), name))
    shares = dict.fromkeys(leaves.values(), snapshot.site.unlisted.shares)
    shares |= {leaves[policy.name]: policy.shares for policy in site.projects}
    for leaf in leaves.values():
        for depth in range(1, len(leaf)):
            shares.setdefault(leaf[:depth], weights.get(leaf[:depth], 1.0))
    sums: dict[tuple[str, ...], float] = defaultdict(float)
    for path, share in shares.items():
        sums[path[:-1]] += share
    return [_due(leaves[name], shares, sums) for name in snapshot.projects]


def _due(
    leaf: tuple[str, ...], shares: Mapping[tuple[str, ...], float], sums: Mapping[tuple[str, ...], float]
) -> float:
    due = 1.0
    for depth in range(1, len(leaf) + 1):
        due *= shares[leaf[:depth]] / max(sums[leaf[: depth - 1]], _NO_SHARE)
    # A project without shares still gets what nobody else wants: it goes last, it is not divided by zero.
    return max(due, _NO_SHARE)


@lru_cache(maxsize=1024)  # of few groups, asked for by each of many projects
def _path(group: str) -> tuple[str, ...]:
    return tuple(part for part in group.split("/") if part)
