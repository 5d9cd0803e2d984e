"""What past attempts teach: how they ended and where, and what saving their work took."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from elisa.model.ids import AttemptId, BackendName, PipelineId, TaskId
from elisa.model.rows import PastRun
from elisa.model.states import EndReason
from elisa.store.connection import Connection
from elisa.store.convert import from_us, resources_from, to_us

__all__ = ["HistoryQueries"]

_GROUP = (
    "SELECT c.seconds FROM checkpoint c JOIN task t ON t.id = c.task"
    " WHERE t.pipeline = ? AND t.group_name = ? AND t.name <> ? ORDER BY c.seen_at DESC LIMIT ?"
)
_RUNS = (
    "SELECT a.id, a.task, t.pipeline, t.group_name, a.backend, a.partition_name, a.nodes, a.request, a.end_reason,"
    " a.started_at, a.ended_at, a.last_checkpoint, a.ending FROM attempt a JOIN task t ON t.id = a.task"
    " WHERE a.ended_at > ? AND a.started_at IS NOT NULL ORDER BY a.ended_at DESC, a.id LIMIT ?"
)
_BROKEN = (
    "SELECT COUNT(*) FROM (SELECT end_reason FROM attempt WHERE ended_at > ? ORDER BY ended_at DESC LIMIT ?) AS newest"
    " WHERE end_reason IN ('node_failure', 'boot_failure', 'failed')"
)
_ENOUGH = 200
_NEWEST = 2000


class HistoryQueries:
    """Queries for what can be learnt."""

    _db: Connection

    def saves_of_group(self, pipeline: PipelineId, group: str, but_not: str) -> tuple[float, ...]:
        """Return the seconds that the newest saves of a pipeline's tasks of one group took, one task's left out."""
        return tuple(row[0] for row in self._db.rows(_GROUP, pipeline, group, but_not, _ENOUGH))

    def past_runs(self, after: datetime, *, limit: int = _NEWEST) -> tuple[PastRun, ...]:
        """Return the attempts that ran and ended after a moment, the newest first."""
        return tuple(_run(row) for row in self._db.rows(_RUNS, to_us(after), limit))

    def has_broken(self, after: datetime, *, limit: int = _NEWEST) -> bool:
        """Tell whether one of the attempts that `past_runs` returns ended in a way that may be a node's fault."""
        return bool(self._db.rows(_BROKEN, to_us(after), limit)[0][0])


def _run(row: Sequence[Any]) -> PastRun:
    saved = json.loads(row[11]) if row[11] else {}
    gpus = str(json.loads(row[12]).get("gpus") or "") if row[12] else ""
    return PastRun(
        attempt=AttemptId(row[0]),
        task=TaskId(row[1]),
        pipeline=PipelineId(row[2]),
        group=row[3],
        backend=BackendName(row[4]),
        partition=row[5],
        nodes=row[6],
        node_count=resources_from(row[7]).nodes,
        end=EndReason(row[8]) if row[8] else EndReason.LOST,
        started_at=from_us(row[9]),
        ended_at=from_us(row[10]),
        save_s=float(saved.get("seconds", 0.0)) if saved else None,
        gpus=tuple(filter(None, gpus.split(","))),
    )
