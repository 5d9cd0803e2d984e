"""A simulated manager that believes too much: a job of its never begins, and it calls that running for ever."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.job import SimJob
from elisa.engine.config import Site
from elisa.model.errors import Unavailable
from elisa.model.events import EventKind
from elisa.model.ids import NativeId
from elisa.model.native import CancelOutcome
from elisa.model.ports import CrashPoint
from tests.reliability.world import World

__all__ = ["Believing", "a_believing_world"]


@dataclass
class Believing:
    """A manager that sends its first job to a node that never begins it, and calls it running for ever."""

    real: SimulatedBackend
    obeys: bool = True
    outages: int = 0
    deleted: list[NativeId] = field(default_factory=list)
    unbegun: list[SimJob] = field(default_factory=list)
    on_delete: CrashPoint = lambda _: None

    def __post_init__(self) -> None:
        agent = self.real._cluster._agent
        self.begin, self.say = agent.begin, agent._say
        agent.begin, agent._say = self._begin, self._say  # type: ignore[method-assign]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def _begin(self, job: SimJob, us: int) -> str:
        if self.unbegun:
            return self.begin(job, us)
        self.unbegun.append(job)
        return ""

    def _say(self, job: SimJob, us: int, kind: EventKind, **data: Any) -> None:
        if job not in self.unbegun:
            self.say(job, us, kind, **data)

    def cancel(self, ids: Collection[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        self.on_delete("delete")
        if self.outages:
            self.outages -= 1
            raise Unavailable("sim does not answer", "Connection refused")
        self.deleted.extend(ids)
        return self.real.cancel(ids) if self.obeys else dict.fromkeys(ids, CancelOutcome.ASKED)


def a_believing_world(home: Path, *, limit: str = "10m", **manager: Any) -> tuple[World, Believing]:
    """Return a world with such a manager, and its manager; `limit` is how long its site waits for a sign."""
    site = {
        "backends": {"sim": {"kind": "simulated"}},
        "jobs": {"self_fence": "60s"},
        "recovery": {"unheard": limit},
    }
    world = World.make(home, site=Site.model_validate(site))
    believing = Believing(world.cluster, **manager)
    world.extra["sim"] = believing  # type: ignore[assignment]  # it answers as the cluster does
    return world, believing
