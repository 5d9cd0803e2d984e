"""The options and arguments that commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .completion import complete_id, complete_project, complete_task

__all__ = [
    "Amount",
    "AnyProject",
    "Every",
    "Home",
    "Ids",
    "Json",
    "Loan",
    "OptionalProject",
    "PipelineFile",
    "Project",
    "Settings",
    "Since",
    "TaskName",
    "Until",
]

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="ELISA_HOME",
        help="State folder; by default elisa's folder in your XDG data home.",
        show_default=False,
        file_okay=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document with a versioned schema.")]
OptionalProject = Annotated[
    str | None,
    typer.Option("--project", "-p", help="Only this project.", autocompletion=complete_project, show_default=False),
]
Project = Annotated[
    str,
    typer.Argument(metavar="PROJECT", help="A project.", autocompletion=complete_project, show_default=False),
]
AnyProject = Annotated[
    str | None,
    typer.Argument(
        metavar="[PROJECT]", help="A project; all if left out.", autocompletion=complete_project, show_default=False
    ),
]
Amount = Annotated[
    list[str],
    typer.Argument(metavar="AMOUNT...", help="Such as gpu_hours=500 or gpu_hours_by_type.a100=50.", show_default=False),
]
_MOMENT = "A date, a date with a time, or how long from now: 2026-12-01, 2026-12-01T18:00Z, 30d."
Loan = Annotated[str, typer.Argument(metavar="LOAN", help="A loan's id, as `elisa project show` prints it.")]
Since = Annotated[
    str | None,
    typer.Option("--from", metavar="MOMENT", help=f"When it begins; now if left out. {_MOMENT}", show_default=False),
]
Until = Annotated[str, typer.Option("--until", metavar="MOMENT", help=f"When it ends. {_MOMENT}", show_default=False)]
PipelineFile = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="A pipeline: a YAML file, or a Python file with @pipeline.", dir_okay=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Set one of the pipeline's parameters.", show_default=False),
]
Ids = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...",
        help="Ids of pipelines or tasks, unique beginnings of ids, names of pipelines, or PIPELINE/TASK.",
        autocompletion=complete_id,
        show_default=False,
    ),
]
TaskName = Annotated[
    str,
    typer.Argument(
        metavar="TASK",
        help="A task's id, a unique beginning of one, or PIPELINE/NAME.",
        autocompletion=complete_task,
        show_default=False,
    ),
]
Every = Annotated[int, typer.Option("--every", metavar="MINUTES", help="Minutes between ticks.", min=1, max=60)]
