"""Where a task that could run in several places runs best: named terms between 0 and 1, weighted, shown one by one.

Speeds measured for each type of GPU decide between types, after Gavel (Narayanan et al., OSDI 2020): what counts is when the
work is done and what it is billed, not how many GPUs it had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from elisa.model.columns import Shape
from elisa.model.ids import BackendName
from elisa.policies.affinity import Presence
from elisa.policies.budgets import charge_of
from elisa.policies.factors import FactorLine
from elisa.policies.fairshare import billed
from elisa.policies.locality import part_held
from elisa.policies.opinions import SCORE
from elisa.policies.placement_nodes import fitting_nodes, switches_of
from elisa.policies.placement_pools import Option, Pool
from elisa.policies.snapshot import Snapshot

__all__ = ["TERMS", "TRIAL", "Scored", "Weighed", "rank_options", "weighed"]

TRIAL = "trial"
"""Stands among the terms of a way that comes first because it is to be measured."""


class Scored(NamedTuple):
    """An option, its score, and the value of each term in it."""

    option: Option
    total: float
    terms: Mapping[str, float]


class Weighed(NamedTuple):
    """A place by its names, with its score, and what each term gave it, the weightiest first; one alone has no terms."""

    backend: BackendName
    partition: str
    gpu_type: str
    score: float
    is_trial: bool
    terms: tuple[FactorLine, ...]


class _Facts(NamedTuple):
    """What the terms are computed from, for one option."""

    wish: int
    is_default: bool
    finish_s: float
    billed: float
    load: float
    watts: float
    near: float
    idle_gpus: float
    affinity: float
    switches: float


def rank_options(number: int, shape: Shape, options: Sequence[Option], snapshot: Snapshot) -> tuple[Scored, ...]:
    """Return the options of shape `number`, the best first; ties stay in the order given. One alone is not weighed."""
    if len(options) < 2:
        return tuple(Scored(option, 0.0, {}) for option in options)
    presence = Presence(snapshot.shapes, snapshot.pools, snapshot.outlook.company) if shape.bond.ties else None
    facts = [_facts(number, shape, option, snapshot, presence) for option in options]
    weight = _weights(snapshot)
    scored = []
    tries = shape.tries
    for option, own in zip(options, facts, strict=True):
        terms = {name: term(own, facts) for name, term in TERMS.items()}
        terms |= _others(number, option, snapshot)
        total = sum(weight[name] * value for name, value in terms.items())
        # Whatever is known of the other types: what is not known of this one is worth more.
        own_trial = {TRIAL: 1.0} if tries and option.gpu_type == tries else {}
        scored.append(Scored(option, total, {**terms, **own_trial}))
    return tuple(sorted(scored, key=lambda one: (TRIAL not in one.terms, -one.total)))


def weighed(scored: Scored, snapshot: Snapshot) -> Weighed:
    """Return a scored option as people are told of it."""
    pool, weights = snapshot.pools[scored.option.pool], _weights(snapshot)
    lines = [
        FactorLine(name, value, weights[name], weights[name] * value)
        for name, value in scored.terms.items()
        if name != TRIAL
    ]
    return Weighed(
        backend=pool.backend,
        partition=pool.partition.name,
        gpu_type=scored.option.gpu_type,
        score=scored.total,
        is_trial=TRIAL in scored.terms,
        terms=tuple(sorted(lines, key=lambda line: (-abs(line.points), line.name))),
    )


def _weights(snapshot: Snapshot) -> Mapping[str, float]:
    rules = snapshot.site.placement
    own: Mapping[str, float] = {name: getattr(rules, name) for name in TERMS}
    return {**own, **dict(rules.others)}


def _others(number: int, option: Option, snapshot: Snapshot) -> Mapping[str, float]:
    """Return the terms of other packages."""
    names = [name for name, _ in snapshot.site.placement.others if SCORE + name in snapshot.said]
    return {name: float(snapshot.said[SCORE + name][number, option.pool]) for name in names}


def _facts(number: int, shape: Shape, option: Option, snapshot: Snapshot, presence: Presence | None) -> _Facts:
    request, kind = shape.request, option.gpu_type
    pool, outlook = snapshot.pools[option.pool], snapshot.outlook
    run_s = request.walltime_s / max(outlook.speeds.get((number, kind), 1.0), 1e-9)
    wishes = request.gpus.types
    return _Facts(
        wish=wishes.index(kind) if kind in wishes else 0,
        is_default=pool.partition.is_default,
        finish_s=outlook.waits_s.get((pool.backend, pool.partition.name), 0.0) + run_s,
        billed=billed(charge_of(request, round(run_s), kind), snapshot.site.fair_share.billing),
        load=_load(pool),
        watts=outlook.watts.get(kind, 0.0) * request.gpu_count * run_s,
        near=_near(shape, pool),
        idle_gpus=_idle_gpus(shape, option, pool) if snapshot.site.placement.fit else 0.0,
        affinity=_preferred(number, pool, presence),
        switches=_switches(shape, option, pool),
    )


def _near(shape: Shape, pool: Pool) -> float:
    """Return which part of the bytes that it reads the best node of the pool holds; where none is known, all of them do."""
    if not shape.request.data:
        return 0.0
    if not pool.members.size:
        return float(part_held(shape.request, {name: one.spread(1) for name, one in pool.data.items()}, 1)[0])
    return float(part_held(shape.request, pool.data, len(pool.nodes.names))[pool.members].max())


def _switches(shape: Shape, option: Option, pool: Pool) -> float:
    """Return on how many switches it would be spread on what is free now; 1 where that makes no difference."""
    if shape.request.nodes == 1 or not pool.nodes.switches:
        return 1.0
    free = fitting_nodes(shape.request, option.gpu_type, pool, free=True)
    return float(switches_of(free, shape.request, pool) or shape.request.nodes)


def _preferred(number: int, pool: Pool, presence: Presence | None) -> float:
    """Return which part of what a shape prefers of other tasks the best node of the pool fulfils."""
    parts = presence.preference(number, pool) if presence is not None and pool.members.size else None
    return 0.0 if parts is None else float(parts[pool.members].max())


def _load(pool: Pool) -> float:
    """Return the used part of the pool's cores."""
    total = int(pool.nodes.cpus[pool.members].sum())
    return 1 - int(pool.nodes.free_cpus[pool.members].sum()) / total if total else 1.0


