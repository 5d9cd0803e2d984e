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
from elisa.store.migrate import bring_up_to_date, migrate, refuse_newer
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


NOW = latest_version()
COLOURS = Migration(version=NOW + 1, name="colours", run=add_colours)
SHAPES = Migration(version=NOW + 2, name="shapes", run=add_shapes)
BROKEN = Migration(version=NOW + 2, name="broken", run=break_down)


@pytest.fixture
def old(home: Path) -> Path:
    """A store of the newest schema with three tasks."""
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


NAMES = [migration.name for migration in MIGRATIONS]
AS_IT_WAS: Look = (NOW, [], NAMES, "ok")
COLOURED: Look = (NOW + 1, ["colour"], [*NAMES, "colours"], "ok")


def test_each_step_is_applied_once_in_its_order(old: Path) -> None:
    bring(old, COLOURS)
    bring(old, COLOURS)
    assert look(old) == COLOURED

    bring(old, COLOURS, SHAPES)
    assert look(old) == (NOW + 2, ["colour", "shape"], [*NAMES, "colours", "shapes"], "ok")


def test_a_copy_is_kept_from_before(old: Path) -> None:
    bring(old, COLOURS)

    (backup,) = layout.backups(old).iterdir()
    assert (backup.name, backup.stat().st_mode & 0o777) == (f"elisa-schema{NOW}-1.db", 0o600)
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
        assert found in {NOW: [AS_IT_WAS], NOW + 1: [COLOURED]}[found[0]]

        bring(home, COLOURS)

        assert look(home) == COLOURED
        if not was_killed:
            break
    assert (seen, k) == ({NOW, NOW + 1}, 8)


def test_a_newer_database_is_refused(old: Path) -> None:
    bring(old, COLOURS)
    connection = connect(old)

    with pytest.raises(StoreTooNew):
        refuse_newer(connection)

    refuse_newer(connection, (*MIGRATIONS, COLOURS))
    connection.close()
    assert latest_version((*MIGRATIONS, COLOURS)) == NOW + 1


def test_two_processes_apply_a_step_once(old: Path) -> None:
    slow, fast = connect(old), connect(old)

    def overtaken(point: str) -> None:
        if point == "store.migrate.begin":
            bring(old, COLOURS)

    bring_up_to_date(slow, layout.backups(old), now_us=2, crash=overtaken, migrations=(*MIGRATIONS, COLOURS))

    slow.close()
    fast.close()
    assert look(old) == COLOURED


def test_a_database_of_the_first_release_is_brought_up_to_date_with_all_that_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    connection = sqlite.connect(path, "rwc", 1.0)
    migrate(connection, now_us=1, crash=no_crash, migrations=MIGRATIONS[:1])
    connection.run("INSERT INTO project VALUES ('nlp', 1, 0)")

    migrate(connection, now_us=2, crash=no_crash)

    assert connection.schema_version() == NOW
    assert connection.rows("SELECT name FROM project") == [("nlp",)]
    connection.close()
