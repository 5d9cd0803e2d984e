"""What a pipeline asks for that no backend of this site has: told when it is submitted, not found out by waiting."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from elisa.engine.health import HealthBook
from elisa.engine.managers import Managers
from elisa.engine.trial import refused_tasks
from elisa.engine.workspace import Workspace
from elisa.model.columns import Shape
from elisa.model.native import ClusterView
from elisa.model.pipeline import Pipeline, TaskSpec
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.site import SitePolicy
from elisa.policies.placement import options_of
from elisa.policies.placement_pools import reachable_pools
from elisa.policies.together import together

__all__ = ["hopeless_tasks"]

_HOPELESS = frozenset({ReasonCode.NEVER_FITS, ReasonCode.NO_BACKEND})


def hopeless_tasks(ws: Workspace, pipeline: Pipeline) -> Iterator[tuple[str, Reason]]:
    """Yield the tasks that can't start however long they wait, each with what stands in its way.

    Backends are asked what they have, and whether they would take it. Where one does not answer, nothing is said of what
    may run there.
    """
    managers = Managers(ws.backends, HealthBook(ws.files, ws.home), ws.random, ws.clock.now())
    clusters = managers.clusters()
    queueing = [name for name, backend in ws.backends.items() if backend.capabilities.queues]
    unexcluding = [name for name, backend in ws.backends.items() if not backend.capabilities.excludes]
    site = ws.site.policy()
    pools = reachable_pools(clusters, queueing, {}, site.taints, unexcluding, data=site.data)
    told: set[str] = set()
    open_ones: list[TaskSpec] = []
    for spec in pipeline.tasks:
        wish = spec.placement.backend
        if managers.unreachable and wish in {"", *managers.unreachable}:
            continue
        refusal = options_of(Shape(spec.resources, spec.placement), pools, managers.unreachable).refusal
        if refusal is not None and refusal.code in _HOPELESS:
            told.add(spec.name)
            yield spec.name, refusal
        else:
            open_ones.append(spec)
    yield from refused_tasks(ws, open_ones, pools, managers.unreachable)
    if not managers.unreachable:
        yield from _hopeless_gangs(pipeline, clusters, site, ws.clock.now(), told)


def _hopeless_gangs(
    pipeline: Pipeline, clusters: Sequence[ClusterView], site: SitePolicy, now: datetime, told: Collection[str]
) -> Iterator[tuple[str, Reason]]:
    """Yield the first member of each gang of which too few would fit at once, were everything free.

    Gangs with members of whom worse was told already, and with those still to be made from a list, are left out.
    """
    gangs: dict[str, list[TaskSpec]] = {}
    for spec in pipeline.tasks:
        if spec.gang is not None:
            gangs.setdefault(spec.gang.name, []).append(spec)
    for name, members in gangs.items():
        if any(spec.expansion or spec.name in told for spec in members) or not all(view.nodes for view in clusters):
            continue
        gang = members[0].gang
        needed = (gang.minimum if gang is not None else 0) or len(members)
        largest = together(members, clusters, site, now)
        if largest < needed:
            reason = because(ReasonCode.GANG_TOO_LARGE, gang=name, needed=needed, largest=largest)
            yield members[0].name, reason
