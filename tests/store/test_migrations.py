"""From an older schema to a newer: all of a step or nothing, a copy before it, and never backwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from elisa.model import layout
from elisa.model.errors import StoreError, StoreTooNew
from elisa.model.ports import CrashPoint, no_crash
from elisa.store import sqlite
from elisa.store.migrate import bring_up_to_date, refuse_newer
from elisa.store.migrations import MIGRATIONS, Migration, latest_version
from elisa.store.reader import Reader
from elisa.store.sqlite import SqliteConnection
from elisa.store.writer import Writer
from tests.builders import FakeClock, SeededRandom, a_pipeline, a_task
from tests.store.dying import killed_at

Look = tuple[int, list[str], list[str], str]


def add_colours(execute: Callable[[str], object]) -> None:
    execute("CREATE TABLE colour (task TEXT NOT NULL, name TEXT NOT NULL)")
    execute("INSERT INTO colour SELECT id, 'green' FROM task")
    execute("ALTER TABLE task ADD COLUMN colour TEXT")
    execute("UPDATE task SET colour = 'green'")


def add_shapes(execute: Callable[[str], object]) -> None:
    execute("CREATE TABLE shape (name TEXT)")


def break_down(execute: Callable[[str], object]) -> None:
    execute("CREATE TABLE shape (name TEXT NOT NULL)")
    execute("INSERT INTO no_such_table VALUES (1)")


COLOURS = Migration(version=2, name="colours", run=add_colours)
SHAPES = Migration(version=3, name="shapes", run=add_shapes)
BROKEN = Migration(version=3, name="broken", run=break_down)


@pytest.fixture
def old(home: Path) -> Path:
    """A store of schema 1 with three tasks."""
    with Writer.create(home, clock=FakeClock(), random=SeededRandom(), actor="ada") as writer:
        writer.apply((a_pipeline(*(a_task(f"t{n}") for n in range(3))).added(),))
    return home


def connect(home: Path) -> SqliteConnection:
    return sqlite.connect(layout.database(home), "rw", 1.0)


def bring(home: Path, *further: Migration, crash: CrashPoint = no_crash) -> None:
    connection = connect(home)
    try:
        bring_up_to_date(connection, layout.backups(home), now_us=1, crash=crash, migrations=(*MIGRATIONS, *further))
    finally:
        connection.close()


def look(home: Path) -> Look:
    """Return the schema's version, what is new in it, the migrations that were noted, and whether the file is sound."""
    connection = connect(home)
    new = [row[0] for row in connection.rows("SELECT name FROM sqlite_master WHERE name IN ('colour', 'shape')")]
    noted = [row[0] for row in connection.rows("SELECT name FROM migration ORDER BY version")]
    sound = connection.rows("PRAGMA integrity_check")[0][0]
    found = (connection.schema_version(), sorted(new), noted, sound)
    connection.close()
    return found


AS_IT_WAS: Look = (1, [], ["first tables"], "ok")
COLOURED: Look = (2, ["colour"], ["first tables", "colours"], "ok")


def test_each_step_is_applied_once_in_its_order(old: Path) -> None:
    bring(old, COLOURS)
    bring(old, COLOURS)
    assert look(old) == COLOURED

    bring(old, COLOURS, SHAPES)
    assert look(old) == (3, ["colour", "shape"], ["first tables", "colours", "shapes"], "ok")


def test_a_copy_is_kept_from_before(old: Path) -> None:
    bring(old, COLOURS)

    (backup,) = layout.backups(old).iterdir()
    assert (backup.name, backup.stat().st_mode & 0o777) == ("elisa-schema1-1.db", 0o600)
    restored = old.parent / "restored"
    restored.mkdir()
    shutil.copy(backup, layout.database(restored))
    with Reader.open(restored) as reader:
        assert len(reader.task_rows()) == 3
        assert reader.verify_audit().problems == ()


def test_a_database_of_this_version_is_not_copied(old: Path) -> None:
    bring(old)

    assert not layout.backups(old).exists()


def test_a_step_that_fails_is_undone_and_those_before_it_stay(old: Path) -> None:
    with pytest.raises(StoreError, match="cannot be used"):
        bring(old, COLOURS, BROKEN)

    assert look(old) == COLOURED


@pytest.mark.slow
def test_killed_anywhere_a_database_has_the_old_schema_or_the_new_one(old: Path, in_memory: Path) -> None:
    seen = set()
    for k in count(1):
        home = in_memory / str(k)
        shutil.copytree(old, home)
        was_killed = killed_at(k, lambda crash, home=home: bring(home, COLOURS, crash=crash))  # type: ignore[misc]
        found = look(home)
        seen.add(found[0])
        assert found in {1: [AS_IT_WAS], 2: [COLOURED]}[found[0]]

        bring(home, COLOURS)

        assert look(home) == COLOURED
        if not was_killed:
            break
    assert (seen, k) == ({1, 2}, 8)


def test_a_newer_database_is_refused(old: Path) -> None:
    bring(old, COLOURS)
    connection = connect(old)

    with pytest.raises(StoreTooNew):
        refuse_newer(connection)

    refuse_newer(connection, (*MIGRATIONS, COLOURS))
    connection.close()
    assert latest_version((*MIGRATIONS, COLOURS)) == 2


def test_two_processes_apply_a_step_once(old: Path) -> None:
    slow, fast = connect(old), connect(old)

    def overtaken(point: str) -> None:
        if point == "store.migrate.begin":
            bring(old, COLOURS)

    bring_up_to_date(slow, layout.backups(old), now_us=2, crash=overtaken, migrations=(*MIGRATIONS, COLOURS))

    slow.close()
    fast.close()
    assert look(old) == COLOURED
