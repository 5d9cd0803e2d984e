"""Copies of the database that a store can be restored from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from elisa.model import layout
from elisa.model.errors import StoreError
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.builders import FakeClock, a_pipeline, a_task


def names(home: Path) -> list[str]:
    return sorted(path.name for path in layout.backups(home).iterdir())


def test_a_copy_is_made_once_a_day_and_three_are_kept(writer: Writer, home: Path, clock: FakeClock) -> None:
    made = []
    for _ in range(5):
        made += [writer.keep_backup(), writer.keep_backup()]
        clock.forward(hours=23)
        made.append(writer.keep_backup())
        clock.forward(hours=1)

    copies = [path for path in made if path is not None]
    assert len(copies) == 5
    assert names(home) == [path.name for path in copies[-3:]]
    assert {path.stat().st_mode & 0o777 for path in copies[-3:]} == {0o600}


def test_a_copy_is_a_whole_store(writer: Writer, tmp_path: Path) -> None:
    writer.apply((a_pipeline().added(),))
    copy = writer.keep_backup()
    writer.apply((a_pipeline(a_task("later").in_pipeline("two"), name="two").added(),))

    assert copy is not None
    restored = tmp_path / "restored"
    restored.mkdir()
    shutil.copy(copy, layout.database(restored))
    with Reader.open(restored) as reader:
        assert [row.name for row in reader.task_rows()] == ["train"]
        assert reader.verify_audit().problems == ()
        assert reader.damage() == ()


def test_copies_from_before_a_migration_are_never_forgotten(writer: Writer, home: Path, clock: FakeClock) -> None:
    layout.backups(home).mkdir()
    for name in ("elisa-schema1-5.db", "elisa-old.db", "notes.txt"):
        (layout.backups(home) / name).touch()

    writer.keep_backup(count=1)
    clock.forward(days=2)
    copy = writer.keep_backup(count=1)

    assert copy is not None
    assert names(home) == sorted(["elisa-schema1-5.db", "elisa-old.db", "notes.txt", copy.name])


def test_a_copy_from_the_future_does_not_bring_another_each_tick(writer: Writer, clock: FakeClock) -> None:
    writer.keep_backup()
    clock.forward(days=-300)

    assert writer.keep_backup() is None


def test_a_copy_that_cannot_be_made_is_told(writer: Writer, home: Path) -> None:
    layout.backups(home).write_text("in the way")

    with pytest.raises(StoreError, match="no copy of the database can be kept"):
        writer.keep_backup()


def test_damage_is_told_page_by_page(writer: Writer, home: Path) -> None:
    writer.apply((a_pipeline(*(a_task(f"t{n}") for n in range(200))).added(),))
    writer.close()
    content = bytearray(layout.database(home).read_bytes())
    content[40960:81920] = bytes(40960)
    layout.database(home).write_bytes(content)

    with Reader.open(home) as reader:
        found = reader.damage()

    assert 0 < len(found) <= 20
