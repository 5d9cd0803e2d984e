from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.engine.files import Entry, OsFiles
from elisa.engine.seals import create_secret, event_key, read_secret
from elisa.engine.spool import Reading, SpoolNews, make_spool, read_new
from elisa.model import layout
from elisa.model.changes import CursorMoved, Noted
from elisa.model.errors import StoreError
from elisa.model.events import EventKind
from elisa.model.ids import AttemptId
from elisa.runtime.eventfile import Record, encode_record
from tests.builders import SeededRandom

ATTEMPT = AttemptId("t7k2m9qx4t.1")


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    files = OsFiles()
    make_spool(files, tmp_path)
    create_secret(files, tmp_path, SeededRandom())
    files.make_folder(layout.event_dir(tmp_path, ATTEMPT))
    return Reading(files=files, home=tmp_path, secret=read_secret(files, tmp_path), uid=os.geteuid())


def line(reading: Reading, seq: int, kind: str = "progress", *, attempt: str = ATTEMPT, at: float = 0.0) -> bytes:
    record = Record(attempt, 0, 0, seq, at, kind, {"step": seq, "total": None})
    return encode_record(record, event_key(reading.secret, ATTEMPT))


def say(reading: Reading, data: bytes, name: str = "0-0-0.jsonl") -> Path:
    path = layout.event_dir(reading.home, ATTEMPT) / name
    with path.open("ab") as file:
        file.write(data)
    return path


def test_only_what_is_new_is_read(reading: Reading) -> None:
    path = say(reading, line(reading, 0) + line(reading, 1))
    first = read_new(reading, [ATTEMPT], {})
    say(reading, line(reading, 2))

    cursors = {moved.file: (moved.inode, moved.offset) for moved in first.cursors}
    second = read_new(reading, [ATTEMPT], cursors)

    assert [event.seq for event in first.events] == [0, 1]
    assert [event.seq for event in second.events] == [2]
    name, inode, size = f"{ATTEMPT}/0-0-0.jsonl", path.stat().st_ino, path.stat().st_size
    assert second.cursors == (CursorMoved(file=name, inode=inode, offset=size, seq=2, before=first.cursors[0].offset),)


def test_nothing_new_is_no_news(reading: Reading) -> None:
    say(reading, line(reading, 0))
    first = read_new(reading, [ATTEMPT], {})

    again = read_new(reading, [ATTEMPT], {moved.file: (moved.inode, moved.offset) for moved in first.cursors})

    assert (again.events, again.cursors, again.bad) == ((), (), ())


def test_a_line_that_is_still_being_written_waits(reading: Reading) -> None:
    whole = line(reading, 1)
    say(reading, line(reading, 0) + whole[:-9])

    first = read_new(reading, [ATTEMPT], {})
    say(reading, whole[-9:])
    second = read_new(reading, [ATTEMPT], {moved.file: (moved.inode, moved.offset) for moved in first.cursors})

    assert [event.seq for event in (*first.events, *second.events)] == [0, 1]
    assert second.bad == ()


def test_another_file_under_the_old_name_is_read_from_its_beginning(reading: Reading) -> None:
    path = say(reading, line(reading, 0) + line(reading, 1))
    [moved] = read_new(reading, [ATTEMPT], {}).cursors
    path.rename(path.with_suffix(".old"))
    say(reading, line(reading, 7))

    news = read_new(reading, [ATTEMPT], {moved.file: (moved.inode, moved.offset)})

    assert [event.seq for event in news.events] == [7]
    assert news.cursors[0].before == 0


@pytest.mark.parametrize(
    "forged",
    [
        encode_record(Record(ATTEMPT, 0, 0, 5, 0.0, "exited", {"exit_code": 0}), bytes(32)),
        b"\nrubbish\n",
    ],
    ids=["another key", "rubbish"],
)
def test_what_the_job_did_not_seal_is_noted_and_passed(reading: Reading, forged: bytes) -> None:
    say(reading, forged + line(reading, 1))

    news = read_new(reading, [ATTEMPT], {})

    assert [event.seq for event in news.events] == [1]
    facts = {"file": f"{ATTEMPT}/0-0-0.jsonl", "offset": 0, "count": 1}
    assert news.bad == (Noted(subject=ATTEMPT, what="bad_events", facts=facts),)


