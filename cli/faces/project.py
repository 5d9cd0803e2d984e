"""`elisa project`: rules, grants, loans and reservations."""

from __future__ import annotations

from typing import Annotated

import typer

from elisa.cli import options
from elisa.cli.call import invoke
from elisa.cli.completion import complete_project

__all__ = ["commands"]

commands = typer.Typer(
    help="Show and change the rules of projects.\n\nWhat is set here is laid over site.yaml, and stands in the audit.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@commands.command("list")
def project_list(home: options.Home = None, json: options.Json = False) -> int:
    """List projects and their limits."""
    return invoke("project_list", locals())


@commands.command("show")
def project_show(project: options.Project, home: options.Home = None, json: options.Json = False) -> int:
    """Show all rules of a project.

    Its loans and grants too, and what of it was set by command.
    """
    return invoke("project_show", locals())


@commands.command("set")
def project_set(
    project: options.Project,
    settings: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...",
            help="As in site.yaml: budget.gpu_hours=500, at_once.gpus=8, shares=2; `none` takes a limit away.",
            show_default=False,
        ),
    ],
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Change rules of a project.

    The next plan follows them; needs an administrator, for per_user a manager.
    """
    return invoke("project_set", locals())


@commands.command("reset")
def project_reset(
    project: options.Project,
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY]...", help="Settings, or ids of grants; all if left out.", show_default=False),
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Let site.yaml hold again."""
    return invoke("project_reset", locals())


@commands.command("grant")
def project_grant(
    project: options.Project,
    amount: options.Amount,
    end: options.Until,
    begin: options.Since = None,
    carry_over: Annotated[
        float, typer.Option("--carry-over", help="The part of what is left that the next grant adds.", min=0, max=1)
    ] = 0.0,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Grant amounts for a period."""
    return invoke("project_grant", locals())


@commands.command("lend")
def project_lend(
    lender: Annotated[
        str, typer.Argument(metavar="LENDER", help="The project that gives.", autocompletion=complete_project)
    ],
    borrower: Annotated[
        str, typer.Argument(metavar="BORROWER", help="The project that takes.", autocompletion=complete_project)
    ],
    amount: Annotated[
        list[str],
        typer.Argument(metavar="AMOUNT...", help="Such as gpu_hours=500, or at_once.gpus=4.", show_default=False),
    ],
    end: options.Until,
    begin: options.Since = None,
    firm: Annotated[bool, typer.Option("--firm", help="It cannot be called back before it is due.")] = False,
    by_hand: Annotated[
        bool, typer.Option("--by-hand", help="It does not go back by itself when the lender needs it.")
    ] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Lend budget to another project, or what may be held at once.

    For a manager of the lender, which must have `may_lend`.
    """
    return invoke("project_lend", locals())


@commands.command("reclaim")
def project_reclaim(loan: options.Loan, home: options.Home = None, json: options.Json = False) -> int:
    """Call a loan back.

    For a manager of the lender.
    """
    return invoke("project_reclaim", locals())


@commands.command("return")
def project_return(loan: options.Loan, home: options.Home = None, json: options.Json = False) -> int:
    """Give a loan back early.

    For a manager of the borrower.
    """
    return invoke("project_return", locals())


@commands.command("reserve")
def project_reserve(
    project: options.Project,
    backend: Annotated[str, typer.Argument(metavar="BACKEND", help="Where, by its name in site.yaml.")],
    amount: Annotated[
        list[str],
        typer.Argument(metavar="AMOUNT...", help="Such as gpus.a100=8, cpus=64 or nodes=2.", show_default=False),
    ],
    end: options.Until,
    begin: options.Since = None,
    users: Annotated[
        list[str] | None,
        typer.Option("--user", help="Only for this user of the project; may be given again.", show_default=False),
    ] = None,
    native: Annotated[
        str, typer.Option("--native", help="A reservation of Slurm's or PBS's own that the project's jobs ask for.")
    ] = "",
    lend: Annotated[
        bool,
        typer.Option(
            "--lend", help="Let work that saves use it until the project needs it: that saves and leaves then."
        ),
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="What for.")] = "",
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Keep room of a backend for a project.

    Nobody else's work is started that would run into it. For administrators, and reservers in roles.yaml.
    """
    return invoke("project_reserve", locals())


@commands.command("release")
def project_release(
    reservation: Annotated[
        str, typer.Argument(metavar="RESERVATION", help="A reservation's id, as `elisa status` prints it.")
    ],
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Give reserved room back early.

    For a manager of its project too.
    """
    return invoke("project_release", locals())
