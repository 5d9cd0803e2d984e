"""The tables of `elisa status`."""

from __future__ import annotations

from collections.abc import Iterator

from elisa.model.rows import PipelineSummary
from elisa.model.text import clean
from elisa.report.status import Status, StatusTask

from .due_words import judged_words
from .grid import STATE_COLOURS, Grid, Words, counts_words

__all__ = ["status_parts"]


def status_parts(found: Status, *, native: bool) -> Iterator[str | Words | Grid]:
    """Give the pipelines, the tasks and a last line, as far as there are any."""
    if not found.pipelines:
        yield "nothing is queued; `elisa status --all` shows what has finished"
        return
    yield _pipelines_table(found.pipelines)
    yield from _lost_deadlines(found)
    if found.tasks:
        yield ""
        yield _tasks_table(found.tasks, native=native)
    if found.hidden:
        yield Words(f"and {found.hidden} more tasks; `elisa status --all` shows every one", "dim")


def _lost_deadlines(found: Status) -> Iterator[str | Words | Grid]:
    """Say which deadlines can no longer be met, and what it would take."""
    names = {one.id: one.name for one in found.pipelines}
    for pipeline, judged in found.deadlines.items():
        if not judged.verdict.is_reachable:
            yield Words(f"{clean(names[pipeline])} ({pipeline}): {clean(judged_words(judged))}", "red")


def _pipelines_table(pipelines: tuple[PipelineSummary, ...]) -> Grid:
    # A column without a word in it only makes the others narrow.
    deadline = ("deadline",) if any(one.deadline for one in pipelines) else ()
    columns = ("pipeline", "name", "project", "owner", "submitted", *deadline, "tasks")
    table = Grid(*columns, whole=("pipeline", "submitted", "deadline"))
    for one in pipelines:
        table.add_row(
            one.id,
            clean(one.name),
            clean(one.project),
            clean(one.owner),
            f"{one.submitted_at.astimezone():%m-%d %H:%M}",
            *(f"{one.deadline.astimezone():%m-%d %H:%M}" if one.deadline else "-" for _ in deadline),
            counts_words({state.value: count for state, count in one.counts.items()}),
        )
    return table


def _tasks_table(tasks: tuple[StatusTask, ...], *, native: bool) -> Grid:
    extra = ("native id", "queue says") if native else ()
    table = Grid("task", "name", "state", "tries", *extra, "note", whole=("task", "state", "tries"))
    for task in tasks:
        row = task.row
        words = (row.native_id or "-", clean(row.native_detail or "-")) if native else ()
        state = (Words(row.state.value, STATE_COLOURS[row.state.value]),)
        table.add_row(row.id, clean(row.name), state, str(row.attempts), *words, clean(task.note))
    return table
