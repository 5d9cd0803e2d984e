"""GPUs that get no work for a while, on nodes that do: what their nodes then have, and which are too small for a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from elisa.model.hostlist import expand_hosts
from elisa.model.resources import Resources, is_shared
from elisa.model.states import EndReason
from elisa.model.task import Attempt

if TYPE_CHECKING:
    from elisa.model.native import ClusterView, NodeView  # `elisa status` reads what is bad, and needs no clusters

__all__ = ["BadGpu", "bad_words", "given_back_from", "harmful", "still_refused", "without_bad"]

# So often is a task given back from one node. Where its manager cannot keep it off, or has no other, it then runs there:
# a GPU that broke other work may still do, and a task that never runs certainly does not.
_PATIENCE = 3


class BadGpu(NamedTuple):
    """A GPU to leave out until then, by its number on its node or its UUID."""

    node: str
    gpu: str
    until: datetime

    @property
    def place(self) -> str:
        """Name it."""
        return f"GPU {self.gpu} of {self.node}"


def without_bad(view: ClusterView, bad: Sequence[BadGpu]) -> ClusterView:
    """Return the cluster as if those GPUs were not there.

    A bad one that nobody is known to hold counts as one of those that are free: work of others that has it is rare.
    """
    of_node: dict[str, list[str]] = {}
    for one in bad:
        of_node.setdefault(one.node, []).append(one.gpu)
    if of_node.keys().isdisjoint(node.name for node in view.nodes):
        return view
    nodes = tuple(_less(node, of_node[node.name]) if node.name in of_node else node for node in view.nodes)
    return replace(view, nodes=nodes)


def _less(node: NodeView, gpus: Sequence[str]) -> NodeView:
    whole = [(kind, count) for kind, count in node.gpus if not is_shared(kind)]
    kinds = [kind for kind, count in whole for _ in range(count)]
    lost: Counter[str] = Counter()
    for gpu in gpus:
        # Managers number the GPUs of a node in the order in which they list its types; a UUID tells nothing of that.
        place = int(gpu) if gpu.isdigit() else 0
        if place < len(kinds):
            lost[kinds[place]] += 1
    gone = lost.total()
    for share in (kind for kind, _ in node.gpus if is_shared(kind)):
        lost[share] = gone * -(-dict(node.gpus)[share] // max(1, len(kinds)))
    return replace(node, gpus=_minus(node.gpus, lost), free_gpus=_minus(node.free_gpus, lost))


def _minus(counts: Sequence[tuple[str, int]], lost: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((kind, max(0, count - lost.get(kind, 0))) for kind, count in counts)


def harmful(request: Resources, bad: Sequence[BadGpu], fitted: Collection[str]) -> tuple[str, ...]:
    """Return the nodes with bad GPUs to keep a job off as far as enough others are left.

    Those that it was not `fitted` on: who waits in a queue would get the bad GPU first, which always looks free, and each one
    after him. Of work on several nodes all of them, for its agent sees no more than the GPUs of the first.
    """
    if not request.gpus.per_node:
        return ()
    allowed = fitted if request.nodes == 1 else ()
    return tuple(dict.fromkeys(one.node for one in bad if one.node not in allowed))


def given_back_from(attempts: Sequence[Attempt], bad: Collection[BadGpu]) -> Iterator[BadGpu]:
    """Yield the bad GPUs of nodes from which attempts at a task were given back: the next one should see others."""
    nodes = set(_refusals(attempts))
    yield from (one for one in bad if one.node in nodes)


def _refusals(attempts: Sequence[Attempt]) -> Iterator[str]:
    """Yield the node of each agent that gave its attempt back: the first of the attempt's."""
    for attempt in attempts:
        if attempt.end is not None and attempt.end.reason is EndReason.BAD_GPU:
            yield from expand_hosts(attempt.nodes)[:1]


def still_refused(attempts: Sequence[Attempt], bad: Collection[BadGpu]) -> tuple[BadGpu, ...]:
    """Return which bad GPUs the next attempt at a task is not to run on: none of a node that gave it back often enough."""
    times = Counter(_refusals(attempts))
    return tuple(one for one in bad if times[one.node] < _PATIENCE)


def bad_words(bad: Sequence[BadGpu]) -> tuple[str, str]:
    """Return what is left out, in words, and until when some of it is."""
    until = min(one.until for one in bad)
    return ", ".join(one.place for one in bad), until.isoformat(timespec="seconds")
