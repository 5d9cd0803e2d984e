"""Where a request may run: hard filters over partitions and nodes, then real room, in integers.

A *pool* is one partition of one backend. An *option* is a way to run a shape: a pool and a type of GPU ("" for none).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.columns import Shape
from elisa.model.ids import BackendName
from elisa.model.native import ClusterView, NodeState, NodeView, PartitionView
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import SHARD, Resources
from elisa.model.site import DataSet, Taint
from elisa.model.units import format_duration, format_memory
from elisa.policies.badgpus import BadGpu, bad_words, without_bad
from elisa.policies.locality import Holding, holdings_of, missing_data, part_held, required_here
from elisa.policies.overcommit import PLAIN, Ratio, ratio_of
from elisa.policies.topology import least_switches

__all__ = [
    "NodeColumns",
    "Option",
    "Options",
    "Pool",
    "Way",
    "fitting_nodes",
    "is_local",
    "most_on",
    "node_columns",
    "options_of",
    "pools_of",
    "reachable_pools",
    "switch_words",
    "switches_of",
    "tainted",
    "too_small",
    "without_data",
]

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


class Options(NamedTuple):
    """The ways to run a shape, best first; without any, `refusal` says why."""

    ways: tuple[Option, ...]
    refusal: Reason | None = None


class Way(NamedTuple):
    """A request to be placed in one pool with one type of GPU ("" for none).

    Room is kept for it for `duration_s`; 0 is its walltime.
    """

    request: Resources
    pool: int
    gpu_type: str
    duration_s: float = 0.0


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


def options_of(shape: Shape, pools: Sequence[Pool], unreachable: Mapping[BackendName, str]) -> Options:
    """Return the ways to run a shape on empty pools, in the order of its wishes and then of `pools`.

    Without any way, the refusal names the last filter that one of the pools failed: the one it came nearest by.
    """
    wanted = [number for number, pool in enumerate(pools) if _is_wanted(shape, pool)]
    if not wanted:
        return Options((), _no_pool(shape, unreachable))
    refusals: list[tuple[int, Reason]] = []
    ways: list[tuple[int, Option]] = []
    for number in wanted:
        refusal = (
            _limit(shape.request, pools[number])
            or (_of_components(shape.request, pools[number]) if shape.request.components else None)
            or _of_affinity(shape, pools[number])
            or _of_data(shape.request, pools[number])
        )
        if refusal is not None:
            refusals.append((0, refusal))
            continue
        fits = _types_that_fit(shape.request, pools[number])
        ways.extend((rank, Option(number, gpu_type)) for rank, gpu_type in fits)
        if not fits:
            refusals.append((1, _lacks_gpus(shape.request, pools[number]) or _too_large(shape.request, pools[number])))
    if not ways:
        return Options((), max(refusals, key=lambda pair: pair[0])[1])
    return Options(tuple([option for _, option in sorted(ways, key=itemgetter(0))]))


def _is_wanted(shape: Shape, pool: Pool) -> bool:
    backend, partition = shape.placement.backend, shape.placement.partition
    return (not backend or backend == pool.backend) and (not partition or partition == pool.partition.name)


def _no_pool(shape: Shape, unreachable: Mapping[BackendName, str]) -> Reason:
    wish = shape.placement
    silent = [name for name in unreachable if wish.backend in {"", name}]
    if silent:
        return because(ReasonCode.BACKEND_UNREACHABLE, backend=silent[0], error=unreachable[silent[0]])
    return because(ReasonCode.NO_BACKEND, wanted=f"{wish.backend or 'any'}/{wish.partition or 'any'}")


def _limit(request: Resources, pool: Pool) -> Reason | None:
    """Return which of the partition's own limits refuses the request."""
    partition = pool.partition
    names = {"backend": pool.backend, "partition": partition.name}
    if not partition.is_up:
        return because(ReasonCode.NO_ROOM, resource="partition", asked="up", free="down", **names)
    if 0 < partition.max_walltime_s < request.walltime_s:
        return because(
            ReasonCode.NEVER_FITS,
            resource="walltime",
            asked=format_duration(request.walltime_s),
            largest=format_duration(partition.max_walltime_s),
            **names,
        )
    if 0 < partition.max_nodes < request.nodes:
        return because(
            ReasonCode.NEVER_FITS, resource="nodes", asked=request.nodes, largest=partition.max_nodes, **names
        )
    return _beyond_what_is_there(request, pool) if pool.promised != PLAIN else None


