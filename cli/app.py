"""Every command, option and help text, in one place. Each function hands its parameters to the command's own module."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .call import invoke
from .completion import complete_id, complete_project

__all__ = ["app"]

app = typer.Typer(
    name="elisa",
    help="Queue, budget and carry work through failures, above Slurm, PBS or this machine.\n\n"
    "Start with `elisa init`, then `elisa submit pipeline.yaml`; `elisa tick`, run by cron, does the rest.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cron = typer.Typer(
    help="Have cron run `elisa tick`.\n\nWithout it, or `elisa tick --loop`, nothing moves.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(cron, name="cron")
checkpoints = typer.Typer(
    help="List, check, prune and choose the checkpoints of a task.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(checkpoints, name="checkpoints")

project = typer.Typer(
    help="Show and change the rules of projects.\n\nWhat is set here is laid over site.yaml, and stands in the audit.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(project, name="project")

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.callback()
def _common(debug: Debug = False) -> None:
    """Options before the command."""


@app.command()
def init(home: options.Home = None, json: options.Json = False) -> int:
    """Create the state folder.

    Looks for Slurm and PBS, and writes a commented site.yaml. What is there already is kept.
    """
    return invoke("init", locals())


@app.command()
def validate(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The pipeline to check.")] = None,
    settings: options.Settings = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of pipelines, for editors.")] = False,
    json: options.Json = False,
) -> int:
    """Check a pipeline file.

    Tells everything that is wrong with it, with lines; nothing is stored.
    """
    return invoke("validate", locals())


@app.command()
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


@app.command()
def plan(
    limit: Annotated[int, typer.Option("--limit", help="How many waiting tasks to list.", min=1)] = 50,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Show what the next tick would do, and why.

    Nothing is changed. News that jobs wrote since the last tick is not in it.
    """
    return invoke("plan", locals())


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command("show-script")
def show_script(task: options.TaskName, home: options.Home = None, json: options.Json = False) -> int:
    """Print the script and command line of a task.

    Exactly as its resource manager gets them; nothing is submitted.
    """
    return invoke("show_script", locals())


@app.command()
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


@app.command()
def cancel(ids: options.Ids, home: options.Home = None, json: options.Json = False) -> int:
    """Stop pipelines or tasks for good.

    What runs is stopped by the next tick.
    """
    return invoke("cancel", locals())


@app.command()
def hold(ids: options.Ids, home: options.Home = None, json: options.Json = False) -> int:
    """Keep tasks from starting.

    Until they are released; running ones go on.
    """
    return invoke("hold", locals())


@app.command()
def release(ids: options.Ids, home: options.Home = None, json: options.Json = False) -> int:
    """Let held tasks start again."""
    return invoke("release", locals())


@app.command()
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


@app.command()
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
            help="Show how the next plan would change: budget.gpu_hours=500 or any other rule of the project, "
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def rebuild(home: options.Home = None, json: options.Json = False) -> int:
    """Replace a damaged database by a copy.

    By the newest sound one; the next tick finds again what happened since.
    """
    return invoke("rebuild", locals())


@app.command()
def doctor(home: options.Home = None, json: options.Json = False) -> int:
    """Check this machine and the state folder.

    Tells how to mend what is wrong.
    """
    return invoke("doctor", locals())


@app.command()
def version(json: options.Json = False) -> int:
    """Print elisa's version."""
    return invoke("version", locals())


@cron.command("install")
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


@cron.command("show")
def cron_show(
    every: options.Every = 1,
    scrontab: Annotated[bool, typer.Option("--scrontab", help="Show the scrontab form.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Print the line, and whether it is there."""
    return invoke("cron_show", locals())


@cron.command("remove")
def cron_remove(
    scrontab: Annotated[bool, typer.Option("--scrontab", help="Remove it from scrontab.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Take the line out of your crontab again."""
    return invoke("cron_remove", locals())


@checkpoints.command("list")
def checkpoints_list(task: options.TaskName, home: options.Home = None, json: options.Json = False) -> int:
    """List a task's checkpoints.

    The newest first; only names and sizes are looked at.
    """
    return invoke("checkpoints_list", locals())


@checkpoints.command("verify")
def checkpoints_verify(task: options.TaskName, home: options.Home = None, json: options.Json = False) -> int:
    """Read all of a task's checkpoints.

    Exit status 1 if one byte is not as it was written.
    """
    return invoke("checkpoints_verify", locals())


@checkpoints.command("prune")
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


@checkpoints.command("explain")
def checkpoints_explain(task: options.TaskName, home: options.Home = None, json: options.Json = False) -> int:
    """Show how often a task saves, and why.

    And how early it is told of its end.
    """
    return invoke("checkpoints_explain", locals())


@checkpoints.command("restore")
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


@project.command("list")
def project_list(home: options.Home = None, json: options.Json = False) -> int:
    """List projects and their limits."""
    return invoke("project_list", locals())


@project.command("show")
def project_show(project: options.Project, home: options.Home = None, json: options.Json = False) -> int:
    """Show all rules of a project.

    Its loans and grants too, and what of it was set by command.
    """
    return invoke("project_show", locals())


@project.command("set")
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


@project.command("reset")
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


@project.command("grant")
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


@project.command("lend")
def project_lend(
    lender: Annotated[
        str, typer.Argument(metavar="LENDER", help="The project that gives.", autocompletion=complete_project)
    ],
    borrower: Annotated[
        str, typer.Argument(metavar="BORROWER", help="The project that takes.", autocompletion=complete_project)
    ],
    amount: options.Amount,
    end: options.Until,
    begin: options.Since = None,
    firm: Annotated[bool, typer.Option("--firm", help="It cannot be called back before it is due.")] = False,
    by_hand: Annotated[
        bool, typer.Option("--by-hand", help="It does not go back by itself when the lender needs it.")
    ] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> int:
    """Lend budget to another project.

    For a manager of the lender, which must have `may_lend`.
    """
    return invoke("project_lend", locals())


@project.command("reclaim")
def project_reclaim(loan: options.Loan, home: options.Home = None, json: options.Json = False) -> int:
    """Call a loan back.

    For a manager of the lender.
    """
    return invoke("project_reclaim", locals())


@project.command("return")
def project_return(loan: options.Loan, home: options.Home = None, json: options.Json = False) -> int:
    """Give a loan back early.

    For a manager of the borrower.
    """
    return invoke("project_return", locals())
