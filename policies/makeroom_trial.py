"""Whether a gang could start once all who were asked for it have left: tried as a plan would then try it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from elisa.model.affinity import Neighbour
from elisa.policies.affinity_pledges import shunned_by
from elisa.policies.placement_pools import Pool
from elisa.policies.preemption import Ground
from elisa.policies.snapshot import Snapshot
from elisa.policies.walk import Walk

__all__ = ["could_start"]


def could_start(walk: Walk, rows: Sequence[int], needed: int, grounds: Mapping[int, Ground]) -> bool:
    """Tell whether so many of the ready tasks `rows` would start at once on these grounds, by cluster.

    Room is made node by node where it costs least. A plan fills nodes in an order of its own, in which work of several sizes
    or with ties may not fit that would in another.
    """
    snapshot = walk.snapshot
    gone = frozenset[str]().union(*(ground.gone for ground in grounds.values()))
    company = snapshot.outlook.company
    neighbours = (*(one for one in company.neighbours if one.is_over or one.task not in gone), *_tied_starts(walk))
    trial = Walk(
        replace(
            snapshot,
            pools=_pools(snapshot, grounds),
            live=tuple(one for one in snapshot.live if one.task not in gone),
            running=tuple(one for one in snapshot.running if one.task not in gone),
            outlook=snapshot.outlook._replace(company=company._replace(neighbours=neighbours)),
        ),
        walk.ahead,
    )
    trial.run(np.array(rows, dtype=np.int64))
    return sum(bool(start.taken.nodes) for start in trial.starts) >= needed


def _pools(snapshot: Snapshot, grounds: Mapping[int, Ground]) -> tuple[Pool, ...]:
    columns = {cluster: ground.columns() for cluster, ground in grounds.items()}
    return tuple(replace(pool, nodes=columns[id(pool.nodes)]) for pool in snapshot.pools)


def _tied_starts(walk: Walk) -> Iterator[Neighbour]:
    """Yield those that the plan starts and that others must be beside or apart from."""
    for start in walk.starts:
        shape, pool = walk.presence.tied.get(start.taken.way), walk.snapshot.pools[start.way.pool]
        if shape is not None and start.taken.nodes:
            bond = walk.presence.bonds[shape]
            names = tuple(pool.nodes.names[node] for node in start.taken.nodes)
            yield Neighbour(
                pool.backend, names, bond.circles, shunned_by(bond), task=walk.snapshot.tasks.ids[start.row]
            )
