"""qdel, qhold, qrls, qalter, qsig and qrerun: what is asked of jobs that are there, by somebody who may."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.fakes.pbs import torque
from tests.fakes.pbs.running import elements_of, settle_array, start_what_fits
from tests.fakes.pbs.submission import Refused, check_wish
from tests.fakes.pbs.world import (
    HOST,
    Fault,
    Job,
    State,
    complain,
    connect,
    fail,
    full_id,
    now,
    number_in,
    options,
    server,
    user_of,
)

QDEL_USAGE = "usage:\n\tqdel [-W force|suppress_email=X] [-x] job_identifier...\n\tqdel --version"
UNKNOWN, FINISHED = "Unknown Job Id", "Job has finished"
DENIED, INVALID, STATE = "Unauthorized Request ", "Invalid request", "Request invalid for state of job"
_STATUSES = {UNKNOWN: 153, FINISHED: 35, DENIED: 159, INVALID: 156, STATE: 168}

Act = Callable[[State, str, Job, dict[str, str], Fault], "str | tuple[str, int]"]


def qdel(home: Path, argv: list[str], fault: Fault) -> None:
    named, operands = options(argv, "W:x", "qdel", QDEL_USAGE)
    if not operands:
        fail(QDEL_USAGE, 2)
    for operand in operands:
        if not number_in(operand)[:1].isdecimal() or operand.partition(".")[2] not in {"", HOST}:
            fail(f"qdel: illegally formed job identifier: {operand}", 1)
    answer(home, "qdel", operands, dict(named), fault, delete)


def delete(state: State, number: str, job: Job, named: dict[str, str], fault: Fault) -> str | tuple[str, int]:
    if job["state"] in {"F", "X"}:
        if "x" in named:
            del state["jobs"][number]
            return ""
        return FINISHED
    if fault["kind"] == "mom_down":
        return "Server could not connect to MOM", 222
    if number.endswith("[]"):
        for name, element in elements_of(state, number).items():
            if element["state"] not in {"F", "X"}:
                stop(state, name, element)
        job.update(state="F", substate=91, mtime=now())
    elif "W" in named:
        job.update(state="F", substate=91, mtime=now(), exit_status=265)
    else:
        stop(state, number, job)
    return ""


def stop(state: State, number: str, job: Job) -> None:
    if job["state"] == "R":
        job["deleted"] = True
        job["comment"] = f"{job.get('comment', '')} and terminated by {user_of(state)}@{HOST}"
    else:
        job.update(state="F", substate=91, mtime=now())
        settle_array(state, number)


def answer(home: Path, program: str, operands: list[str], named: dict[str, str], fault: Fault, act: Act) -> None:
    """Do something to each job; the exit status is that of the last that failed."""
    status = 0
    with server(home) as state:
        connect(state, program)
        for operand in operands:
            words, code = outcome(state, operand, named, fault, act)
            if words and state["dialect"] == "torque":
                words, status = torque.of_job(program, words, code, operand=operand, full=full_id(operand))
                if words:
                    complain(words)
                continue
            # of several jobs the unknown ones behind a finished one are not named to qdel
            is_silent = program == "qdel" and words == UNKNOWN and status == _STATUSES[FINISHED]
            if words and not is_silent:
                of_which = "" if words == FINISHED and program != "qdel" else f" {full_id(operand)}"
                complain(f"{program}: {words}{of_which}")
                status = code
    start_what_fits(home)
    sys.exit(status)


def outcome(state: State, operand: str, named: dict[str, str], fault: Fault, act: Act) -> tuple[str, int]:
    numbers = spread(operand)
    jobs = [(number, state["jobs"].get(number)) for number in numbers]
    is_element = "[" in numbers[0] and not numbers[0].endswith("[]")
    for number, job in jobs:
        if job is None:
            return (INVALID, 156) if is_element else (UNKNOWN, 153)
        if job.get("owner", user_of(state)) != user_of(state) and user_of(state) != "root":
            return DENIED, 159
        said = act(state, number, job, named, fault)
        if said:
            return said if isinstance(said, tuple) else (said, _STATUSES[said])
    return "", 0


def spread(operand: str) -> list[str]:
    """Return the jobs that an operand means: `7[2-4]` are three elements."""
    number = number_in(operand)
    head, bracket, span = number.partition("[")
    first, dash, last = span.rstrip("]").partition("-")
    return [f"{head}[{index}]" for index in range(int(first), int(last) + 1)] if bracket and dash else [number]


def change(letters: str, act: Act, program: str) -> Callable[[Path, list[str], Fault], None]:
    def run(home: Path, argv: list[str], fault: Fault) -> None:
        named, operands = options(argv, letters, program, f"usage: {program}")
        answer(home, program, operands, dict(named), fault, act)

    return run


def hold(state: State, number: str, job: Job, named: dict[str, str], fault: Fault) -> str:
    if job["state"] == "F":
        return FINISHED
    if "[" in number and not number.endswith("[]"):
        return INVALID
    if "s" in named.get("h", "u") and user_of(state) != "root":
        return DENIED
    if job["state"] == "Q":
        job.update(state="H", holds=named.get("h", "u"), substate=20)
    return ""


def release(state: State, number: str, job: Job, named: dict[str, str], fault: Fault) -> str:
    if job["state"] == "F":
        return FINISHED
    if "s" in named.get("h", "u") and user_of(state) != "root":
        return DENIED
    if job["holds"] == named.get("h", "u"):
        job.update(state="Q", holds="n", substate=10)
    return ""


def alter(state: State, number: str, job: Job, named: dict[str, str], fault: Fault) -> str | tuple[str, int]:
    if job["state"] == "F":
        return FINISHED
    if "[" in number and not number.endswith("[]"):
        return INVALID
    if named.get("l", "").startswith("nosuch="):
        return "Unknown resource Resource_List.nosuch", 187
    if "l" in named:
        try:
            check_wish(named["l"])
        except Refused as no:
            fail(f"qsub: {no.words}", no.status)
        name, _, value = named["l"].partition("=")
        if job["state"] == "R" and name == "select":
            return f"Cannot modify attribute while job running  Resource_List.{name}", 167
        job["wishes"][name] = value
    job["options"].update({letter: value for letter, value in named.items() if letter != "l"})
    job["name"] = named.get("N", job["name"])
    return ""


def send(state: State, number: str, job: Job, named: dict[str, str], fault: Fault) -> str | tuple[str, int]:
    """Signal a running job; only an operator may suspend one."""
    name = named.get("s", "SIGTERM")
    if job["state"] == "F":
        return FINISHED
    if name in {"suspend", "resume"} and user_of(state) != "root":
        return DENIED
    if job["state"] not in {"R", "S"}:
        return STATE
    if name not in {"suspend", "resume"} and job.get("owner") == "root":
        # MOM counts no process of root's, and takes the job for one that is over; the signal arrives all the same
        job.update(state="F", substate=92, exit_status=0, obittime=now(), mtime=now())
    if name in {"suspend", "resume"}:
        job.update(state="S" if name == "suspend" else "R")
    elif name.isdecimal():
        job.setdefault("signals", []).append(signal.Signals(int(name)).name)
    elif f"SIG{name.removeprefix('SIG')}" in signal.Signals.__members__:
        job.setdefault("signals", []).append(f"SIG{name.removeprefix('SIG')}")
    else:
        return "Unknown/illegal signal name", 165
    return ""


def rerun(state: State, number: str, job: Job, named: dict[str, str], fault: Fault) -> str | tuple[str, int]:
    if job["state"] == "F":
        return FINISHED
    if user_of(state) != "root":
        return DENIED
    if job["state"] != "R":
        return STATE
    if job["options"].get("r") == "n":
        return "job is not rerunnable", 190
    job.update(state="Q", substate=10)
    return ""


qhold = change("h:", hold, "qhold")
qrls = change("h:", release, "qrls")
qalter = change("l:N:p:r:W:A:P:h:a:o:e:m:", alter, "qalter")
qsig = change("s:", send, "qsig")
qrerun = change("W:", rerun, "qrerun")
