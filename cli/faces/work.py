"""What sets elisa up, takes work in and moves it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elisa.cli import options
from elisa.cli.call import invoke

__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def init(home: options.Home = None, json: options.Json = False) -> int:
    """Create the state folder.

    Looks for Slurm and PBS, and writes a commented site.yaml. What is there already is kept.
    """
    return invoke("init", locals())


@commands.command()
def validate(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The pipeline to check.")] = None,
    settings: options.Settings = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of pipelines, for editors.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Check a pipeline file.

    Tells everything that is wrong with it, with lines; nothing is stored. Where there is a state folder, its backends look
    at the options and metadata that only they understand.
    """
    return invoke("validate", locals())


@commands.command()
def submit(
    file: options.PipelineFile,
    settings: options.Settings = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would be stored; store nothing.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Tick until it is finished; exit 3 if work failed.")
    ] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Put a pipeline into elisa's queue."""
    return invoke("submit", locals())


@commands.command()
def plan(
    limit: Annotated[int, typer.Option("--limit", help="How many waiting tasks to list.", min=1)] = 50,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Show what the next tick would do, and why.

    Nothing is changed. News that jobs wrote since the last tick is not in it.
    """
    return invoke("plan", locals())


@commands.command()
def tick(
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Go on until nothing is left to do.")] = False,
    loop: Annotated[
        float | None, typer.Option("--loop", metavar="SECONDS", help="Go on for ever, a tick this often.", min=0.1)
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Look, decide and act: what cron runs.

    Once, until nothing is left to do, or for ever.
    """
    return invoke("tick", locals())
