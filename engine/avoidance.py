"""Nodes on which work breaks more than elsewhere: learnt from past attempts, and left alone until that has faded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from elisa.model.ids import BackendName
from elisa.model.native import ClusterView, NodeState
from elisa.policies.blame import avoid_until, suspect_nodes
from elisa.store.reader import Reader

__all__ = ["Avoided", "avoided_nodes", "learnt"]

# Seven half-lives: what is older counts less than a hundredth.
_MEMORY = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Avoided:
    """A node that gets no new work before `until`, with the failures and attempts, faded by age, that speak against it."""

    backend: BackendName
    node: str
    failures: float
    attempts: float
    until: datetime


def learnt(reader: Reader, backends: Iterable[BackendName], now: datetime) -> tuple[Avoided, ...]:
    """Return the nodes of these backends to avoid, the worst of each first."""
    runs = reader.past_runs(now - _MEMORY)
    return tuple(
        Avoided(
            backend=name,
            node=suspect.node,
            failures=suspect.failures,
            attempts=suspect.attempts,
            until=avoid_until(suspect, now),
        )
        for name in sorted(backends)
        for suspect in suspect_nodes(runs, name, now)
    )


def avoided_nodes(
    reader: Reader, clusters: Sequence[ClusterView], now: datetime
) -> Mapping[BackendName, tuple[str, ...]]:
    """Return what of the clusters that answered is avoided and would be used otherwise, the worst first."""
    is_up = {(view.backend, node.name) for view in clusters for node in view.nodes if node.state is NodeState.UP}
    found = [
        one for one in learnt(reader, {view.backend for view in clusters}, now) if (one.backend, one.node) in is_up
    ]
    return {name: tuple(one.node for one in found if one.backend == name) for name in {one.backend for one in found}}
