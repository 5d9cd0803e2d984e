"""What the shell may complete: ids and projects of the state folder. Never raises: a broken completion breaks the shell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elisa.store.reader import Reader

__all__ = ["complete_id", "complete_project", "complete_task"]

Row = tuple[str, str]


def complete_id(incomplete: str) -> list[Row]:
    """Offer pipelines and tasks that begin so."""
    return _offer(incomplete, lambda reader: (*_pipelines(reader), *_tasks(reader)))


def complete_task(incomplete: str) -> list[Row]:
    """Offer tasks that begin so."""
    return _offer(incomplete, lambda reader: tuple(_tasks(reader)))


def complete_project(incomplete: str) -> list[Row]:
    """Offer projects that begin so."""
    return _offer(incomplete, lambda reader: tuple((row.name, "") for row in reader.projects()))


def _offer(incomplete: str, rows: Callable[[Reader], tuple[Row, ...]]) -> list[Row]:
    try:
        from elisa.store.reader import Reader

        from .home import existing_home

        with Reader.open(existing_home(None)) as reader:
            return [row for row in rows(reader) if row[0].startswith(incomplete)][:200]
    except Exception:  # noqa: BLE001 - the shell would print the traceback into the user's command line
        return []


def _pipelines(reader: Reader) -> Iterator[Row]:
    return ((str(row.id), row.name) for row in reader.pipelines(unfinished_only=True))


def _tasks(reader: Reader) -> Iterator[Row]:
    return ((str(row.id), row.name) for row in reader.task_rows(limit=2000))
