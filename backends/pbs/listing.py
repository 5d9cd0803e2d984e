"""qstat -f about a list of own jobs, and the reading of its answer.

One question for all ids. Its exit status is that of the last id that failed, and 0 for a server without history that was
asked with -x and told nothing about any: so each id has to be accounted for, by a record or by words about it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from elisa.backends.pbs.attributes import parse_records
from elisa.backends.pbs.identity import number_of
from elisa.backends.pbs.refusals import unavailable
from elisa.backends.pbs.states import Record, read_record
from elisa.backends.runner import Completed

__all__ = ["Listing", "has_no_history", "parse_listing", "poll_argv"]

_NO_HISTORY = "not configured to maintain job history"
# qstat: Unknown Job Id 99999.vm / Unknown Job Id Error 99999.vm (Torque) / Unauthorized Request 99999.vm (another's job)
_GONE = re.compile(r"(?:Unknown Job Id|Unauthorized Request)(?: Error)?\s+([0-9]+)")
_FINISHED = re.compile(r"([0-9]+)\S* Job has finished")
# PBSE_NONE, _HISTJOBID, _UNKJOBID and _PERM, each modulo 256: an answer was given, about each job for itself
_ANSWERED = frozenset({0, 35, 153, 159})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What one answer said, by job number. `gone` are unknown to the server, `finished` ones it says no more about.

    `silent` are those that it did not say a word about.
    """

    records: Mapping[str, Record]
    gone: frozenset[str] = frozenset()
    finished: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()

    def joined(self, other: Listing) -> Listing:
        """Return what both said, of different jobs."""
        return Listing(
            records={**self.records, **other.records},
            gone=self.gone | other.gone,
            finished=self.finished | other.finished,
            silent=self.silent | other.silent,
        )


def poll_argv(qstat: str, pbs_ids: Collection[str], *, with_history: bool) -> tuple[str, ...]:
    """Return the question about these jobs, finished ones included `with_history`."""
    return (qstat, *(("-x",) if with_history else ()), "-f", *pbs_ids)


def has_no_history(answer: Completed) -> bool:
    """Tell whether the server refused to say anything because it keeps no history."""
    return _NO_HISTORY in answer.stderr


def parse_listing(answer: Completed, numbers: Collection[str]) -> Listing:
    """Return what qstat said about the jobs with these numbers. Raises Unavailable for what is no answer."""
    asked = frozenset(numbers)
    found = {number_of(name): read_record(pairs) for name, pairs in parse_records(answer.stdout, "Job Id: ")}
    # a record that was cut off would look like a job that never ran
    records = {number: record for number, record in found.items() if number in asked and record.state}
    gone = frozenset(_GONE.findall(answer.stderr))
    finished = frozenset(_FINISHED.findall(answer.stderr)) - records.keys()
    silent = asked - records.keys() - gone - finished
    if answer.exit_code not in _ANSWERED or (silent and silent == asked):
        raise unavailable("qstat gave no answer", answer)
    return Listing(records=records, gone=gone, finished=finished, silent=silent)
