"""Rules of `site.yaml` that only show in what whole ticks do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.config import Site
from elisa.model.states import TaskState
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

HOUR = 3600


def a_world(home: Path, *, nodes: int = 4, **rules: Any) -> World:
    base = {"backends": {"sim": {"kind": "simulated"}}, "jobs": {"self_fence": "60s"}}
    spec = ClusterSpec(nodes=(NodeType(name="node", count=nodes, cpus=4),), heartbeat_s=30)
    return World.make(home, spec=spec, site=Site.model_validate({**base, **rules}))


def a_loan(until: str) -> dict[str, Any]:
    return {
        "projects": {"rich": {"budget": {"cpu_hours": 100}, "may_lend": True}, "poor": {"budget": {"cpu_hours": 1}}},
        "loans": [
            {
                "lender": "rich",
                "borrower": "poor",
                "amount": {"cpu_hours": 20},
                "from": "2026-03-01T00:00:00Z",
                "until": until,
            }
        ],
    }


@pytest.mark.parametrize(
    ("until", "state"),
    [("2026-04-01T00:00:00Z", TaskState.SUCCEEDED), ("2026-03-02T00:00:00Z", TaskState.READY)],
    ids=["while it runs", "when it is over"],
)
def test_a_borrower_may_use_what_was_lent(tmp_path: Path, until: str, state: TaskState) -> None:
    world = a_world(tmp_path / "home", **a_loan(until))
    world.submit(job("big", cpus=4, walltime_s=2 * HOUR), project="poor")  # 8 of the 1 + 20 hours

    for _ in range(5):
        world.tick()
        world.pass_time(120)

    assert world.states() == {"big": state}
    assert_sound(world)


@pytest.mark.parametrize(("refunds", "spent_s"), [(None, 4000), ({}, 0), ({"part": 0.5}, 2000)])
def test_what_a_failure_of_the_machine_cost_is_given_back_as_the_site_says(
    tmp_path: Path, refunds: dict[str, Any] | None, spent_s: int
) -> None:
    world = a_world(tmp_path / "home", nodes=1, recovery={} if refunds is None else {"refunds": refunds})
    world.submit(job("work", cpus=4, lasts_s=3 * HOUR, walltime_s=4 * HOUR))
    world.tick()
    world.pass_time(1000)
    world.tick()

    world.cluster.fail_nodes(*(node.name for node in world.cluster.cluster().nodes), for_s=600)
    world.tick()

    with Reader.open(world.home) as reader:
        spent = sum(row.charge.cpu_s for row in reader.ledger() if row.kind == "spend")
    assert spent == pytest.approx(spent_s, abs=300)
    assert_sound(world)
