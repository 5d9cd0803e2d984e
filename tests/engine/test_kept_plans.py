"""Each tick's decision kept, made again and compared; what is kept is bounded, and keeping it can harm nothing."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from elisa.engine import kept_plans
from elisa.engine.config import Site
from elisa.engine.files import OsFiles
from elisa.engine.kept_plans import kept_ticks, newest, read, replay_tick
from elisa.model import layout
from elisa.model.errors import UsageError
from elisa.model.states import TaskState
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

HOUR = 3600
RULES: dict[str, Any] = {
    "backends": {"sim": {"kind": "simulated", "window": 2}},
    "jobs": {"self_fence": "60s"},
    "preemption": {"enabled": True, "minimum_run": "1m"},
    "projects": {"vip": {"highest": "critical"}, "nlp": {"budget": {"cpu_hours": 40}}},
    "kept_plans": 5,
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A busy cluster after some ticks: work runs, waits in the queue, has no budget, and is asked to leave."""
    made = World.make(tmp_path / "home", site=Site.model_validate(RULES))
    made.submit(*(job(f"w{n}", cpus=4, lasts_s=2 * HOUR, walltime_s=3 * HOUR, saves_every_s=HOUR) for n in range(6)))
    for _ in range(4):
        made.tick()
        made.pass_time(60)
    made.submit(job("now", cpus=4, walltime_s=HOUR), project="vip")
    made.tick()
    return made


def test_every_decision_that_is_kept_comes_out_the_same_again(world: World) -> None:
    replays = [replay_tick(world.workspace(), tick) for tick in kept_ticks(OsFiles(), world.home)]

    assert [one.tick for one in replays] == [1, 2, 3, 4, 5]
    assert [one.differences for one in replays] == [()] * 5
    assert replays[0].is_sealed
    assert {len(one.kept.inputs.ready.task) for one in replays} == {3, 4, 6}
    assert_sound(world)


def test_only_the_last_ones_are_kept(world: World) -> None:
    world.tick()
    world.pass_time(60)
    world.tick()

    assert kept_ticks(OsFiles(), world.home) == (3, 4, 5, 6, 7)
    with pytest.raises(UsageError, match="no plan of tick 1 is kept"):
        read(OsFiles(), world.home, 1)


def test_no_more_bytes_are_kept_than_the_bound_but_always_the_newest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_plans, "_LARGEST_BYTES", 10)

    report = world.tick()

    assert kept_ticks(OsFiles(), world.home) == (report.tick,)
    found = newest(OsFiles(), world.home)
    assert found is not None
    assert found[0] == report.tick


def test_what_was_changed_afterwards_is_found_out(world: World) -> None:
    path = layout.plan_file(world.home, 1)
    document = json.loads(zlib.decompress(path.read_bytes()))
    document["outcome"]["decisions"].pop()
    path.write_bytes(zlib.compress(json.dumps(document).encode()))

    found = replay_tick(world.workspace(), 1).differences

    assert found[0].startswith("decision ")
    assert "was nothing, now it is submit" in found[0]
    assert "not what was written down in the audit" in found[-1]


@pytest.mark.parametrize("damage", [b"", b"nonsense", zlib.compress(b"{}"), zlib.compress(b"[" * 10_000)])
def test_a_damaged_file_is_told_in_three_lines(world: World, damage: bytes) -> None:
    layout.plan_file(world.home, 1).write_bytes(damage)

    with pytest.raises(UsageError, match="the plan of tick 1 cannot be read") as refusal:
        replay_tick(world.workspace(), 1)
    assert refusal.value.hint


class FullDisk(OsFiles):
    def make_folder(self, path: Path | str) -> bool:
        if Path(path).name == "plans":
            raise OSError(28, "No space left on device", str(path))
        return super().make_folder(path)


def test_a_disk_that_takes_no_plan_stops_no_tick(tmp_path: Path) -> None:
    world = World.make(tmp_path / "home")
    world.files = FullDisk
    world.submit(job("work"))

    world.tick()

    assert world.states() == {"work": TaskState.ACTIVE}
    assert (newest(OsFiles(), world.home), kept_ticks(OsFiles(), world.home)) == (None, ())


def test_a_tick_with_nothing_to_decide_leaves_nothing(tmp_path: Path) -> None:
    world = World.make(tmp_path / "home")
    world.submit(job("work"))
    world.run()

    world.tick()

    assert kept_ticks(OsFiles(), world.home) == (1,)


def test_a_site_that_keeps_none_has_none(tmp_path: Path) -> None:
    rules = {"backends": {"sim": {"kind": "simulated"}}, "kept_plans": 0}
    world = World.make(tmp_path / "home", site=Site.model_validate(rules))
    world.submit(job("work"))

    world.tick()

    assert not layout.plans(world.home).exists()
