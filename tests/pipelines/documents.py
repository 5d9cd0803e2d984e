"""Documents for tests, read as if they came from a file `p.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

import pytest

from elisa.model.errors import Problem, SpecError
from elisa.model.pipeline import Pipeline, TaskSpec
from elisa.pipelines.assemble import Origin
from elisa.pipelines.load import load_text

__all__ = ["NOW", "origin", "problems_of", "read", "read_tasks", "the_task"]

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def origin(folder: Path | None = None) -> Origin:
    return Origin(file="p.yaml", folder=folder or Path("/home/ada/study"), now=NOW)


def read(text: str, overrides: Mapping[str, str] | None = None, folder: Path | None = None) -> Pipeline:
    return load_text(dedent(text), origin(folder), overrides)


def read_tasks(text: str, folder: Path | None = None) -> Mapping[str, TaskSpec]:
    """Read the tasks of a pipeline without a head."""
    pipeline = read("name: x\ntasks:\n" + _indented(text), folder=folder)
    return {task.name: task for task in pipeline.tasks}


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in dedent(text).splitlines())


def the_task(text: str) -> TaskSpec:
    """Read one task from what stands under its name; a command is added."""
    (task,) = read_tasks("a:\n  command: [x]\n" + _indented(text)).values()
    return task


def problems_of(text: str, overrides: Mapping[str, str] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        read(text, overrides)
    return caught.value.problems
