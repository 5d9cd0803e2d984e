"""The application: all commands of `faces`, in the order in which help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from .faces import checkpoints, cron, looking, project, site, steering, work

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

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.callback()
def _common(debug: Debug = False) -> None:
    """Options before the command."""


for face in (work, looking, steering, site):
    app.registered_commands += face.commands.registered_commands
app.add_typer(cron.commands, name="cron")
app.add_typer(checkpoints.commands, name="checkpoints")
app.add_typer(project.commands, name="project")
