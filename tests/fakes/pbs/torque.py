"""How Torque's own programs say that something is wrong: in other words than OpenPBS's, and by other numbers.

What docs/measurements.md has of the branch 6.1-dev was seen; the rest is from its source, in `pbs_error_db.h`,
`svr_jobfunc.c`, `svr_chk_owner.c` and `qsub_functions.c` of https://github.com/adaptivecomputing/torque/tree/6.1-dev.
"""

from __future__ import annotations

import re

__all__ = ["no_root", "of_job", "of_submission"]

_QUEUE = "user {user}, queue {queue}"
_OWN_JOBS = "total number of current user's jobs exceeds the queue limit"
# what OpenPBS says, then Torque's words and status for the same
_SUBMISSION = (
    (r"Unknown queue", "Unknown queue MSG=requested queue not found", 172),
    (r"Unknown resource:? (?P<name>\S+)", "Unknown resource type  {name}", 189),
    (r"Illegal attribute or resource value (?P<name>\S+)", "Illegal attribute or resource value for {name}", 168),
    (
        r"Job violates queue and/or server resource limits",
        "Job exceeds queue resource limits MSG=cannot satisfy queue max walltime requirement",
        190,
    ),
    (r"Queue is not enabled", f"Queue is not enabled MSG=queue is disabled: {_QUEUE}", 175),
    (
        r"Unauthorized Request ",
        f"Unauthorized Request  MSG=user ACL rejected the submitting user: {_QUEUE}",
        159,
    ),
    (
        r"would exceed .*",
        f"Maximum number of jobs already in queue for user MSG={_OWN_JOBS}: {_QUEUE}",
        228,
    ),
)
UNKNOWN_JOB, OVER = 153, 170


def no_root() -> tuple[str, int]:
    """Return what qsub says to root."""
    return "qsub can not be run as root", 1


def of_submission(words: str, status: int, *, user: str, queue: str) -> tuple[str, int]:
    """Return how Torque's qsub tells what the server of OpenPBS would tell in these words."""
    for form, told, number in _SUBMISSION:
        found = re.fullmatch(form, words)
        if found:
            words, status = told.format(**{"user": user, "queue": queue, **found.groupdict()}), number
            break
    return f"qsub: submit error ({words})", status


def of_job(program: str, words: str, status: int, *, operand: str, full: str) -> tuple[str, int]:
    """Return how Torque tells of an unknown job, or of one that is over; qhold and qrls are silent about the first."""
    if words == "Unknown Job Id":
        told = {"qdel": f"qdel: nonexistent job id: {operand}", "qhold": "", "qrls": ""}
        return told.get(program, f"{program}: Unknown Job Id Error MSG=cannot locate job {full}"), UNKNOWN_JOB
    if words == "Job has finished":
        return f"{program}: Request invalid for state of job MSG=invalid state for job - COMPLETE {full}", OVER
    return f"{program}: {words} {full}", status
