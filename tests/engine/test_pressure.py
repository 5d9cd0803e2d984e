"""A node that promised more memory than it has gets short of it: best effort saves, leaves and comes back later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.config import Site
from elisa.model.native import Capabilities, ClusterView, NodeState
from elisa.model.states import TaskState
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

HOUR = 3600


def test_best_effort_work_leaves_a_node_that_is_short_of_memory_and_goes_on_when_it_no_longer_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = {"short_mib": 0, "is_scarce": 0}
    view_of, capabilities_of = SimulatedBackend.cluster, SimulatedBackend.capabilities.fget
    assert capabilities_of is not None

    def pressed(self: SimulatedBackend) -> ClusterView:
        view = view_of(self)
        state = NodeState.DRAINED if memory["is_scarce"] else NodeState.UP
        nodes = (replace(node, short_mib=memory["short_mib"], promised=(200, 200), state=state) for node in view.nodes)
        return replace(view, nodes=tuple(nodes))

    def overcommits(self: SimulatedBackend) -> Capabilities:
        found: Capabilities = capabilities_of(self)
        return replace(found, overcommits=True)

    monkeypatch.setattr(SimulatedBackend, "cluster", pressed)
    monkeypatch.setattr(SimulatedBackend, "capabilities", property(overcommits))
    site = {"backends": {"sim": {"kind": "simulated"}}, "projects": {"spare": {"service": "best_effort"}}}
    spec = ClusterSpec(nodes=(NodeType(name="node", count=1, cpus=8),), heartbeat_s=30, queue=False)
    world = World.make(tmp_path / "home", spec=spec, site=Site.model_validate(site))
    world.submit(job("burst", cpus=2, lasts_s=2 * HOUR, walltime_s=3 * HOUR, saves_every_s=600))
    world.submit(job("spare", cpus=2, lasts_s=2 * HOUR, walltime_s=3 * HOUR, saves_every_s=600), project="spare")
    for _ in range(30):
        world.tick()
        world.pass_time(60)

    memory |= {"short_mib": 1, "is_scarce": 1}
    world.tick()
    memory["short_mib"] = 0
    for _ in range(4):
        world.tick()
        world.pass_time(60)

    assert world.states() == {"burst": TaskState.ACTIVE, "spare": TaskState.READY}
    with Reader.open(world.home) as reader:
        rows = [
            row for row in reader.audit(subject=world.attempts("spare")[0].id) if row.facts.get("reason") == "pressed"
        ]
    assert [row.facts["because"]["service"] for row in rows] == ["best_effort"]  # type: ignore[index]  # a mapping
    memory["is_scarce"] = 0
    world.run(step_s=600)
    assert world.tasks()["spare"].failures == 0
    assert_sound(world)
