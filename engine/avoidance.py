"""Nodes on which work breaks more than elsewhere: learnt from past attempts, and left alone until that has faded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from elisa.model.ids import BackendName
from elisa.model.native import ClusterView, NodeState
from elisa.model.rows import PastRun
from elisa.policies.badnodes import Suspect
from elisa.policies.blame import avoid_until, node_outcomes, suspect_nodes
from elisa.store.reader import Reader

__all__ = ["Avoided", "avoided_nodes", "learnt"]

# Seven half-lives: what is older counts less than a hundredth.
_MEMORY = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Avoided:
    """A node that gets no new work before `until`.

    `broken` of its `runs` broke there; `failures` is what that weighs, faded by age.
    """

    backend: BackendName
    node: str
    failures: float
    broken: int
    runs: int
    until: datetime


def learnt(reader: Reader, now: datetime) -> tuple[Avoided, ...]:
    """Return the nodes to avoid, by backend and the worst of each first."""
    after = now - _MEMORY
    runs = reader.past_runs(after) if reader.has_broken(after) else ()
    return tuple(
        _avoided(name, suspect, runs, now)
        for name in sorted({run.backend for run in runs})
        for suspect in suspect_nodes(runs, name, now)
    )


def _avoided(backend: BackendName, suspect: Suspect, runs: Sequence[PastRun], now: datetime) -> Avoided:
    there = [run for run in runs if run.backend == backend]
    outcomes = [one for one in node_outcomes(there, now) if one.node == suspect.node]
    return Avoided(
        backend=backend,
        node=suspect.node,
        failures=suspect.failures,
        broken=sum(one.failed for one in outcomes),
        runs=len(outcomes),
        until=avoid_until(suspect, now),
    )


def avoided_nodes(
    reader: Reader, clusters: Sequence[ClusterView], now: datetime
) -> Mapping[BackendName, tuple[str, ...]]:
    """Return what of the clusters that answered is avoided and would be used otherwise, the worst first."""
    is_up = {(view.backend, node.name) for view in clusters for node in view.nodes if node.state is NodeState.UP}
    found = [one for one in learnt(reader, now) if (one.backend, one.node) in is_up]
    return {name: tuple(one.node for one in found if one.backend == name) for name in {one.backend for one in found}}
