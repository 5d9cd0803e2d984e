"""`elisa submit`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from elisa.cli.draw import table_of
from elisa.cli.home import existing_home
from elisa.cli.output import note, print_json, print_plain, show
from elisa.cli.progress import exit_code_of, showing_progress
from elisa.cli.settings import parse_settings
from elisa.cli.vetted import vet
from elisa.engine.hopeless import hopeless_tasks
from elisa.engine.loop import until
from elisa.engine.outcome import TickReport
from elisa.engine.submit import Submitted
from elisa.engine.submit import submit as store_pipeline
from elisa.engine.workspace import Workspace, open_workspace
from elisa.model.errors import ExitCode
from elisa.model.ids import PipelineId
from elisa.model.pipeline import Pipeline, TaskSpec
from elisa.model.resources import MPS
from elisa.model.text import clean
from elisa.model.units import format_duration, format_memory
from elisa.pipelines.load import load
from elisa.report.words import in_words
from elisa.store.reader import Reader

__all__ = ["submit"]

# A matrix of a hundred that can't start is one line, not a hundred names.
_NAMED = 5


def submit(
    *, file: str | Path, settings: Sequence[str] | None, dry_run: bool, wait: bool, home: str | None, json: bool
) -> int:
    """Store a pipeline; with `wait`, tick until it has ended."""
    if dry_run:
        pipeline = load(Path(file), parse_settings(settings))
        vet(pipeline, Path(file), home)
        return _show_pipeline(pipeline, json=json)
    folder = existing_home(home)
    with open_workspace(folder) as workspace:
        pipeline = load(Path(file), parse_settings(settings), now=workspace.clock.now())
        submitted = store_pipeline(workspace, pipeline, source=str(Path(file).absolute()))
        _tell(workspace, pipeline, submitted, json=json)
        return _wait(workspace, submitted.pipeline_id) if wait else int(ExitCode.DONE)


def _tell(workspace: Workspace, pipeline: Pipeline, submitted: Submitted, *, json: bool) -> None:
    warnings = chain(submitted.warnings, _hopeless(workspace, pipeline))
    if json:
        found = {"pipeline": submitted.pipeline_id, "tasks": submitted.tasks, "warnings": list(warnings)}
        print_json("submit", 1, found)
        return
    print_plain(
        f"{submitted.pipeline_id}: pipeline {pipeline.name} of project {pipeline.project}, {len(pipeline.tasks)} tasks"
    )
    # only now are the backends asked: one that hangs keeps nobody from the id
    sys.stdout.flush()
    for warning in warnings:
        note(f"warning: {warning}")


def _hopeless(workspace: Workspace, pipeline: Pipeline) -> Iterator[str]:
    """Yield one warning for each reason, with the tasks it holds for."""
    reasons: dict[str, list[str]] = {}
    for name, reason in hopeless_tasks(workspace, pipeline):
        reasons.setdefault(in_words(reason), []).append(name)
    for words, names in reasons.items():
        more = f" and {len(names) - _NAMED} others" if len(names) > _NAMED else ""
        yield f"{', '.join(names[:_NAMED])}{more}: {words}"


def _wait(workspace: Workspace, pipeline: PipelineId) -> int:
    """Tick until every task of the pipeline is final; other pipelines move along."""

    def has_ended(reader: Reader, report: TickReport) -> bool:  # noqa: ARG001 - the form of every condition
        return all(one.id != pipeline for one in reader.pipelines(unfinished_only=True))

    with showing_progress(workspace.home, [pipeline]) as progress:
        until(workspace, has_ended, on_tick=lambda _: progress.update())
    return exit_code_of(workspace.home, [pipeline])


def _show_pipeline(pipeline: Pipeline, *, json: bool) -> int:
    if json:
        from elisa.model.codec import encode

        print_json("submit-dry-run", 1, {"pipeline": encode(pipeline)})
        return 0
    table = table_of(
        "task", "needs", "nodes", "cpus", "gpus", "memory", "walltime", "command", whole=("memory", "walltime")
    )
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
        f"{asked.gpu_count}%" if MPS in asked.gpus.types else str(asked.gpu_count or "-"),
        format_memory(asked.memory_mib_per_node) if asked.memory_mib_per_node else "-",
        format_duration(asked.walltime_s),
        f"{task.call.file}:{task.call.function}" if task.call else " ".join(task.command)[:60],
    )
