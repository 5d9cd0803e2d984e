from __future__ import annotations

from pathlib import Path

from elisa.runtime.checkpoint.catalogue import SetAside, describe, prune, set_aside
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.checkpoint.retention import Retention
from tests.runtime.checkpoint.checkpoint_cases import save_steps


def test_what_is_there_is_told(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    newest, oldest = describe(str(tmp_path))

    assert (newest.step, oldest.step, newest.problem, newest.world_size) == (2, 1, "", 1)
    assert newest.size_bytes > 5000
    assert describe(str(tmp_path / "none")) == set_aside(str(tmp_path / "none")) == []


def test_damage_is_found_by_size_or_by_reading_all(tmp_path: Path) -> None:
    _, newest = save_steps(tmp_path, 1, 2)
    path = next(Path(newest.path).glob("*.bin"))
    path.write_bytes(bytes(path.stat().st_size))

    assert describe(str(tmp_path))[0].problem == ""
    assert "does not have the content" in describe(str(tmp_path), read_all=True)[0].problem


def test_one_put_there_by_hand_is_no_good(tmp_path: Path) -> None:
    (generation,) = save_steps(tmp_path, 1)
    Path(generation.path).rename(tmp_path / "g00000009-step000000000009")

    assert describe(str(tmp_path))[0].problem == "it holds step 1: it was put here by hand"


def test_what_is_in_quarantine_is_told(tmp_path: Path) -> None:
    one, two = save_steps(tmp_path, 1, 2)
    folder = Generations(str(tmp_path))
    paths = [folder.quarantine(one, "on purpose"), folder.quarantine(two, "gone")]
    Path(paths[1] + ".why").unlink()

    assert set_aside(str(tmp_path)) == [SetAside(paths[0], "on purpose"), SetAside(paths[1], "")]


def test_what_is_not_kept_is_deleted(tmp_path: Path) -> None:
    paths = [generation.path for generation in save_steps(tmp_path, 1, 2, 3)]

    assert prune(str(tmp_path), Retention(keep=1)) == paths[:2]
    assert [one.step for one in describe(str(tmp_path))] == [3]
    assert prune(str(tmp_path / "none"), Retention()) == []


def test_nothing_is_deleted_while_the_newest_is_not_sound(tmp_path: Path) -> None:
    _, newest = save_steps(tmp_path, 1, 2)
    next(Path(newest.path).glob("*.bin")).write_bytes(b"x")

    assert prune(str(tmp_path), Retention(keep=1)) == []
