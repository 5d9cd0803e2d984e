"""qsub, qstat, qdel, qalter, qhold, qrls, qsig, qselect and pbsnodes over a pretended PBS that really runs its jobs.

Called through small files of those names in the `bin` of the server's folder. They print what OpenPBS 23.06.06 was recorded
to print, with its exit statuses. `fake_openpbs.py` says how to make them go wrong.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from tests.fakes.openpbs import qsub as submission
from tests.fakes.openpbs import server as pbs
from tests.fakes.openpbs.rendering import render_node, render_record

UNKNOWN, FINISHED, UNAUTHORIZED, NO_QUEUE, WRONG_STATE, BAD_SIGNAL, BAD_RESOURCE = 153, 35, 159, 170, 168, 165, 187
_DOWN_WORDS = {
    "qsub": ("qsub: cannot connect to server vm (errno=15010)", 162),
    "qstat": ("qstat: cannot connect to server vm (errno=15010)", 255),
    "qdel": ("Couldn't connect to cluster: vm", 162),
    "pbsnodes": ("pbsnodes: cannot connect to server vm, error=15010", 1),
}
_VERSIONS = {"openpbs": "pbs_version = 23.06.06\n", "torque": "Version: 6.1.2\nCommit: 661e092552de43a785c1\n"}
_SIGNALS = {"HUP", "INT", "TERM", "KILL", "USR1", "USR2", "CONT", "STOP"}


def say(words: str) -> None:
    sys.stdout.write(words)


def complain(program: str, words: str) -> None:
    sys.stderr.write(f"{program}: {words}\n")


def fail(words: str, status: int) -> NoReturn:
    sys.stderr.write(f"{words}\n")
    sys.exit(status)


def next_fault(home: Path, program: str) -> dict[str, Any]:
    """Take the next fault planned for this program, or none."""
    with pbs.server(home) as state:
        for fault in state["faults"]:
            if fault["program"] == program and fault["times"] > 0:
                fault["times"] -= 1
                return dict(fault)
    return {"kind": "none"}


def number_of(program: str, text: str) -> str:
    """Return the number in a job's id; ends the program for what is no id of this server."""
    number, dot, rest = text.partition(".")
    if not number.rstrip("[]").isdigit() or (dot and rest != pbs.SERVER):
        fail(f"{program}: illegally formed job identifier: {text}", 1)
    return number


def known(state: pbs.State, number: str) -> pbs.Job | None:
    """Return a job that the server still knows."""
    job: pbs.Job | None = state["jobs"].get(number)
    return job if job is not None and job["is_known"] else None


# qsub


