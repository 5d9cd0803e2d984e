"""What a change of urgency makes of the rows of tasks and pipelines."""

from __future__ import annotations

import json
from dataclasses import replace

from elisa.model.changes import PipelineRanked, TaskRanked
from elisa.model.codec import decode
from elisa.model.errors import StaleChange
from elisa.model.pipeline import Pipeline
from elisa.model.site import CLASS_RANK
from elisa.store.batch import Batch
from elisa.store.convert import from_us, spec_from, to_json, to_us

__all__ = ["rank_pipeline", "rank_task"]


def rank_task(batch: Batch, change: TaskRanked) -> None:
    """Store a task's class and importance. Raises StaleChange if the task is not in `before`."""
    task = batch.task(change.task)
    if task["state"] != change.before:
        raise StaleChange(
            f"task {change.task} is {task['state']}, not {change.before.value}",
            "something moved it before its rank could be changed",
            "read again and decide again",
        )
    row = batch.ranks[change.task]
    spec = replace(spec_from(row["spec"]), importance=change.importance)
    if change.priority is not None:
        spec = replace(spec, priority=change.priority)
        row["priority"], row["ranked_by"] = CLASS_RANK[change.priority], change.uid
    row["importance"] = change.together
    row["spec"] = to_json(spec)
    batch.ranked.add(change.task)
    facts = {"priority": change.priority, "importance": change.together, "uid": change.uid, "by": change.by}
    batch.audit.add("task.ranked", change.task, facts)


def rank_pipeline(batch: Batch, change: PipelineRanked) -> None:
    """Store a pipeline's class, importance and deadline. Raises StaleChange if there is no such pipeline."""
    row = batch.due.get(change.pipeline)
    if row is None:
        raise StaleChange(f"there is no pipeline {change.pipeline}", "a change names it", "read again and decide again")
    old = decode(Pipeline, json.loads(row["spec"]))
    new = replace(old, priority=change.priority, importance=change.importance, deadline=change.deadline)
    before = from_us(row["deadline"])
    row["spec"] = to_json(new)
    row["deadline"] = to_us(change.deadline)
    batch.ranked.add(change.pipeline)
    facts = {
        "priority": change.priority,
        "importance": change.importance,
        "deadline": change.deadline,
        "was_due": before,
        "by": change.by,
    }
    batch.audit.add("pipeline.ranked", change.pipeline, facts)
