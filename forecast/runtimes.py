"""How long a task will run, from how long runs of the same work took before.

The past of a task is that of tasks of the same name in pipelines of the same name and project: a matrix gives each of its
instances a name, so that `train-lr=0.1` learns from `train-lr=0.1`. Where those are too few, all instances of its group
count, each as a part of the walltime it asked for: whoever asks for twice as much is expected to run for twice as long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from elisa.model.rows import FinishedWork, WorkName

__all__ = ["Estimate", "Runtimes"]

# Code and data change: what the last twenty did says more than what a hundred did before.
_NEWEST = 20
# With three runs the longest of them is passed by one in four at most, if nothing changed; instances differ, so more of them.
_FEWEST_OWN, _FEWEST_OF_GROUP = 3, 5
_SURE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What past runs say: `runs_s` are their seconds of work, the shortest first; `whose` is `task` or `group`."""

    runs_s: tuple[float, ...]
    whose: str

    @property
    def total_s(self) -> float:
        """The time that nine runs in ten did not exceed."""
        return _quantile(self.runs_s, _SURE)

    @property
    def usual_s(self) -> float:
        """The time that half of the runs did not exceed."""
        return _quantile(self.runs_s, 0.5)

    def left_s(self, done_s: float) -> float | None:
        """Return what is left after `done_s` of work: of the runs that took longer, nine in ten needed no more.

        None if none took so long: then nothing is known.
        """
        longer = [run_s for run_s in self.runs_s if run_s > done_s]
        return _quantile(longer, _SURE) - done_s if longer else None


class Runtimes:
    """What is known of run times, from finished work, the newest first."""

    def __init__(self, finished: Iterable[FinishedWork]) -> None:
        self._own: dict[tuple[str, ...], list[float]] = defaultdict(list)
        self._parts: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for work in finished:
            name = work.name
            self._own[name.project, name.pipeline, name.task].append(work.work_s)
            if name.group and work.walltime_s > 0:
                self._parts[name.project, name.pipeline, name.group].append(work.work_s / work.walltime_s)
        self._known: dict[tuple[WorkName, int], Estimate | None] = {}

    def __bool__(self) -> bool:
        return bool(self._own)

    def estimate(self, name: WorkName, walltime_s: int) -> Estimate | None:
        """Return what is known of work that asks for `walltime_s`; None if that is too little to go by."""
        key = (name, walltime_s)
        if key not in self._known:
            self._known[key] = self._estimate(name, walltime_s)
        return self._known[key]

    def _estimate(self, name: WorkName, walltime_s: int) -> Estimate | None:
        own = self._own.get((name.project, name.pipeline, name.task), ())
        if len(own) >= _FEWEST_OWN:
            return Estimate(runs_s=tuple(sorted(own[:_NEWEST])), whose="task")
        parts = self._parts.get((name.project, name.pipeline, name.group), ())
        if len(parts) >= _FEWEST_OF_GROUP:
            return Estimate(runs_s=tuple(sorted(part * walltime_s for part in parts[:_NEWEST])), whose="group")
        return None


def _quantile(ordered: Sequence[float], part: float) -> float:
    """Return the smallest value that at least `part` of all do not exceed."""
    return ordered[ceil(part * len(ordered)) - 1]
