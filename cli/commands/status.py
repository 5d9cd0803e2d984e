"""`elisa status`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from elisa.cli.home import existing_home
from elisa.cli.output import note, print_json, show
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
    found = _read(folder, ids, project, everything=everything)
    if json:
        print_json("status", 1, status_data(found))
        return 0
    from elisa.cli.status_table import status_parts

    if not watch:
        show(*status_parts(found, native=native))
        if found.warning:
            note(f"warning: {found.warning}")
        return 0
    return _watch(folder, ids, project, everything=everything, native=native)


def _read(folder: Path, ids: Sequence[str] | None, project: str | None, *, everything: bool) -> Status:
    with Reader.open(folder) as reader:
        return read_status(reader, datetime.now(UTC), ids=tuple(ids or ()), project=project, everything=everything)


def _watch(folder: Path, ids: Sequence[str] | None, project: str | None, *, everything: bool, native: bool) -> int:
    """Show it until the user interrupts."""
    from rich.console import Group
    from rich.live import Live

    from elisa.cli.screen import Screen
    from elisa.cli.status_table import status_parts

    with Live(console=Screen(), auto_refresh=False, screen=False) as live:
        while True:
            found = _read(folder, ids, project, everything=everything)
            warning = [f"warning: {found.warning}"] if found.warning else []
            live.update(Group(*status_parts(found, native=native), *warning), refresh=True)
            time.sleep(_WATCH_S)


def status_data(found: Status) -> dict[str, object]:
    """Return the JSON form of a status."""
    return {
        "last_tick_at": found.meta.last_tick_at,
        "warning": found.warning,
        "counts": found.counts,
        "pipelines": [one._asdict() for one in found.pipelines],
        "tasks": [{**task.row._asdict(), "note": task.note} for task in found.tasks],
        "hidden": found.hidden,
    }