def _beyond_what_is_there(request: Resources, pool: Pool) -> Reason | None:
    """Return why one job asks for more than a node really has, however much all together are promised."""
    cpus, memory_mib = (
        int(column[pool.members].max(initial=0)) * 100 // percent
        for column, percent in zip((pool.nodes.cpus, pool.nodes.memory_mib), pool.promised, strict=True)
    )
    asked = (
        ("cpus a node", request.cpus_per_node, cpus),
        ("memory MiB a node", request.memory_mib_per_node, memory_mib),
    )
    names = {"backend": pool.backend, "partition": pool.partition.name}
    return next(
        (
            because(ReasonCode.NEVER_FITS, resource=what, asked=wanted, largest=largest, **names)
            for what, wanted, largest in asked
            if wanted > largest
        ),
        None,
    )


def _of_components(request: Resources, pool: Pool) -> Reason | None:
    """Return why one of the further parts of a heterogeneous job could not run in the pool even if it were empty."""
    parts = [replace(part.alone(request.walltime_s), tolerations=request.tolerations) for part in request.components]
    return next((_too_large(part, pool) for part in parts if not _types_that_fit(part, pool)), None)


def _of_affinity(shape: Shape, pool: Pool) -> Reason | None:
    """Return why nobody can be placed beside or apart from others in a pool none of whose nodes is known."""
    if pool.members.size or all(wish.weight for wish in shape.placement.affinity):
        return None
    names = {"backend": pool.backend, "partition": pool.partition.name}
    return because(ReasonCode.NEVER_FITS, resource="node with a name", asked="a", largest="none", **names)


def _of_data(request: Resources, pool: Pool) -> Reason | None:
    """Return which data that a request cannot do without is not in a pool, or not where its manager can keep it to."""
    wholly = not pool.members.size or (pool.keeps_queue and not pool.excludes)
    missing = missing_data(request, pool.data, wholly=wholly) if request.data else ""
    if not missing:
        return None
    names = {"backend": pool.backend, "partition": pool.partition.name}
    return because(ReasonCode.NEVER_FITS, resource=f"node with the data {missing}", asked="a", largest="none", **names)


def _types_that_fit(request: Resources, pool: Pool) -> list[tuple[int, str]]:
    """Return the types of GPU with which enough nodes could hold the request if they were empty, ranked by its wishes."""
    if not pool.members.size:
        kinds = request.gpus.types or ("",)
        return list(enumerate(kinds)) if pool.keeps_queue else []
    return [
        (rank, gpu_type)
        for rank, gpu_type in _acceptable(request, pool.nodes)
        if _are_enough(fitting_nodes(request, gpu_type, pool, free=False), request, pool)
    ]


def _are_enough(nodes: _Ints, request: Resources, pool: Pool) -> bool:
    """Tell whether these nodes are as many as a request needs, on as few switches as it asks for where they are known."""
    if nodes.size < request.nodes or not (request.switches and pool.nodes.switches):
        return int(nodes.size) >= request.nodes
    return 0 < switches_of(nodes, request, pool) <= request.switches


def switches_of(nodes: _Ints, request: Resources, pool: Pool) -> int:
    """Return on how many switches a request is spread at the least on some of these nodes; 0 if they are too few."""
    return least_switches([pool.nodes.switches[node] for node in nodes.tolist()], request.nodes)


def _acceptable(request: Resources, nodes: NodeColumns) -> list[tuple[int, str]]:
    if not request.gpus.per_node:
        return [(0, "")]
    if not request.gpus.types:
        return [(0, gpu_type) for gpu_type in nodes.gpu_types if gpu_type != SHARD]
    return [(rank, gpu_type) for rank, gpu_type in enumerate(request.gpus.types) if gpu_type in nodes.gpu_types]


