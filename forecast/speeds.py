"""How fast work runs on each type of GPU, measured: the throughputs that Gavel (Narayanan et al., OSDI 2020) decides by.

Kinds of work differ in what a newer GPU gains them, so each is measured by itself: the tasks of one group, in pipelines of one
name and project.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median

from elisa.model.rows import FinishedWork, WorkName

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

    def __init__(self, finished: Iterable[FinishedWork]) -> None:
        # Instances of a matrix have more or less to do: as parts of the time that each asked for they compare.
        parts: dict[Kind, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for work in finished:
            # What was interrupted may have run on another type before.
            if work.gpu_type and work.walltime_s > 0 and not work.is_resumed:
                parts[kind_of(work.name)][work.gpu_type].append(work.work_s / work.walltime_s)
        self._parts = parts

    def of(self, kind: Kind) -> Mapping[str, float]:
        """Return how fast work of a kind runs on each type that it ran on often enough, the slowest being 1.

        Empty unless two types can be compared.
        """
        known = {
            gpu_type: median(parts[:_NEWEST])
            for gpu_type, parts in sorted(self._parts.get(kind, {}).items())
            if len(parts) >= _FEWEST
        }
        if len(known) < 2:
            return {}
        slowest = max(known.values())
        return {gpu_type: slowest / part if part > 0 else 1.0 for gpu_type, part in known.items()}
