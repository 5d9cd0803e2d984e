"""Nodes as columns, and the pools of a plan: what there is, and who may use how much of it.

A *pool* is one partition of one backend. An *option* is a way to run a shape: a pool and a type of GPU ("" for none).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.ids import BackendName
from elisa.model.native import ClusterView, NodeState, NodeView, PartitionView
from elisa.model.resources import Resources
from elisa.model.site import DataSet, Taint
from elisa.policies.badgpus import BadGpu, without_bad
from elisa.policies.locality import Holding, holdings_of
from elisa.policies.overcommit import PLAIN, Ratio, ratio_of

__all__ = ["NodeColumns", "Option", "Pool", "Way", "node_columns", "pools_of", "reachable_pools"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NodeColumns:
    """The nodes of one cluster as columns; GPU columns are one row for each type of `gpu_types`."""

    names: tuple[str, ...]
    cpus: _Ints
    memory_mib: _Ints
    free_cpus: _Ints
    free_memory_mib: _Ints
    gpu_types: tuple[str, ...]
    gpus: _Ints
    free_gpus: _Ints
    gpu_memory_mib: _Ints
    is_up: _Bools
    features: Mapping[str, _Bools]
    taints: Mapping[str, _Bools] = field(default_factory=lambda: MappingProxyType({}))
    switches: tuple[int, ...] = ()
    """The number of each node's leaf switch, -1 where it is not known; empty where none is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """One partition of one backend. `keeps_queue`: jobs may wait there; else a job must fit at once.

    `members` are its nodes as indices into `nodes`; a pool without any known node is judged by its limits alone. `excludes`:
    a job that waits there can be kept off nodes. `data` is what of the site's data its nodes hold.
    `queued` counts elisa's own jobs that wait in it, `window` how many may. Its nodes are counted without
    `bad_gpus`; `whole` is the same with them.
    """

    backend: BackendName
    partition: PartitionView
    nodes: NodeColumns
    members: _Ints
    keeps_queue: bool
    window: int = 0
    queued: int = 0
    licences: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    excludes: bool = True
    data: Mapping[str, Holding] = field(default_factory=lambda: MappingProxyType({}))
    promised: Ratio = PLAIN
    bad_gpus: tuple[BadGpu, ...] = ()
    whole: Pool | None = None

    @cached_property
    def tightest(self) -> _Ints:
        """Its nodes, those with the least free first."""
        return _tightest_first(self.nodes, self.members)


class Option(NamedTuple):
    """A way to run one shape."""

    pool: int
    gpu_type: str


class Way(NamedTuple):
    """A request to be placed in one pool with one type of GPU ("" for none).

    Room is kept for it for `duration_s`; 0 is its walltime.
    """

    request: Resources
    pool: int
    gpu_type: str
    duration_s: float = 0.0

    @property
    def lasts_s(self) -> float:
        """For how long room is kept for it."""
        return self.duration_s or float(self.request.walltime_s)


def node_columns(nodes: Sequence[NodeView], taints: Sequence[Taint] = ()) -> NodeColumns:
    """Return nodes as columns, in the order of their names; `taints` are those of their cluster."""
    nodes = sorted(nodes, key=lambda node: node.name)
    gpu_types = tuple(sorted({gpu_type for node in nodes for gpu_type, _ in node.gpus}))
    features = sorted({feature for node in nodes for feature in node.features})
    return NodeColumns(
        names=tuple(node.name for node in nodes),
        cpus=_ints([node.cpus for node in nodes]),
        memory_mib=_ints([node.memory_mib for node in nodes]),
        free_cpus=_ints([node.free_cpus for node in nodes]),
        free_memory_mib=_ints([node.free_memory_mib for node in nodes]),
        gpu_types=gpu_types,
        gpus=_gpu_table([node.gpus for node in nodes], gpu_types),
        free_gpus=_gpu_table([node.free_gpus for node in nodes], gpu_types),
        gpu_memory_mib=_ints([node.gpu_memory_mib for node in nodes]),
        is_up=np.array([node.state is NodeState.UP for node in nodes], dtype=np.bool_),
        features={
            feature: np.array([feature in node.features for node in nodes], dtype=np.bool_) for feature in features
        },
        switches=_switch_numbers([node.switch for node in nodes]),
        taints={taint.name: np.array([node.name in taint.nodes for node in nodes], dtype=np.bool_) for taint in taints},
    )


def _switch_numbers(names: Sequence[str]) -> tuple[int, ...]:
    number = {name: place for place, name in enumerate(sorted(set(names) - {""}))}
    return tuple(number.get(name, -1) for name in names) if number else ()


def _ints(values: Sequence[int]) -> _Ints:
    return np.array(values, dtype=np.int64)


def _gpu_table(gpus: Sequence[Sequence[tuple[str, int]]], gpu_types: Sequence[str]) -> _Ints:
    table = {gpu_type: [0] * len(gpus) for gpu_type in gpu_types}
    for node, counts in enumerate(gpus):
        for gpu_type, count in counts:
            if gpu_type in table:
                table[gpu_type][node] = count
    return np.array(list(table.values()), dtype=np.int64).reshape(len(gpu_types), len(gpus))


def pools_of(
    view: ClusterView,
    *,
    keeps_queue: bool,
    taints: Sequence[Taint] = (),
    excludes: bool = True,
    data: Sequence[DataSet] = (),
) -> tuple[Pool, ...]:
    """Return the pools of a cluster, the ones to try first in front; a cluster without partitions is one nameless pool."""
    nodes = node_columns(view.nodes, [taint for taint in taints if taint.backend == view.backend])
    homes = {node.name: node.partitions for node in view.nodes}
    partitions = view.partitions or (PartitionView(name="", is_default=True),)
    ordered = sorted(partitions, key=lambda p: (not p.is_default, -p.priority, p.name))
    return tuple(
        Pool(
            backend=view.backend,
            partition=partition,
            nodes=nodes,
            members=_ints(
                [i for i, name in enumerate(nodes.names) if not homes[name] or partition.name in homes[name]]
            ),
            keeps_queue=keeps_queue,
            licences=view.licences,
            excludes=excludes,
            data=holdings_of(data, view.backend, partition.name, nodes.names),
            promised=ratio_of(view.nodes),
        )
        for partition in ordered
    )


def reachable_pools(  # noqa: PLR0913 - the facts of a tick, each from another source
    clusters: Collection[ClusterView],
    queueing: Collection[BackendName],
    avoid: Mapping[BackendName, Collection[str]],
    taints: Sequence[Taint] = (),
    unexcluding: Collection[BackendName] = (),
    *,
    data: Sequence[DataSet] = (),
    bad_gpus: Mapping[BackendName, Sequence[BadGpu]] = MappingProxyType({}),
) -> tuple[Pool, ...]:
    """Return the pools of all clusters that answered, by backend name; nodes of a backend to `avoid` count as drained.

    `unexcluding` backends cannot keep a job off a node. `bad_gpus` are not there for elisa's work.
    """

    def pools(view: ClusterView) -> tuple[Pool, ...]:
        queues, excludes = view.backend in queueing, view.backend not in unexcluding
        return pools_of(view, keeps_queue=queues, taints=taints, excludes=excludes, data=data)

    found: list[Pool] = []
    for view in sorted(clusters, key=lambda view: view.backend):
        bad = tuple(bad_gpus.get(view.backend, ()))
        usable = _without(view, avoid.get(view.backend, ()))
        less = without_bad(usable, bad)
        if less is usable:
            found.extend(pools(usable))
        else:
            pairs = zip(pools(less), pools(usable), strict=True)
            found.extend(replace(pool, bad_gpus=bad, whole=whole) for pool, whole in pairs)
    return tuple(found)


def _without(view: ClusterView, avoid: Collection[str]) -> ClusterView:
    if not avoid:
        return view
    nodes = tuple(
        replace(node, state=NodeState.DRAINED) if node.name in avoid and node.state is NodeState.UP else node
        for node in view.nodes
    )
    return replace(view, nodes=nodes)


def _tightest_first(nodes: NodeColumns, members: _Ints) -> _Ints:
    order = np.lexsort(
        (members, nodes.free_memory_mib[members], nodes.free_cpus[members], nodes.free_gpus[:, members].sum(axis=0))
    )
    return members[order]
