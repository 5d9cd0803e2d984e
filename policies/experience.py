"""What past runs teach about the next one: how often it will be interrupted, and how long its last save may take."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from statistics import median
from typing import NamedTuple

from elisa.model.rows import PastRun
from elisa.model.states import EndReason
from elisa.model.task import CheckpointRef

__all__ = ["USUAL_LEAD_S", "Interruptions", "Lead", "interruptions", "lead_of", "usual_save_s"]

USUAL_LEAD_S = 120.0
"""The lead while nothing was measured: enough for a few GiB on a busy parallel filesystem."""

_OF_NODES = frozenset({EndReason.NODE_FAILURE, EndReason.BOOT_FAILURE, EndReason.LOST})
# With 3 events the rate is known to a factor of 2, and the interval that follows from it to one of 1.4.
_FEWEST_EVENTS = 3
_FEWEST_SAVES = 3
_NEWEST = 100
_LEAST_LEAD_S = 2.0


class Interruptions(NamedTuple):
    """The mean time between interruptions of a job, from `events` of them in `run_s` seconds of past jobs in `where`."""

    mtbf_s: float
    events: int
    run_s: float
    where: str


class Lead(NamedTuple):
    """How long before the walltime a job is told. `save_s` is the p95 of `saves` measured ones of `whose`, 0 without any.

    `whose`: the task's own, its group's, or all of the site's; "" for a guess. `step_s` is 0 if it is not known.
    """

    lead_s: float
    save_s: float = 0.0
    step_s: float = 0.0
    saves: int = 0
    whose: str = ""


def interruptions(runs: Sequence[PastRun], backend: str, partition: str, nodes: int) -> Interruptions | None:
    """Return how often a job on `nodes` nodes of a partition is interrupted; None if too little is known.

    Where the partition saw too few interruptions its backend counts, and then all backends. Failures of nodes grow with
    the number of nodes, preemptions do not. What a program does to itself is no interruption.
    """
    there = [run for run in runs if run.backend == backend]
    scopes = (
        (f"partition {partition} of {backend}", [run for run in there if run.partition == partition]),
        (backend, there),
        ("all backends", runs),
    )
    for where, some in scopes if partition else scopes[1:]:
        measured = _measured(some, nodes, where)
        if measured is not None:
            return measured
    return None


def _measured(runs: Sequence[PastRun], nodes: int, where: str) -> Interruptions | None:
    of_nodes = sum(run.end in _OF_NODES for run in runs)
    preempted = sum(run.end is EndReason.PREEMPTED for run in runs)
    run_s = sum(run.run_s for run in runs)
    if of_nodes + preempted < _FEWEST_EVENTS or run_s <= 0:
        return None
    node_s = sum(run.run_s * run.node_count for run in runs)
    rate = nodes * of_nodes / node_s + preempted / run_s
    return Interruptions(1 / rate, of_nodes + preempted, run_s, where)


def usual_save_s(own: Sequence[CheckpointRef], group: Sequence[float]) -> float | None:
    """Return the median time that a save of the task takes, or of its group; None before the first."""
    known = [checkpoint.seconds for checkpoint in own[-_NEWEST:]] or list(group)
    return median(known) if known else None


def lead_of(own: Sequence[CheckpointRef], group: Sequence[float], site: Sequence[float]) -> Lead:
    """Return how early a job has to be told of its end: twice what slow saves take, and the way to the next step.

    `own` are the task's checkpoints, the newest last; `group` and `site` the seconds of others' saves. Those, and fewer
    than three of its own, only ever make the usual lead longer.
    """
    saves = [checkpoint.seconds for checkpoint in own[-_NEWEST:]]
    if len(saves) >= _FEWEST_SAVES:
        step_s, save_s = _step_s(own[-_NEWEST:]), _slow(saves)
        return Lead(_LEAST_LEAD_S + 2 * save_s + 1.5 * step_s, save_s, step_s, len(saves), "task")
    for whose, some in (("group", [*saves, *group]), ("site", site)):
        if some:
            save_s = _slow(some)
            return Lead(max(USUAL_LEAD_S, _LEAST_LEAD_S + 2 * save_s), save_s, 0.0, len(some), whose)
    return Lead(USUAL_LEAD_S)


def _slow(seconds: Sequence[float]) -> float:
    """Return the 95th percentile: the smallest value that at least 95 % do not exceed."""
    ordered = sorted(seconds)
    return ordered[ceil(0.95 * len(ordered)) - 1]


def _step_s(own: Sequence[CheckpointRef]) -> float:
    """Return the usual time of one step, from the moments of saves that followed each other; 0 if they do not tell."""
    gaps = [
        (later.saved_at - earlier.saved_at).total_seconds() / (later.step - earlier.step)
        for earlier, later in pairwise(own)
        if later.saved_at is not None and earlier.saved_at is not None and later.step > earlier.step
    ]
    return max(0.0, median(gaps)) if gaps else 0.0
