"""What the store says of itself, of projects and pipelines; and which thing a person means by a few letters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from elisa.model.errors import UsageError
from elisa.model.ids import AttemptId, PipelineId, ProjectName, TaskId
from elisa.model.rows import PipelineSummary, ProjectRow, StoreMeta
from elisa.model.states import FINAL_TASK_STATES, TaskState
from elisa.model.task import PipelineRecord
from elisa.store.connection import Connection
from elisa.store.convert import PIPELINE_COLUMNS, from_us, pipeline_from, read_facts, spec_from

__all__ = ["LookupQueries"]

_LISTED_CANDIDATES = 10
# Above every letter and digit that an id is made of, in any collation.
_LAST = "zzzzzzzzzzzzzzzz"


class LookupQueries:
    """Queries by name and id."""

    _db: Connection

    def meta(self) -> StoreMeta:
        """Return what the store says of itself."""
        changed = "(SELECT at FROM audit ORDER BY seq DESC LIMIT 1)"
        query = f"SELECT instance, host, created_at, last_tick_at, ticks, last_tick, {changed} FROM meta"
        instance, host, created_at, last_tick_at, ticks, last_tick, changed_at = self._db.rows(query)[0]
        return StoreMeta(
            instance=instance,
            schema_version=self._db.schema_version(),
            host=host,
            created_at=from_us(created_at),
            last_tick_at=from_us(last_tick_at),
            ticks=ticks,
            last_tick=read_facts(last_tick),
            changed_at=from_us(changed_at),
        )

    def revision(self) -> int:
        """Return the number of transactions so far: as long as it stays, nothing has changed."""
        return int(self._db.rows("SELECT revision FROM meta")[0][0])

    def projects(self) -> tuple[ProjectRow, ...]:
        """Return every project, by name."""
        rows = self._db.rows("SELECT name, created_at, in_policy FROM project ORDER BY name")
        return tuple(ProjectRow(ProjectName(name), from_us(at), bool(listed)) for name, at, listed in rows)

    def pipelines(self, *, project: str | None = None, unfinished_only: bool = False) -> tuple[PipelineSummary, ...]:
        """Return pipelines with their counts of tasks by state, the oldest first."""
        query = "SELECT id, name, project, owner_uid, owner, submitted_at, deadline FROM pipeline"
        order = " ORDER BY submitted_at, id"
        rows = (
            self._db.rows(query + order)
            if project is None
            else self._db.rows(f"{query} WHERE project = ?{order}", project)
        )
        counts = self._counts()
        summaries = (_summary(row, counts.get(row[0], {})) for row in rows)
        return tuple(row for row in summaries if not unfinished_only or not row.counts.keys() <= FINAL_TASK_STATES)

    def _counts(self) -> dict[str, dict[TaskState, int]]:
        counts: defaultdict[str, dict[TaskState, int]] = defaultdict(dict)
        for pipeline, state, count in self._db.rows(
            "SELECT pipeline, state, COUNT(*) FROM task GROUP BY pipeline, state"
        ):
            counts[pipeline][TaskState(state)] = count
        return counts

    def pipeline(self, pipeline: PipelineId) -> PipelineRecord:
        """Return a pipeline with the specs of the tasks it was submitted with. Raises UsageError if there is none."""
        rows = self._db.rows(f"SELECT {PIPELINE_COLUMNS} FROM pipeline WHERE id = ?", pipeline)
        if not rows:
            raise _nothing(pipeline)
        specs = self._db.rows("SELECT spec FROM task WHERE pipeline = ? AND parent IS NULL ORDER BY position", pipeline)
        return pipeline_from(rows[0], tuple(spec_from(spec) for (spec,) in specs))

    def resolve(self, text: str) -> PipelineId | TaskId | AttemptId:
        """Return the one id that `text` means: an id, the beginning of one, a pipeline's name, or `pipeline/task`.

        In the last the pipeline may be given by its name or the beginning of its id. Raises UsageError, with the
        candidates, if nothing or more than one thing is meant.
        """
        name, slash, task = text.partition("/")
        found = self._task_named(name, task) if slash else self._meant(text)
        if len(found) != 1:
            raise _ambiguous(text, found) if found else _nothing(text)
        return found[0]

    def _meant(self, text: str) -> Sequence[PipelineId | TaskId | AttemptId]:
        found = self._beginning_with(text)
        if found == [text]:
            return found
        query = "SELECT id FROM pipeline WHERE name = ? ORDER BY submitted_at DESC, id LIMIT ?"
        named = self._db.rows(query, text, _LISTED_CANDIDATES + 1)
        return list(dict.fromkeys([*(row[0] for row in named), *found]))

    def _beginning_with(self, prefix: str) -> Sequence[PipelineId | TaskId | AttemptId]:
        table = "pipeline" if prefix.startswith("p") else "attempt" if "." in prefix else "task"
        exact = self._db.rows(f"SELECT id FROM {table} WHERE id = ?", prefix)
        query = f"SELECT id FROM {table} WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?"
        rows = exact or self._db.rows(query, prefix, prefix + _LAST, _LISTED_CANDIDATES + 1)
        return [row[0] for row in rows if prefix]

    def _task_named(self, pipeline: str, task: str) -> list[TaskId]:
        query = (
            "SELECT t.id FROM task t JOIN pipeline p ON p.id = t.pipeline"
            " WHERE t.name = ? AND (p.name = ? OR (p.id >= ? AND p.id <= ?)) ORDER BY p.submitted_at DESC, t.id LIMIT ?"
        )
        rows = self._db.rows(query, task, pipeline, pipeline, pipeline + _LAST, _LISTED_CANDIDATES + 1)
        return [TaskId(row[0]) for row in rows]


def _summary(row: tuple[Any, ...], counts: dict[TaskState, int]) -> PipelineSummary:
    key, name, project, owner_uid, owner, submitted_at, deadline = row
    return PipelineSummary(
        id=PipelineId(key),
        name=name,
        project=ProjectName(project),
        owner_uid=owner_uid,
        owner=owner,
        submitted_at=from_us(submitted_at),
        deadline=from_us(deadline),
        counts=counts,
    )


def _nothing(text: str) -> UsageError:
    return UsageError(
        f"nothing is called `{text}`",
        "no pipeline has that name, and no pipeline, task or attempt that id",
        "`elisa status --all` lists what there is; a task goes by its id, or as PIPELINE/TASK",
    )


def _ambiguous(text: str, found: Sequence[str]) -> UsageError:
    listed = ", ".join(found[:_LISTED_CANDIDATES]) + (", ..." if len(found) > _LISTED_CANDIDATES else "")
    is_beginning = all(one.startswith(text) for one in found)
    hint = "write more of the id" if is_beginning else "use one of these ids; `elisa status --all` tells them apart"
    return UsageError(f"`{text}` means more than one thing", listed, hint)
