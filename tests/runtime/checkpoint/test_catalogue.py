from __future__ import annotations

from pathlib import Path

import pytest

from elisa.runtime.checkpoint import catalogue
from elisa.runtime.checkpoint.catalogue import SetAside, describe, set_aside
from elisa.runtime.checkpoint.generations import Generations
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


def test_what_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_steps(tmp_path, 1)

    def fails(_path: str, *, read_all: bool) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(catalogue, "verify", fails)

    assert describe(str(tmp_path))[0].problem == "it cannot be read: Input/output error"
