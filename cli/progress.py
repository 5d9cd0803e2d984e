"""Live progress of work being ticked: a table that moves on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from elisa.model.errors import ExitCode
from elisa.model.ids import PipelineId, TaskId
from elisa.model.states import TaskState
from elisa.model.text import clean
from elisa.report.status import Status, StatusTask, read_status
from elisa.store.reader import Reader

from .output import note

if TYPE_CHECKING:
    from rich.live import Live

__all__ = ["Progress", "exit_code_of", "showing_progress"]


class Progress(Protocol):
    """Is told after each tick."""

    def update(self) -> None:
        """Show how things stand now."""
        ...

    def say(self, text: str) -> None:
        """Say one line beside it."""
        ...


@contextmanager
def showing_progress(home: Path, pipelines: Collection[PipelineId] = ()) -> Iterator[Progress]:
    """Show progress on stderr while the block runs; of these pipelines, or of all that are unfinished."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(stderr=True, highlight=False, markup=False), auto_refresh=False) as live:
            yield _Table(home, pipelines, live)
    else:
        yield _Lines(home, pipelines)


def _read(home: Path, pipelines: Collection[PipelineId], *, everything: bool) -> Status:
    with Reader.open(home) as reader:
        return read_status(reader, datetime.now(UTC), ids=tuple(pipelines), everything=everything)


class _Table:
    def __init__(self, home: Path, pipelines: Collection[PipelineId], live: Live) -> None:
        self._home = home
        self._pipelines = pipelines
        self._live = live

    def update(self) -> None:
        from rich.console import Group

        from .status_table import status_parts

        found = _read(self._home, self._pipelines, everything=bool(self._pipelines))
        self._live.update(Group(*status_parts(found, native=False)), refresh=True)

    def say(self, text: str) -> None:
        self._live.console.print(clean(text), markup=False)


class _Lines:
    """One line a change of state: fit for a log."""

    def __init__(self, home: Path, pipelines: Collection[PipelineId]) -> None:
        self._home = home
        self._pipelines = pipelines
        self._told: dict[TaskId, tuple[TaskState, int]] = {}

    def update(self) -> None:
        for task in _read(self._home, self._pipelines, everything=True).tasks:
            seen = (task.row.state, task.row.attempts)
            if self._told.get(task.row.id) != seen:
                self._told[task.row.id] = seen
                sys.stderr.write(_line(task) + "\n")
        sys.stderr.flush()

    def say(self, text: str) -> None:
        note(text)


def _line(task: StatusTask) -> str:
    row = task.row
    tries = f" (attempt {row.attempts})" if row.attempts > 1 else ""
    note = f": {clean(task.note)}" if task.note and row.state is not TaskState.ACTIVE else ""
    return f"{row.id} {clean(row.name)} is {row.state.value}{tries}{note}"


def exit_code_of(home: Path, pipelines: Collection[PipelineId]) -> int:
    """Return 0 if every task of these pipelines has succeeded or was skipped, else 3: work failed, or is not finished."""
    with Reader.open(home) as reader:
        states = {state for one in reader.pipelines() if one.id in pipelines for state in one.counts}
    good = {TaskState.SUCCEEDED, TaskState.SKIPPED}
    return int(ExitCode.DONE if states <= good else ExitCode.UNFINISHED)