def fitting_nodes(request: Resources, gpu_type: str, pool: Pool, *, free: bool) -> _Ints:
    """Return the pool's nodes, as indices into its `nodes`, that can hold one node's part of the request.

    With `free`, only what is free on nodes that are up counts, and the node comes first that holds most of what the request
    reads, of equals the tightest, so that whole nodes stay whole for larger requests; else the nodes are taken as empty and up.
    """
    nodes = pool.nodes
    cpus, memory = (nodes.free_cpus, nodes.free_memory_mib) if free else (nodes.cpus, nodes.memory_mib)
    fits = (cpus >= request.cpus_per_node) & (memory >= request.memory_mib_per_node)
    if request.nodelist:
        fits &= np.array([name in request.nodelist for name in nodes.names], dtype=np.bool_)
    if request.data:
        fits &= required_here(request, pool.data, len(nodes.names))
    for feature in request.features:
        fits &= nodes.features.get(feature, False)
    for taint, has_it in nodes.taints.items():
        if taint not in request.tolerations:
            fits &= ~has_it
    if free:
        fits &= nodes.is_up
        if request.exclusive:
            fits &= (nodes.free_cpus == nodes.cpus) & (nodes.free_gpus == nodes.gpus).all(axis=0)
    if request.gpus.per_node:
        gpus = (nodes.free_gpus if free else nodes.gpus)[nodes.gpu_types.index(gpu_type)]
        fits &= gpus >= request.gpus.per_node
        if request.gpus.memory_mib:
            # Most resource managers do not say how much memory a GPU has: 0 is unknown, and no ground to refuse.
            fits &= (nodes.gpu_memory_mib >= request.gpus.memory_mib) | (nodes.gpu_memory_mib == 0)
    members = _nearest_first(request, pool) if free else pool.members
    return members[fits[members]]


def _nearest_first(request: Resources, pool: Pool) -> _Ints:
    if not is_local(request, pool):
        return pool.tightest
    parts = part_held(request, pool.data, len(pool.nodes.names))[pool.tightest]
    return pool.tightest[np.argsort(-parts, kind="stable")]


def is_local(request: Resources, pool: Pool) -> bool:
    """Tell whether some nodes of a pool hold more of what a request reads than others."""
    if not request.data or not pool.members.size:
        return False
    parts = part_held(request, pool.data, len(pool.nodes.names))[pool.members]
    return bool(parts.min() < parts.max())


def _tightest_first(nodes: NodeColumns, members: _Ints) -> _Ints:
    order = np.lexsort(
        (members, nodes.free_memory_mib[members], nodes.free_cpus[members], nodes.free_gpus[:, members].sum(axis=0))
    )
    return members[order]


def _lacks_gpus(request: Resources, pool: Pool) -> Reason | None:
    """Return that a request would fit, were it not for GPUs that are left out; None if it would not even so."""
    if pool.whole is None or not _types_that_fit(request, pool.whole):
        return None
    bad, until = bad_words(pool.bad_gpus)
    largest = next(
        largest for what, _, largest in _maxima(request, pool.nodes, pool.members) if what.startswith("gpus")
    )
    return because(
        ReasonCode.GPUS_LEFT_OUT,
        asked=request.gpus.per_node,
        largest=largest,
        bad=bad,
        until=until,
        backend=pool.backend,
        partition=pool.partition.name,
    )


