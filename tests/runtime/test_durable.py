from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from elisa.runtime import crash, durable
from tests.runtime.agent_cases import names


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    durable.replace_file(path, b"one")
    durable.replace_file(path, b"two")

    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["f"]


def test_only_the_first_may_publish(tmp_path: Path) -> None:
    path = tmp_path / "f"

    assert [durable.publish_file(path, b"one"), durable.publish_file(path, b"two")] == [True, False]
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["f"]


def test_a_failed_replacement_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.mkdir()

    with pytest.raises(OSError, match="directory"):
        durable.replace_file(path, b"new")

    assert names(tmp_path) == ["f"]


def test_a_folder_and_those_above_it_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        durable.make_folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)

    durable.make_folder(tmp_path / "a" / "b")

    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o700, 0o700]


@pytest.mark.parametrize("name", ["file", "file/below", "dangling", "dangling/below", ""])
def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("dangling").symlink_to("nowhere")

    with pytest.raises(OSError, match=r"exists|Not a directory|No such file"):
        durable.make_folder(name)


def test_a_mark_is_empty_private_and_on_the_disk_whoever_left_it_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Any] = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)

    durable.leave_mark(tmp_path / "f")
    durable.leave_mark(tmp_path / "f")

    assert ((tmp_path / "f").read_bytes(), (tmp_path / "f").stat().st_mode & 0o777) == (b"", 0o600)
    assert synced == [str(tmp_path)] * 2
    durable.leave_mark(tmp_path / "g", is_durable=False)
    assert ((tmp_path / "g").read_bytes(), synced) == (b"", [str(tmp_path)] * 2)


def test_a_mark_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "f").symlink_to("elsewhere")

    with pytest.raises(OSError, match="symbolic links"):
        durable.leave_mark(tmp_path / "f")

    assert names(tmp_path) == ["f"]


def _without_links(source: Any, target: Any) -> None:
    raise OSError(errno.EPERM, "no links here")


def test_without_hard_links_exclusive_creation_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", _without_links)
    path = tmp_path / "f"

    assert [durable.publish_file(path, b"one"), durable.publish_file(path, b"two")] == [True, False]
    assert path.read_bytes() == b"one"


def test_a_link_that_fails_for_another_reason_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        durable.publish_file(tmp_path / "none" / "f", b"")


def test_a_link_whose_answer_was_lost_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def twice(source: Any, target: Any) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)

    assert durable.publish_file(tmp_path / "f", b"one")


def test_an_unwritable_medium_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(source: Any, target: Any) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "link", broken)
    with pytest.raises(OSError, match="broken"):
        durable.publish_file(tmp_path / "f", b"one")
    assert names(tmp_path) == []


def test_a_crash_plan_counts_one_point_or_all() -> None:
    ends: list[int] = []
    one = crash.crash_hook("file.link:2", ends.append)
    every = crash.crash_hook("*:3", ends.append)

    for point in ["file.create", "file.link", "file.link"]:
        one(point)
    assert ends == [137]
    for point in ["file.create", "file.link", "file.link"]:
        every(point)
    assert ends == [137, 137]


def test_points_call_the_hook_while_there_is_one() -> None:
    passed: list[str] = []
    crash.set_crash_hook(passed.append)
    crash.crash("here")
    crash.set_crash_hook(None)
    crash.crash("there")

    assert passed == ["here"]
