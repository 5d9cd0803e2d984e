"""Many jobs that ask for the same thing, submitted by one qsub as one array.

https://help.altair.com/2024.1.0/PBS%20Professional/PBSUserGuide2024.1.pdf ("Job Arrays"). PBS shows the command of an array
anew with each of its elements, so it has to be short: it reads a file beside the log of the first one, its table, with a
line for each element. The table tells, too, which element runs which attempt after an answer was lost; the command says in
seven bits where it is. PBS wants arrays to be rerunnable: an element that it starts again claims its task anew, or finds it
taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from xml.sax.saxutils import unescape

from elisa.backends.pbs.identity import Names, element_of, native_id_of
from elisa.backends.pbs.options import PbsOptions
from elisa.backends.pbs.refusals import refusal, words_of
from elisa.backends.pbs.states import LAUNCH_SIGNAL
from elisa.backends.pbs.submission import array_options, render_command
from elisa.backends.protocol import array_key
from elisa.backends.runner import Completed
from elisa.model.errors import Rejected, SubmitUncertain
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import JobRequest

__all__ = ["array_argv", "array_ids", "parse_array", "parse_table", "render_table", "table_in", "table_of"]

_ACCEPTED = re.compile(r"^([0-9]+\[\](?:\.[A-Za-z0-9][A-Za-z0-9.-]*)?)$", re.MULTILINE)
_SAFE = re.compile(rb"[A-Za-z0-9/._-]")
_WHERE = re.compile(r"printf %b '([^']*)'")
_ENTITIES = {"&apos;": "'", "&quot;": '"'}
_OCTAL = re.compile(rb"\\0([0-7]{3})")


def table_of(requests: Sequence[JobRequest]) -> str:
    """Return the path of an array's table."""
    return str(PurePath(requests[0].stdout).with_name(f"array-{len(requests)}.sh"))


def render_table(requests: Sequence[JobRequest]) -> str:
    """Return the table: the attempts, and what each element becomes. Raises Rejected as `render_command` does."""
    first = requests[0].attempt
    attempts = " ".join(request.attempt for request in requests)
    lines = (f"{index}) {render_command(request, first)};;" for index, request in enumerate(requests))
    return "\n".join((f"# {attempts}", 'case "$PBS_ARRAY_INDEX" in', *lines, "esac", ""))


def parse_table(text: str) -> Sequence[AttemptId]:
    """Return the attempts of an array, by the index of their elements."""
    return tuple(AttemptId(word) for word in text.partition("\n")[0].removeprefix("# ").split())


def array_argv(qsub: str, requests: Sequence[JobRequest], names: Names, options: PbsOptions) -> tuple[str, ...]:
    """Return qsub's command line. Raises Rejected if they are no array, or as `submit_argv` does."""
    first = requests[0]
    if any(array_key(request) != array_key(first) for request in requests):
        raise Rejected("these jobs ask for different things: they can't be one array")
    throttle = f"%{first.at_once}" if first.at_once else ""
    span = f"0-{len(requests) - 1}{throttle}"
    name = names.of_array(first.attempt, len(requests))
    return (*array_options(qsub, first, name, span, options), "--", "/bin/sh", "-c", _command(table_of(requests)))


def _command(table: str) -> str:
    """Return the one line of every element: it becomes what the table says."""
    where = "".join(
        chr(byte) if _SAFE.fullmatch(bytes([byte])) else f"\\0{byte:03o}"
        for byte in table.encode(errors="surrogateescape")
    )
    return f't="$(printf %b \'{where}\')"; [ -r "$t" ] || kill -{LAUNCH_SIGNAL} $$; . "$t"'


def table_in(command: str) -> str:
    """Return the path of the table in what PBS shows of an array's command, as XML; empty if there is none."""
    found = _WHERE.search(unescape(command, _ENTITIES))
    if found is None:
        return ""
    path = _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), found[1].encode())
    return path.decode(errors="surrogateescape")


def parse_array(answer: Completed) -> str:
    """Return PBS's id of the array in qsub's answer. Raises Rejected, Unavailable, AtLimit or SubmitUncertain."""
    if not answer.ok:
        raise refusal(answer)
    found = _ACCEPTED.findall(answer.stdout)
    if len(found) != 1:
        raise SubmitUncertain("qsub named no array", why=words_of(answer))
    return str(found[0])


def array_ids(pbs_id: str, attempts: Sequence[AttemptId]) -> Mapping[AttemptId, NativeId]:
    """Return the native id of each element of the array `pbs_id`."""
    return {
        attempt: native_id_of(element_of(pbs_id, index), attempt, attempts[0]) for index, attempt in enumerate(attempts)
    }
