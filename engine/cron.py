"""The line that has cron run the tick: the text of it, and putting it into a crontab or taking it out again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elisa.backends.runner import Runner
from elisa.engine.files import Files
from elisa.engine.ticklog import tick_log
from elisa.model.errors import ElisaError, UsageError

__all__ = ["CARRIED", "Cron", "CronEntry", "block_of", "with_block", "without_block"]

CARRIED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PBS_CONF_FILE", "PBS_EXEC", "PBS_SERVER", "SLURM_CONF")
"""Variables of the installing shell that the tick needs: cron starts with next to none."""

Change = Callable[[str, "CronEntry"], str]

_TIMEOUT_S = 30.0
_HOUR_MINUTES = 60
# A tick takes a second; a resource manager that hangs is given up long before.
_SCRON_OPTIONS = ("--time=00:10:00", "--job-name=elisa-tick", "--open-mode=append")


@dataclass(frozen=True, slots=True, kw_only=True)
class CronEntry:
    """What to run, for which state folder, how often. `program` begins with an absolute path."""

    home: Path
    program: tuple[str, ...]
    every_minutes: int
    environment: Mapping[str, str]
    is_slurm: bool = False

    @property
    def marks(self) -> tuple[str, str]:
        """The comment lines before and after what is ours in a crontab."""
        return f"# >>> elisa tick of {self.home} >>>", f"# <<< elisa tick of {self.home} <<<"


def block_of(entry: CronEntry) -> str:
    """Return the lines for a crontab, marks included; raises UsageError for a folder that no crontab can name."""
    if "\n" in str(entry.home):
        raise UsageError(f"the folder {str(entry.home)!r} cannot stand in a crontab", "it has a line feed in its name")
    log = tick_log(entry.home)
    options = (*_SCRON_OPTIONS, f"--output={log}") if entry.is_slurm else ()
    first, last = entry.marks
    lines = (first, *(f"#SCRON {option}" for option in options), f"{_when(entry)} {_command(entry, log)}", last)
    return "\n".join(lines) + "\n"


def _when(entry: CronEntry) -> str:
    minutes = "0" if entry.every_minutes >= _HOUR_MINUTES else f"*/{entry.every_minutes}"
    return f"{minutes} * * * *"


def _command(entry: CronEntry, log: Path) -> str:
    variables = {name: value for name, value in entry.environment.items() if name in CARRIED and "\n" not in value}
    settings = [f"{name}={value}" for name, value in sorted({**variables, "ELISA_HOME": str(entry.home)}.items())]
    words = shlex.join(["/usr/bin/env", *settings, *entry.program, "tick"])
    sink = "" if entry.is_slurm else f" >>{shlex.quote(str(log))} 2>&1"
    # To cron a bare % is the end of the line.
    return (words + sink).replace("%", "\\%")


def without_block(table: str, entry: CronEntry) -> str:
    """Return a crontab without our lines for this state folder; everything else stays as it is."""
    first, last = entry.marks
    kept: list[str] = []
    is_ours = False
    for line in table.splitlines(keepends=True):
        is_ours = is_ours or line.rstrip("\n") == first
        if not is_ours:
            kept.append(line)
        is_ours = is_ours and line.rstrip("\n") != last
    return "".join(kept)


def with_block(table: str, entry: CronEntry) -> str:
    """Return a crontab with our lines in it just once, as they should be now."""
    rest = without_block(table, entry)
    if rest and not rest.endswith("\n"):
        rest += "\n"
    return rest + block_of(entry)


class Cron:
    """A user's crontab, or Slurm's form of it."""

    def __init__(self, runner: Runner, files: Files) -> None:
        self._runner = runner
        self._files = files

    def is_installed(self, entry: CronEntry) -> bool:
        """Tell whether our lines stand there, just as they should be."""
        return block_of(entry) in self._read(entry)

    def install(self, entry: CronEntry) -> bool:
        """Put our lines in; False if they were there already."""
        return self._replace(entry, with_block)

    def remove(self, entry: CronEntry) -> bool:
        """Take our lines out; False if there were none."""
        return self._replace(entry, without_block)

    def _replace(self, entry: CronEntry, change: Change) -> bool:
        before = self._read(entry)
        after = change(before, entry)
        if after == before:
            return False
        path = entry.home / "crontab.new"
        self._files.write(path, after.encode("utf-8", "surrogateescape"))
        self._run([_program(entry), str(path)])
        self._files.remove(path)
        return True

    def _read(self, entry: CronEntry) -> str:
        answer = self._runner.run([_program(entry), "-l"], timeout_s=_TIMEOUT_S)
        if answer.ok:
            return answer.stdout
        if "no crontab" in answer.stderr.lower() or "no scrontab" in answer.stderr.lower():
            return ""
        raise _failed(_program(entry), answer.stderr)

    def _run(self, argv: Sequence[str]) -> None:
        answer = self._runner.run(argv, timeout_s=_TIMEOUT_S)
        if not answer.ok:
            raise _failed(argv[0], answer.stderr)


def _program(entry: CronEntry) -> str:
    return "scrontab" if entry.is_slurm else "crontab"


def _failed(program: str, words: str) -> ElisaError:
    return ElisaError(
        f"`{program}` failed",
        words.strip().partition("\n")[0] or "it gave no reason",
        "run `elisa tick --loop 60` in a terminal that stays open instead, or ask the site whether cron is allowed",
    )
