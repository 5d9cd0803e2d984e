"""`elisa checkpoints`: what tasks saved."""

from __future__ import annotations

from typing import Annotated

import typer

from elisa.cli import options
from elisa.cli.call import invoke

__all__ = ["commands"]

commands = typer.Typer(
    help="List, check, prune and choose the checkpoints of a task.", no_args_is_help=True, rich_markup_mode=None
)


@commands.command("list")
def checkpoints_list(task: options.TaskName, home: options.Home = None, json: options.Json = False) -> int:
    """List a task's checkpoints.

    The newest first; only names and sizes are looked at.
    """
    return invoke("checkpoints_list", locals())


@commands.command("verify")
def checkpoints_verify(task: options.TaskName, home: options.Home = None, json: options.Json = False) -> int:
    """Read all of a task's checkpoints.

    Exit status 1 if one byte is not as it was written.
    """
    return invoke("checkpoints_verify", locals())


@commands.command("prune")
def checkpoints_prune(
    task: options.TaskName,
    keep: Annotated[int, typer.Option("--keep", metavar="N", help="How many of the newest to keep.", min=1)] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would go.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Remove old checkpoints.

    The newest one that is proved sound always stays.
    """
    return invoke("checkpoints_prune", locals())


@commands.command("explain")
def checkpoints_explain(task: options.TaskName, home: options.Home = None, json: options.Json = False) -> int:
    """Show how often a task saves, and why.

    And how early it is told of its end.
    """
    return invoke("checkpoints_explain", locals())


@commands.command("restore")
def checkpoints_restore(
    task: options.TaskName,
    step: Annotated[int, typer.Option("--step", metavar="STEP", help="The step to go on from.", show_default=False)],
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Choose where the next attempt begins.

    Newer checkpoints are set aside.
    """
    return invoke("checkpoints_restore", locals())
