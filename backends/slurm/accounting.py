"""sacct: what became of jobs that the controller has forgotten, where the site keeps accounts.

https://slurm.schedmd.com/sacct.html. It is asked about single jobs only, and only about ones that squeue no longer lists.
"""

from __future__ import annotations

import pwd
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from elisa.backends.runner import Completed
from elisa.backends.slurm.identity import JobKey, component_of, is_number, tag_of_name
from elisa.backends.slurm.options import SlurmOptions
from elisa.backends.slurm.states import Record, parse_exit, parse_time, whole

__all__ = ["by_job_argv", "by_name_argv", "is_disabled", "parse_accounts"]

# The name comes last: it alone may hold a `|`.
_FIELDS = ("JobID", "State", "ExitCode", "Submit", "Start", "End", "NodeList", "JobName")
# Slurm does so, too, where a PrologSlurmctld failed and the job may not be requeued (22.05 and 24.11, as measured).
_BY_ROOT = "CANCELLED by 0"
_DISABLED = "accounting storage is disabled"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def by_job_argv(sacct: str, uid: int, jobs: Collection[str], options: SlurmOptions) -> tuple[str, ...]:
    """Return the question about these job numbers, with every record of a number that was used again."""
    return (*_argv(sacct, uid, options), f"--jobs={','.join(sorted(jobs))}")


def by_name_argv(sacct: str, uid: int, names: Collection[str], options: SlurmOptions) -> tuple[str, ...]:
    """Return the question about jobs of these names in the last `history_days`."""
    since = f"--starttime=now-{options.history_days}days"
    return (*_argv(sacct, uid, options), since, f"--name={','.join(sorted(names))}")


def _argv(sacct: str, uid: int, options: SlurmOptions) -> tuple[str, ...]:
    cluster = (f"--clusters={options.cluster}",) if options.cluster else ()
    shape = ("--noheader", "--parsable2", "--allocations", "--duplicates", f"--format={','.join(_FIELDS)}")
    return (sacct, *cluster, *shape, f"--uid={uid}")


def is_disabled(answer: Completed) -> bool:
    """Tell whether the site keeps no accounts at all (and not just: can't be asked now)."""
    return _DISABLED in answer.stderr.lower()


def parse_accounts(text: str, instance: str, uid: int) -> Mapping[JobKey, Record]:
    """Return this instance's jobs, all of user `uid`: the newest record of each."""
    records: dict[JobKey, dict[datetime, list[Record]]] = {}
    for line in text.split("\n"):
        record = _row(line, is_root=uid == 0)
        tag = tag_of_name(instance, record.name) if record is not None else None
        if record is not None and tag is not None:
            job, _ = component_of(record.job)
            lives = records.setdefault(JobKey(job, tag), {})
            lives.setdefault(record.submitted_at or _LONG_AGO, []).append(record)
    return {key: whole(lives[max(lives)]) for key, lives in records.items()}


def _row(line: str, *, is_root: bool) -> Record | None:
    cells = line.split("|", len(_FIELDS) - 1)
    if len(cells) != len(_FIELDS) or not is_number(component_of(cells[0])[0]):
        return None
    job, words, exit_text, submitted, started, ended, nodes, name = cells
    # "CANCELLED by 1000"
    state, _, by = words.partition(" ")
    exit_code, signal = parse_exit(exit_text)
    return Record(
        job=job,
        name=name,
        state=state,
        is_managers_doing=words == _BY_ROOT and not is_root,
        is_unexplained=words == _BY_ROOT and is_root,
        exit_code=exit_code,
        signal=signal,
        reason=_named(by),
        nodes="" if nodes == "None assigned" else nodes,
        submitted_at=parse_time(submitted),
        started_at=parse_time(started),
        ended_at=parse_time(ended),
    )


def _named(by: str) -> str:
    """Name the user of "by 1000", where this host knows him."""
    try:
        return f"by {pwd.getpwuid(int(by.removeprefix('by '))).pw_name}"
    except (KeyError, ValueError):
        return by
