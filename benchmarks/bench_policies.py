"""What elisa's decisions are worth: the same loads, on the same simulated clusters, against a script that submits in order.

The loads stand in `benchmarks/loads.py`, each drawn from one seed. Real ticks over a real state folder, in virtual time:
some minutes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.figure import Figure
from benchmarks.loads import BEGIN, Load, conflicting, due
from benchmarks.players import Run, by_elisa, in_order

FIGURES = ("gpu_utilisation_vs_fifo", "deadline_compliance")

_SEED = 2
_WARM_UP_S = 5400


def measure() -> Iterator[Figure]:
    """Yield the figures of both loads."""
    load = due(_SEED)
    ours = 100 * compliance(load, by_elisa(load))
    yield Figure(figure="deadline_compliance", value=ours, unit="%", goal=">=95")
    yield Figure(figure="deadline_compliance/fifo", value=100 * compliance(load, in_order(load)), unit="%")
    yield from _utilisation(conflicting(_SEED))


def _utilisation(load: Load) -> Iterator[Figure]:
    name = "gpu_utilisation_vs_fifo"
    ours, theirs = by_elisa(load), in_order(load)
    elisa, fifo = utilisation(load, ours), utilisation(load, theirs)
    yield Figure(figure=name, value=elisa / fifo, unit="ratio", goal=">=1.2")
    yield Figure(figure=f"{name}/elisa", value=100 * elisa, unit="%", goal=">=90")
    yield Figure(figure=f"{name}/fifo", value=100 * fifo, unit="%")
    yield Figure(figure=f"{name}/over_cap", value=over_cap(load, ours), unit="GPUs", goal="<=0")
    yield Figure(figure=f"{name}/longest_turnaround", value=longest(ours) / longest(theirs), unit="ratio", goal="<=1")


def utilisation(load: Load, runs: Iterable[Run]) -> float:
    """Return the used part of all GPUs from the warm-up until three quarters of the work could be done.

    Until then no way to order the load can have run out of work.
    """
    until_s = 0.75 * load.gpu_s / load.gpus
    used_s = sum(run.gpus * max(0.0, min(until_s, run.ended_s) - max(_WARM_UP_S, run.started_s)) for run in runs)
    return used_s / (load.gpus * (until_s - _WARM_UP_S))


def compliance(load: Load, runs: Iterable[Run]) -> float:
    """Return the part of the pipelines that ended by their deadline."""
    ends = _ends(runs)
    due_s = {
        one.pipeline.name: (one.pipeline.deadline - BEGIN).total_seconds()
        for one in load.arrivals
        if one.pipeline.deadline is not None
    }
    return sum(ends[name] <= at_s for name, at_s in due_s.items()) / len(due_s)


def longest(runs: Iterable[Run]) -> float:
    """Return the longest time from the beginning to the end of a pipeline: nobody is left for later for ever."""
    return max(_ends(runs).values())


def _ends(runs: Iterable[Run]) -> Mapping[str, float]:
    ends: dict[str, float] = defaultdict(float)
    for run in runs:
        ends[run.pipeline] = max(ends[run.pipeline], run.ended_s)
    return ends


def over_cap(load: Load, runs: Sequence[Run]) -> int:
    """Return by how many GPUs a project was beyond its cap at the worst moment; 0 if none ever was."""
    return max((max(0, _most_held(runs, name) - cap) for name, cap in load.caps.items()), default=0)


def _most_held(runs: Iterable[Run], project: str) -> int:
    own = [run for run in runs if run.project == project]
    # Of one moment, what ends comes before what begins.
    steps = sorted([(run.ended_s, -run.gpus) for run in own] + [(run.started_s, run.gpus) for run in own])
    held = most = 0
    for _, gpus in steps:
        held += gpus
        most = max(most, held)
    return most
