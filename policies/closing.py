"""Closed times: where a job cannot begin now, because it would not be over before its nodes close."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from elisa.model.columns import Shape
from elisa.model.ids import BackendName
from elisa.model.reasons import Fact, Reason, ReasonCode, because
from elisa.model.site import Closure
from elisa.policies.placement import Options
from elisa.policies.placement_nodes import fitting_nodes
from elisa.policies.placement_pools import Option, Pool, Way

__all__ = ["Closing", "kept_off", "open_options"]

_Bools = npt.NDArray[np.bool_]


class Closing:
    """The closures of a site, as they concern jobs that would begin at one moment."""

    def __init__(self, closures: Sequence[Closure], now_s: float) -> None:
        self._now = datetime.fromtimestamp(now_s, UTC)
        self._closures = tuple(one for one in closures if one.ends_at > self._now)
        self._masks: dict[tuple[int, tuple[Closure, ...]], _Bools] = {}

    def ahead(self, backend: BackendName, walltime_s: int) -> tuple[Closure, ...]:
        """Return the closures of a backend that a job of this length would run into."""
        if not self._closures:
            return ()
        end = self._now + timedelta(seconds=walltime_s)
        return tuple(one for one in self._closures if one.backend == backend and one.overlaps(self._now, end))

    def closed(self, pool: Pool, walltime_s: int) -> _Bools | None:
        """Tell for each node of the pool's cluster whether it closes too soon; None if none does."""
        ahead = self.ahead(pool.backend, walltime_s)
        if not ahead:
            return None
        key = (id(pool.nodes), ahead)
        if key not in self._masks:
            is_closed = [any(one.covers(name) for one in ahead) for name in pool.nodes.names]
            self._masks[key] = np.array(is_closed, dtype=np.bool_)
        return self._masks[key]

    def names(self, pool: Pool, walltime_s: int) -> tuple[str, ...]:
        """Return the names of the nodes that a job of this length must be kept off."""
        ahead = self.ahead(pool.backend, walltime_s)
        named = {name for one in ahead for name in one.nodes}
        mask = self.closed(pool, walltime_s)
        known = () if mask is None else (pool.nodes.names[place] for place in np.flatnonzero(mask).tolist())
        return tuple(sorted(named.union(known)))

    def leaves_room(self, shape: Shape, option: Option, pool: Pool) -> bool:
        """Tell whether enough nodes stay open long enough for a job of this shape."""
        ahead = self.ahead(pool.backend, shape.request.walltime_s)
        if not ahead or (not pool.members.size and all(one.nodes for one in ahead)):
            return True
        closed = self.closed(pool, shape.request.walltime_s)
        assert closed is not None
        fitting = fitting_nodes(shape.request, option.gpu_type, pool, free=False)
        return int((~closed[fitting]).sum()) >= shape.request.nodes

    def refusal(self, pool: Pool, walltime_s: int, *, is_pinned: bool) -> Reason:
        """Return why nothing of this length may begin in a pool; `is_pinned`: its author allows no other place.

        Names the closure that begins first. Raises IndexError if there is none.
        """
        closure = min(self.ahead(pool.backend, walltime_s), key=lambda one: (one.starts_at, one.nodes, one.id))
        facts: dict[str, Fact] = {
            "backend": pool.backend,
            "partition": pool.partition.name,
            "nodes": ",".join(closure.nodes),
            "starts_at": closure.starts_at.isoformat(timespec="seconds") if closure.starts_at > self._now else "",
            "ends_at": "" if closure.is_open_ended else closure.ends_at.isoformat(timespec="seconds"),
            "why": closure.why,
            "walltime_s": walltime_s,
            "pinned": int(is_pinned),
        }
        return because(ReasonCode.CLOSED, **facts)


def open_options(shape: Shape, options: Options, pools: Sequence[Pool], closing: Closing) -> Options:
    """Return the ways to run a shape that no closed time stands in; without any, the refusal names one."""
    left = tuple(one for one in options.ways if closing.leaves_room(shape, one, pools[one.pool]))
    if left or not options.ways:
        return Options(left, options.refusal)
    is_pinned = bool(shape.placement.backend or shape.placement.partition)
    first = pools[options.ways[0].pool]
    return Options((), closing.refusal(first, shape.request.walltime_s, is_pinned=is_pinned))


def kept_off(
    way: Way, pool: Pool, closing: Closing, own_bad: Sequence[str], suspects: Sequence[str]
) -> tuple[str, ...]:
    """Return the nodes that a job must not get.

    All that close too soon; and of those on which its own work broke before, and then of the suspects (which are up, for
    all that the pool says of them), as many as leave enough nodes for it.
    """
    closed = closing.names(pool, way.request.walltime_s)
    fitting = [pool.nodes.names[place] for place in fitting_nodes(way.request, way.gpu_type, pool, free=False).tolist()]
    is_up = dict(zip(pool.nodes.names, pool.nodes.is_up.tolist(), strict=True))
    usable = {name for name in fitting if name not in closed and (is_up[name] or name in suspects)}
    spare = max(0, len(usable) - way.request.nodes)
    wanted = dict.fromkeys((*own_bad, *suspects))
    bad = [name for name in wanted if name in usable][:spare]
    # One that is down now costs nothing, and must not be the first to get it when it is back.
    down = [name for name in own_bad if name in is_up and name not in usable]
    return tuple(sorted({*closed, *bad, *down}))
