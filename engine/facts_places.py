"""What is known of places beyond what they offer: measured speeds, past waits, what GPUs draw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median

from elisa.engine.facts_work import WorkLeft
from elisa.forecast.speeds import Kind
from elisa.model.columns import Outlook, ReadyColumns, Shape
from elisa.model.ids import TaskId
from elisa.model.native import ClusterView
from elisa.model.site import SitePolicy
from elisa.policies.exploring import Known, idle_gpus, trials, with_trials
from elisa.store.reader import Reader

__all__ = ["by_kind", "expected_waits", "outlook_of", "trying"]

# Queues change within days; the middle of many waits is little moved by one bad night.
_MEMORY = timedelta(days=7)
_NEWEST, _FEWEST = 50, 5

_NO_KIND: Kind = ("", "", "")


def by_kind(ready: ReadyColumns, left: WorkLeft) -> tuple[ReadyColumns, Sequence[Kind]]:
    """Return the columns with shapes of their own for work whose speeds are known, and the kind of each shape.

    Only what may run on several types of GPU has a kind: for the rest there is nothing to choose.
    """
    several = [_may_choose(shape) for shape in ready.shapes]
    known = left.kinds if any(several) else {}
    if not known:
        return ready, [_NO_KIND] * len(ready.shapes)
    keys = [
        (shape, _measured(known.get(TaskId(task)), left) if several[shape] else _NO_KIND)
        for task, shape in zip(ready.task, ready.shape, strict=True)
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    split = ready._replace(shape=[numbers[key] for key in keys], shapes=[ready.shapes[shape] for shape, _ in numbers])
    return split, [kind for _, kind in numbers]


def _may_choose(shape: Shape) -> bool:
    return bool(shape.request.gpus.per_node) and len(shape.request.gpus.types) != 1


def _measured(kind: Kind | None, left: WorkLeft) -> Kind:
    return kind if kind is not None and left.speeds.of(kind) else _NO_KIND


def trying(
    ready: ReadyColumns, kinds: Sequence[Kind], left: WorkLeft, clusters: Sequence[ClusterView], policy: SitePolicy
) -> tuple[ReadyColumns, Sequence[Kind]]:
    """Return both with shapes of their own for the tasks that try a type of GPU on which their kind was never measured."""
    rules = policy.exploration
    if not rules.enabled or not any(map(_may_choose, ready.shapes)):
        return ready, kinds
    measured = {kind: left.speeds.measured(kind) for kind in set(left.kinds.values())}
    chosen = trials(ready, Known(left.kinds, measured, left.tried), idle_gpus(clusters), rules)
    ready, made = with_trials(ready, chosen)
    return ready, [kinds[number] for number in made]


def outlook_of(kinds: Sequence[Kind], reader: Reader, left: WorkLeft, policy: SitePolicy, now: datetime) -> Outlook:
    """Return what is known of the places where work of these kinds may run."""
    return Outlook(
        speeds={
            (number, gpu_type): speed
            for number, kind in enumerate(kinds)
            if kind != _NO_KIND
            for gpu_type, speed in left.speeds.of(kind).items()
        },
        waits_s=expected_waits(reader.queue_waits(now - _MEMORY)),
        watts=dict(policy.gpu_watts),
    )


def expected_waits(waits: Sequence[tuple[str, str, float]]) -> Mapping[tuple[str, str], float]:
    """Return the middle of the newest waits in each partition of a backend; where they are few, nothing is known."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for backend, partition, wait_s in waits:
        found[backend, partition].append(wait_s)
    return {place: median(some[:_NEWEST]) for place, some in found.items() if len(some) >= _FEWEST}
