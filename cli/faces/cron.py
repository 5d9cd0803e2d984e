"""`elisa cron`: have cron run ticks."""

from __future__ import annotations

from typing import Annotated

import typer

from elisa.cli import options
from elisa.cli.call import invoke

__all__ = ["commands"]

commands = typer.Typer(
    help="Have cron run `elisa tick`.\n\nWithout it, or `elisa tick --loop`, nothing moves.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@commands.command("install")
def cron_install(
    every: options.Every = 1,
    scrontab: Annotated[bool, typer.Option("--scrontab", help="Use Slurm's scrontab instead of crontab.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Add the line to your crontab.

    Doing it twice changes nothing.
    """
    return invoke("cron_install", locals())


@commands.command("show")
def cron_show(
    every: options.Every = 1,
    scrontab: Annotated[bool, typer.Option("--scrontab", help="Show the scrontab form.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Print the line, and whether it is there."""
    return invoke("cron_show", locals())


@commands.command("remove")
def cron_remove(
    scrontab: Annotated[bool, typer.Option("--scrontab", help="Remove it from scrontab.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Take the line out of your crontab again."""
    return invoke("cron_remove", locals())
