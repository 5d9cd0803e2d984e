"""`elisa replay`."""

from __future__ import annotations

from elisa.cli.home import existing_home
from elisa.cli.output import note, print_json, print_plain
from elisa.engine.replay import replay as make_replay
from elisa.engine.workspace import open_workspace
from elisa.model.codec import encode
from elisa.model.errors import ExitCode

__all__ = ["replay"]


def replay(
    *, pipeline: str, begin: str, task: str | None, backend: str | None, rerun: bool, home: str | None, json: bool
) -> int:
    """Store the copy; the next tick begins with it."""
    with open_workspace(existing_home(home)) as workspace:
        made = make_replay(workspace, pipeline, begin, task=task or "", backend=backend or "", rerun=rerun)
    if json:
        print_json("replay", 1, encode(made))
        return int(ExitCode.DONE)
    print_plain(f"{made.pipeline}: {made.name}, in which {made.task} goes on from step {made.step} on {made.backend}")
    if made.taken:
        print_plain(f"taken as they were: {', '.join(made.taken)}")
    print_plain(f"run: {', '.join(made.again)}")
    for warning in made.warnings:
        note(f"warning: {warning}")
    return int(ExitCode.DONE)
