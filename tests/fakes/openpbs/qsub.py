"""qsub of the pretended PBS: its options, what it refuses and with which words."""

from __future__ import annotations

import getopt
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from tests.fakes.openpbs import server as pbs

USAGE = """\
usage: qsub [-a date_time] [-A account_string] [-c interval]
	[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
	[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
	[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
	[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
	[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version
"""
_OPTIONS = "a:A:c:C:e:fhIj:J:k:l:m:M:N:no:p:P:q:r:R:S:u:v:VW:Xz"
_KNOWN = {"ncpus", "mem", "ngpus", "mpiprocs", "ompthreads", "nodect", "select", "place", "walltime", "nodes"}
_SIZE = re.compile(r"\d+([kmgt]?[bw])?", re.IGNORECASE)
_DEPEND = re.compile(r"(after|afterok|afternotok|afterany)(:\d+(\[\])?(\.\w+)?)+")


class Refused(Exception):
    """What qsub prints and ends with."""

    def __init__(self, words: str, status: int, *, usage: bool = False) -> None:
        super().__init__(words)
        self.words = f"qsub: {words}\n" + (USAGE if usage else "")
        self.status = status


def illegal(option: str) -> NoReturn:
    raise Refused(f"illegal -{option} value", 2, usage=True)


def read(argv: list[str], *, user: str, o_path: str, is_torque: bool) -> dict[str, Any]:
    """Return the job that a command line asks for; raises Refused."""
    options, rest, program = _split(argv)
    given = {name: value for name, value in options if name not in {"-l", "-W"}}
    listed = _resources([value for name, value in options if name == "-l"], is_torque=is_torque)
    wishes = _wishes([value for name, value in options if name == "-W"])
    _check(given)
    queue = _queue(given.get("-q", "workq"), user, listed)
    return {
        "name": given.get("-N", "STDIN"),
        "queue": queue,
        "priority": int(given.get("-p", "0")),
        "rerunable": given.get("-r", "y"),
        "holds": "u" if "-h" in given else "n",
        "after": wishes.get("depend", ""),
        "umask": wishes.get("umask", ""),
        "out": given.get("-o", ""),
        "err": given.get("-e", ""),
        "shell": given.get("-S", "/bin/sh"),
        "resources": listed,
        "cpus": _cpus(listed),
        "walltime": pbs.wait_seconds(listed["walltime"]) if "walltime" in listed else 0,
        # An empty argument is dropped on the way.
        "argv": [word for word in program if word],
        "script": rest[0] if rest else "",
        "arguments": " ".join(word for word in argv if word),
        "o_path": o_path,
    }


def _split(argv: list[str]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    at = argv.index("--") if "--" in argv else len(argv)
    try:
        options, rest = getopt.getopt(argv[:at], _OPTIONS)
    except getopt.GetoptError as err:
        raise Refused(f"invalid option -- '{err.opt}'", 2, usage=True) from err
    return options, rest, argv[at + 1 :]


def _check(given: dict[str, str]) -> None:
    name = given.get("-N", "x")
    if not re.fullmatch(r"[A-Za-z0-9._+-]+", name):
        illegal("N")
    if len(name) > 230:
        raise Refused("Job name is too long ", 2)
    if not re.fullmatch(r"-?\d+", given.get("-p", "0")) or not -1024 <= int(given.get("-p", "0")) <= 1023:
        illegal("p")
    if "-a" in given and not given["-a"].replace(".", "").isdigit():
        illegal("a")
    if "-J" in given:
        _check_array(given)


def _check_array(given: dict[str, str]) -> None:
    if given.get("-r") == "n":
        raise Refused(" cannot submit non-rerunable Array Job", 2, usage=True)
    found = re.fullmatch(r"(\d+)-(\d+)(:\d+)?(%\d+)?", given["-J"])
    if not found or int(found[1]) >= int(found[2]):
        illegal("J")
    if found and int(found[2]) - int(found[1]) >= 10_000:
        raise Refused("Array job exceeds server or queue size limit", 3)


def _resources(lists: list[str], *, is_torque: bool) -> dict[str, str]:
    pairs = [item.partition("=") for text in lists for item in (text.split(",") if "select" not in text else [text])]
    found = {name: value for name, _, value in pairs}
    for name, value in found.items():
        if name not in _KNOWN:
            raise Refused(f"Unknown resource Resource_List.{name}", 187)
        if name == "walltime" and not re.fullmatch(r"\d+(:\d+){0,2}", value):
            raise Refused("Illegal attribute or resource value Resource_List.walltime", 166)
        if name in {"ncpus", "mem"} and "select" in found:
            raise Refused(f'"-lresource=" cannot be used with "select" or "place", resource is: {name}', 5)
    if "place" in found and not re.fullmatch(r"(free|pack|scatter|vscatter)(:(excl|exclhost|shared))?", found["place"]):
        raise Refused("Illegal attribute or resource value Resource_List.place", 166)
    if "select" in found:
        _check_select(found["select"])
    if not is_torque and "select" not in found:
        found["select"] = f"1:ncpus={found.get('ncpus', '1')}"
    return found


def _check_select(text: str) -> None:
    for chunk in text.split("+"):
        for part in chunk.split(":")[1:]:
            name, equals, value = part.partition("=")
            if not equals or (name == "ncpus" and not value.isdigit()):
                raise Refused("Illegal attribute or resource value Resource_List.select", 166)
            if name not in _KNOWN:
                raise Refused(f"Unknown resource: {name}", 187)
            if name == "mem" and not _SIZE.fullmatch(value):
                raise Refused("Illegal attribute or resource value select.mem", 166)


def _cpus(listed: dict[str, str]) -> int:
    if "select" in listed:
        chunk = listed["select"].split(":")
        return int(chunk[0]) * int(next((part[6:] for part in chunk if part.startswith("ncpus=")), "1"))
    found = re.search(r"(\d+):ppn=(\d+)", listed.get("nodes", "1:ppn=1"))
    return int(found[1]) * int(found[2]) if found else 1


def _wishes(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name == "depend" and not _DEPEND.fullmatch(value):
            illegal("W")
        if name not in {"depend", "umask", "group_list", "block"}:
            raise Refused("Error (15002) submitting job", 154)
        found[name] = value
    return found


def _queue(name: str, user: str, listed: dict[str, str]) -> str:
    queue = pbs.QUEUES.get(name)
    if queue is None:
        raise Refused("Unknown queue", 170)
    if queue["enabled"] == "False":
        raise Refused("Queue is not enabled", 173)
    if queue.get("acl_user_enable") and user not in queue["acl_users"].split(","):
        raise Refused("Unauthorized Request ", 159)
    longest = queue.get("resources_max.walltime")
    if longest and pbs.wait_seconds(listed.get("walltime", "0")) > pbs.wait_seconds(longest):
        raise Refused("Job violates queue and/or server resource limits", 188)
    return name


def main(home: Path, argv: list[str], environment: dict[str, str]) -> str:
    """Take a job in; return its id. Raises Refused."""
    with pbs.server(home) as state:
        user, is_torque = state["user"], state["dialect"] == "torque"
    wanted = read(argv, user=user, o_path=environment.get("PATH", ""), is_torque=is_torque)
    if is_torque and wanted["argv"]:
        illegal("-")
    script = ""
    if not wanted["argv"]:
        script = Path(wanted["script"]).read_text() if wanted["script"] else sys.stdin.read()
    with pbs.server(home) as state:
        job = pbs.new_job(state, wanted, {})
        if script:
            (home / f"script.{job.partition('.')[0]}").write_text(script)
    pbs.start_what_fits(home)
    return job
