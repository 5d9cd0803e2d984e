"""How fast work runs on each type of GPU, measured: the throughputs that Gavel (Narayanan et al., OSDI 2020) decides by.

Kinds of work differ in what a newer GPU gains them, so each is measured by itself: the tasks of one group, in pipelines of one
name and project. Steps a second count first, for a run that was cut off has them, too; else how long whole runs took; else
what the site says of its types.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median
from types import MappingProxyType

from elisa.model.rows import FinishedWork, StepRate, WorkName

__all__ = ["Kind", "Speeds", "kind_of"]

Kind = tuple[str, str, str]
"""A project, a pipeline's name, a group or, of a task that is alone, its name."""

_NEWEST = 20
_FEWEST = 3


def kind_of(name: WorkName) -> Kind:
    """Return what kind of work it is."""
    return (name.project, name.pipeline, name.group or name.task)


class Speeds:
    """What is known of speeds, from finished work, the newest first."""

    def __init__(
        self,
        finished: Iterable[FinishedWork],
        rates: Iterable[StepRate] = (),
        said: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        # Instances of a matrix have more or less to do: as parts of the time that each asked for they compare.
        parts: dict[Kind, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for work in finished:
            # What was interrupted may have run on another type before.
            if work.gpu_type and work.walltime_s > 0 and not work.is_resumed:
                parts[kind_of(work.name)][work.gpu_type].append(work.work_s / work.walltime_s)
        self._parts = parts
        steps: dict[Kind, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for rate in rates:
            steps[kind_of(rate.name)][rate.gpu_type].append(rate.steps_per_s)
        self._steps = steps
        self._said = said

    def measured(self, kind: Kind) -> frozenset[str]:
        """Return the types of GPU on which work of a kind was measured, in steps or by whole runs."""
        return frozenset(self._by_steps(kind)) | frozenset(self._by_runs(kind))

    def of(self, kind: Kind) -> Mapping[str, float]:
        """Return how fast work of a kind runs on each type that something is known of, the slowest being 1.

        Empty unless two types can be compared.
        """
        known = next((one for one in (self._by_steps(kind), self._by_runs(kind)) if len(one) > 1), {})
        known = {**self._scaled(known), **known}
        if len(known) < 2:
            return {}
        slowest = min(known.values())
        return {gpu_type: speed / slowest for gpu_type, speed in sorted(known.items())}

    def _by_steps(self, kind: Kind) -> dict[str, float]:
        # One run is enough: it is the mean of all its steps.
        return {gpu_type: median(rates[:_NEWEST]) for gpu_type, rates in self._steps.get(kind, {}).items()}

    def _by_runs(self, kind: Kind) -> dict[str, float]:
        known = {
            gpu_type: median(parts[:_NEWEST])
            for gpu_type, parts in self._parts.get(kind, {}).items()
            if len(parts) >= _FEWEST
        }
        return {gpu_type: 1 / part for gpu_type, part in known.items() if part > 0}

    def _scaled(self, known: Mapping[str, float]) -> Mapping[str, float]:
        """Return what the site says of types, on the scale of what was measured on those that both know."""
        shared = [known[gpu_type] / speed for gpu_type, speed in self._said.items() if gpu_type in known]
        if known and not shared:
            return {}
        scale = median(shared) if shared else 1.0
        return {gpu_type: speed * scale for gpu_type, speed in self._said.items()}
