"""Opening a database: what is refused, in which words, and what is mended by the way."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from elisa.model import layout
from elisa.model.errors import ExitCode, StoreBusy, StoreDamaged, StoreError, StoreTooNew
from elisa.store import database, guard
from elisa.store.database import create
from elisa.store.filesystem import Filesystem
from elisa.store.migrations import latest_version
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.builders import FakeClock, SeededRandom, a_pipeline, a_task


def lies_on_a_network(folder: Path) -> Filesystem:
    return Filesystem(name="nfs4", mount_point=str(folder), is_local=False)


def trusts_every_version(version: tuple[int, ...]) -> bool:
    return version > ()


@pytest.fixture
def store(home: Path, clock: FakeClock) -> Path:
    """A closed store with one pipeline of a hundred tasks."""
    with Writer.create(home, clock=clock, random=SeededRandom(), actor="ada") as writer:
        writer.apply((a_pipeline(*(a_task(f"t{n}") for n in range(100))).added(),))
    return home


def open_writer(home: Path) -> Writer:
    return Writer.open(home, clock=FakeClock(), actor="ada", timeout_s=0.05)


def write_raw(home: Path, statement: str) -> None:
    connection = sqlite3.connect(layout.database(home))
    with connection:
        connection.execute(statement)
    connection.close()


def test_a_new_database_is_for_its_owner_alone(store: Path) -> None:
    assert layout.database(store).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in store.iterdir()) == ["audit.head", "elisa.db"]


def test_in_a_shared_folder_the_group_may_write_it_whatever_the_umask(home: Path, clock: FakeClock) -> None:
    home.chmod(0o2770)
    before = os.umask(0o077)
    try:
        create(home, clock=clock, random=SeededRandom())
    finally:
        os.umask(before)

    assert layout.database(home).stat().st_mode & 0o777 == 0o660


def test_creating_twice_leaves_the_first(store: Path, clock: FakeClock) -> None:
    with Reader.open(store) as reader:
        before = (reader.meta(), reader.pipelines())

    create(store, clock=clock, random=SeededRandom(7))

    with Reader.open(store) as reader:
        assert (reader.meta(), reader.pipelines()) == before


@pytest.mark.parametrize("code", ["EPERM", "ENOTSUP"])
def test_a_filesystem_without_hard_links_gets_a_database_too(
    home: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(getattr(errno, code), "no hard links")

    monkeypatch.setattr(os, "link", refuse)
    create(home, clock=clock, random=SeededRandom())

    with Reader.open(home) as reader:
        assert len(reader.audit()) == 1


def test_a_database_of_a_newer_elisa_is_left_alone(store: Path) -> None:
    write_raw(store, "PRAGMA user_version = 99")

    for opened in (Reader.open, open_writer):
        with pytest.raises(StoreTooNew) as refusal:
            opened(store)
        assert str(refusal.value) == (
            f"the database has schema 99, this elisa knows schemas up to {latest_version()}\n"
            f"  why: {layout.database(store)} was written by a newer elisa\n"
            "hint: use that elisa again; nothing was changed"
        )


def test_a_reader_asks_a_writer_to_bring_an_older_database_up_to_date(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = latest_version()
    monkeypatch.setattr(database, "latest_version", lambda: known + 1)

    with pytest.raises(StoreError, match=f"the database has schema {known}, this elisa reads schema {known + 1}"):
        Reader.open(store)


def damage_header(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"not a database at all" + content[21:])


def cut_off(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def scribble(path: Path) -> None:
    """Overwrite pages in the middle, the first one left as it is."""
    content = bytearray(path.read_bytes())
    content[8192:40960] = bytes(range(256)) * 128
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_header, cut_off, scribble, empty])
def test_nothing_is_written_to_a_damaged_database(store: Path, damage: Callable[[Path], None]) -> None:
    damage(layout.database(store))

    with pytest.raises(StoreDamaged) as refusal:
        open_writer(store)

    what, why, hint = str(refusal.value).splitlines()
    assert what == "the database is damaged: nothing is submitted from it"
    assert why.startswith(f"  why: {layout.database(store)}: ")
    assert hint == "hint: `elisa rebuild` puts the newest sound copy in its place and reads again what jobs said since"


def test_a_reader_names_the_damage_it_meets(store: Path) -> None:
    damage_header(layout.database(store))
    with pytest.raises(StoreDamaged):
        Reader.open(store)

    empty(layout.database(store))
    with pytest.raises(StoreError):
        Reader.open(store)


def test_damage_met_while_rows_are_read_is_named_too(store: Path) -> None:
    scribble(layout.database(store))

    with Reader.open(store) as reader, pytest.raises(StoreDamaged):
        reader.verify_audit()


def test_a_large_database_is_checked_after_somebody_died_writing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_SMALL_BYTES", 0)
    scribble(layout.database(store))
    open_writer(store).close()

    # Not the journal of a transaction, as its first byte is zero: SQLite passes over it.
    layout.database(store).with_name("elisa.db-journal").write_bytes(bytes(512))

    with pytest.raises(StoreDamaged):
        open_writer(store)


def test_a_database_that_is_locked_is_busy(store: Path) -> None:
    holder = sqlite3.connect(layout.database(store), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    with pytest.raises(StoreBusy) as refusal:
        open_writer(store)
    with pytest.raises(StoreBusy):
        Reader.open(store, timeout_s=0.05)

    holder.close()
    assert refusal.value.exit_code is ExitCode.TRY_AGAIN
    assert refusal.value.what == "another process holds the database"


def test_a_writer_that_waits_in_vain_has_done_nothing(store: Path) -> None:
    with open_writer(store) as writer:
        holder = sqlite3.connect(layout.database(store), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        before = writer.audit()

        with pytest.raises(StoreBusy):
            writer.apply((a_pipeline(a_task("more").in_pipeline("two"), name="two").added(),))

        holder.close()
        assert writer.audit() == before
        writer.apply((a_pipeline(a_task("more").in_pipeline("two"), name="two").added(),))
        assert len(writer.pipelines()) == 2


def test_a_commit_that_a_reader_holds_up_is_undone(store: Path) -> None:
    with open_writer(store) as writer:
        reader = sqlite3.connect(layout.database(store), isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM task").fetchone()

        with pytest.raises(StoreBusy):
            writer.apply((a_pipeline(a_task("more").in_pipeline("two"), name="two").added(),))

        reader.close()
        assert len(writer.pipelines()) == 1
        assert writer.verify_audit().problems == ()


def test_on_a_network_only_the_host_that_made_it_may_write(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "probe", lies_on_a_network)
    open_writer(store).close()
    write_raw(store, "UPDATE meta SET host = 'login1'")

    with pytest.raises(StoreBusy, match="this elisa state belongs to host login1") as refusal:
        open_writer(store)

    assert refusal.value.exit_code is ExitCode.TRY_AGAIN
    with Reader.open(store) as reader:
        assert len(reader.task_rows()) == 100


def test_a_host_may_take_over_from_one_that_is_gone(
    store: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "probe", lies_on_a_network)
    write_raw(store, "UPDATE meta SET host = 'login1'")

    Writer.take_over(store, clock=clock, actor="ada").close()

    with open_writer(store) as writer:
        row = writer.audit()[-1]
        assert (row.kind, row.subject, dict(row.facts)) == ("store.taken_over", writer.meta().host, {"from": "login1"})


def test_on_a_local_disk_the_name_of_the_host_does_not_matter(store: Path) -> None:
    write_raw(store, "UPDATE meta SET host = 'before-it-was-renamed'")

    open_writer(store).close()


def test_a_write_ahead_log_is_given_up_where_it_is_not_safe(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raw(store, "PRAGMA journal_mode = WAL")
    monkeypatch.setattr(database, "probe", lies_on_a_network)

    open_writer(store).close()

    connection = sqlite3.connect(layout.database(store))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_a_write_ahead_log_is_chosen_for_a_new_database_where_it_is_safe(
    home: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "allows_wal", trusts_every_version)
    with Writer.create(home, clock=clock, random=SeededRandom(), actor="ada") as writer:
        writer.apply((a_pipeline().added(),))
        found = [writer._db.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")]
        with Reader.open(home) as reader:
            assert len(reader.pipelines()) == 1

    assert found == ["wal", 2]


def test_without_one_commits_are_as_durable_as_the_disk_allows(store: Path) -> None:
    with open_writer(store) as writer:
        found = [writer._db.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")]

    assert found == ["delete", 3, 1]


def test_a_file_that_everybody_may_write_is_refused(store: Path) -> None:
    layout.database(store).chmod(0o666)

    for opened in (Reader.open, open_writer):
        with pytest.raises(StoreError, match="is not safe to use"):
            opened(store)


def test_a_link_in_the_place_of_the_database_is_refused(store: Path, tmp_path: Path) -> None:
    path = layout.database(store)
    path.rename(tmp_path / "elsewhere.db")
    path.symlink_to(tmp_path / "elsewhere.db")

    with pytest.raises(StoreError, match="is not safe to use"):
        open_writer(store)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(("mode", "is_refused"), [(0o600, True), (0o660, False)])
def test_a_store_of_somebody_else_is_written_only_if_it_is_shared(
    store: Path,
    mode: int,
    is_refused: bool,  # noqa: FBT001
) -> None:
    path = layout.database(store)
    os.chown(path, 12345, -1)
    path.chmod(mode)

    if is_refused:
        with pytest.raises(StoreError, match="is not yours"):
            open_writer(store)
    else:
        open_writer(store).close()
    Reader.open(store).close()