def qsub(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    if fault["kind"] == "late":
        with pbs.server(home) as state:
            state["late"].append([argv, sys.stdin.read() if "--" not in argv else ""])
        fail("qsub: End of File", 85)
    try:
        job = submission.main(home, argv, dict(os.environ))
    except submission.Refused as err:
        sys.stderr.write(err.words)
        sys.exit(err.status)
    if fault["kind"] == "lose_answer":
        fail("", 255)
    if fault["kind"] == "die":
        os.kill(os.getpid(), 9)
    if fault["kind"] != "lose_number":
        say(f"{job}\n")


def let_late_in(home: Path) -> None:
    with pbs.server(home) as state:
        late, state["late"] = state["late"], []
    for argv, _ in late:
        submission.main(home, argv, {"PATH": os.environ["PATH"]})


# qstat


def qstat(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    flags = {word for word in argv if word.startswith("-")}
    ids = [word for word in argv if not word.startswith("-") and word != "json"]
    with pbs.server(home) as state:
        is_torque = state["dialect"] == "torque"
        if "--version" in flags:
            say(_VERSIONS[state["dialect"]])
            return
        if "-Q" in flags:
            _queues(ids)
            return
        if "-B" in flags:
            _server(state)
            return
        if "-x" in flags and is_torque:
            say("<Data></Data>")
            return
        if "-x" in flags and not state["history"]:
            complain("qstat", "PBS is not configured to maintain job history ")
            return
        if "-E" in flags and is_torque:
            fail("qstat: invalid option -- 'E'\nusage: qstat [-f] [-W site_specific] [job_id...]", 2)
        ids = _express(state, ids) if "-E" in flags else ids
        text, status = _jobs(state, ids, with_history="-x" in flags)
    if "json" in argv:
        text = _as_json(text)
    if fault["kind"] == "partial":
        text = text[: len(text) // 2]
    if fault["kind"] == "cut":
        text = text[: text.rfind("job_state")]
    say(text)
    sys.exit(status)


def _express(state: pbs.State, ids: list[str]) -> list[str]:
    """Ask about all ids in one request: those that are unknown are left out without a word, unless all are."""
    return [id_ for id_ in ids if known(state, number_of("qstat", id_))] or ids[:1]


def _jobs(state: pbs.State, ids: list[str], *, with_history: bool) -> tuple[str, int]:
    is_torque = state["dialect"] == "torque"
    numbers = [number_of("qstat", id_) for id_ in ids] or list(state["jobs"])
    text, status = "", 0
    for number in numbers:
        job = known(state, number)
        if job is None or job["owner"] != state["user"]:
            error = "Error " if is_torque else ""
            complain("qstat", f"Unknown Job Id {error}{number}.{pbs.SERVER}")
            status = UNKNOWN
        elif job["state"] == "F" and not with_history:
            if ids:
                words = "Job has finished, use -x or -H to obtain historical job information"
                complain("qstat", f"{number}.{pbs.SERVER} {words}")
                status = FINISHED
        else:
            pairs = pbs.attributes(number, job, is_torque=is_torque)
            text += render_record(f"Job Id: {number}.{pbs.SERVER}", pairs)
    return text, status


def _as_json(text: str) -> str:
    """Only the first of several jobs, as the development version does."""
    first = text.split("\n\n", maxsplit=1)[0]
    head, *lines = first.replace("\n\t", "").split("\n")
    pairs = dict(line.strip().split(" = ", 1) for line in lines if " = " in line)
    jobs = {"Jobs": {head.removeprefix("Job Id: "): pairs}} if pairs else {}
    return json.dumps({"timestamp": int(time.time()), "pbs_version": "23.06.06", "pbs_server": pbs.SERVER, **jobs})


def _queues(names: list[str]) -> None:
    for name, queue in pbs.QUEUES.items():
        if not names or name in names:
            say(render_record(f"Queue: {name}", [("queue_type", "Execution"), ("total_jobs", "0"), *queue.items()]))


def _server(state: pbs.State) -> None:
    history = [("job_history_enable", "True")] if state["history"] else []
    pairs = [("server_state", "Active"), ("default_queue", "workq"), *history, ("pbs_version", "23.06.06")]
    say(render_record(f"Server: {pbs.SERVER}", pairs))


# qdel


def qdel(home: Path, argv: list[str], _fault: dict[str, Any]) -> None:
    words = [word for word in argv if word != "-W"]
    is_forced, ids = "force" in words, [word for word in words if word != "force"]
    if not ids:
        fail("usage:\n\tqdel [-W force|suppress_email=X] [-x] job_identifier...\n\tqdel --version", 2)
    numbers = [number_of("qdel", id_) for id_ in ids]
    status, has_named_unknown = 0, False
    with pbs.server(home) as state:
        for number in numbers:
            job = known(state, number)
            said = _delete(state, job, is_forced=is_forced)
            if said is None or (said[1] == UNKNOWN and has_named_unknown):
                continue  # of several unknown ids only the first is named
            has_named_unknown |= said[1] == UNKNOWN
            complain("qdel", f"{said[0]} {number}.{pbs.SERVER}")
            status = said[1]
    pbs.start_what_fits(home)
    sys.exit(status)


def _delete(state: pbs.State, job: pbs.Job | None, *, is_forced: bool) -> tuple[str, int] | None:
    if job is None:
        return ("Unknown Job Id Error" if state["dialect"] == "torque" else "Unknown Job Id", UNKNOWN)
    if job["state"] in {"F", "C"}:
        if state["dialect"] == "torque":
            return "Request invalid for state of job MSG=invalid state for job - COMPLETE", 170
        return "Job has finished", FINISHED
    if job["owner"] != state["user"]:
        return "Unauthorized Request ", UNAUTHORIZED
    if job["state"] in {"R", "E", "S"}:
        if state["node"] == "down":
            return "Server could not connect to MOM", 222
        job["wish"] = "KILL" if is_forced else "TERM"
        job["comment"] += f" and terminated by {state['user']}@{pbs.SERVER}"
        return None
    comment = f"{job['comment']} and terminated" if job["comment"] else ""
    pbs.end(job, state="C" if state["dialect"] == "torque" else "F", substate=pbs.DELETED, comment=comment)
    job["is_known"] = state["history"]
    return None


# qalter, qhold, qrls, qsig, qrerun


def change(program: str, home: Path, argv: list[str], act: Any) -> None:
    """Do something to each job named; the words and the statuses are the same for all programs."""
    ids = [word for word in argv if word[:1].isdigit() and not argv[argv.index(word) - 1].startswith("-")]
    status = 0
    with pbs.server(home) as state:
        for number in [number_of(program, id_) for id_ in ids]:
            job = known(state, number)
            if job is None:
                complain(program, f"Unknown Job Id {number}.{pbs.SERVER}")
                status = UNKNOWN
            elif job["state"] == "F":
                complain(program, "Job has finished")
                status = FINISHED
            else:
                said = act(job)
                if said:
                    complain(program, f"{said[0]} {number}.{pbs.SERVER}")
                    status = said[1]
    pbs.start_what_fits(home)
    sys.exit(status)


def qhold(home: Path, argv: list[str], _fault: dict[str, Any]) -> None:
    def act(job: pbs.Job) -> None:
        if job["state"] == "Q":  # a running job stays as it is, and nothing is said
            job.update(state="H", substate=pbs.HELD, holds="u")

    change("qhold", home, argv, act)


def qrls(home: Path, argv: list[str], _fault: dict[str, Any]) -> None:
    def act(job: pbs.Job) -> None:
        if job["state"] == "H" and job["holds"] == "u":
            job.update(state="Q", substate=pbs.QUEUED, holds="n")

    change("qrls", home, argv, act)


def qsig(home: Path, argv: list[str], _fault: dict[str, Any]) -> None:
    name = argv[argv.index("-s") + 1].removeprefix("SIG") if "-s" in argv else "TERM"

    def act(job: pbs.Job) -> tuple[str, int] | None:
        if name not in _SIGNALS and not name.isdigit():
            return "Unknown/illegal signal name", BAD_SIGNAL
        if job["state"] != "R":
            return "Request invalid for state of job", WRONG_STATE
        number = int(name) if name.isdigit() else getattr(pbs.signal, f"SIG{name}")
        pbs.signal_all(job.get("pid", 0) or -1, number) if job.get("pid") else None
        return None

    change("qsig", home, argv, act)


def qalter(home: Path, argv: list[str], _fault: dict[str, Any]) -> None:
    wishes = dict(pairwise(argv))
    name, _, value = wishes.get("-l", "").partition("=")

    def act(job: pbs.Job) -> tuple[str, int] | None:
        if name and name not in submission._KNOWN:
            return f"Unknown resource Resource_List.{name}", BAD_RESOURCE
        if name == "select" and job["state"] == "R":
            return "Cannot modify attribute while job running  Resource_List.select", 167
        if name:
            job["resources"][name] = value
        job["name"] = wishes.get("-N", job["name"])
        job["priority"] = int(wishes.get("-p", job["priority"]))
        return None

    change("qalter", home, argv, act)


# qselect, pbsnodes


def qselect(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    wishes = dict(pairwise(argv))
    with pbs.server(home) as state:
        if "-x" in argv and not state["history"]:
            complain("qselect", "PBS is not configured to maintain job history ")
            return
        found = [
            number
            for number, job in state["jobs"].items()
            if job["is_known"]
            and (job["state"] != "F" or "-x" in argv)
            and job["owner"] == wishes.get("-u", job["owner"])
            and job["name"] == wishes.get("-N", job["name"])
            and job["state"] in wishes.get("-s", job["state"])
        ]
    if fault["kind"] == "partial":
        found = found[: len(found) // 2]
    say("".join(f"{number}.{pbs.SERVER}\n" for number in found))


def pbsnodes(home: Path, argv: list[str], _fault: dict[str, Any]) -> None:
    names = [word for word in argv if not word.startswith("-")]
    if names and names != [pbs.SERVER]:
        fail(f"Node: {names[0]},  Error: Unknown node ", 1)
    with pbs.server(home) as state:
        used = sum(job["cpus"] for job in state["jobs"].values() if job["state"] in {"R", "E"})
        word = "job-busy" if state["node"] == "free" and used >= pbs.CPUS else state["node"]
        is_torque = state["dialect"] == "torque"
    say(render_node(pbs.SERVER, _torque_node(word, used) if is_torque else _node(word, used)))


def _node(word: str, used: int) -> list[tuple[str, str]]:
    return [
        ("Mom", pbs.SERVER),
        ("ntype", "PBS"),
        ("state", word),
        ("pcpus", "2"),
        ("resources_available.arch", "linux"),
        ("resources_available.host", pbs.SERVER),
        ("resources_available.mem", f"{pbs.MEMORY_MB}mb"),
        ("resources_available.ncpus", str(pbs.CPUS)),
        ("resources_available.ngpus", str(pbs.GPUS)),
        ("resources_available.vnode", pbs.SERVER),
        ("resources_assigned.mem", "0kb"),
        ("resources_assigned.ncpus", str(used)),
        ("resv_enable", "True"),
        ("sharing", "default_shared"),
    ]


def _torque_node(word: str, used: int) -> list[tuple[str, str]]:
    jobs = ",".join(f"{core}/1.{pbs.SERVER}" for core in range(used))
    listed = [("jobs", jobs)] if jobs else []
    status = f"rectime=1,physmem={pbs.MEMORY_MB * 1024}kb,ncpus={pbs.CPUS},state=free"
    return [("state", word), ("np", str(pbs.CPUS)), ("ntype", "cluster"), *listed, ("status", status)]


PROGRAMS = {
    "qsub": qsub,
    "qstat": qstat,
    "qdel": qdel,
    "qalter": qalter,
    "qhold": qhold,
    "qrls": qrls,
    "qsig": qsig,
    "qselect": qselect,
    "pbsnodes": pbsnodes,
}


def main() -> None:
    program = Path(sys.argv[0])
    home = program.parent.parent
    with pbs.server(home) as state:
        is_down = state["is_down"] and sys.argv[1:] != ["--version"]
    if is_down:
        words, status = _DOWN_WORDS.get(
            program.name, (f"{program.name}: cannot connect to server vm (errno=15010)", 162)
        )
        fail(f"Connection refused\n{words}", status)
    fault = next_fault(home, program.name)
    match fault["kind"]:
        case "hang":
            time.sleep(3600)
        case "fail":
            fail(fault["words"], fault.get("status", 1))
        case "garbage":
            say(fault["words"])
        case _:
            PROGRAMS[program.name](home, sys.argv[1:], fault)
