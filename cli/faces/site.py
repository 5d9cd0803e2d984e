"""What whoever keeps the site and the state folder needs."""

from __future__ import annotations

from typing import Annotated

import typer

from elisa.cli import options
from elisa.cli.call import invoke

__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def drain(
    backend: Annotated[str, typer.Argument(metavar="BACKEND", help="A backend of site.yaml.", show_default=False)],
    nodes: Annotated[
        str, typer.Option("--nodes", metavar="LIST", help="Only these, like n1,gpu[01-03].", show_default=False)
    ] = "",
    begin: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="From when on; by default now.", show_default=False)
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", metavar="TIME", help="When it opens again; by default not by itself.", show_default=False
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="WORDS", help="Why, for others.", show_default=False)] = "",
    force: Annotated[bool, typer.Option("--force", help="Move what may not be preempted, too.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Close a backend or nodes to work.

    What runs there saves, leaves in time and goes on elsewhere.
    """
    return invoke("drain", locals())


@commands.command()
def undrain(
    backend: Annotated[str, typer.Argument(metavar="BACKEND", help="A backend of site.yaml.", show_default=False)],
    nodes: Annotated[
        str, typer.Option("--nodes", metavar="LIST", help="Only these, like n1,gpu[01-03].", show_default=False)
    ] = "",
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Open again what was drained."""
    return invoke("undrain", locals())


@commands.command()
def rebuild(home: options.Home = None, json: options.Json = False) -> int:
    """Replace a damaged database by a copy.

    By the newest sound one; the next tick finds again what happened since.
    """
    return invoke("rebuild", locals())


@commands.command()
def doctor(home: options.Home = None, json: options.Json = False) -> int:
    """Check this machine and the state folder.

    Tells how to mend what is wrong.
    """
    return invoke("doctor", locals())


@commands.command()
def version(json: options.Json = False) -> int:
    """Print elisa's version."""
    return invoke("version", locals())
