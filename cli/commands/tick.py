"""`elisa tick`."""

from __future__ import annotations

from pathlib import Path

from elisa.cli.home import existing_home
from elisa.cli.output import note, print_json, print_plain
from elisa.cli.progress import exit_code_of, showing_progress
from elisa.engine import loop as ticking
from elisa.engine.outcome import TickReport
from elisa.engine.workspace import Workspace, open_workspace
from elisa.store.reader import Reader

__all__ = ["print_report", "tick"]


def tick(*, until_idle: bool, loop: float | None, home: str | None, json: bool) -> int:
    """Tick once, until nothing is left to do, or for ever."""
    folder = existing_home(home)
    with open_workspace(folder) as workspace:
        if loop is not None:
            ticking.loop(workspace, loop, on_tick=lambda report: print_report(report, json=json))
        if until_idle:
            return _until_idle(workspace, folder, json=json)
        report = ticking.once(workspace)
    print_report(report, json=json)
    return int(report.exit_code)


def _until_idle(workspace: Workspace, folder: Path, *, json: bool) -> int:
    with Reader.open(folder) as reader:
        begun = [one.id for one in reader.pipelines(unfinished_only=True)]
    with showing_progress(folder) as progress:
        report = ticking.until_idle(workspace, on_tick=lambda _: progress.update())
    print_report(report, json=json)
    return int(report.exit_code) or exit_code_of(folder, begun)


def print_report(report: TickReport, *, json: bool) -> None:
    """Print what a tick did."""
    if json:
        print_json("tick", 1, {"at": report.at, "tick": report.tick, **report.facts(), "ids": report.ids()})
        return
    told = {
        "ended": report.ended,
        "submitted": report.submitted,
        "stopped": report.stopped,
        "rejected": report.rejected,
        "withdrawn": report.withdrawn,
        "held": report.held,
        "released": report.released,
        "reordered": report.reordered,
        "unsettled": report.unsettled,
    }
    words = [f"{len(attempts)} {verb}" for verb, attempts in told.items() if attempts]
    happened = ", ".join(words) or "nothing new"
    print_plain(f"{report.at.astimezone():%H:%M:%S} {happened}; {len(report.live)} live, {report.waiting} waiting")
    for backend, why in report.unreachable.items():
        note(f"warning: {backend} did not answer ({why}); nothing was concluded about its jobs")
    for alarm in report.alarms:
        note(f"alarm: {alarm}")
