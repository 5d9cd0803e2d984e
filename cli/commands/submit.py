"""`elisa submit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from elisa.cli.home import existing_home
from elisa.cli.output import note, print_json, print_plain, show
from elisa.cli.settings import parse_settings
from elisa.engine.submit import Submitted
from elisa.engine.submit import submit as store_pipeline
from elisa.engine.workspace import Workspace, open_workspace
from elisa.model.pipeline import Pipeline, TaskSpec
from elisa.model.text import clean
from elisa.model.units import format_duration, format_memory
from elisa.pipelines.load import load

from .following import follow

__all__ = ["submit"]


def submit(
    *, file: str | Path, settings: Sequence[str] | None, dry_run: bool, wait: bool, home: str | None, json: bool
) -> int:
    """Store a pipeline; with `wait`, tick until it has ended."""
    pipeline = load(Path(file), parse_settings(settings))
    if dry_run:
        return _show_pipeline(pipeline, json=json)
    with open_workspace(existing_home(home)) as workspace:
        submitted = store_pipeline(workspace, pipeline, source=str(Path(file).absolute()))
        if not (wait and json):
            _tell(pipeline, submitted, json=json)
        return _wait(workspace, submitted, json=json) if wait else 0


def _tell(pipeline: Pipeline, submitted: Submitted, *, json: bool) -> None:
    if json:
        print_json("submit", 1, {"pipeline": submitted.pipeline_id, "tasks": dict(submitted.tasks)})
        return
    print_plain(
        f"{submitted.pipeline_id}: pipeline {pipeline.name} of project {pipeline.project}, {len(pipeline.tasks)} tasks"
    )
    for warning in submitted.warnings:
        note(f"warning: {warning}")


def _wait(workspace: Workspace, submitted: Submitted, *, json: bool) -> int:
    return follow(workspace, submitted.pipeline_id, json=json)


def _show_pipeline(pipeline: Pipeline, *, json: bool) -> int:
    if json:
        from elisa.model.codec import encode

        print_json("submit-dry-run", 1, {"pipeline": encode(pipeline)})
        return 0
    table = Table("task", "needs", "nodes", "cpus", "gpus", "memory", "walltime", "command", box=None, pad_edge=False)
    for task in pipeline.tasks:
        table.add_row(*map(clean, _cells(task)))
    show(f"pipeline {clean(pipeline.name)} of project {clean(pipeline.project)}; nothing was stored", table)
    return 0


def _cells(task: TaskSpec) -> tuple[str, ...]:
    asked = task.resources
    return (
        task.name,
        ", ".join(name for need in task.needs for name in need.tasks),
        str(asked.nodes),
        str(asked.cpus),
        str(asked.gpu_count or "-"),
        format_memory(asked.memory_mib_per_node) if asked.memory_mib_per_node else "-",
        format_duration(asked.walltime_s),
        f"{task.call.file}:{task.call.function}" if task.call else " ".join(task.command)[:60],
    )
