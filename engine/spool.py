"""What jobs said since the last tick: only new bytes, only believed if sealed by the job and owned by its user."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from elisa.engine.files import Entry, Files
from elisa.engine.seals import event_key
from elisa.model import layout
from elisa.model.changes import CursorMoved, Noted
from elisa.model.events import EventKind, RuntimeEvent
from elisa.model.ids import AttemptId
from elisa.model.reasons import Fact
from elisa.runtime.eventfile import Record, decode_records

__all__ = ["Cursors", "Reading", "SpoolNews", "make_spool", "read_new"]

Cursors = Mapping[str, tuple[int, int]]
"""For each event file, by its path below the spool: the inode and how many bytes of it are done with."""

_SENTINEL = b"elisa spool\n"
_KINDS = frozenset(EventKind)
# One tick reads no more of one file: a job that floods its events must not stall everybody else's.
_MAXIMUM_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolNews:
    """What was read. Unless `mounted`, nothing was, and the silence of jobs means nothing.

    `unreadable` says which files the filesystem would not give us.
    """

    mounted: bool = True
    events: tuple[RuntimeEvent, ...] = ()
    cursors: tuple[CursorMoved, ...] = ()
    bad: tuple[Noted, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How event files are read: where they lie, and whose they must be to be believed."""

    files: Files
    home: Path
    secret: bytes
    uid: int


def make_spool(files: Files, home: Path) -> None:
    """Make the spool of a new state folder with the sentinel that shows that it is mounted."""
    files.make_folder(layout.spool(home))
    if not files.exists(layout.spool_sentinel(home)):
        files.write(layout.spool_sentinel(home), _SENTINEL)


def read_new(reading: Reading, attempts: Collection[AttemptId], cursors: Cursors) -> SpoolNews:
    """Return what these attempts' jobs said beyond `cursors`, in the order of the files' names.

    A record that is damaged, forged or unknown becomes a note for the audit; reading goes on behind it.
    """
    if not reading.files.exists(layout.spool_sentinel(reading.home)):
        return SpoolNews(mounted=False)
    parts = [part for attempt in sorted(attempts) for part in _read_attempt(reading, attempt, cursors)]
    return SpoolNews(
        events=tuple(event for part in parts for event in part.events),
        cursors=tuple(cursor for part in parts for cursor in part.cursors),
        bad=tuple(note for part in parts for note in part.bad),
        unreadable=tuple(words for part in parts for words in part.unreadable),
    )


def _read_attempt(reading: Reading, attempt: AttemptId, cursors: Cursors) -> Iterator[SpoolNews]:
    try:
        yield from _read_files(reading, attempt, cursors)
    except OSError as err:
        # A stale handle or a bad block under one job must not keep the others waiting.
        yield SpoolNews(unreadable=(f"events of {attempt}: {err.strerror or err}",))


def _read_files(reading: Reading, attempt: AttemptId, cursors: Cursors) -> Iterator[SpoolNews]:
    for entry in _entries(reading.files, layout.event_dir(reading.home, attempt)):
        name = f"{attempt}/{entry.name}"
        offset = _offset(entry, cursors.get(name))
        if offset == entry.size or not entry.name.endswith(".jsonl"):
            continue
        if entry.uid != reading.uid:
            yield _foreign(attempt, name, entry, offset)
        else:
            yield _read_file(reading, attempt, name, entry, offset)


def _entries(files: Files, folder: Path) -> tuple[Entry, ...]:
    """Return the files in the folder of a job's events; none if its agent has not made it yet.

    NFS may remember for a minute that there was no folder, unless the one above is opened: then it asks the server anew.
    """
    found = files.entries(folder)
    return found if found or folder.name not in files.folders(folder.parent) else files.entries(folder)


def _offset(entry: Entry, cursor: tuple[int, int] | None) -> int:
    """Return where to read on; another file under the old name, or one that shrank, is read from its beginning."""
    if cursor is None or cursor[0] != entry.inode or cursor[1] > entry.size:
        return 0
    return cursor[1]


def _foreign(attempt: AttemptId, name: str, entry: Entry, offset: int) -> SpoolNews:
    facts: dict[str, Fact] = {"file": name, "uid": entry.uid}
    return SpoolNews(
        cursors=(CursorMoved(file=name, inode=entry.inode, offset=entry.size, before=offset),),
        bad=(Noted(subject=attempt, what="foreign_event_file", facts=facts),),
    )


def _read_file(reading: Reading, attempt: AttemptId, name: str, entry: Entry, offset: int) -> SpoolNews:
    path = layout.event_dir(reading.home, attempt) / entry.name
    data = reading.files.read_from(path, offset, _MAXIMUM_BYTES)
    records, damaged, consumed = decode_records(data, event_key(reading.secret, attempt))
    events = tuple(event for event in (_event(record, attempt) for record in records) if event is not None)
    if not consumed:
        return SpoolNews()
    seq = max((event.seq for event in events), default=-1)
    moved = CursorMoved(file=name, inode=entry.inode, offset=offset + consumed, seq=seq, before=offset)
    bad = damaged + len(records) - len(events)
    note = Noted(subject=attempt, what="bad_events", facts={"file": name, "offset": offset, "count": bad})
    return SpoolNews(events=events, cursors=(moved,), bad=(note,) if bad else ())


def _event(record: Record, attempt: AttemptId) -> RuntimeEvent | None:
    """Return the event, or None if it speaks for another attempt or in words that nobody knows."""
    if record.attempt != attempt or record.kind not in _KINDS:
        return None
    try:
        at = datetime.fromtimestamp(record.at, UTC)
    except (OverflowError, OSError, ValueError):
        return None
    return RuntimeEvent(
        attempt=attempt,
        incarnation=record.incarnation,
        rank=record.rank,
        seq=record.seq,
        at=at,
        kind=EventKind(record.kind),
        data=record.data,
    )
