"""qsub: what it takes, what it refuses, and with which words and status."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from tests.fakes.pbs import torque
from tests.fakes.pbs.running import start_what_fits
from tests.fakes.pbs.world import (
    HOST,
    VERSION,
    Fault,
    State,
    connect,
    fail,
    look,
    now,
    options,
    say,
    seconds,
    server,
    user_of,
)

USAGE = """\
usage: qsub [-a date_time] [-A account_string] [-c interval]
	[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
	[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
	[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
	[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
	[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version"""
_LETTERS = "a:A:c:C:e:fhIj:J:k:l:m:M:nN:o:p:P:q:r:R:S:u:v:VW:Xz"
_DEPEND = re.compile(r"(after|afterok|afternotok|afterany|before|beforeok|beforenotok|beforeany)(:\d+(\[\])?(\.\w+)?)+")
_SPAN = re.compile(r"(\d+)-(\d+)(:\d+)?(%\d+)?")
_SIZE = re.compile(r"\d+([kmgtp]?[bw]?)?", re.IGNORECASE)
_CLOCK = re.compile(r"\d+(:\d+){0,2}")
_LONGEST_NAME = 230
_MOST_ELEMENTS = 10_000
_KINDS = {
    **dict.fromkeys(("walltime", "cput"), _CLOCK),
    **dict.fromkeys(("mem", "vmem"), _SIZE),
    **dict.fromkeys(("ncpus", "ngpus", "mpiprocs", "ompthreads", "nodect", "matlab"), re.compile(r"\d+")),
    **dict.fromkeys(("gpu_model", "host", "vnode", "arch", "ib", "nodes"), re.compile(r".+")),
    "place": re.compile(r"(free|pack|scatter|vscatter)?(:?(excl|exclhost|shared))?"),
}


def qsub(home: Path, argv: list[str], fault: Fault) -> None:
    if argv == ["--version"]:
        say(f"pbs_version = {VERSION}")
        return
    named, rest = options(argv, _LETTERS, "qsub", USAGE)
    single = dict(named)
    state = look(home)
    check_options(named, is_torque=state["dialect"] == "torque")
    program = read_program(rest, single, is_torque=state["dialect"] == "torque")
    reach(state, single.get("q", ""))
    try:
        refuse(state, single, [value for name, value in named if name == "l"])
    except Refused as no:
        tell(state, single, no)
    if fault["kind"] == "late":
        with server(home) as state:
            state["late"].append([named, program])
        time.sleep(3600)
    number = accept(home, named, program)
    if fault["kind"] == "lose_answer":
        time.sleep(3600)
    if fault["kind"] == "die":
        fail("qsub: Protocol (ASN.1) error", 183)
    if fault["kind"] != "lose_number":
        say(f"{number}.{HOST}")


def check_options(named: list[tuple[str, str]], *, is_torque: bool) -> None:
    """Refuse what qsub itself finds wrong, before any server is asked."""
    for letter, value in named:
        if letter == "N" and len(value) > _LONGEST_NAME:
            fail("qsub: Job name is too long ", 2)
        if not is_torque and not is_legal(letter, value):
            fail(f"qsub: illegal -{letter} value\n{USAGE}", 2)
        if letter == "v" and not is_known_environment(value):
            fail("qsub: cannot send environment with the job", 1)
    single = dict(named)
    if "J" in single and single.get("r") == "n":
        fail(f"qsub:  cannot submit non-rerunable Array Job\n{USAGE}", 2)
    wishes = [part for name, value in named if name == "l" for part in value.split(",")]
    names = [wish.partition("=")[0] for wish in wishes]
    if {"select", "place"} & set(names):
        for name in names:
            if name in {"ncpus", "mem", "ngpus", "mpiprocs"}:
                words = f'"-lresource=" cannot be used with "select" or "place", resource is: {name}'
                fail(f"qsub: {words}", 5)
    span = _SPAN.fullmatch(single.get("J", ""))
    if span and int(span[2]) - int(span[1]) >= _MOST_ELEMENTS:
        fail("qsub: Array job exceeds server or queue size limit", 3)


def is_known_environment(wish: str) -> bool:
    """Tell whether each variable that comes without a value has one here."""
    parts = re.findall(r'(?:"[^"]*"|[^,])+', wish)
    return all("=" in part or part in os.environ for part in parts)


def is_legal(letter: str, value: str) -> bool:
    match letter:
        case "N":
            return re.fullmatch(r"[A-Za-z0-9._+-]+", value) is not None
        case "a":
            return re.fullmatch(r"\d{4,12}(\.\d\d)?", value) is not None
        case "J":
            span = _SPAN.fullmatch(value)
            return span is not None and int(span[1]) < int(span[2])
        case "p":
            return re.fullmatch(r"-?\d+", value) is not None and -1024 <= int(value) <= 1023
        case "W" if value.startswith("depend="):
            return all(_DEPEND.fullmatch(part) for part in value.removeprefix("depend=").split(","))
        case "o" | "e":
            return all(32 <= ord(character) < 127 for character in value)
        case _:
            return True


def read_program(rest: list[str], single: dict[str, str], *, is_torque: bool) -> list[str]:
    """Return what the job runs; a script goes to a login shell, and a program's empty arguments are lost on the way."""
    if rest[:1] == ["--"]:
        return [word for word in rest[1:] if word]
    if not rest or is_torque:
        return [single.get("S", "/bin/sh"), "-c", sys.stdin.read()]
    script = Path(rest[0])
    if not script.exists():
        fail("qsub: script file:: No such file or directory", 1)
    if not script.is_file():
        fail("qsub: script not a file", 1)
    text = script.read_bytes().decode(errors="replace")
    if "\r\n" in text and text.startswith("#!"):
        fail("qsub: script contains cr, lf", 1)
    return [single.get("S", "/bin/sh"), "-c", text]


def reach(state: State, queue: str) -> None:
    host = queue.partition("@")[2]
    if host == "nosuchhost":
        fail(f"Unknown Host.\nqsub: cannot connect to server {HOST} (errno=15008)", 160)
    if host and host != HOST:
        fail(f"Connection refused\nqsub: cannot connect to server {HOST} (errno=15010)", 162)
    connect(state, "qsub")


def tell(state: State, named: dict[str, str], no: Refused) -> NoReturn:
    """Fail in the words of the server's dialect."""
    if state["dialect"] != "torque":
        fail(f"qsub: {no.words}", no.status)
    if no.words == "Bad UID for job execution":
        fail(*torque.no_root())
    fail(*torque.of_submission(no.words, no.status, user=user_of(state), queue=named.get("q", "workq")))


class Refused(Exception):
    """The server takes no such job. `words` are those of OpenPBS, without the program's name."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.words, self.status = words, status


def refuse(state: State, named: dict[str, str], wishes: list[str]) -> None:
    """Refuse what the server finds wrong."""
    if user_of(state) == "root" and not state.get("roots", True):
        raise Refused("Bad UID for job execution", 175)
    if "=" in named.get("W", "") and named["W"].partition("=")[0] not in {"depend", "umask", "block", "stagein"}:
        raise Refused("Error (15002) submitting job", 154)
    for wish in wishes:
        check_wish(wish)
    limits = state["queues"].get(named.get("q", "workq").partition("@")[0])
    if limits is None:
        raise Refused("Unknown queue", 170)
    if limits.get("enabled") == "False":
        raise Refused("Queue is not enabled", 173)
    if limits.get("acl_user_enable") == "True" and user_of(state) not in limits["acl_users"].split(","):
        raise Refused("Unauthorized Request ", 159)
    if "max_queued" in limits:
        raise Refused(f"would exceed queue {named['q']}'s per-user limit", 38)
    wished = dict(part.split("=", 1) for wish in wishes for part in wish.split(",") if not wish.startswith("select="))
    if 0 < seconds(limits.get("resources_max.walltime", "")) < seconds(wished.get("walltime", "")):
        raise Refused("Job violates queue and/or server resource limits", 188)


def check_wish(wish: str) -> None:
    kind, _, value = wish.partition("=")
    if kind == "select":
        check_select(value)
        return
    for part in [wish] if kind == "place" else wish.split(","):
        name, _, value = part.partition("=")
        if name not in _KINDS:
            raise Refused(f"Unknown resource Resource_List.{name}", 187)
        if not _KINDS[name].fullmatch(value):
            raise Refused(f"Illegal attribute or resource value Resource_List.{name}", 166)


def check_select(value: str) -> None:
    for chunk in value.split("+"):
        for part in re.sub(r"^\d+:?", "", chunk).split(":"):
            name, equals, count = part.partition("=")
            if part and not equals:
                raise Refused("Illegal attribute or resource value Resource_List.select", 166)
            if part and name not in _KINDS:
                raise Refused(f"Unknown resource: {name}", 187)
            if part and not _KINDS[name].fullmatch(count):
                raise Refused(f"Illegal attribute or resource value select.{name}", 166)


def accept(home: Path, named: list[tuple[str, str]], program: list[str]) -> str:
    single = dict(named)
    with server(home) as state:
        number = f"{state['next']}[]" if "J" in single else str(state["next"])
        state["next"] += 1
        span = _SPAN.fullmatch(single.get("J", ""))
        depend = next((v.removeprefix("depend=") for n, v in named if n == "W" and v.startswith("depend=")), "")
        state["jobs"][number] = {
            "name": single.get("N", "STDIN"),
            "owner": user_of(state),
            "queue": single.get("q", "workq"),
            **waiting(depend, single),
            "depend": depend,
            "wishes": dict(part.split("=", 1) for name, value in named if name == "l" for part in split_wish(value)),
            "options": {name: value for name, value in named if name not in {"l", "W"}},
            "program": program,
            "path": os.environ.get("PATH", ""),
            "ctime": now(),
            "runs": 0,
        }
        if span:
            add_elements(state, number, span)
    start_what_fits(home)
    return number


def add_elements(state: State, array: str, span: re.Match[str]) -> None:
    parent = state["jobs"][array]
    for index in range(int(span[1]), int(span[2]) + 1):
        state["jobs"][array.replace("[]", f"[{index}]")] = dict(parent)
    parent["at_once"] = int((span[4] or "%0")[1:])


def split_wish(wish: str) -> list[str]:
    return [wish] if wish.startswith(("select=", "place=")) else wish.split(",")


def waiting(depend: str, single: dict[str, str]) -> dict[str, Any]:
    if "h" in single:
        return {"state": "H", "substate": 20, "holds": "u"}
    if depend:
        return {"state": "H", "substate": 22, "holds": "s"}
    if "a" in single:
        return {"state": "W", "substate": 30, "holds": "n"}
    return {"state": "Q", "substate": 10, "holds": "n"}


def let_late_in(home: Path) -> None:
    """Accept now what hung before."""
    with server(home) as state:
        late, state["late"] = state["late"], []
    for named, program in late:
        accept(home, named, program)


__all__ = ["USAGE", "Refused", "let_late_in", "qsub"]
