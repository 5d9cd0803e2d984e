"""`elisa cron install`, `show` and `remove`."""

from __future__ import annotations

import os
import sys

from elisa.backends.runner import SubprocessRunner
from elisa.cli.home import existing_home
from elisa.cli.output import note, print_json, print_plain
from elisa.engine.cron import Cron, CronEntry, block_of
from elisa.engine.files import OsFiles

__all__ = ["cron_install", "cron_remove", "cron_show"]


def cron_install(*, every: int, scrontab: bool, home: str | None, json: bool) -> int:
    """Add the line, or say that it is there."""
    entry = _entry(home, every=every, scrontab=scrontab)
    changed = _cron().install(entry)
    code = _tell("install", entry, {"changed": changed}, json=json)
    if not json:
        print_plain("installed" if changed else "it was there already")
    return code


def cron_show(*, every: int, scrontab: bool, home: str | None, json: bool) -> int:
    """Print the line, and whether it is installed."""
    entry = _entry(home, every=every, scrontab=scrontab)
    installed = _cron().is_installed(entry)
    code = _tell("show", entry, {"installed": installed}, json=json)
    if not json:
        # beside the lines, which somebody may want to put into a crontab by other means
        note("it is installed" if installed else "it is not installed: run `elisa cron install`")
    return code


def cron_remove(*, scrontab: bool, home: str | None, json: bool) -> int:
    """Take the line out, or say that there was none."""
    entry = _entry(home, every=1, scrontab=scrontab)
    changed = _cron().remove(entry)
    if json:
        print_json("cron-remove", 1, {"changed": changed})
    else:
        print_plain("removed" if changed else "there was nothing to remove")
    return 0


def _cron() -> Cron:
    return Cron(SubprocessRunner(), OsFiles())


def _entry(home: str | None, *, every: int, scrontab: bool) -> CronEntry:
    return CronEntry(
        home=existing_home(home),
        program=(sys.executable, "-m", "elisa.cli"),
        every_minutes=every,
        environment=dict(os.environ),
        is_slurm=scrontab,
    )


def _tell(command: str, entry: CronEntry, facts: dict[str, bool], *, json: bool) -> int:
    if json:
        print_json(f"cron-{command}", 1, {"lines": block_of(entry).splitlines(), **facts})
    else:
        print_plain(block_of(entry).rstrip("\n"))
    return 0
