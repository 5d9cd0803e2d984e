"""How qstat and pbsnodes print what they know: text folded at 80 columns, `-F dsv`, and `-F json` with all its faults."""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Iterable, Mapping

Pairs = Mapping[str, str]

_LIMIT = 78
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
# the development version keeps these as they are; release 23.06.06 does not
_TEXTS = frozenset({"Job_Name", "project", "Account_Name"})
_EMPTY = {"", "0", "0kb"}


def text_of(header: str, pairs: Pairs) -> str:
    lines = "".join(f"{fold(f'    {name} = ', value)}\n" for name, value in pairs.items())
    return f"{header}\n{lines}\n"


def fold(head: str, value: str) -> str:
    """Break a line behind its commas where it would grow too long, and in the midst of a word that is longer by itself."""
    text, column = head, len(head)
    for place, word in enumerate(word for word in value.split(",") if word):
        text += "," if place else ""
        if len(word) + column < _LIMIT:
            text, column = text + word, column + len(word)
            continue
        if place:
            text, column = f"{text}\n\t", 9
        for letter in word:
            text, column = text + letter, column + 1
            if column > _LIMIT:
                text, column = f"{text}\n\t", 8
    return text


def dsv_of(header: str, pairs: Pairs) -> str:
    return "|".join((header, *(f"{name}={value}" for name, value in pairs.items()))) + "\n"


def json_of(kind: str, things: Iterable[tuple[str, Pairs]], *, at: int, release: bool = False) -> str:
    """Return what `-F json` prints of jobs, queues, servers or nodes; without things there is no such key at all.

    The release escapes no backslash.
    """
    texts = frozenset[str]() if release else _TEXTS
    nested = {name: _nested(_ordered(kind, pairs), texts=texts) for name, pairs in things}
    head = {"timestamp": at, "pbs_version": "23.06.06", "pbs_server": "vm"}
    text = _json({**head, **({kind: nested} if nested else {})}, 1)
    return (text.replace("\\\\", "\\") if release else text) + "\n"


def _ordered(kind: str, pairs: Pairs) -> Pairs:
    """Return a queue's limits behind all else, and of a node the times in seconds and each job once."""
    if kind == "Queue":
        return dict(sorted(pairs.items(), key=lambda pair: pair[0].startswith("max_")))
    return {name: _of_node(name, value) for name, value in pairs.items()} if kind == "nodes" else pairs


def _of_node(name: str, value: str) -> str:
    if name == "jobs":
        return json.dumps(list(dict.fromkeys(part.partition("/")[0] for part in value.split(", "))))
    if name.startswith("last_"):
        return str(calendar.timegm(time.strptime(value, "%a %b %d %H:%M:%S %Y")))
    return value


def _nested(pairs: Pairs, *, texts: frozenset[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs.items():
        group, dot, resource = name.partition(".")
        if dot:
            inner = found.setdefault(group, {})
            # a node's empty resources are left out, a job's are not
            if isinstance(inner, dict) and not (group == "resources_assigned" and value in _EMPTY):
                inner[resource] = _retyped(value)
        elif name == "Variable_List":
            found[name] = {key: _retyped(text) for key, _, text in (part.partition("=") for part in _variables(value))}
        else:
            found[name] = value if name in texts else _retyped(value)
    return found


def _variables(value: str) -> list[str]:
    """Return the variables in a list whose own commas carry a backslash."""
    return [part.replace("\\,", ",") for part in re.split(r"(?<!\\),", value)]


def _retyped(value: str) -> object:
    """Return what a JSON parser makes of a value: 007 is 7, true is a truth value, [1,2] a list."""
    if _NUMBER.fullmatch(value):
        return float(value)
    try:
        return json.loads(value, parse_constant=lambda _: value)
    except ValueError:
        return value


def _json(value: object, depth: int) -> str:
    match value:
        case dict():
            lines = ",\n".join("\t" * depth + f"{_word(key)}:\t{_json(item, depth + 1)}" for key, item in value.items())
            return "{\n" + (f"{lines}\n" if lines else "") + "\t" * (depth - 1) + "}"
        case list():
            return f"[{', '.join(_json(item, depth + 1) for item in value)}]"
        case bool() | None:
            return json.dumps(value)
        case int() | float():
            return _number(float(value))
        case _:
            return _word(str(value))


def _number(value: float) -> str:
    short = f"{value:.15g}"
    return short if float(short) == value else f"{value:.17g}"


def _word(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\x7f")


def table_of(jobs: Iterable[tuple[str, Pairs]]) -> str:
    """Return the short listing; nothing at all without a job."""
    lines = [_row(name, pairs) for name, pairs in jobs]
    head = (
        "Job id            Name             User              Time Use S Queue",
        "----------------  ---------------- ----------------  -------- - -----",
    )
    return "".join(f"{line}\n" for line in (*head, *lines)) if lines else ""


def _row(job: str, pairs: Pairs) -> str:
    name, owner = pairs["Job_Name"], pairs["Job_Owner"].partition("@")[0]
    name = f"{name[:15]}*" if len(name) >= 16 else name
    used = pairs.get("resources_used.cput", "0")
    return f"{job:<17} {name:<16} {owner:<16}  {used:>8} {pairs['job_state']:>1} {pairs['queue']:<16}"
