"""From what a person typed to the task or pipeline it means."""

from __future__ import annotations

from elisa.model.errors import UsageError
from elisa.model.ids import AttemptId, PipelineId, TaskId, task_of
from elisa.store.reader import Reader

__all__ = ["resolve_pipeline", "resolve_task"]


def resolve_task(reader: Reader, text: str) -> TaskId:
    """Return the task that an id, a unique beginning of one, an attempt's id or PIPELINE/NAME means.

    Raises UsageError if nothing, several things or a pipeline answer to it.
    """
    found = reader.resolve(text)
    if found.startswith("p"):
        raise UsageError(f"`{text}` is a pipeline, not a task", f"it names {found}", f"see `elisa status {found}`")
    return task_of(AttemptId(found))


def resolve_pipeline(reader: Reader, text: str) -> PipelineId:
    """Return the pipeline that an id, a unique beginning of one or a name that only one has means.

    Raises UsageError if nothing, several things or a task answer to it.
    """
    found = reader.resolve(text)
    if not found.startswith("p"):
        raise UsageError(f"`{text}` is no pipeline", f"it names {found}", "see `elisa status --all` for pipelines")
    return PipelineId(found)
