"""Which submissions of a plan are handed over by one call: as one array, where a resource manager has arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from elisa.backends.protocol import Backend
from elisa.engine.fusing import Fused
from elisa.engine.health import HealthBook
from elisa.model.decisions import Submit
from elisa.model.ids import BackendName
from elisa.policies.plan import Plan

__all__ = ["Chunks", "ahead", "array_limit", "is_ahead", "submits"]

# A manager that turns out to be full costs few attempts in vain, the fewer if the last call to it was; one that takes what
# it gets is served in bulk. To write down one job takes less than half as long as to submit one: so long as a piece is
# twice that before it, at the most, it is there in time.
_FIRST_CHUNK, _USUAL_CHUNK, _LARGEST_CHUNK = 4, 8, 64
_GROWTH = 2
# Written down in one transaction: 0.07 s for so many.
_MOST_TOGETHER = 1000
_AHEAD = ":ahead"


def submits(name: BackendName) -> str:
    """Return the name under which the health of submitting to a backend is kept."""
    return f"{name}:submit"


def ahead(name: BackendName) -> str:
    """Return the name under which the health of queueing jobs behind others is kept: a limit there stops nothing else."""
    return f"{name}{_AHEAD}"


def is_ahead(name: str) -> bool:
    """Tell whether a name of the book of health is that of queueing ahead: nobody waits for it."""
    return name.endswith(_AHEAD)


def array_limit(backends: Mapping[BackendName, Backend], health: HealthBook, name: BackendName) -> int:
    """Return how many jobs may go to a backend by one call, 1 at the least; few where the last call was in vain."""
    backend = backends.get(name)
    most = backend.capabilities.arrays if backend is not None else 1
    return max(1, min(most, _FIRST_CHUNK if submits(name) in health.sick else _MOST_TOGETHER))


class Chunks:
    """The submissions of a plan in its order, in pieces that grow; those that share another's native job are left out.

    What asks for the same thing as the first of a piece, and may be one array with it, is in the same piece.
    """

    def __init__(self, plan: Plan, fused: Fused, backends: Mapping[BackendName, Backend], health: HealthBook) -> None:
        starts = [one for one in plan.decisions if isinstance(one, Submit) and one.leader is None]
        limits = {name: array_limit(backends, health, name) for name in {one.backend for one in starts}}
        self._fused = fused
        self._first = _FIRST_CHUNK if any(submits(name) in health.sick for name in limits) else _USUAL_CHUNK
        self._groups = _grouped(plan, starts, limits)

    def __iter__(self) -> Iterator[Sequence[Submit]]:
        size, chunk = self._first, list[Submit]()
        groups = 0
        for group in self._groups:
            if chunk and (groups >= size or self._weight([*chunk, *group]) > _MOST_TOGETHER):
                yield chunk
                size, chunk, groups = min(_GROWTH * size, _LARGEST_CHUNK), [], 0
            chunk.extend(group)
            groups += 1
        if chunk:
            yield chunk

    def _weight(self, starts: Iterable[Submit]) -> int:
        """Return how many attempts run in the jobs that these start."""
        bundles = (self._fused.bundles.get(one.task) for one in starts)
        return sum(1 if bundle is None else len(bundle.members) for bundle in bundles)


def _grouped(plan: Plan, decisions: Sequence[Submit], limits: Mapping[BackendName, int]) -> Sequence[Sequence[Submit]]:
    """Return the decisions, those that may be one array together, each group at the place of its first."""
    groups: list[list[Submit]] = []
    open_groups: dict[object, list[Submit]] = {}
    for decision in decisions:
        likeness = plan.likeness(decision.task)
        group = open_groups.get(likeness)
        if group is None or len(group) >= limits[decision.backend]:
            group = open_groups[likeness] = []
            groups.append(group)
        group.append(decision)
    return groups
