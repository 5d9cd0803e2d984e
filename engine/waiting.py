"""Waiting between two ticks: on the real clock until something happens, on a virtual one by jumping to it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, runtime_checkable

from elisa.engine.clearing import asked_at, clearing_stops, with_closures
from elisa.engine.outcome import TickReport
from elisa.engine.parking import parting_moments
from elisa.engine.rules import ruled_by
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.ids import AttemptId
from elisa.store.reader import Reader

__all__ = ["Foretells", "Jumps", "Wait", "jump", "pause", "wait_for"]

# Fast enough for a chain of short tasks, and 50 looks cost no more than the pause between two.
_SHORTEST_S = 0.05
_COST_FACTOR = 50.0
# A job has said that it ended, but its slot is not free yet; or it is over, but has not said how: look again soon.
_SOON_S = 0.1
_JUMP_IN_DOUBT = timedelta(seconds=30)
_LONGEST_JUMP = timedelta(minutes=10)
_TAIL_BYTES = 64 * 1024
# The other kinds change nothing that a plan looks at, and can wait for the next regular tick.
_URGENT = (b'"k":"exited"', b'"k":"refused"', b'"k":"checkpoint"', b'"k":"output"')

_Stamp = tuple[int, ...]


@runtime_checkable
class Jumps(Protocol):
    """A clock that can be set forward."""

    def jump_to(self, moment: datetime) -> None:
        """Make it `moment`."""
        ...


@runtime_checkable
class Foretells(Protocol):
    """A backend that knows when something next happens in it."""

    def next_event_at(self) -> datetime | None:
        """Return the moment, None if nothing goes on."""
        ...


class Wait(Protocol):
    """Lets time pass after a tick, `longest_s` at most where time is real."""

    def __call__(self, ws: Workspace, report: TickReport, longest_s: float) -> None: ...


def wait_for(ws: Workspace) -> Wait:
    """Return the way to wait that fits the clock."""
    return jump if isinstance(ws.clock, Jumps) else pause


def jump(ws: Workspace, report: TickReport, longest_s: float) -> None:  # noqa: ARG001 - virtual time costs nothing
    """Set the clock to the next moment at which anything can happen."""
    assert isinstance(ws.clock, Jumps)
    now = ws.clock.now()
    is_doubtful = report.in_doubt or report.exit_code
    if not is_doubtful and _must_stop_something(ws, now):
        return
    moments = [moment for moment in (*_moments(ws), *_growing(ws, report, now)) if moment > now]
    latest = now + (_JUMP_IN_DOUBT if is_doubtful else _LONGEST_JUMP)
    ws.clock.jump_to(min(moments, default=latest) if not is_doubtful else min([*moments, latest]))


def _moments(ws: Workspace) -> Iterator[datetime]:
    foretold = [backend.next_event_at() for backend in ws.backends.values() if isinstance(backend, Foretells)]
    with Reader.open(ws.home) as reader:
        yield from (moment for moment in (*foretold, reader.next_look_at()) if moment is not None)
        for closure in with_closures(ws.site.policy(), reader, ws.clock.now()).closures:
            yield from (asked_at(ws, closure), closure.starts_at, closure.ends_at)
        for one in ruled_by(ws.site, reader.rules()).reservations:
            yield from (one.starts_at, one.ends_at)
        yield from parting_moments(ws, reader, ws.clock.now())


def _growing(ws: Workspace, report: TickReport, now: datetime) -> Iterator[datetime]:
    """Yield when to look again for elastic work that has room to grow, or has had some since this tick perhaps."""
    with Reader.open(ws.home) as reader:
        rows = [row for row in reader.running(now) if row.may_resize]
    if any(report.did_something or row.roomy_us for row in rows):
        yield now + _LONGEST_JUMP


def _must_stop_something(ws: Workspace, now: datetime) -> bool:
    """Tell whether something has to leave, for a place closes or a budget is used up: a tick's work at this moment."""
    with Reader.open(ws.home) as reader:
        live = {one.id: one for one in reader.live_attempts()}
        has_to_park = any(moment <= now for moment in parting_moments(ws, reader, now))
        return has_to_park or bool(clearing_stops(ws, reader, live, now))


def pause(ws: Workspace, report: TickReport, longest_s: float) -> None:
    """Sleep until a job ends, or saves, or a person changes the store; `longest_s` seconds at most."""
    if (report.did_something and report.waiting) or (report.in_doubt and not _asks_others(ws)):
        longest_s = min(longest_s, _SOON_S)
    watch = _Watch(ws.home, report)
    until = time.monotonic() + longest_s
    while (left_s := until - time.monotonic()) > 0:
        began = time.monotonic()
        if watch.has_news():
            return
        cost_s = time.monotonic() - began
        time.sleep(min(left_s, max(_SHORTEST_S, _COST_FACTOR * cost_s)))


def _asks_others(ws: Workspace) -> bool:
    """Tell whether a tick puts questions to a resource manager that serves others too."""
    return any(backend.capabilities.queues for backend in ws.backends.values())


class _Watch:
    """Sees event files grow beyond what the tick read, and the store beyond what it left, by looking."""

    def __init__(self, home: Path, report: TickReport) -> None:
        self._home = home
        self._revision = report.revision
        self._folders = [layout.event_dir(home, attempt) for attempt in report.live]
        self._stamp: _Stamp = ()
        with Reader.open(home) as reader:
            cursors = reader.events_cursor().items()
        self._sizes = {str(_event_file(home, name)): offset for name, (_, offset) in cursors}

    def has_news(self) -> bool:
        """Tell whether something urgent was written since the last call."""
        return self._has_new_events() or self._was_changed()

    def _has_new_events(self) -> bool:
        sizes = dict(_sizes(self._folders))
        grown = [(path, self._sizes.get(path, 0)) for path, size in sizes.items() if size != self._sizes.get(path, 0)]
        self._sizes |= sizes
        return any(_is_urgent(path, offset) for path, offset in grown)

    def _was_changed(self) -> bool:
        database = layout.database(self._home)
        stamp = tuple(part for path in (database, Path(f"{database}-wal")) if path.exists() for part in _times(path))
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        with Reader.open(self._home) as reader:
            return reader.revision() != self._revision


def _event_file(home: Path, name: str) -> Path:
    attempt, _, file = name.partition("/")
    return layout.event_dir(home, AttemptId(attempt)) / file


def _times(path: Path) -> _Stamp:
    status = path.stat()
    return (status.st_mtime_ns, status.st_size)


def _sizes(folders: Iterable[Path]) -> Iterator[tuple[str, int]]:
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                yield from ((entry.path, entry.stat(follow_symlinks=False).st_size) for entry in entries)
        except (
            FileNotFoundError
        ):  # its agent makes it, and NFS forgets that there was none when the one above is opened
            with suppress(FileNotFoundError), os.scandir(folder.parent):
                continue


def _is_urgent(path: str, offset: int) -> bool:
    with open(path, "rb") as file:
        file.seek(offset)
        tail = file.read(_TAIL_BYTES)
    return any(mark in tail for mark in _URGENT)
