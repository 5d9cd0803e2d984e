"""Objects with the attributes of pyslurm's, for tests where there is none."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from tests.backends.slurm.jobs import FIRST, INSTANCE

__all__ = ["AT", "a_job"]

AT = datetime(2026, 11, 28, 12, tzinfo=UTC)


def a_job(**more: object) -> Any:
    fields: dict[str, object] = {
        "id": 7,
        "name": f"el.{INSTANCE}.{FIRST}",
        "user_id": 1000,
        "state": "RUNNING",
        "state_reason": "None",
        "exit_code": 0,
        "exit_code_signal": 0,
        "requeue_count": 0,
        "submit_time": int(AT.timestamp()),
        "start_time": None,
        "end_time": None,
        "allocated_nodes": None,
        "heterogeneous_id": None,
        "heterogeneous_offset": None,
        "array_id": None,
        "array_task_id": None,
        "array_tasks_waiting": None,
    }
    return SimpleNamespace(**(fields | more))
