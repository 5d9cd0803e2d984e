"""Tasks and attempts: whole, or as the light rows of a status table."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from elisa.model.errors import UsageError
from elisa.model.ids import AttemptId, BackendName, NativeId, PipelineId, ProjectName, TaskId
from elisa.model.rows import GangMember, OutputRow, TaskRow
from elisa.model.states import AttemptState, TaskState
from elisa.model.task import Attempt, CheckpointRef, Task, Verdict
from elisa.store.connection import Connection
from elisa.store.convert import ATTEMPT_COLUMNS, TASK_COLUMNS, attempt_from, from_us, read_facts, spec_from, task_from

__all__ = ["OWN_NUMBER", "TaskQueries"]

_TASK_STATES = {state.value: state for state in TaskState}
_NOTHING = frozenset({None, "[]"})
# A task's own attempt is the newest one that is not queued ahead, and was not in vain.
OWN_NUMBER = "(SELECT MAX(o.number) FROM attempt o WHERE o.task = t.id AND o.continues IS NULL)"
_ATTEMPT_STATES = {state.value: state for state in AttemptState}
_STATUS = (
    "SELECT t.id, t.name, t.group_name, t.pipeline, p.name, t.project, t.owner_uid, t.state, t.attempts, t.failures,"
    " t.cancel_requested, t.submitted_at, t.ready_at, t.ended_at, t.not_before, v.code, a.id, a.state, a.backend,"
    " a.partition_name, a.native_id, a.native_detail, a.started_at, a.end_reason, a.last_checkpoint, a.behind, t.hold_requested"
    " FROM task t"
    " JOIN pipeline p ON p.id = t.pipeline"
    f" LEFT JOIN attempt a ON a.task = t.id AND a.number = {OWN_NUMBER}"
    " LEFT JOIN verdict v ON v.task = t.id"
)


_GANGS_IN_PARTS = (
    "SELECT DISTINCT r.pipeline FROM task r WHERE r.state = 'ready' AND r.gang <> '' AND EXISTS (SELECT 1 FROM task w"
    " WHERE w.pipeline = r.pipeline AND w.state = 'waiting' AND w.gang = r.gang) ORDER BY r.pipeline"
)
_GANG_MEMBERS = (
    "SELECT id, pipeline, gang, gang_minimum, spec FROM task WHERE state = 'active' AND gang <> '' ORDER BY id"
)
_SUCCEEDED_MEMBERS = (
    "SELECT pipeline, gang, COUNT(*) FROM task WHERE gang <> '' AND gang_minimum > 0 AND state = 'succeeded'"
    " GROUP BY pipeline, gang"
)
_READY_MEMBERS = (
    "SELECT pipeline, gang, COUNT(*), MAX(ready_at) FROM task WHERE pipeline IN ({keys}) AND state = 'ready' AND gang <> ''"
    " AND cancel_requested = 0 GROUP BY pipeline, gang"
)
# A gang's room is not one task's, and a closure's nodes are no promise.
_PROMISES = (
    "SELECT v.task, v.facts FROM verdict v JOIN task t ON t.id = v.task WHERE t.state = 'ready' AND t.gang = ''"
    " AND v.code IN ('no_room', 'reserved_for_higher', 'held_for') AND v.facts LIKE '%starts_at%' ORDER BY v.task"
)

_PROGRESS = "SELECT attempt, MAX(step) FROM metric WHERE name = 'progress' AND attempt IN ({keys}) GROUP BY attempt"


class TaskQueries:
    """Queries for tasks and their attempts."""

    _db: Connection

    def task(self, task: TaskId) -> Task:
        """Return a task. Raises UsageError if there is none."""
        found = self.tasks((task,))
        if task not in found:
            raise UsageError(f"there is no task `{task}`", "no task has that id", "`elisa status` lists what there is")
        return found[task]

    def tasks(self, tasks: Collection[TaskId]) -> Mapping[TaskId, Task]:
        """Return those of the tasks that exist."""
        metrics = self.metrics(tasks)
        rows = self._db.rows_in(f"SELECT {TASK_COLUMNS} FROM task WHERE id IN ({{keys}})", tasks)
        return {row[0]: task_from(row, metrics.get(row[0], _NO_METRICS)) for row in rows}

    def progress_of(self, attempts: Collection[AttemptId]) -> Mapping[AttemptId, int]:
        """Return the last step that each attempt reported as done, of those that reported any."""
        return {AttemptId(row[0]): row[1] for row in self._db.rows_in(_PROGRESS, attempts)}

    def tasks_of(self, pipeline: PipelineId) -> tuple[Task, ...]:
        """Return every task of a pipeline, each template before what was made from it."""
        rows = self._db.rows("SELECT id FROM task WHERE pipeline = ? ORDER BY position", pipeline)
        found = self.tasks([TaskId(row[0]) for row in rows])
        return tuple(found[TaskId(row[0])] for row in rows)

    def metrics(self, tasks: Collection[TaskId]) -> Mapping[TaskId, Mapping[str, float]]:
        """Return the newest numbers of each task that reported any."""
        found: defaultdict[TaskId, dict[str, float]] = defaultdict(dict)
        query = "SELECT task, name, value FROM latest_metric WHERE task IN ({keys})"
        for task, name, value in self._db.rows_in(query, tasks):
            found[task][name] = math.nan if value is None else value
        return {task: MappingProxyType(values) for task, values in found.items()}

    def task_rows(
        self,
        *,
        project: str | None = None,
        pipeline: str | None = None,
        states: Collection[TaskState] | None = None,
        limit: int | None = None,
    ) -> tuple[TaskRow, ...]:
        """Return tasks by submission, pipeline and place in it, as light rows."""
        given = {"t.project": project, "t.pipeline": pipeline}
        values: list[object] = [value for value in given.values() if value is not None]
        conditions = [f"{column} = ?" for column, value in given.items() if value is not None]
        if states is not None:
            conditions.append(f"t.state IN ({','.join('?' * len(states))})")
            values += [state.value for state in states]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"{_STATUS}{where} ORDER BY p.submitted_at, p.id, t.position"
        if limit is not None:
            query += " LIMIT ?"
            values.append(limit)
        return tuple(_status_row(row) for row in self._db.rows(query, *values))

    def children_of(self, template: TaskId) -> tuple[TaskId, ...]:
        """Return the tasks made from a template, in the order of the list they were made from."""
        rows = self._db.rows("SELECT id FROM task WHERE parent = ? ORDER BY position", template)
        return tuple(TaskId(row[0]) for row in rows)

    def attempts_of(self, task: TaskId) -> tuple[Attempt, ...]:
        """Return all attempts at a task, the first one first."""
        rows = self._db.rows(f"SELECT {ATTEMPT_COLUMNS} FROM attempt WHERE task = ? ORDER BY number", task)
        return tuple(attempt_from(row) for row in rows)

    def attempts(self, attempts: Collection[AttemptId]) -> Mapping[AttemptId, Attempt]:
        """Return those of the attempts that exist."""
        rows = self._db.rows_in(f"SELECT {ATTEMPT_COLUMNS} FROM attempt WHERE id IN ({{keys}})", attempts)
        return {row[0]: attempt_from(row) for row in rows}

    def live_attempts(self) -> tuple[Attempt, ...]:
        """Return every attempt that has not ended, by id."""
        query = f"SELECT {ATTEMPT_COLUMNS} FROM attempt WHERE state NOT IN ('ended', 'lost') ORDER BY id"
        return tuple(attempt_from(row) for row in self._db.rows(query))

    def checkpoints_of(self, task: TaskId) -> tuple[CheckpointRef, ...]:
        """Return the checkpoints that attempts at a task announced, the newest last."""
        query = "SELECT path, step, size_bytes, seconds, saved_at FROM checkpoint WHERE task = ? ORDER BY seen_at, step"
        return tuple(
            CheckpointRef(path=path, step=step, size_bytes=size, seconds=seconds, saved_at=from_us(saved_at))
            for path, step, size, seconds, saved_at in self._db.rows(query, task)
        )

    def outputs_of(self, task: TaskId) -> Mapping[str, OutputRow]:
        """Return what was last found of each output of a task that was checked."""
        rows = self._db.rows("SELECT name, attempt, path, ok, why FROM output WHERE task = ? ORDER BY name", task)
        return {name: OutputRow(AttemptId(attempt), path, bool(ok), why) for name, attempt, path, ok, why in rows}

    def verdict(self, task: TaskId) -> Verdict | None:
        """Return why a task was last passed over, None if it was not since it last moved."""
        return self.verdicts((task,)).get(task)

    def verdicts(self, tasks: Collection[TaskId]) -> Mapping[TaskId, Verdict]:
        """Return the verdicts of those of the tasks that have one."""
        rows = self._db.rows_in("SELECT task, code, facts, since FROM verdict WHERE task IN ({keys})", tasks)
        return {row[0]: _verdict(row) for row in rows}

    def gang_members(self) -> Mapping[TaskId, GangMember]:
        """Return the active tasks that must start together with others; who succeeded counts towards their minimum."""
        members: dict[TaskId, GangMember] = {}
        rows = self._db.rows(_GANG_MEMBERS)
        done = self._succeeded_members() if any(row[3] for row in rows) else {}
        for task, pipeline, gang, minimum, text in rows:
            rules = spec_from(text).gang
            timeout_s = None if rules is None else rules.timeout_s
            key = f"{pipeline}/{gang}"
            members[TaskId(task)] = GangMember(key, max(1, minimum - done.get(key, 0)) if minimum else 0, timeout_s)
        return members

    def _succeeded_members(self) -> Mapping[str, int]:
        return {f"{pipeline}/{gang}": count for pipeline, gang, count in self._db.rows(_SUCCEEDED_MEMBERS)}

    def ready_members(self, pipelines: Collection[PipelineId]) -> Mapping[str, tuple[int, datetime]]:
        """Return how many members of each gang of some pipelines are ready, and since when the last of them is."""
        rows = self._db.rows_in(_READY_MEMBERS, pipelines)
        return {f"{pipeline}/{gang}": (count, from_us(ready_us)) for pipeline, gang, count, ready_us in rows}

    def gangs_in_parts(self) -> tuple[PipelineId, ...]:
        """Return the pipelines with a gang of which some members are ready and others wait."""
        return tuple(PipelineId(row[0]) for row in self._db.rows(_GANGS_IN_PARTS))

    def promises(self) -> Iterator[tuple[TaskId, datetime, tuple[str, ...]]]:
        """Return the room that the last plan kept for single tasks: from when, and on which nodes."""
        for task, text in self._db.rows(_PROMISES):
            facts = read_facts(text)
            if facts.get("nodes") and facts.get("starts_at"):
                yield TaskId(task), datetime.fromisoformat(facts["starts_at"]), tuple(facts["nodes"].split(","))


_NO_METRICS: Mapping[str, float] = MappingProxyType({})


def _verdict(row: tuple[Any, ...]) -> Verdict:
    return Verdict(task=TaskId(row[0]), code=row[1], facts=read_facts(row[2]), since=from_us(row[3]))


def _status_row(row: tuple[Any, ...]) -> TaskRow:
    return TaskRow(
        id=TaskId(row[0]),
        name=row[1],
        group=row[2],
        pipeline=PipelineId(row[3]),
        pipeline_name=row[4],
        project=ProjectName(row[5]),
        owner_uid=row[6],
        state=_TASK_STATES[row[7]],
        attempts=row[8],
        failures=row[9],
        cancel_requested=bool(row[10]),
        submitted_at=from_us(row[11]),
        ready_at=from_us(row[12]),
        ended_at=from_us(row[13]),
        not_before=from_us(row[14]),
        reason=row[15] or "",
        attempt=None if row[16] is None else AttemptId(row[16]),
        attempt_state=None if row[17] is None else _ATTEMPT_STATES[row[17]],
        backend=None if row[18] is None else BackendName(row[18]),
        partition=row[19] or "",
        native_id=None if row[20] is None else NativeId(row[20]),
        native_detail=row[21] or "",
        started_at=from_us(row[22]),
        end_reason=row[23] or "",
        saved_step=None if row[24] is None else int(read_facts(row[24])["step"]),
        behind=() if row[25] in _NOTHING else tuple(map(AttemptId, json.loads(row[25]))),
        hold_requested=bool(row[26]),
    )
