"""This machine promised more than once: what it says it has, what it takes, and when it is short of memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.local import pressure
from elisa.backends.local.backend import LocalBackend
from elisa.backends.local.opening import read_slots
from elisa.backends.local.slots import Held, LocalSlots, NeverFits, NoRoom, assign
from elisa.backends.promises import PLENTY, MemoryLeft, judge
from elisa.model.errors import UsageError
from elisa.model.native import NodeState
from elisa.model.resources import Resources
from tests.backends.worlds import WallClock

TWICE = LocalSlots(cpus=4, memory_mib=1001, promised=(200, 150))


def test_jobs_together_may_ask_for_what_is_promised_and_one_for_what_is_there() -> None:
    four = Resources(cpus_per_task=4, memory_mib_per_node=100)

    assert assign(TWICE, (Held(cpus=4, memory_mib=0),), four) == Held(cpus=4, memory_mib=100)
    assert assign(TWICE, (Held(cpus=5, memory_mib=0),), four) == NoRoom(resource="cpus", asked=4, free=3)
    assert assign(TWICE, (), Resources(cpus_per_task=5)) == NeverFits(resource="cpus", asked=5, largest=4)
    assert TWICE.all_promised.memory_mib == 1502


@pytest.mark.parametrize(
    ("said", "promised"),
    [({"cpus": 3}, (300, 100)), ({"cpus": 1.5}, (150, 100)), ({"memory": 1.25}, (100, 125)), ({}, (100, 100))],
)
def test_ratios_are_read(said: dict[str, object], promised: tuple[int, int]) -> None:
    assert read_slots({"cpus": 2, "gpus": [], "overcommit": said}).promised == promised


@pytest.mark.parametrize(
    "wrong",
    [2, {"gpus": 2}, {"cpus": 0.5}, {"cpus": 0}, {"memory": 0.9}, {"memory": 200}, {"cpus": True}, {"cpus": "2"}],
)
def test_what_is_no_ratio_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match="configured wrongly"):
        read_slots({"gpus": [], "overcommit": wrong})


@pytest.mark.parametrize(
    ("available_mib", "left"),
    [
        (100, PLENTY),
        (99, MemoryLeft(0, is_enough=False)),
        (50, MemoryLeft(0, is_enough=False)),
        (20, MemoryLeft(30, is_enough=False)),
    ],
)
def test_memory_is_scarce_before_it_is_short(available_mib: int, left: MemoryLeft) -> None:
    assert judge(1000, available_mib) == left


def test_the_node_says_what_it_promises_and_takes_nothing_while_memory_is_scarce(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    backend = LocalBackend(tmp_path / "home", "i1", TWICE, WallClock())
    monkeypatch.setattr(pressure.psutil, "virtual_memory", lambda: Left(20))

    (node,) = backend.cluster().nodes

    assert (node.cpus, node.free_cpus, node.memory_mib, node.promised) == (8, 8, 1502, (200, 150))
    assert (node.state, node.short_mib) == (NodeState.DRAINED, 30)
    assert backend.capabilities.overcommits
    plain = LocalBackend(tmp_path / "home", "i1", replace(TWICE, promised=(100, 100)), WallClock())
    assert (plain.cluster().nodes[0].state, plain.capabilities.overcommits) == (NodeState.UP, False)


class Left:
    """What psutil says of memory, with so many MiB that are left."""

    def __init__(self, mib: int) -> None:
        self.available = mib * 2**20


def test_this_machine_knows_what_it_has_left() -> None:
    assert pressure.memory_left(replace(TWICE, memory_mib=1)).is_enough
