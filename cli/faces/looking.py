"""What shows work, and changes nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from elisa.cli import options
from elisa.cli.call import invoke
from elisa.cli.completion import complete_id

__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def status(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Pipelines or tasks.", autocompletion=complete_id, show_default=False),
    ] = None,
    project: options.OptionalProject = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Finished pipelines and every task too.")] = False,
    native: Annotated[bool, typer.Option("--native", help="Show native ids and the queue's own words.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it, every two seconds.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Show pipelines and tasks.

    Warns when the last tick was long ago.
    """
    return invoke("status", locals())


@commands.command()
def explain(
    task: options.TaskName,
    tick: Annotated[
        int | None,
        typer.Option("--tick", metavar="N", help="How it stood in the plan of this tick.", min=1, show_default=False),
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Tell why a task waits, runs or failed.

    Shows all that was decided about it, and for what reason.
    """
    return invoke("explain", locals())


@commands.command()
def logs(
    task: options.TaskName,
    attempt: Annotated[
        int | None, typer.Option("--attempt", help="Which attempt, from 1; by default the newest.", show_default=False)
    ] = None,
    stream: Annotated[str, typer.Option("--stream", help="stdout, stderr or agent.")] = "stdout",
    lines: Annotated[int, typer.Option("--lines", "-l", help="Only the last lines; 0 for all.", min=0)] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing what is written.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Print what a task wrote."""
    return invoke("logs", locals())


@commands.command("show-script")
def show_script(task: options.TaskName, home: options.Home = None, json: options.Json = False) -> int:
    """Print the script and command line of a task.

    Exactly as its resource manager gets them; nothing is submitted.
    """
    return invoke("show_script", locals())


@commands.command()
def report(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE", help="A pipeline's id, its beginning, or its name.", autocompletion=complete_id
        ),
    ],
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Show a pipeline's timeline and cost."""
    return invoke("report", locals())
