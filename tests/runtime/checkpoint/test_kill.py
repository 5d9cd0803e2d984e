"""A process is killed at each write, link, rename and sync of a save: what is found afterwards is always usable."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from elisa.runtime import crash
from elisa.runtime.checkpoint.codec import Encoder
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.checkpoint.manifest import Manifest
from elisa.runtime.checkpoint.restore import restore_newest
from elisa.runtime.checkpoint.retention import Retention
from elisa.runtime.checkpoint.saver import Saver
from tests.runtime.agent_cases import names
from tests.runtime.checkpoint.checkpoint_cases import a_state, is_state, save_steps


def ends_at(number: int, work: Callable[[], None]) -> bool:
    """Do `work` in a child that is killed at its `number`-th crash point; tell whether it was."""
    child = os.fork()
    if child == 0:
        crash.set_crash_hook(crash.crash_hook(f"*:{number}"))
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 137


def enumerate_kills(root: Path, work: Callable[[Path], None], check: Callable[[Path], None]) -> int:
    """Kill `work` at every point, each time on a folder of its own; return how many there were."""
    number, was_killed = 0, True
    while was_killed:
        number += 1
        folder = root / str(number)
        save_steps(folder, 1, 2)
        was_killed = ends_at(number, lambda folder=folder: work(folder))  # type: ignore[misc]  # bound as it is now
        check(folder)
    return number


def save_the_third(folder: Path) -> None:
    saver = Saver(Generations(str(folder)), Retention(keep=2))
    pieces = Encoder().encode_state(a_state(3))
    saver.save(Manifest(saver.generations.next_number(), 3, ()), pieces)


def find_two_or_three(folder: Path) -> None:
    folders = [Generations(str(folder))]
    folders[0].sweep(time.time())
    restored = restore_newest(folders)

    assert restored is not None
    assert restored.generation.step in {2, 3}
    assert is_state(restored.state, restored.generation.step)
    assert [name for name in names(folder) if name.startswith((".tmp", ".trash"))] == []
    save_the_third(folder)
    newest = restore_newest(folders)
    assert newest is not None
    assert is_state(newest.state, 3)


def test_killed_anywhere_in_a_save_a_sound_checkpoint_is_there(tmp_path: Path) -> None:
    assert enumerate_kills(tmp_path, save_the_third, find_two_or_three) > 20


def restore_with_damage(folder: Path) -> None:
    folders = [Generations(str(folder))]
    (Path(folders[0].newest_first()[0].path) / "state.json").write_text("{}")
    restore_newest(folders)


def find_one(folder: Path) -> None:
    restored = restore_newest([Generations(str(folder))])
    assert restored is not None
    assert is_state(restored.state, 1)


def test_killed_anywhere_in_a_restore_the_next_one_succeeds(tmp_path: Path) -> None:
    assert enumerate_kills(tmp_path, restore_with_damage, find_one) > 4


@pytest.mark.parametrize("point", ["checkpoint.removed", "checkpoint.quarantined"])
def test_the_points_of_this_file_exist(point: str, tmp_path: Path) -> None:
    passed: list[str] = []
    crash.set_crash_hook(passed.append)
    try:
        save_steps(tmp_path, 1, 2)
        save_the_third(tmp_path)
        restore_with_damage(tmp_path)
    finally:
        crash.set_crash_hook(None)
    assert point in passed
