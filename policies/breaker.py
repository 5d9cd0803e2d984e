"""A planner from outside fenced off: what it returns is checked before anybody believes it."""

from __future__ import annotations

from collections import Counter

from elisa.model.decisions import Submit
from elisa.model.ids import TaskId
from elisa.policies.budgets_caps import Admission
from elisa.policies.plan import Plan, plan
from elisa.policies.registry import Planner
from elisa.policies.snapshot import Snapshot

__all__ = ["guarded", "problems_of"]


def guarded(planner: Planner, snapshot: Snapshot) -> tuple[Plan, tuple[str, ...]]:
    """Return the planner's plan, or the built-in one and what was wrong with the other.

    Time is the caller's to limit.
    """
    try:
        made = planner(snapshot)
        problems = problems_of(made, snapshot)
    except Exception as err:  # noqa: BLE001 - code from outside may fail in any way; the tick must go on
        problems = (f"{type(err).__name__}: {err}",)
    else:
        if not problems:
            return made, ()
    return plan(snapshot), problems


def problems_of(made: Plan, snapshot: Snapshot) -> tuple[str, ...]:
    """Return what is impossible about a plan: starts twice or of nothing, in no pool, or beyond a hard cap."""
    rows = {TaskId(id_): row for row, id_ in enumerate(snapshot.tasks.ids)}
    submits = [decision for decision in made.decisions if isinstance(decision, Submit)]
    times = Counter(decision.task for decision in submits)
    pools = {(pool.backend, pool.partition.name) for pool in snapshot.pools}
    problems = [f"{task} starts {count} times" for task, count in times.items() if count > 1]
    problems += [f"{task} is not ready" for task in times if task not in rows]
    problems += [
        f"{one.task} starts in {one.backend}/{one.partition}, which is not there"
        for one in submits
        if (one.backend, one.partition) not in pools
    ]
    return tuple(problems) or _beyond_caps(submits, rows, snapshot)


def _beyond_caps(submits: list[Submit], rows: dict[TaskId, int], snapshot: Snapshot) -> tuple[str, ...]:
    shapes = [(shape.request, (shape.request.gpus.types or ("",))[0]) for shape in snapshot.shapes]
    admission = Admission(snapshot.caps, shapes)
    problems = []
    for decision in submits:
        row = rows[decision.task]
        owner, shape = int(snapshot.tasks.owner[row]), int(snapshot.tasks.shape[row])
        if admission.refusing_row(owner, shape) is not None:
            problems.append(f"{decision.task} goes beyond a hard cap of {snapshot.owners[owner].project}")
        admission.take(owner, shape)
    return tuple(problems)
