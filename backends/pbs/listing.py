"""qstat -f about own jobs, and the reading of its answer.

Three ways to ask, the cheapest first. `-E` (since 18.1) sends all ids as one request; without it qstat opens a connection
for each id: 300 of them took 63 s and used up the machine's privileged ports, where `-E` took 0.1 s (OpenPBS 23.06.06). So
where there is no `-E` (old releases, Torque), many ids are looked up in the listing of everybody's live jobs.

No way may be trusted by its exit status, which is that of the last id that failed: it is 0 too where a server without
history was asked with -x and said nothing about anything. What an absent id means depends on the way it was asked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from elisa.backends.pbs.attributes import parse_records
from elisa.backends.pbs.identity import number_of
from elisa.backends.pbs.refusals import unavailable
from elisa.backends.pbs.states import Record, read_record
from elisa.backends.runner import Completed

__all__ = ["Listing", "Way", "has_no_express", "has_no_history", "parse_listing", "poll_argv", "strange_hosts"]


class Way(Enum):
    """How qstat is asked about jobs."""

    EXPRESS = "one request that names them"
    EACH = "one request for each"
    ALL = "one request for all live jobs of everybody"


_NO_HISTORY = "not configured to maintain job history"
_NO_EXPRESS = "invalid option -- 'E'"
# qstat: Unknown Job Id 99999.vm / Unknown Job Id Error 99999.vm (Torque) / Unauthorized Request 99999.vm (another's job)
_GONE = re.compile(r"(?:Unknown Job Id|Unauthorized Request)(?: Error)?\s+([0-9]+(?:\[[0-9]*\])?)")
_FINISHED = re.compile(r"([0-9]+(?:\[[0-9]*\])?)\S* Job has finished")
# what the programs say of a server that they can't find, such as one that had another name when the job was submitted
_STRANGE = re.compile(r"illegally formed job identifier: [0-9]+(?:\[[0-9]*\])?\.(\S+)")
_USAGE = 2
# PBSE_NONE, _HISTJOBID, _UNKJOBID and _PERM, each modulo 256: an answer was given, about each job for itself
_ANSWERED = frozenset({0, 35, 153, 159})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What was said, by job number. `absent` are unknown, or finished and forgotten; of `silent` ones nothing was said."""

    records: Mapping[str, Record]
    absent: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()

    def joined(self, other: Listing) -> Listing:
        """Return what both said, of different jobs."""
        return Listing(
            records={**self.records, **other.records},
            absent=self.absent | other.absent,
            silent=self.silent | other.silent,
        )


def poll_argv(qstat: str, pbs_ids: Collection[str], way: Way, *, with_history: bool) -> tuple[str, ...]:
    """Return the question about these jobs, finished ones included `with_history`."""
    history = ("-x",) if with_history else ()
    match way:
        case Way.EXPRESS:
            return (qstat, *history, "-E", "-f", *pbs_ids)
        case Way.EACH:
            return (qstat, *history, "-f", *pbs_ids)
        case Way.ALL:
            return (qstat, "-f")


def has_no_history(answer: Completed) -> bool:
    """Tell whether the server refused to say anything because it keeps no history."""
    return _NO_HISTORY in answer.stderr


def has_no_express(answer: Completed) -> bool:
    """Tell whether this qstat is too old to know `-E`."""
    return answer.exit_code == _USAGE and _NO_EXPRESS in answer.stderr


def strange_hosts(answer: Completed) -> frozenset[str]:
    """Return the servers in the ids asked for that are not to be found."""
    return frozenset(_STRANGE.findall(answer.stderr))


def parse_listing(answer: Completed, numbers: Collection[str], way: Way) -> Listing:
    """Return what qstat said about the jobs with these numbers. Raises Unavailable for what is no answer."""
    asked = frozenset(numbers)
    found = {number_of(name): read_record(pairs) for name, pairs in parse_records(answer.stdout, "Job Id: ")}
    records = {number: record for number, record in found.items() if number in asked and record.state}
    missing = asked - records.keys()
    absent = missing & _named_absent(answer) if way is Way.EACH else missing
    silent = missing - absent
    if _is_cut(answer.stdout) or not _is_answer(answer, found, way) or (silent and silent == asked):
        raise unavailable("qstat gave no answer", answer)
    return Listing(records=records, absent=absent, silent=silent)


def _is_cut(stdout: str) -> bool:
    """Tell whether the last record lacks its end: what is cut off before its exit status looks like a job that never ran."""
    return bool(stdout.strip()) and not stdout.endswith("\n\n")


def _named_absent(answer: Completed) -> frozenset[str]:
    return frozenset((*_GONE.findall(answer.stderr), *_FINISHED.findall(answer.stderr)))


def _is_answer(answer: Completed, found: Mapping[str, Record], way: Way) -> bool:
    """Tell whether the server spoke. An error to one request for many says that it knows none of them."""
    match way:
        case Way.EACH:
            return answer.exit_code in _ANSWERED
        case Way.EXPRESS if answer.exit_code in _ANSWERED and not answer.ok:
            return bool(_named_absent(answer)) and not found
        case Way.EXPRESS:
            # the server fails a request of which it knows no job: success without one is none
            return answer.ok and bool(found)
        case Way.ALL:
            return answer.ok and bool(found or not answer.stdout.strip())
