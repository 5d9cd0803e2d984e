"""Tasks that want to be beside or apart from others, and where those are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from elisa.model.affinity import Affinity
from elisa.model.hostlist import expand_hosts
from elisa.model.ids import TaskId
from elisa.model.states import TaskState
from elisa.store.connection import Connection
from elisa.store.convert import placement_from, resources_from, spec_from

__all__ = ["CompanyQueries", "CompanyRow", "TiedRow"]

# A placement's text may hold the word for another reason: whoever reads it finds out.
_TIED = "SELECT id, pipeline, project, placement FROM task WHERE placement LIKE '%\"affinity\"%' AND state "
_WHO = (
    "SELECT t.id, t.pipeline, t.project, t.name, t.group_name, t.spec, t.state, a.backend, a.nodes, a.request"
    " FROM task t LEFT JOIN attempt a ON a.task = t.id AND a.number = t.attempts"
)
_OF_PIPELINES = f"{_WHO} WHERE t.pipeline IN ({{keys}}) AND t.state NOT IN "
_OF_PROJECTS = f"{_WHO} WHERE t.project IN ({{keys}}) AND t.state IN "
_BUT_NOT_WAITING = ("('waiting', 'held')", "('ready', 'active')")


class TiedRow(NamedTuple):
    """A task with wishes about others."""

    task: TaskId
    pipeline: str
    project: str
    affinity: tuple[Affinity, ...]


class CompanyRow(NamedTuple):
    """A task that others may be tied to, and where its newest attempt is or was; `nodes` are chosen or known ones."""

    task: TaskId
    pipeline: str
    project: str
    names: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    state: TaskState
    backend: str
    nodes: tuple[str, ...]


class CompanyQueries:
    """Queries for affinity."""

    _db: Connection

    def tied(self, *, ready: bool, waiting: bool = False) -> tuple[TiedRow, ...]:
        """Return the active tasks that have wishes about others, and with `ready` or `waiting` those, too."""
        states = ("active", *(("ready",) if ready else ()), *(("waiting",) if waiting else ()))
        rows = self._db.rows(f"{_TIED}IN ({', '.join('?' * len(states))}) ORDER BY id", *states)
        found = (TiedRow(TaskId(row[0]), row[1], row[2], placement_from(row[3]).affinity) for row in rows)
        return tuple(row for row in found if row.affinity)

    def company(
        self, pipelines: Collection[str], projects: Collection[str], *, waiting: bool = False
    ) -> tuple[CompanyRow, ...]:
        """Return the ready, active and ended tasks of pipelines, and the ready and active ones of projects; by id.

        With `waiting` those that wait, too.
        """
        but_not, only = ("('held')", "('waiting', 'ready', 'active')") if waiting else _BUT_NOT_WAITING
        rows = [*self._db.rows_in(_OF_PIPELINES + but_not, pipelines), *self._db.rows_in(_OF_PROJECTS + only, projects)]
        return tuple(_row(row) for row in sorted({row[0]: row for row in rows}.values(), key=lambda row: str(row[0])))


def _row(row: Sequence[Any]) -> CompanyRow:
    chosen = resources_from(row[9]).nodelist if row[9] is not None else ()
    return CompanyRow(
        task=TaskId(row[0]),
        pipeline=row[1],
        project=row[2],
        names=(row[3], row[4]) if row[4] else (row[3],),
        labels=spec_from(row[5]).labels,
        state=TaskState(row[6]),
        backend=row[7] or "",
        nodes=expand_hosts(row[8] or "") or chosen,
    )
