"""Nodes and GPUs on which work breaks more than elsewhere: learnt from past attempts, avoided until that has faded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from elisa.model.ids import BackendName
from elisa.model.rows import PastRun
from elisa.policies.badgpus import BadGpu
from elisa.policies.badnodes import Suspect
from elisa.policies.blame import avoid_until, node_outcomes, not_by_gpus, on_gpus, suspect_nodes
from elisa.store.reader import Reader

if TYPE_CHECKING:
    from elisa.backends.protocol import Backend
    from elisa.model.native import ClusterView

__all__ = ["Avoided", "AvoidsGpus", "avoided_gpus", "avoided_nodes", "keep_off_gpus", "learnt"]

# Seven half-lives: what is older counts less than a hundredth.
_MEMORY = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Avoided:
    """A node, or with `gpu` one GPU of it, that gets no new work before `until`.

    `broken` of its `runs` broke there; `failures` is what that weighs, faded by age.
    """

    backend: BackendName
    node: str
    failures: float
    broken: int
    runs: int
    until: datetime
    gpu: str = ""

    @property
    def place(self) -> str:
        """Name it."""
        return f"{f'GPU {self.gpu} of ' if self.gpu else ''}{self.node} of {self.backend}"


@runtime_checkable
class AvoidsGpus(Protocol):
    """A backend that chooses the GPUs of its jobs."""

    def avoid_gpus(self, gpus: Collection[int]) -> None:
        """Give these to no job from now on, and count them as taken."""
        ...


def learnt(reader: Reader, now: datetime) -> tuple[Avoided, ...]:
    """Return the nodes and GPUs to avoid, by backend and the worst of each first."""
    after = now - _MEMORY
    runs = reader.past_runs(after) if reader.has_broken(after) else ()
    gpus = tuple(_suspects(on_gpus(runs), now))
    by_gpus = {(one.backend, f"{one.node}:{one.gpu}") for one in gpus}
    return (*_suspects(not_by_gpus(runs, by_gpus), now), *gpus)


def _suspects(runs: Sequence[PastRun], now: datetime) -> Iterator[Avoided]:
    for name in sorted({run.backend for run in runs}):
        yield from (_avoided(name, suspect, runs, now) for suspect in suspect_nodes(runs, name, now))


def _avoided(backend: BackendName, suspect: Suspect, runs: Sequence[PastRun], now: datetime) -> Avoided:
    there = [run for run in runs if run.backend == backend]
    outcomes = [one for one in node_outcomes(there, now) if one.node == suspect.node]
    node, _, gpu = suspect.node.partition(":")
    return Avoided(
        backend=backend,
        node=node,
        gpu=gpu,
        failures=suspect.failures,
        broken=sum(one.failed for one in outcomes),
        runs=len(outcomes),
        until=avoid_until(suspect, now),
    )


def keep_off_gpus(backends: Mapping[BackendName, Backend], avoided: Sequence[Avoided]) -> None:
    """Tell the backends that choose GPUs which to leave alone; they forget what they were told before."""
    for name, backend in backends.items():
        if isinstance(backend, AvoidsGpus):
            backend.avoid_gpus({int(one.gpu) for one in avoided if one.backend == name and one.gpu.isdigit()})


def avoided_gpus(
    backends: Mapping[BackendName, Backend], avoided: Sequence[Avoided]
) -> Mapping[BackendName, tuple[BadGpu, ...]]:
    """Return the GPUs to leave out that a resource manager may give to a job all the same, by backend."""
    found: dict[BackendName, tuple[BadGpu, ...]] = {}
    for one in avoided:
        if one.gpu and one.backend in backends and not isinstance(backends[one.backend], AvoidsGpus):
            found[one.backend] = (*found.get(one.backend, ()), BadGpu(one.node, one.gpu, one.until))
    return found


def avoided_nodes(avoided: Sequence[Avoided], clusters: Sequence[ClusterView]) -> Mapping[BackendName, tuple[str, ...]]:
    """Return what of the clusters that answered is avoided and would be used otherwise, the worst first."""
    from elisa.model.native import NodeState  # 8 ms that `elisa status`, which needs no clusters, need not pay

    is_up = {(view.backend, node.name) for view in clusters for node in view.nodes if node.state is NodeState.UP}
    found = [one for one in avoided if not one.gpu and (one.backend, one.node) in is_up]
    return {name: tuple(one.node for one in found if one.backend == name) for name in {one.backend for one in found}}
