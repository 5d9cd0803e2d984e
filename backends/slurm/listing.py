"""squeue: one question about all of a user's jobs, and the reading of its answer.

https://slurm.schedmd.com/squeue.html. Columns have fixed widths and the name comes last: the name is the only text in a row
that its owner chooses, and no `|` or newline in it can then shift or forge a column of another job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from elisa.backends.slurm.identity import JobKey, component_of, is_number, tag_of_name
from elisa.backends.slurm.options import SlurmOptions
from elisa.backends.slurm.states import Record, parse_exit, parse_time, whole

__all__ = ["ListingError", "parse_listing", "poll_argv"]

# A tag has some 25 characters, an array's 5 more; longer names are not ours and may be cut off.
_COLUMNS: Mapping[str, int] = {
    "JobArrayID": 24,
    "State": 16,
    "exit_code": 8,
    "RestartCnt": 6,
    "SubmitTime": 20,
    "StartTime": 20,
    "EndTime": 20,
    "Reason": 64,
    "NodeList": 64,
    "Name": 48,
}
_WIDTH_TO_NAME = sum(_COLUMNS.values()) - _COLUMNS["Name"]
_STATE = re.compile(r"[A-Z_]+")


class ListingError(ValueError):
    """The answer is not what squeue prints: nothing may be concluded from it."""


def poll_argv(squeue: str, uid: int, options: SlurmOptions) -> tuple[str, ...]:
    """Return the question: every job of the user, waiting, running or lately ended; elements of arrays one by one."""
    columns = ",".join(f"{name}:{width}" for name, width in _COLUMNS.items())
    cluster = (f"--clusters={options.cluster}",) if options.cluster else ()
    return (squeue, *cluster, "--noheader", "--array", "--states=all", f"--user={uid}", f"--Format={columns}")


def parse_listing(text: str, instance: str) -> Mapping[JobKey, Record]:
    """Return this instance's jobs. Raises ListingError for an answer that squeue can't have given.

    Jobs of other names are skipped, with the lines that a newline in such a name makes: those are shorter than a row,
    for the name is cut off at its width.
    """
    if text and not text.endswith("\n"):
        raise ListingError(f"squeue's answer breaks off: {text[-40:]!r}")
    parts: dict[JobKey, list[Record]] = {}
    may_continue = False
    for line in text.split("\n"):
        record = _row(line)
        if record is None:
            if line.strip() and not may_continue and not line.startswith("CLUSTER: "):
                raise ListingError(f"squeue printed {line[:80]!r}")
            continue
        tag = tag_of_name(instance, record.name)
        may_continue = tag is None
        if tag is not None:
            job, _ = component_of(record.job)
            parts.setdefault(JobKey(job, tag), []).append(record)
    return {key: whole(records) for key, records in parts.items()}


def _row(line: str) -> Record | None:
    cells, at = {}, 0
    for name, width in _COLUMNS.items():
        cells[name] = (line[at:] if name == "Name" else line[at : at + width]).strip()
        at += width
    number, _ = component_of(cells["JobArrayID"])
    if len(line) < _WIDTH_TO_NAME or not is_number(number) or not _STATE.fullmatch(cells["State"]):
        return None
    exit_code, signal = parse_exit(cells["exit_code"])
    return Record(
        job=cells["JobArrayID"],
        name=cells["Name"],
        state=cells["State"],
        exit_code=exit_code,
        signal=signal,
        restarts=int(cells["RestartCnt"]) if cells["RestartCnt"].isdecimal() else 0,
        reason=cells["Reason"],
        nodes=cells["NodeList"],
        submitted_at=parse_time(cells["SubmitTime"]),
        started_at=parse_time(cells["StartTime"]),
        ended_at=parse_time(cells["EndTime"]),
    )