def _too_large(request: Resources, pool: Pool) -> Reason:
    """Return the first resource of which no node, or too few nodes, of the pool have enough."""
    nodes, members = pool.nodes, pool.members
    names = {"backend": pool.backend, "partition": pool.partition.name}
    if not members.size:
        return because(ReasonCode.NEVER_FITS, resource="nodes", asked=request.nodes, largest=0, **names)
    for resource, asked, largest in _maxima(request, nodes, members):
        if resource == "memory" and asked > largest:
            return because(
                ReasonCode.NEVER_FITS,
                resource="memory a node",
                asked=format_memory(asked),
                largest=format_memory(largest),
                **names,
            )
        if asked > largest:
            return because(ReasonCode.NEVER_FITS, resource=resource, asked=asked, largest=largest, **names)
    missing = [feature for feature in request.features if not _has(nodes, feature, members)]
    if missing:
        return because(ReasonCode.NEVER_FITS, resource="feature", asked=missing[0], largest="none", **names)
    taints = [taint for taint in nodes.taints if taint not in request.tolerations]
    if taints and tainted(request, pool).issuperset(nodes.names[node] for node in members.tolist()):
        what = f"node without the taint {'/'.join(taints)}"
        return because(ReasonCode.NEVER_FITS, resource=what, asked="a", largest="none", **names)
    fitting = [fitting_nodes(request, gpu_type, pool, free=False) for _, gpu_type in _acceptable(request, nodes)]
    enough = max((some.size for some in fitting), default=0)
    if enough >= request.nodes:
        what = switch_words(request.switches)
        largest = max(most_on(some.tolist(), request.switches, nodes) for some in fitting)
        return because(ReasonCode.NEVER_FITS, resource=what, asked=request.nodes, largest=largest, **names)
    return because(ReasonCode.NEVER_FITS, resource="nodes", asked=request.nodes, largest=enough, **names)


def most_on(some: Iterable[int], switches: int, nodes: NodeColumns) -> int:
    """Return how many of some nodes hang on so many switches at the most; one whose switch is not known is on its own."""
    sizes = Counter(nodes.switches[node] if nodes.switches[node] >= 0 else f"of {node}" for node in some)
    return sum(sorted(sizes.values(), reverse=True)[:switches])


def switch_words(switches: int) -> str:
    """Name what is asked for where nodes must hang on few switches."""
    return "nodes on one switch" if switches == 1 else f"nodes on {switches} switches"


def _maxima(request: Resources, nodes: NodeColumns, members: _Ints) -> list[tuple[str, int, int]]:
    kinds = [nodes.gpu_types.index(gpu_type) for _, gpu_type in _acceptable(request, nodes) if gpu_type]
    gpus = int(nodes.gpus[kinds][:, members].max()) if kinds else 0
    wanted = "/".join(request.gpus.types) or "any"
    gpu_memory = int(nodes.gpu_memory_mib[members].max()) or request.gpus.memory_mib
    return [
        ("cpus a node", request.cpus_per_node, int(nodes.cpus[members].max())),
        ("memory", request.memory_mib_per_node, int(nodes.memory_mib[members].max())),
        (f"gpus a node ({wanted})", request.gpus.per_node, gpus),
        ("gpu memory MiB", request.gpus.memory_mib, gpu_memory),
    ]


def _has(nodes: NodeColumns, feature: str, members: _Ints) -> bool:
    column = nodes.features.get(feature)
    return column is not None and bool(column[members].any())


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


def too_small(request: Resources, gpu_type: str, pool: Pool) -> frozenset[str]:
    """Return the names of the nodes that could hold a request but for GPUs that are left out."""
    if pool.whole is None or not request.gpus.per_node:
        return frozenset()
    able, whole = (fitting_nodes(request, gpu_type, one, free=False).tolist() for one in (pool, pool.whole))
    return frozenset(pool.nodes.names[node] for node in set(whole).difference(able))


def tainted(request: Resources, pool: Pool) -> frozenset[str]:
    """Return the names of the nodes whose taints a request does not tolerate."""
    masks = [mask for taint, mask in pool.nodes.taints.items() if taint not in request.tolerations]
    return frozenset(pool.nodes.names[node] for mask in masks for node in np.flatnonzero(mask).tolist())


def without_data(request: Resources, pool: Pool) -> frozenset[str]:
    """Return the names of the nodes that lack data which a request cannot do without."""
    lacking = ~required_here(request, pool.data, len(pool.nodes.names)) if request.data else ()
    return frozenset(pool.nodes.names[node] for node in np.flatnonzero(lacking).tolist())


def _without(view: ClusterView, avoid: Collection[str]) -> ClusterView:
    if not avoid:
        return view
    nodes = tuple(
        replace(node, state=NodeState.DRAINED) if node.name in avoid and node.state is NodeState.UP else node
        for node in view.nodes
    )
    return replace(view, nodes=nodes)