def _idle_gpus(shape: Shape, option: Option, pool: Pool) -> float:
    """Return how many GPUs would stay idle on the node that fits most tightly; what needs none wants nodes without."""
    nodes = fitting_nodes(shape.request, option.gpu_type, pool, free=True) if pool.members.size else pool.members
    if not nodes.size:
        return 0.0
    return float(pool.nodes.free_gpus[:, nodes].sum(axis=0).min()) - shape.request.gpus.per_node


def _least(of: Callable[[_Facts], float]) -> Callable[[_Facts, Sequence[_Facts]], float]:
    """Return a term that is 1 for the least value of all options, and least over own for the others."""

    def term(own: _Facts, everyone: Sequence[_Facts]) -> float:
        best, mine = min(of(one) for one in everyone), of(own)
        return 1.0 if mine <= best else best / mine

    return term


TERMS: Mapping[str, Callable[[_Facts, Sequence[_Facts]], float]] = {
    "wish": lambda own, _: 1 / (1 + own.wish),
    "default": lambda own, _: float(own.is_default),
    "finish": _least(lambda one: one.finish_s),
    "cost": _least(lambda one: one.billed),
    "load": lambda own, _: 1 - own.load,
    "energy": _least(lambda one: one.watts),
    "near": lambda own, _: own.near,
    "fit": lambda own, _: 1 / (1 + max(0.0, own.idle_gpus)),
    "affinity": lambda own, _: own.affinity,
    "switches": lambda own, _: 1 / own.switches,
}
