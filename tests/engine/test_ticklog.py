"""The log of cron's ticks stays small, whoever has it open."""

from __future__ import annotations

from pathlib import Path

import pytest

from elisa.engine.ticklog import rotate, tick_log
from tests.reliability.world import World


def logs(home: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(home.glob("tick.log*"))}


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    tick_log(tmp_path).write_text("short")

    rotate(tmp_path, largest_bytes=6)

    assert logs(tmp_path) == {"tick.log": "short"}


def test_a_large_one_is_put_aside_and_only_the_last_ones_are_kept(tmp_path: Path) -> None:
    for text in ("first", "second", "third", "fourth"):
        tick_log(tmp_path).write_text(text)
        rotate(tmp_path, largest_bytes=5, kept=2)

    assert logs(tmp_path) == {"tick.log.1": "fourth", "tick.log.2": "third"}


def test_nothing_is_lost_of_what_is_being_written(tmp_path: Path) -> None:
    with tick_log(tmp_path).open("a") as log:
        print("before", file=log, flush=True)
        rotate(tmp_path, largest_bytes=1)
        print("after", file=log, flush=True)

    assert logs(tmp_path) == {"tick.log.1": "before\nafter\n"}


def test_a_log_that_cannot_be_put_aside_is_told_of_and_harmless(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tick_log(tmp_path).write_text("large")
    (tmp_path / "tick.log.1" / "in the way").mkdir(parents=True)

    rotate(tmp_path, largest_bytes=1, kept=1)

    assert "could not be put aside" in caplog.text


def test_every_tick_sees_to_it(world: World) -> None:
    tick_log(world.home).write_bytes(b"x" * 6 * 2**20)

    world.tick()

    assert [path.name for path in world.home.glob("tick.log*")] == ["tick.log.1"]
