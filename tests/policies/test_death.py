from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from elisa.model.native import NodeState
from elisa.policies.death import are_proven_dead
from tests.policies.build import NOW, a_node

BOOTED = {"booted_at": NOW + timedelta(minutes=5)}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([{"state": NodeState.DOWN}], False),
        ([BOOTED], True),
        ([{"booted_at": NOW - timedelta(days=3)}], False),
        ([{"booted_at": NOW + timedelta(seconds=4)}], False),
        ([{"is_off": True}], True),
        ([BOOTED, {"is_off": True}], True),
        ([BOOTED, {}], False),
    ],
    ids=["down", "booted", "up as long before", "within what clocks may err", "off", "both", "one of them neither"],
)
def test_a_node_that_has_booted_or_is_off_runs_nothing_of_before(
    nodes: list[dict[str, Any]],
    expected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    views = {f"n{number}": a_node(f"n{number}", **fields) for number, fields in enumerate(nodes)}

    assert are_proven_dead(tuple(views), NOW, views) is expected


def test_a_node_that_is_not_known_and_no_node_at_all_prove_nothing() -> None:
    assert not are_proven_dead(["n1", "n2"], NOW, {"n1": a_node("n1", **BOOTED)})
    assert not are_proven_dead([], NOW, {})
