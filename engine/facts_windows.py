"""Work that can save, given less time than it asks for where every place that it may use closes before."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from elisa.engine.foreseen import NOTHING_FORESEEN, Foreseen
from elisa.model.columns import ReadyColumns, Shape
from elisa.model.ids import BackendName
from elisa.model.site import SitePolicy
from elisa.store.reader import Reader

__all__ = ["shortened"]

# A job that waits for some minutes in a native queue must still be over in time, or it is taken back.
_MARGIN_S = 600


def shortened(  # noqa: PLR0917 - the facts of a tick, each from another source
    ready: ReadyColumns,
    reader: Reader,
    policy: SitePolicy,
    backends: Collection[BackendName],
    now: datetime,
    foreseen: Foreseen = NOTHING_FORESEEN,
) -> ReadyColumns:
    """Return the columns with shorter walltimes for tasks that save, where they could not end before a closure else."""
    open_s = _open_s(policy, now) if policy.shortened_run_s > 0 else {}
    cuts = [_cut(shape, open_s, backends, policy.shortened_run_s) for shape in ready.shapes] if open_s else []
    if not any(cuts):
        return ready
    saving = {*reader.saving(), *foreseen.saving}
    keys = [(shape, cuts[shape] if task in saving else 0) for task, shape in zip(ready.task, ready.shape, strict=True)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    shapes = [_shorter(ready.shapes[shape], cut) for shape, cut in numbers]
    return ready._replace(shape=[numbers[key] for key in keys], shapes=shapes)


def _open_s(policy: SitePolicy, now: datetime) -> Mapping[str, float]:
    """Return for how long each backend that will close as a whole is still open."""
    starts: dict[str, float] = {}
    for closure in policy.closures:
        left_s = (closure.starts_at - now).total_seconds()
        if not closure.nodes and left_s > 0:
            starts[closure.backend] = min(left_s, starts.get(closure.backend, left_s))
    return starts


def _cut(shape: Shape, open_s: Mapping[str, float], backends: Collection[BackendName], least_s: float) -> int:
    """Return the walltime, in whole minutes, that leaves a shape enough time somewhere; 0 if it needs or gets none."""
    wish = shape.placement.backend
    places = [wish] if wish else list(backends)
    if any(open_s.get(place, float("inf")) >= shape.request.walltime_s for place in places):
        return 0
    longest_s = max((open_s[place] for place in places), default=0.0) - _MARGIN_S
    return int(longest_s // 60) * 60 if longest_s >= least_s else 0


def _shorter(shape: Shape, cut_s: int) -> Shape:
    if not cut_s:
        return shape
    asked_s = shape.request.walltime_s
    return shape._replace(request=replace(shape.request, walltime_s=cut_s), asked_s=asked_s)
