"""Ageing: whoever waits long enough goes first, so that nothing starves.

A task is *aged* once it has waited `aged_s` for each step from the best class down to its own (a critical task one
step, a scavenger five). Aged tasks go before all others, in the order in which they came of age. Then a task that has come
of age is passed only by tasks that came of age before it, and these are finitely many: none that becomes ready later than
`aged_s` before the task's coming of age can be among them. So on a system that serves the first in its order within some
time S, a task waits at most `(rank + 1) * aged_s + n * S`, with n the tasks that came of age before it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from elisa.policies.snapshot import Floats, Snapshot

__all__ = ["aged", "bound_s", "comes_of_age_s"]


def comes_of_age_s(snapshot: Snapshot) -> Floats:
    """Return the order key: the moment at which each aged task came of age, infinity for those that did not yet."""
    tasks = snapshot.tasks
    at = tasks.ready_s + (tasks.priority.astype(np.float64) + 1) * snapshot.site.aged_s
    return np.where(at <= snapshot.now_s, at, np.inf)


def aged(snapshot: Snapshot) -> npt.NDArray[np.bool_]:
    """Return which tasks (by row) have come of age: what they lack at once of a cap is saved for them."""
    if not snapshot.site.aged_s:
        return np.zeros(len(snapshot.tasks), dtype=np.bool_)
    return np.isfinite(comes_of_age_s(snapshot))


def bound_s(rank: int, aged_s: float, ahead: int, service_s: float) -> float:
    """Return the longest wait of a task of class `rank` (0 is the best) with `ahead` tasks that came of age before it.

    `service_s` is the longest time in which the first task of the order is served.
    """
    return (rank + 1) * aged_s + ahead * service_s
