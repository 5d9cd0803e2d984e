"""qselect: the ids of a user's jobs, all or those of one name.

https://help.altair.com/2024.1.0/PBS%20Professional/PBSReferenceGuide2024.1.pdf (qselect). Names are compared whole.
"""

from __future__ import annotations

from elisa.backends.pbs.identity import number_of
from elisa.backends.pbs.refusals import unavailable
from elisa.backends.runner import Completed

__all__ = ["parse_search", "search_argv"]


def search_argv(qselect: str, user: str, name: str, *, with_history: bool) -> tuple[str, ...]:
    """Return the question; an empty name asks for all of the user's jobs, finished ones included `with_history`."""
    return (qselect, *(("-x",) if with_history else ()), "-u", user, *(("-N", name) if name else ()))


def parse_search(answer: Completed) -> tuple[str, ...]:
    """Return the ids found, those of arrays such as `7[].vm`. Raises Unavailable for what is no complete answer."""
    lines = [line.strip() for line in answer.stdout.split("\n") if line.strip()]
    if not answer.ok or any(not number_of(line) for line in lines):
        raise unavailable("qselect gave no answer", answer)
    return tuple(lines)
