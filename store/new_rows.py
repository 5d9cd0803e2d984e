"""The rows of new pipelines, tasks and attempts."""

from __future__ import annotations

from dataclasses import replace

from elisa.model.charge import Charge
from elisa.model.pipeline import Pipeline, PriorityClass
from elisa.model.site import CLASS_RANK
from elisa.model.task import Attempt, PipelineRecord, Task
from elisa.store.connection import Row
from elisa.store.convert import CHARGES, optional_json, resources_json, to_json, to_us

__all__ = ["attempt_row", "pipeline_row", "task_row"]


def pipeline_row(record: PipelineRecord) -> Row:
    return {
        "id": record.id,
        "project": record.pipeline.project,
        "name": record.pipeline.name,
        "owner_uid": record.owner_uid,
        "owner": record.owner,
        "submitted_at": to_us(record.submitted_at),
        "deadline": to_us(record.pipeline.deadline),
        "source": record.source,
        "spec": to_json(replace(record.pipeline, tasks=())),
    }


def task_row(task: Task, position: int, pipeline: Pipeline) -> Row:
    """Return the row of a new task; what it does not say itself of its rank, its pipeline says."""
    spec = task.spec
    own = spec.priority is not PriorityClass.NORMAL
    return {
        "id": task.id,
        "pipeline": task.pipeline,
        "project": task.project,
        "owner_uid": task.owner_uid,
        "parent": task.parent,
        "position": position,
        "name": spec.name,
        "group_name": spec.group,
        "spec": to_json(spec),
        "needs": to_json(spec.needs),
        "placement": to_json(spec.placement),
        "gang": spec.gang.name if spec.gang else "",
        "gang_minimum": spec.gang.minimum if spec.gang else 0,
        "priority": CLASS_RANK[spec.priority if own else pipeline.priority],
        "importance": spec.importance + pipeline.importance,
        "submitted_at": to_us(task.submitted_at),
        "state": task.state.value,
        "request": resources_json(task.request),
        "ready_at": to_us(task.ready_at),
        "ended_at": to_us(task.ended_at),
        "not_before": to_us(task.not_before),
        "attempts": task.attempts,
        "failures": task.failures,
        "cancel_requested": int(task.cancel_requested),
        "resume_from": optional_json(task.resume_from),
        "check_needs": 0,
        "due_at": None,
        "ranked_by": None,
        "hold_requested": int(task.hold_requested),
        "brief_s": spec.brief_s,
    }


def attempt_row(attempt: Attempt, task: Row, reserve: Charge) -> Row:
    """Return the row of a new attempt at the task of which `task` is the row."""
    return {
        "id": attempt.id,
        "task": attempt.task,
        "project": task["project"],
        "owner_uid": task["owner_uid"],
        "number": attempt.number,
        "backend": attempt.backend,
        "partition_name": attempt.partition,
        "request": resources_json(attempt.request),
        "intended_at": to_us(attempt.intended_at),
        "resume_from": optional_json(attempt.resume_from),
        "gpu_type": reserve.gpu_type,
        "state": attempt.state.value,
        "native_id": attempt.native_id,
        "native_detail": attempt.native_detail,
        "submitted_at": to_us(attempt.submitted_at),
        "started_at": to_us(attempt.started_at),
        "ended_at": to_us(attempt.ended_at),
        "incarnation": attempt.incarnation,
        "absences": attempt.absences,
        "quiet_ticks": attempt.quiet_ticks,
        "cancel_sent": int(attempt.cancel_sent),
        "claimed": int(attempt.claimed),
        "nodes": attempt.nodes,
        "last_checkpoint": optional_json(attempt.last_checkpoint),
        "usage": to_json(attempt.usage),
        "end_reason": "",
        "ending": None,
        **{f"held_{name}": getattr(reserve, name) for name in CHARGES},
        "held_watts": 0,
        "behind": to_json(attempt.behind),
        "leader": attempt.leader,
        "continues": attempt.continues,
        "inherits": attempt.inherits,
    }
