"""What finished tasks left for others: the return values of their functions, and lists to make tasks from."""

from __future__ import annotations

import json
from pathlib import Path

from elisa.engine.tokens import fill, folders_of
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.ids import AttemptId
from elisa.model.pipeline import Expansion
from elisa.model.states import EndReason
from elisa.model.task import Task
from elisa.store.reader import Reader

__all__ = ["read_list", "result_of"]


def result_of(home: Path, reader: Reader, task: Task, expected: AttemptId | None = None) -> Path | None:
    """Return the file with what a task's function returned, None if it calls none or has not completed.

    Of an attempt that is `expected` to complete it is the file that will be there then.
    """
    if task.spec.call is None:
        return None
    if expected is not None:
        return layout.result_file(home, task.pipeline, task.spec.name, expected)
    ends = ((attempt.id, attempt.end) for attempt in reader.attempts_of(task.id))
    completed = [attempt for attempt, end in ends if end is not None and end.reason is EndReason.COMPLETED]
    return layout.result_file(home, task.pipeline, task.spec.name, completed[-1]) if completed else None


def read_list(ws: Workspace, reader: Reader, expansion: Expansion, source: Task) -> object:
    """Return the JSON value that tasks are to be made from; raises ValueError, with words for the author."""
    path = _list_file(ws.home, reader, expansion, source)
    if path is None:
        raise ValueError(f"`{source.spec.name}` left no {expansion.output or 'result'}")
    try:
        data = ws.files.read(path)
        if data is None:
            raise ValueError(f"{path} is not there")
        content = json.loads(data)
        return content if expansion.output else _returned(content)
    except (OSError, ValueError, RecursionError) as err:
        raise ValueError(f"{path} holds no JSON list: {err}") from err


def _returned(content: object) -> object:
    """Return the value in the envelope that the call runner writes around what a function returned."""
    value = content.get("value") if isinstance(content, dict) else None
    if isinstance(value, dict) and value.get("$") == "tuple":
        return value["v"]
    return value


def _list_file(home: Path, reader: Reader, expansion: Expansion, source: Task) -> Path | None:
    if not expansion.output:
        return result_of(home, reader, source)
    declared = (output for output in source.spec.outputs if output.name == expansion.output)
    where = home, source.pipeline, source.spec.name
    paths = (layout.task_dir(*where) / fill(output.path, folders_of(*where)) for output in declared)
    return next(paths, None)
