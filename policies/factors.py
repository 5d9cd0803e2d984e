"""The multifactor order: named factors between 0 and 1, each with its weight, summed, and shown one by one.

The form is that of Slurm's priority/multifactor plugin (slurm.schedmd.com/priority_multifactor.html); the deadline factor is
the share of the time left that the rest of the pipeline needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from elisa.model.site import Factors
from elisa.policies.budgets import charge_of
from elisa.policies.fairshare import billed, owner_factors
from elisa.policies.opinions import FACTOR
from elisa.policies.snapshot import Floats, Snapshot

__all__ = ["FactorLine", "factor_columns", "factor_lines", "scores", "weights_of"]


class FactorLine(NamedTuple):
    """One factor of one task: `points` is `value` times `weight`."""

    name: str
    value: float
    weight: float
    points: float


def factor_columns(snapshot: Snapshot) -> Mapping[str, Floats]:
    """Return each factor for all ready tasks; all lie between 0 and 1."""
    tasks, rules = snapshot.tasks, snapshot.site.factors
    left_s = tasks.deadline_s - snapshot.now_s
    return {
        "age": np.clip((snapshot.now_s - tasks.ready_s) / max(rules.age_s, 1e-9), 0, 1),
        "fair_share": np.array(owner_factors(snapshot))[tasks.owner] if len(tasks) else np.zeros(0),
        "deadline": tasks.path_s / np.maximum(left_s, tasks.path_s),
        "importance": np.clip(tasks.importance / max(rules.importance_full, 1e-9), 0, 1),
        "size": _smallness(snapshot)[tasks.shape] if len(tasks) else np.zeros(0),
        "progress": np.clip(tasks.progress, 0, 1),
        "promise": np.clip(tasks.promise, 0, 1),
        **{name: snapshot.said[FACTOR + name] for name, _ in rules.others if FACTOR + name in snapshot.said},
    }


def _smallness(snapshot: Snapshot) -> Floats:
    billing = snapshot.site.fair_share.billing
    hours = [billed(charge_of(shape.request, shape.request.walltime_s), billing) for shape in snapshot.shapes]
    return 1 / (1 + np.array(hours, dtype=np.float64))


def weights_of(rules: Factors) -> Mapping[str, float]:
    """Return the weight of each factor by name."""
    return {
        "age": rules.age,
        "fair_share": rules.fair_share,
        "deadline": rules.deadline,
        "importance": rules.importance,
        "size": rules.size,
        "progress": rules.progress,
        "promise": rules.promise,
        **dict(rules.others),
    }


def scores(snapshot: Snapshot) -> Floats:
    """Return the sum of weighted factors of every ready task; the larger goes first."""
    weights = weights_of(snapshot.site.factors)
    total = np.zeros(len(snapshot.tasks), dtype=np.float64)
    for name, column in factor_columns(snapshot).items():
        total += weights[name] * column
    return total


def factor_lines(columns: Mapping[str, Floats], rules: Factors, row: int) -> tuple[FactorLine, ...]:
    """Return the factors of one ready task (a row of `factor_columns`), the weightiest points first."""
    weights = weights_of(rules)
    lines = [
        FactorLine(name, float(column[row]), weights[name], weights[name] * float(column[row]))
        for name, column in columns.items()
    ]
    return tuple(sorted(lines, key=lambda line: (-abs(line.points), line.name)))
