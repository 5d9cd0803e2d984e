"""`elisa checkpoints list`, `verify`, `prune`, `explain` and `restore`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.table import Table

from elisa.cli.home import existing_home
from elisa.cli.output import print_json, print_plain, show
from elisa.cli.saving_words import schedule_words, seconds_words
from elisa.engine.checkpoint_choice import restore
from elisa.engine.checkpoint_interval import Schedule, read_schedule
from elisa.engine.checkpoint_prune import Pruned, prune
from elisa.engine.checkpoints import Shelf, Stored, read_shelf, resolve_task
from elisa.engine.workspace import open_workspace
from elisa.model.codec import encode
from elisa.model.errors import ExitCode
from elisa.model.states import TaskState
from elisa.model.text import clean
from elisa.model.units import format_duration
from elisa.store.reader import Reader

__all__ = [
    "checkpoints_explain",
    "checkpoints_list",
    "checkpoints_prune",
    "checkpoints_restore",
    "checkpoints_verify",
]

_MIB = 2**20


def checkpoints_list(*, task: str, home: str | None, json: bool) -> int:
    """Print what lies there."""
    shelf, now = _shelf(task, home, thoroughly=False)
    _print_shelf("checkpoints-list", shelf, now, json=json)
    return int(ExitCode.DONE)


def checkpoints_verify(*, task: str, home: str | None, json: bool) -> int:
    """Print what lies there after reading all of it."""
    shelf, now = _shelf(task, home, thoroughly=True)
    _print_shelf("checkpoints-verify", shelf, now, json=json)
    return int(ExitCode.DONE if all(one.is_sound for one in shelf.stored) else ExitCode.ERROR)


def checkpoints_prune(*, task: str, keep: int, dry_run: bool, home: str | None, json: bool) -> int:
    """Remove what is not wanted any more."""
    with open_workspace(existing_home(home)) as workspace:
        pruned = prune(workspace, task, keep, is_trial=dry_run)
    if json:
        lists = {"removed": _many(pruned.removed), "kept": _many(pruned.kept)}
        print_json("checkpoints-prune", 1, {"task": pruned.task, "dry_run": dry_run, **lists})
    else:
        print_plain(_pruned_words(pruned, is_trial=dry_run))
    return int(ExitCode.DONE)


def checkpoints_explain(*, task: str, home: str | None, json: bool) -> int:
    """Print the interval and the lead, and the numbers behind them."""
    with open_workspace(existing_home(home)) as workspace, Reader.open(workspace.home) as reader:
        schedule = read_schedule(workspace, reader, reader.task(resolve_task(reader, task)))
    if json:
        print_json("checkpoints-explain", 1, _schedule_data(schedule))
    else:
        print_plain("\n".join(schedule_words(schedule)))
    return int(ExitCode.DONE)


def checkpoints_restore(*, task: str, step: int, home: str | None, json: bool) -> int:
    """Choose where the next attempt begins."""
    with open_workspace(existing_home(home)) as workspace:
        restored = restore(workspace, task, step)
    if json:
        data = {"task": restored.task, "checkpoint": encode(restored.checkpoint), "retry_needed": restored.is_over}
        print_json("checkpoints-restore", 1, data)
        return int(ExitCode.DONE)
    print_plain(f"{restored.task}: the next attempt begins from step {step}")
    if restored.is_over:
        print_plain(f"it has ended: `elisa retry {restored.task}` begins that attempt")
    return int(ExitCode.DONE)


def _shelf(task: str, home: str | None, *, thoroughly: bool) -> tuple[Shelf, datetime]:
    with open_workspace(existing_home(home)) as workspace, Reader.open(workspace.home) as reader:
        shelf = read_shelf(workspace, reader, reader.task(resolve_task(reader, task)), thoroughly=thoroughly)
        return shelf, workspace.clock.now()


def _print_shelf(command: str, shelf: Shelf, now: datetime, *, json: bool) -> None:
    if json:
        data = {
            "task": shelf.task.id,
            "name": shelf.task.spec.name,
            "folders": [str(folder) for folder in shelf.folders],
            "verified": shelf.is_verified,
            "next_step": shelf.next_step,
            "next_is_chosen": shelf.is_chosen,
            "checkpoints": _many(shelf.stored),
            "set_aside": [{"path": one.path, "why": one.why} for one in shelf.set_aside],
        }
        print_json(command, 1, data)
        return
    if not shelf.stored:
        print_plain(f"{shelf.task.spec.name} ({shelf.task.id}) has no checkpoints")
    else:
        show(_table(shelf, now))
    for line in _notes(shelf):
        print_plain(line)


def _many(stored: tuple[Stored, ...]) -> list[dict[str, object]]:
    return [
        {
            "step": one.step,
            "generation": one.generation,
            "path": one.path,
            "size_bytes": one.size_bytes,
            "saved_at": one.saved_at,
            "seconds": one.seconds,
            "attempt": one.attempt,
            "sound": one.is_sound,
            "fault": one.fault,
        }
        for one in stored
    ]


def _table(shelf: Shelf, now: datetime) -> Table:
    table = Table("step", "size", "age", "save", "attempt", "state", box=None, pad_edge=False)
    for one in shelf.stored:
        age = "-" if one.saved_at is None else format_duration((now - one.saved_at).total_seconds())
        sound = "sound" if shelf.is_verified or not one.generation else "sound by name and size"
        cells = (str(one.step), _size(one.size_bytes), age, seconds_words(one.seconds), one.attempt or "-")
        table.add_row(*map(clean, (*cells, sound if one.is_sound else f"damaged: {one.fault}")))
    return table


def _size(size: int) -> str:
    return f"{size} B" if size < _MIB else f"{size / _MIB:.4g} MiB"


def _notes(shelf: Shelf) -> Iterator[str]:
    policy = shelf.task.spec.checkpoint
    if not shelf.stored and policy is not None and policy.pattern:
        yield f"files called {policy.pattern} are looked for in $ELISA_TASK_DIR and $ELISA_CHECKPOINT_DIR, nowhere else"
    if shelf.next_step is not None and shelf.task.state is TaskState.SUCCEEDED:
        yield "it has finished; `elisa replay PIPELINE --from STEP` runs a copy from any of them"
    elif shelf.next_step is not None:
        whose = "as was chosen" if shelf.is_chosen else "the newest that is sound"
        yield f"the next attempt begins from step {shelf.next_step}, {whose}"
    for one in shelf.set_aside:
        yield f"set aside: {one.path}{f' ({one.why})' if one.why else ''}"


def _pruned_words(pruned: Pruned, *, is_trial: bool) -> str:
    verb = "would remove" if is_trial else "removed"
    steps = ", ".join(str(one.step) for one in pruned.removed) or "nothing"
    kept = ", ".join(str(one.step) for one in pruned.kept) or "nothing"
    return f"{verb} {steps} ({_size(pruned.freed_bytes)}); kept {kept}"


def _schedule_data(schedule: Schedule) -> dict[str, object]:
    choice, rate = schedule.choice, schedule.interruptions
    return {
        "task": schedule.task.id,
        "name": schedule.task.spec.name,
        "interval_s": schedule.interval_s,
        "fixed": schedule.fixed_s is not None,
        "share": schedule.share,
        "remaining_s": schedule.remaining_s,
        "choice": choice._asdict() if choice is not None else None,
        "in_job": schedule.in_job._asdict() if schedule.in_job is not None else None,
        "interruptions": rate._asdict() if rate is not None else None,
        "lead": schedule.lead._asdict(),
    }
