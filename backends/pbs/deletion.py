"""qdel, and what its answer says of each job.

https://help.altair.com/2024.1.0/PBS%20Professional/PBSReferenceGuide2024.1.pdf (qdel). Of several jobs the exit status is
that of one that failed; not every id that failed is named (seen on OpenPBS: an unknown id behind a finished one was not).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from elisa.backends.pbs.identity import number_of
from elisa.backends.runner import Completed
from elisa.model.native import CancelOutcome

__all__ = ["delete_argv", "parse_delete"]

# the last is Torque's (6.1)
_GONE = re.compile(r"(?:Unknown Job Id|Job has finished|nonexistent job id)")
# it is ending already, or being deleted
_ENDING = re.compile(r"(?:Request invalid for state of job|deletion in progress)", re.IGNORECASE)
_ID = re.compile(r"\b([0-9]+(?:\[[0-9]*\])?)(?:\.|\s|$)")


def delete_argv(qdel: str, pbs_ids: Collection[str]) -> tuple[str, ...]:
    """Return the request to end these jobs: TERM, the queue's `kill_delay`, KILL."""
    return (qdel, *pbs_ids)


def parse_delete(answer: Completed, pbs_ids: Collection[str]) -> Mapping[str, CancelOutcome]:
    """Return what is certain: the outcome of each job that the answer speaks of."""
    if answer.ok:
        return dict.fromkeys(pbs_ids, CancelOutcome.ASKED)
    if answer.exit_code is None or answer.timed_out:
        return dict.fromkeys(pbs_ids, CancelOutcome.FAILED)
    by_number = {number_of(pbs_id): pbs_id for pbs_id in pbs_ids}
    outcomes = {}
    for line in answer.stderr.split("\n"):
        for number in _ID.findall(line):
            if number in by_number:
                outcomes[by_number[number]] = _outcome(line)
    return outcomes or dict.fromkeys(pbs_ids, CancelOutcome.FAILED)


def _outcome(line: str) -> CancelOutcome:
    if _GONE.search(line):
        return CancelOutcome.ALREADY_GONE
    return CancelOutcome.ASKED if _ENDING.search(line) else CancelOutcome.FAILED
