"""Dominant resource fairness: whoever holds the smallest share of the resource it needs most is served next.

Ghodsi, Zaharia, Hindman, Konwinski, Shenker, Stoica: "Dominant Resource Fairness" (NSDI 2011). `fluid_shares` is the
progressive filling of its section 4 with divisible tasks, for which the paper proves sharing incentive,
strategy-proofness, Pareto efficiency and envy-freeness; `dominant_tags` is the same rule for whole tasks in a queue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from elisa.policies.snapshot import Floats

__all__ = ["dominant_tags", "fluid_shares"]

# Below this, a resource is used up: sums of doubles near 1 carry errors some orders smaller.
_USED_UP = 1e-12


def fluid_shares(
    demands: Sequence[Sequence[float]], capacity: Sequence[float], weights: Sequence[float] | None = None
) -> Floats:
    """Return how many (divisible) tasks each user gets; a user demands the same vector for each task.

    Resources must have positive capacity; a user that demands nothing gets nothing. Weighted users' dominant shares grow
    in proportion to their weights.
    """
    demand = np.array(demands, dtype=np.float64).reshape(-1, len(capacity)) / np.array(capacity, dtype=np.float64)
    dominant = demand.max(axis=1, initial=0.0)
    weight = np.ones(len(demand)) if weights is None else np.array(weights, dtype=np.float64)
    # Tasks that one unit of weighted dominant share stands for.
    pace = np.divide(weight, dominant, out=np.zeros_like(dominant), where=dominant > 0)
    tasks = np.zeros(len(demand))
    left = np.ones(len(capacity))
    active = dominant > 0
    while active.any():
        speed = (demand * (pace * active)[:, None]).sum(axis=0)
        time = np.divide(left, speed, out=np.full_like(left, np.inf), where=speed > 0).min()
        tasks += time * pace * active
        left = np.maximum(left - time * speed, 0.0)
        active &= ~(demand[:, left <= _USED_UP] > 0).any(axis=1)
    return tasks


def dominant_tags(
    group: npt.NDArray[np.int64], demand: Floats, held: Floats, capacity: Floats, weight: Floats
) -> Floats:
    """Return when the turn of each task in a queue comes: its group's dominant share, over its weight, once it runs.

    `group` numbers the owner of each task, in queue order. `demand` has a row for each task, `held` one for each group, with
    a column for each resource of `capacity`; a resource of which there is none counts for nothing.
    """
    by_group = np.argsort(group, kind="stable")
    total = np.cumsum(demand[by_group], axis=0)
    starts = np.flatnonzero(np.concatenate(([True], np.diff(group[by_group]) != 0))) if len(group) else np.zeros(0, int)
    lengths = np.diff(np.append(starts, len(group)))
    before = np.repeat(total[starts] - demand[by_group][starts], lengths, axis=0)
    used = held[group[by_group]] + total - before
    share = np.divide(used, capacity, out=np.zeros_like(used), where=capacity > 0).max(axis=1, initial=0.0)
    tags = np.empty(len(group), dtype=np.float64)
    tags[by_group] = share / weight[group[by_group]]
    return tags
