"""What a pipeline asks for that no backend of this site has: told when it is submitted, not found out by waiting."""

from __future__ import annotations

from collections.abc import Iterator

from elisa.engine.health import HealthBook
from elisa.engine.managers import Managers
from elisa.engine.workspace import Workspace
from elisa.model.columns import Shape
from elisa.model.pipeline import Pipeline
from elisa.model.reasons import Reason, ReasonCode
from elisa.policies.placement import options_of, reachable_pools

__all__ = ["hopeless_tasks"]

_HOPELESS = frozenset({ReasonCode.NEVER_FITS, ReasonCode.NO_BACKEND})


def hopeless_tasks(ws: Workspace, pipeline: Pipeline) -> Iterator[tuple[str, Reason]]:
    """Yield the tasks that can't start however long they wait, each with what stands in its way.

    Backends are asked what they have. Where one does not answer, nothing is said of what may run there.
    """
    managers = Managers(ws.backends, HealthBook(ws.files, ws.home), ws.random, ws.clock.now())
    clusters = managers.clusters()
    queueing = [name for name, backend in ws.backends.items() if backend.capabilities.queues]
    unexcluding = [name for name, backend in ws.backends.items() if not backend.capabilities.excludes]
    site = ws.site.policy()
    pools = reachable_pools(clusters, queueing, {}, site.taints, unexcluding, data=site.data)
    for spec in pipeline.tasks:
        wish = spec.placement.backend
        if managers.unreachable and wish in {"", *managers.unreachable}:
            continue
        refusal = options_of(Shape(spec.resources, spec.placement), pools, managers.unreachable).refusal
        if refusal is not None and refusal.code in _HOPELESS:
            yield spec.name, refusal