@pytest.mark.parametrize(
    ("kind", "attempt", "at"),
    [("dance", ATTEMPT, 0.0), ("exited", "t7k2m9qx4t.2", 0.0), ("exited", ATTEMPT, 1e30)],
    ids=["unknown word", "for another attempt", "impossible time"],
)
def test_a_sealed_event_that_makes_no_sense_is_noted(reading: Reading, kind: str, attempt: str, at: float) -> None:
    say(reading, line(reading, 0, kind, attempt=attempt, at=at))

    news = read_new(reading, [ATTEMPT], {})

    assert news.events == ()
    assert [note.what for note in news.bad] == ["bad_events"]
    assert [moved.offset for moved in news.cursors] == [len(line(reading, 0, kind, attempt=attempt, at=at))]


def test_a_file_of_another_user_is_not_believed(reading: Reading) -> None:
    say(reading, line(reading, 0))

    news = read_new(replace(reading, uid=reading.uid + 1), [ATTEMPT], {})

    assert news.events == ()
    assert [note.what for note in news.bad] == ["foreign_event_file"]


def test_a_link_is_not_followed(reading: Reading) -> None:
    other = say(reading, line(reading, 0), "elsewhere")
    (other.parent / "0-0-0.jsonl").symlink_to(other)

    assert read_new(reading, [ATTEMPT], {}).events == ()


def test_without_the_sentinel_nothing_is_read_and_that_is_said(reading: Reading) -> None:
    say(reading, line(reading, 0))
    layout.spool_sentinel(reading.home).unlink()

    news = read_new(reading, [ATTEMPT], {})

    assert (news.mounted, news.events, news.cursors) == (False, (), ())


def test_a_job_whose_agent_has_made_no_folder_yet_has_said_nothing(reading: Reading) -> None:
    reading.files.make_folder(layout.spool_dir(reading.home, AttemptId("t000000000.1")))

    assert read_new(reading, [AttemptId("t000000000.1")], {}) == SpoolNews()


class Remembering(OsFiles):
    """A filesystem that believes that there is no folder of events until it is asked about the folder above."""

    def __init__(self) -> None:
        super().__init__()
        self.believes = True

    def entries(self, folder: Path) -> tuple[Entry, ...]:
        return () if self.believes else super().entries(folder)

    def folders(self, folder: Path) -> tuple[str, ...]:
        self.believes = False
        return super().folders(folder)


def test_a_folder_that_the_filesystem_remembers_as_missing_is_found(reading: Reading) -> None:
    say(reading, line(reading, 0))

    news = read_new(replace(reading, files=Remembering()), [ATTEMPT], {})

    assert [event.data["step"] for event in news.events] == [0]


class Stale(OsFiles):
    """A filesystem on which one attempt's folder has become unreadable."""

    def entries(self, folder: Path) -> tuple[Entry, ...]:
        if ATTEMPT in folder.parts:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(folder))
        return super().entries(folder)


def test_one_unreadable_folder_does_not_silence_the_others(reading: Reading) -> None:
    other = AttemptId("t000000000.1")
    reading.files.make_folder(layout.event_dir(reading.home, other))
    record = Record(other, 0, 0, 0, 0.0, EventKind.STARTED.value, {})
    (layout.event_dir(reading.home, other) / "0-0-0.jsonl").write_bytes(
        encode_record(record, event_key(reading.secret, other))
    )

    news = read_new(replace(reading, files=Stale()), [ATTEMPT, other], {})

    assert [event.attempt for event in news.events] == [other]
    assert news.unreadable == (f"events of {ATTEMPT}: {os.strerror(errno.ESTALE)}",)


def test_a_flood_is_read_in_bounded_pieces(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elisa.engine.spool._MAXIMUM_BYTES", 1000)
    say(reading, b"".join(line(reading, seq) for seq in range(50)))

    cursors: dict[str, tuple[int, int]] = {}
    seen: list[int] = []
    for _ in range(20):
        news = read_new(reading, [ATTEMPT], cursors)
        cursors |= {moved.file: (moved.inode, moved.offset) for moved in news.cursors}
        seen += [event.seq for event in news.events]

    assert seen == list(range(50))


def test_without_its_key_no_event_is_believed(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        read_secret(OsFiles(), tmp_path)

    assert "events.key" in caught.value.what


def test_keys_differ_from_attempt_to_attempt(reading: Reading) -> None:
    assert event_key(reading.secret, ATTEMPT) != event_key(reading.secret, AttemptId("t7k2m9qx4t.2"))
