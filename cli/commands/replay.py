"""`elisa replay`: a stored decision made again, or a copy of a pipeline that goes on from a checkpoint."""

from __future__ import annotations

from elisa.cli.draw import table_of
from elisa.cli.home import existing_home
from elisa.cli.output import note, print_json, print_plain, show
from elisa.engine.kept_plans import Replay, kept_ticks, newest, read, replay_tick
from elisa.engine.replay import replay as make_replay
from elisa.engine.workspace import Workspace, open_workspace
from elisa.model.codec import encode
from elisa.model.errors import ExitCode, UsageError
from elisa.model.text import clean

__all__ = ["replay"]


def replay(
    *,
    what: str | None,
    tick: int | None,
    kept: bool,
    begin: str | None,
    task: str | None,
    backend: str | None,
    rerun: bool,
    home: str | None,
    json: bool,
) -> int:
    """Check a tick, list those that can be checked, or store the copy of a pipeline."""
    with open_workspace(existing_home(home)) as workspace:
        if kept:
            return _list(workspace, json=json)
        if begin is None:
            return _check(replay_tick(workspace, _number(workspace, what, tick)), json=json)
        if what is None:
            raise UsageError("--from needs a pipeline", "none was named", "write `elisa replay PIPELINE --from STEP`")
        made = make_replay(workspace, what, begin, task=task or "", backend=backend or "", rerun=rerun)
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


def _number(workspace: Workspace, what: str | None, tick: int | None) -> int:
    if tick is not None:
        return tick
    if what == "last":
        found = newest(workspace.files, workspace.home)
        return found[0] if found is not None else 1
    if what is None or not what.isdigit():
        raise UsageError(
            f"`{what}` is no tick" if what else "nothing is named to be replayed",
            "a tick is a number, or `last`; a pipeline needs --from",
            "write `elisa replay 12`, or `elisa replay PIPELINE --from STEP`",
        )
    return int(what)


def _check(done: Replay, *, json: bool) -> int:
    outcome = done.kept.outcome
    waiting = sum(len(tasks) for _, tasks in outcome.passed_over)
    if json:
        data = {
            "tick": done.tick,
            "at": done.kept.inputs.now,
            "decisions": len(outcome.decisions),
            "passed_over": waiting,
            "same": not done.differences,
            "sealed": done.is_sealed,
            "differences": list(done.differences),
        }
        print_json("replay-tick", 1, data)
    else:
        verdict = "the same" if not done.differences else "NOT the same"
        print_plain(f"tick {done.tick} of {done.kept.inputs.now.astimezone():%Y-%m-%d %H:%M:%S}: {verdict}")
        print_plain(f"decisions: {len(outcome.decisions)}, passed over: {waiting}")
        for words in done.differences:
            print_plain(f"  {words}")
    return int(ExitCode.ERROR if done.differences else ExitCode.DONE)


def _list(workspace: Workspace, *, json: bool) -> int:
    plans = [
        (tick, read(workspace.files, workspace.home, tick)) for tick in kept_ticks(workspace.files, workspace.home)
    ]
    rows = [(tick, one.inputs.now, len(one.outcome.decisions), len(one.inputs.ready.task)) for tick, one in plans]
    if json:
        fields = ("tick", "at", "decisions", "ready")
        print_json("replay-list", 1, {"ticks": [dict(zip(fields, row, strict=True)) for row in rows]})
        return int(ExitCode.DONE)
    table = table_of("tick", "at", "decisions", "ready tasks", whole=("tick",))
    for tick, at, decisions, ready in rows:
        table.add_row(str(tick), clean(f"{at.astimezone():%Y-%m-%d %H:%M:%S}"), str(decisions), str(ready))
    show(table if rows else "no plan is kept yet")
    return int(ExitCode.DONE)
