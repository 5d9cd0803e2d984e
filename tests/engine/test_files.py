from __future__ import annotations

import os
from pathlib import Path

import pytest

from elisa.engine.files import Entry, OsFiles


@pytest.fixture
def files() -> OsFiles:
    return OsFiles()


def test_what_is_written_can_be_read_by_its_owner_alone(files: OsFiles, tmp_path: Path) -> None:
    files.write(tmp_path / "a", b"one")
    files.write(tmp_path / "a", b"two")

    assert files.read(tmp_path / "a") == b"two"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_is_not_there_reads_as_none(files: OsFiles, tmp_path: Path) -> None:
    assert files.read(tmp_path / "a") is None


def test_a_link_is_never_followed(files: OsFiles, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "link").symlink_to("secret")

    with pytest.raises(OSError, match="symbolic link"):
        files.read(tmp_path / "link")
    assert [entry.name for entry in files.entries(tmp_path)] == ["secret"]


def test_a_pipe_does_not_hang_the_reader(files: OsFiles, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="no regular file"):
        files.read(tmp_path / "pipe")
    assert files.entries(tmp_path) == ()


def test_a_file_with_a_second_name_is_no_entry(files: OsFiles, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"")
    (tmp_path / "c").hardlink_to(tmp_path / "b")

    status = (tmp_path / "a").stat()
    assert files.entries(tmp_path) == (Entry("a", status.st_ino, 3, status.st_uid),)


def test_a_folder_that_is_not_there_has_no_entries(files: OsFiles, tmp_path: Path) -> None:
    assert files.entries(tmp_path / "none") == ()
    assert files.folders(tmp_path / "none") == ()


def test_folders_are_made_for_their_owner_alone_with_those_above(files: OsFiles, tmp_path: Path) -> None:
    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert files.folders(tmp_path / "a") == ("b",)


def test_removing_what_is_not_there_is_no_error(files: OsFiles, tmp_path: Path) -> None:
    files.write(tmp_path / "a", b"")

    files.remove(tmp_path / "a")
    files.remove(tmp_path / "a")

    assert not files.exists(tmp_path / "a")


def test_a_writer_that_dies_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    for point in ("files.write.begin", "files.write.written", "files.write.synced", "files.write.renamed"):
        OsFiles().write(tmp_path / "a", b"old")

        def die(passed: str, at: str = point) -> None:
            if passed == at:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            OsFiles(die).write(tmp_path / "a", b"new")
        assert OsFiles().read(tmp_path / "a") == (b"new" if point == "files.write.renamed" else b"old")


def test_many_files_are_written_together_each_whole_and_private(tmp_path: Path) -> None:
    files = OsFiles()
    contents = {tmp_path / f"{number}" / name: f"{number} {name}".encode() for number in range(40) for name in "ab"}
    for path in contents:
        files.make_folder(path.parent)

    files.write_all(contents)

    assert {path: files.read(path) for path in contents} == contents
    assert {path.stat().st_mode & 0o777 for path in contents} == {0o600}
    assert sum(1 for _ in tmp_path.rglob("*.new")) == 0


def test_writing_no_files_at_all_is_no_error(tmp_path: Path) -> None:
    OsFiles().write_all({})

    assert list(tmp_path.iterdir()) == []
