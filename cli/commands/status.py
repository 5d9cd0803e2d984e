"""`elisa status`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from elisa.cli.due_words import judged_data
from elisa.cli.home import existing_home
from elisa.cli.output import note, print_json, show
from elisa.cli.places_words import (
    avoided_data,
    avoided_words,
    closure_data,
    closure_words,
    reservation_data,
    reservation_words,
)
from elisa.engine.avoidance import Avoided, learnt
from elisa.model.closures import Reservation
from elisa.model.rules import RuleKind
from elisa.model.text import clean
from elisa.report.status import Status, read_status
from elisa.store.reader import Reader

__all__ = ["status", "status_data"]

_WATCH_S = 2.0


def status(
    *,
    ids: Sequence[str] | None,
    project: str | None,
    everything: bool,
    native: bool,
    watch: bool,
    home: str | None,
    json: bool,
) -> int:
    """Print what stands where, once or again and again."""
    folder = existing_home(home)
    found, places = _read(folder, ids, project, everything=everything)
    if json:
        print_json("status", 1, status_data(found, *places))
        return 0
    from elisa.cli.status_table import status_parts

    if not watch:
        show(*status_parts(found, native=native), *_told(found, places))
        if found.warning:
            note(f"warning: {found.warning}")
        if found.alarms:
            note(f"alarm: {found.alarms}")
        return 0
    return _watch(folder, ids, project, everything=everything, native=native)


class _Places(NamedTuple):
    """What a status says of places beside what was closed: what is avoided, and what people reserved."""

    avoided: tuple[Avoided, ...]
    reserved: tuple[Reservation, ...]


def _read(folder: Path, ids: Sequence[str] | None, project: str | None, *, everything: bool) -> tuple[Status, _Places]:
    with Reader.open(folder) as reader:
        now = datetime.now(UTC)
        found = read_status(reader, now, ids=tuple(ids or ()), project=project, everything=everything)
        now = found.meta.present(now)
        return found, _Places(learnt(reader, now), _reserved(reader, now))


def _reserved(reader: Reader, now: datetime) -> tuple[Reservation, ...]:
    if all(rule.kind is not RuleKind.RESERVATION for rule in reader.rules()):
        return ()
    # It knows how site.yaml is read, and loading that costs more than all of a status.
    from elisa.engine.reserving import people_s

    return people_s(reader, now)


def _told(found: Status, places: _Places) -> Iterator[str]:
    """Say which places get no work, or only some."""
    now = found.meta.present(datetime.now(UTC))
    yield from (clean(closure_words(one, now)) for one in found.closures)
    yield from (clean(reservation_words(one, now)) for one in places.reserved)
    yield from (clean(avoided_words(one, now)) for one in places.avoided)


def _watch(folder: Path, ids: Sequence[str] | None, project: str | None, *, everything: bool, native: bool) -> int:
    """Show it until the user interrupts."""
    from rich.console import Group
    from rich.live import Live

    from elisa.cli.screen import Screen
    from elisa.cli.status_table import status_parts

    with Live(console=Screen(), auto_refresh=False, screen=False) as live:
        while True:
            found, places = _read(folder, ids, project, everything=everything)
            warning = [f"warning: {found.warning}"] if found.warning else []
            warning += [f"alarm: {found.alarms}"] if found.alarms else []
            live.update(Group(*status_parts(found, native=native), *_told(found, places), *warning), refresh=True)
            time.sleep(_WATCH_S)


def status_data(
    found: Status, avoided: Sequence[Avoided] = (), reserved: Sequence[Reservation] = ()
) -> dict[str, object]:
    """Return the JSON form of a status."""
    return {
        "last_tick_at": found.meta.last_tick_at,
        "warning": found.warning,
        "alarms": found.alarms,
        "counts": found.counts,
        "pipelines": [{**one._asdict(), "due": judged_data(found.deadlines.get(one.id))} for one in found.pipelines],
        "tasks": [{**task.row._asdict(), "note": task.note} for task in found.tasks],
        "hidden": found.hidden,
        "closures": [closure_data(one) for one in found.closures],
        "reservations": [reservation_data(one) for one in reserved],
        "avoided": [avoided_data(one) for one in avoided],
    }
