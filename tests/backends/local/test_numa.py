"""Jobs that are kept on cores which share memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.local.backend import LocalBackend
from elisa.backends.local.numa import ANYWHERE, choose_numa, numa_nodes
from elisa.backends.local.slots import Held, LocalSlots, assign
from elisa.model.native import JobRequest
from elisa.model.resources import Resources
from tests.backends.worlds import SLOTS, WallClock

CORES = sorted(os.sched_getaffinity(0))
TWO = LocalSlots(cpus=8, memory_mib=1000, numa=((0, 1, 2, 3), (4, 5, 6, 7)))


def a_system(root: Path, *lists: str) -> Path:
    for number, text in enumerate(lists):
        (root / f"node{number}").mkdir()
        (root / f"node{number}" / "cpulist").write_text(f"{text}\n")
    return root


def test_nodes_are_those_whose_cores_may_be_used(tmp_path: Path) -> None:
    first, *rest = CORES
    others = ",".join(map(str, rest))

    assert numa_nodes(a_system(tmp_path, f"{first}", f"{others},4000-4003")) == ((first,), tuple(rest)) * bool(rest)


@pytest.mark.parametrize("lists", [(), ("0-4000",), ("none",), ("5000", "0-4000")])
def test_where_there_is_but_one_nothing_is_bound(tmp_path: Path, lists: tuple[str, ...]) -> None:
    assert numa_nodes(a_system(tmp_path, *lists)) == ()


def test_one_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "node3").mkdir()

    assert numa_nodes(tmp_path) == ()


@pytest.mark.parametrize(
    ("held", "cpus", "chosen"),
    [
        ((), 4, 0),
        (((0, 1),), 4, 1),
        (((0, 1), (1, 2)), 3, 0),
        (((0, 1), (1, 1)), 4, ANYWHERE),
        (((ANYWHERE, 7),), 4, 0),
        ((), 5, ANYWHERE),
    ],
)
def test_the_emptiest_that_holds_a_job_is_chosen(held: tuple[tuple[int, int], ...], cpus: int, chosen: int) -> None:
    assert choose_numa(TWO.numa, held, cpus) == chosen


def test_only_who_asks_for_it_is_kept_on_one() -> None:
    asked = Resources(cpus_per_task=3, numa=True)
    held = assign(TWO, (), asked)

    assert held == Held(cpus=3, memory_mib=0, numa=0)
    assert isinstance(held, Held)
    assert assign(TWO, (held,), asked) == Held(cpus=3, memory_mib=0, numa=1)
    assert assign(TWO, (), replace(asked, numa=False)) == Held(cpus=3, memory_mib=0)
    assert assign(replace(TWO, numa=()), (), asked) == Held(cpus=3, memory_mib=0)


def test_a_job_runs_on_the_cores_of_its_node_and_holds_them(
    tmp_path: Path,
    request_for: Callable[..., JobRequest],
    wait_until: Callable[[Callable[[], object]], None],
    world: object,
) -> None:
    slots = replace(SLOTS, numa=tuple((core,) for core in CORES))
    backend = LocalBackend(tmp_path / "home", "4f2a", slots, WallClock())
    out = tmp_path / "cores"
    tell = "import os; print(*sorted(os.sched_getaffinity(0)))"
    script = f"{sys.executable} -c '{tell}' > {out}.new; mv {out}.new {out}; sleep 60"

    native_id = backend.submit(request_for("bound", script, numa=True))
    wait_until(out.exists)

    assert out.read_text().split() == [str(CORES[0])]
    assert [held.numa for held in backend._taken()] == [0]
    backend.cancel([native_id])
