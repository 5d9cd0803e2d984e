"""What changes the course of work, and what its budgets say."""

from __future__ import annotations

from typing import Annotated

import typer

from elisa.cli import options
from elisa.cli.call import invoke
from elisa.cli.completion import complete_id

__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def cancel(ids: options.Ids, home: options.Home = None, json: options.Json = False) -> int:
    """Stop pipelines or tasks for good.

    What runs is stopped by the next tick.
    """
    return invoke("cancel", locals())


@commands.command()
def hold(ids: options.Ids, home: options.Home = None, json: options.Json = False) -> int:
    """Keep tasks from starting.

    Until they are released; running ones go on, jobs in native queues are held there or taken back.
    """
    return invoke("hold", locals())


@commands.command()
def release(ids: options.Ids, home: options.Home = None, json: options.Json = False) -> int:
    """Let held tasks start again."""
    return invoke("release", locals())


@commands.command()
def retry(
    ids: options.Ids,
    from_step: Annotated[
        int | None,
        typer.Option("--from-step", metavar="STEP", help="Begin from the checkpoint of this step.", show_default=False),
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Try ended tasks again.

    Failed, cancelled or skipped ones, from their newest checkpoint.
    """
    return invoke("retry", locals())


@commands.command()
def budget(
    project: options.AnyProject = None,
    by: Annotated[str, typer.Option("--by", help="Add up by project, user, day, week or month.")] = "project",
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="MOMENT", help="Only what was booked from then on.", show_default=False),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="MOMENT", help="Only what was booked before.", show_default=False)
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="CHANGE",
            help="Show what would change, now and in time: budget.gpu_hours=500 or any other rule of the project, "
            "lend:BORROWER:gpu_hours=20, recall:LOAN, submit:FILE.",
            show_default=False,
        ),
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Show what may be used, what was, and what is left.

    Every limit with loans and grants counted in, and the ledger added up. Exit status 1 if it does not balance.
    """
    return invoke("budget", locals())


@commands.command()
def prioritize(
    ids: options.Ids,
    priority: Annotated[
        str | None,
        typer.Option(
            "--class", "-c", metavar="CLASS", help="critical, high, normal, low or scavenger.", show_default=False
        ),
    ] = None,
    importance: Annotated[
        float | None, typer.Option("--importance", "-i", help="Importance within the class.", show_default=False)
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            "--deadline",
            "-d",
            metavar="MOMENT",
            help="When the whole pipeline must be done, as a date, a date with a time, or from now like 2d; or none.",
            show_default=False,
        ),
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Change how urgent work is.

    The next plan follows it: what waits in native queues is reordered or withdrawn, what runs gives way where rules say so.
    """
    return invoke("prioritize", locals())


@commands.command()
def replay(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[TICK|PIPELINE]",
            help="With --from a pipeline: its id, the beginning of it, or its name. Else the number of a tick.",
            autocompletion=complete_id,
            show_default=False,
        ),
    ] = None,
    tick: Annotated[
        int | None,
        typer.Option("--tick", metavar="N", help="The number of a tick, as `elisa tick --json` prints it.", min=1),
    ] = None,
    kept: Annotated[bool, typer.Option("--list", help="List the ticks whose decisions are kept.")] = False,
    begin: Annotated[
        str | None,
        typer.Option("--from", metavar="STEP|FOLDER", help="A checkpoint's step or folder.", show_default=False),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="Whose checkpoint it is.", show_default=False)
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option("--on", metavar="BACKEND", help="A local or simulated backend.", show_default=False),
    ] = None,
    rerun: Annotated[bool, typer.Option("--rerun", help="Run again what came before it, too.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Decide a past tick again, or run a pipeline again from a checkpoint.

    `replay TICK` makes a stored decision again from its stored inputs and compares: exit status 1 if it is not the same.
    `replay PIPELINE --from STEP` runs a copy of a pipeline; the pipeline itself is not touched.
    """
    return invoke("replay", locals())
