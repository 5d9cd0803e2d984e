"""The only bridge between model objects and rows: moments to microseconds, objects to JSON texts, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, overload

from elisa.model.codec import decode, encode
from elisa.model.ids import AttemptId, BackendName, NativeId, PipelineId, ProjectName, TaskId
from elisa.model.pipeline import Need, Pipeline, SitePlacement, TaskSpec
from elisa.model.resources import Resources
from elisa.model.states import AttemptState, TaskState
from elisa.model.task import Attempt, CheckpointRef, End, PipelineRecord, Task, Usage

__all__ = [
    "ATTEMPT_COLUMNS",
    "CHARGES",
    "PIPELINE_COLUMNS",
    "TASK_COLUMNS",
    "attempt_from",
    "from_us",
    "needs_from",
    "optional_json",
    "pipeline_from",
    "placement_from",
    "read_facts",
    "resources_from",
    "resources_json",
    "spec_from",
    "task_from",
    "to_json",
    "to_us",
]

CHARGES = ("node_s", "cpu_s", "memory_mib_s", "gpu_s", "watt_s")
"""The amounts of a `Charge`."""

TASK_COLUMNS = (
    "id, pipeline, project, owner_uid, spec, state, request, submitted_at, ready_at, ended_at, not_before, parent,"
    " attempts, failures, cancel_requested, resume_from, hold_requested"
)
ATTEMPT_COLUMNS = (
    "id, task, number, backend, partition_name, request, state, intended_at, native_id, submitted_at, started_at,"
    " ended_at, incarnation, absences, quiet_ticks, cancel_sent, claimed, nodes, resume_from, last_checkpoint, usage, ending,"
    " native_detail, behind, leader, continues, inherits"
)
PIPELINE_COLUMNS = "id, spec, owner_uid, owner, submitted_at, source"

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NO_METRICS: Mapping[str, float] = MappingProxyType({})


@overload
def to_us(moment: datetime) -> int: ...
@overload
def to_us(moment: datetime | None) -> int | None: ...
def to_us(moment: datetime | None) -> int | None:
    """Return microseconds since the epoch, exactly."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


@overload
def from_us(us: int) -> datetime: ...
@overload
def from_us(us: int | None) -> datetime | None: ...
def from_us(us: int | None) -> datetime | None:
    """Return the aware moment in UTC, exactly."""
    return None if us is None else _EPOCH + timedelta(microseconds=us)


def to_json(value: object) -> str:
    """Return the one text for a value: sorted keys, no spaces, ASCII only, so that no control byte reaches the file."""
    return _ENCODER.encode(encode(value))


@lru_cache(maxsize=4096)
def resources_json(resources: Resources) -> str:
    """Return `to_json` of what many tasks ask for alike."""
    return to_json(resources)


def optional_json(value: object | None) -> str | None:
    """Return the text for a value, None for None."""
    return None if value is None else to_json(value)


def read_facts(text: str) -> Mapping[str, Any]:
    """Return the JSON object that a text stands for."""
    facts: Mapping[str, Any] = MappingProxyType(json.loads(text))
    return facts


# Tens of thousands of tasks ask for the same few things: each text is decoded once.
@lru_cache(maxsize=4096)
def resources_from(text: str) -> Resources:
    return decode(Resources, json.loads(text))


@lru_cache(maxsize=4096)
def placement_from(text: str) -> SitePlacement:
    return decode(SitePlacement, json.loads(text))


@lru_cache(maxsize=4096)
def needs_from(text: str) -> tuple[Need, ...]:
    return tuple(decode(Need, item) for item in json.loads(text))


@lru_cache(maxsize=16384)
def spec_from(text: str) -> TaskSpec:
    return decode(TaskSpec, json.loads(text))


def _checkpoint_from(text: str | None) -> CheckpointRef | None:
    return None if text is None else decode(CheckpointRef, json.loads(text))


def pipeline_from(row: Sequence[Any], tasks: tuple[TaskSpec, ...]) -> PipelineRecord:
    """Return the record of a row of PIPELINE_COLUMNS."""
    return PipelineRecord(
        id=PipelineId(row[0]),
        pipeline=replace(decode(Pipeline, json.loads(row[1])), tasks=tasks),
        owner_uid=row[2],
        owner=row[3],
        submitted_at=from_us(row[4]),
        source=row[5],
    )


def task_from(row: Sequence[Any], metrics: Mapping[str, float] = _NO_METRICS) -> Task:
    """Return the task of a row of TASK_COLUMNS."""
    return Task(
        id=TaskId(row[0]),
        pipeline=PipelineId(row[1]),
        project=ProjectName(row[2]),
        owner_uid=row[3],
        spec=spec_from(row[4]),
        state=TaskState(row[5]),
        request=resources_from(row[6]),
        submitted_at=from_us(row[7]),
        ready_at=from_us(row[8]),
        ended_at=from_us(row[9]),
        not_before=from_us(row[10]),
        parent=row[11],
        attempts=row[12],
        failures=row[13],
        cancel_requested=bool(row[14]),
        resume_from=_checkpoint_from(row[15]),
        hold_requested=bool(row[16]),
        metrics=metrics,
    )


def attempt_from(row: Sequence[Any]) -> Attempt:
    """Return the attempt of a row of ATTEMPT_COLUMNS."""
    return Attempt(
        id=AttemptId(row[0]),
        task=TaskId(row[1]),
        number=row[2],
        backend=BackendName(row[3]),
        partition=row[4],
        request=resources_from(row[5]),
        state=AttemptState(row[6]),
        intended_at=from_us(row[7]),
        native_id=None if row[8] is None else NativeId(row[8]),
        submitted_at=from_us(row[9]),
        started_at=from_us(row[10]),
        ended_at=from_us(row[11]),
        incarnation=row[12],
        absences=row[13],
        quiet_ticks=row[14],
        cancel_sent=bool(row[15]),
        claimed=bool(row[16]),
        nodes=row[17],
        resume_from=_checkpoint_from(row[18]),
        last_checkpoint=_checkpoint_from(row[19]),
        usage=decode(Usage, json.loads(row[20])),
        end=None if row[21] is None else decode(End, json.loads(row[21])),
        native_detail=row[22],
        behind=tuple(AttemptId(one) for one in json.loads(row[23])),
        leader=None if row[24] is None else AttemptId(row[24]),
        continues=None if row[25] is None else AttemptId(row[25]),
        inherits=None if row[26] is None else AttemptId(row[26]),
    )
