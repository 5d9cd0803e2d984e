"""qstat, qselect and pbsnodes: what a pretended PBS says of its jobs, queues, itself and its nodes."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tests.fakes.pbs.printing import Pairs, dsv_of, json_of, table_of, text_of
from tests.fakes.pbs.running import cpus, elements_of
from tests.fakes.pbs.world import (
    CPUS,
    GPUS,
    HOST,
    MEMORY_KB,
    VERSION,
    Fault,
    Job,
    State,
    complain,
    connect,
    fail,
    full_id,
    look,
    now,
    number_in,
    options,
    say,
    user_of,
)

QSTAT_USAGE = """\
usage: 
qstat [-f] [-J] [-p] [-t] [-x] [-E] [-F format | -w] [-D delim] [ job_identifier... | destination... ]
qstat [-a|-i|-r|-H|-T] [-J] [-t] [-u user] [-n] [-s] [-G|-M] [-1] [-w]
	[ job_identifier... | destination... ]
qstat -Q [-f] [-F format] [-D delim] [ destination... ]
qstat -q [-G|-M] [ destination... ]
qstat -B [-f] [-F format] [-D delim] [ server_name... ]
qstat --version"""  # noqa: W291 - as it is printed
UNKNOWN, FINISHED = 153, 35
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"})
Error = tuple[str, int]


def qstat(home: Path, argv: list[str], fault: Fault) -> None:
    state = look(home)
    if argv == ["--version"]:
        say(f"pbs_version = {VERSION}" if state["dialect"] == "openpbs" else "Version: 6.1.2\nCommit: d9a5de")
        return
    named, operands = options(argv, "fJptxEF:wD:airHTu:nsGM1QqB", "qstat", QSTAT_USAGE)
    letters = dict(named)
    if "E" in letters and not state["express"]:
        fail("qstat: invalid option -- 'E'\nusage: qstat [-f] [-J] [-p] [-t] [-x] [-F format] [-D delim]", 2)
    form = letters.get("F", "text")
    if form not in {"text", "json", "dsv"}:
        fail(QSTAT_USAGE, 2)
    if form != "text" and ("f" not in letters or "u" in letters):
        fail(f"qstat: conflicting options.\n{QSTAT_USAGE}", 2)
    printer = Printer(state, form, fault)
    printer.connect(operands)
    if "Q" in letters:
        printer.print_things("Queue", chosen(queues_of(state), operands, printer))
    elif "B" in letters:
        printer.print_things("Server", [(HOST, state.get("server_pairs") or server_pairs(state))])
    else:
        print_jobs(state, operands, letters, printer)
    printer.end()


class Printer:
    """Prints in one form; errors come after all output, and the last one gives the exit status."""

    def __init__(self, state: State, form: str, fault: Fault) -> None:
        self.state, self.form, self.fault = state, form, fault
        self.errors: list[Error] = []
        self.is_json_printed = False

    def connect(self, operands: list[str]) -> None:
        """Fail where no server is; even then JSON is printed, and valid."""
        try:
            if operands[:1] == ["@nosuchhost"]:
                fail(f"Unknown Host.\nqstat: cannot connect to server {HOST} (errno=15008)", 255)
            connect(self.state, "qstat", 255)
        except SystemExit:
            self.end_json()
            raise

    def print_things(self, kind: str, things: Iterable[tuple[str, Pairs]]) -> None:
        head = {"Jobs": "Job Id", "Queue": "Queue", "Server": "Server"}[kind]
        match self.form:
            case "json":
                text = json_of(kind, things, at=now(), release=bool(self.state.get("release")))
                self.is_json_printed = True
            case "dsv":
                text = "".join(dsv_of(f"{head}: {name}", pairs) for name, pairs in things)
            case _:
                text = "".join(text_of(f"{head}: {name}", pairs) for name, pairs in things)
        self.put(text)

    def put(self, text: str) -> None:
        sys.stdout.write(text[: len(text) * 2 // 3] if self.fault["kind"] == "cut" else text)

    def end_json(self) -> None:
        if self.form == "json" and not self.is_json_printed:
            sys.stdout.write(json_of("Jobs", [], at=now()))

    def end(self) -> None:
        self.end_json()
        for words, _ in self.errors:
            complain(words)
        if self.errors:
            sys.exit(self.errors[-1][1])


def print_jobs(state: State, operands: list[str], letters: dict[str, str], printer: Printer) -> None:
    history = "x" in letters
    if history and not state["history"]:
        for operand in operands or [""]:
            complain(f"qstat: PBS is not configured to maintain job history {full_id(operand)}")
        return
    known = list[tuple[str, Pairs]]()
    for operand in operands or [full_id(number) for number in listed(state, letters)]:
        found = look_up(state, operand, history=history, printer=printer)
        for number in found:
            numbers = [number, *(elements_of(state, number) if "t" in letters and number.endswith("[]") else ())]
            known += [(full_id(each), attributes(each, state)) for each in numbers]
    if "E" in letters:  # one request: an error only if nothing at all is known, and about the first id
        printer.errors = printer.errors[:1] if not known else []
    if printer.fault["kind"] == "partial":
        known = known[: len(known) // 2]
    if "f" not in letters:
        printer.put(table_of(known))
    elif known:
        # the development version: of several ids that were named, JSON has only the first
        is_first_only = printer.form == "json" and operands and not state.get("release") and "t" not in letters
        printer.print_things("Jobs", known[:1] if is_first_only else known)


def listed(state: State, letters: dict[str, str]) -> list[str]:
    """Return the jobs that are meant where none is named; elements of arrays only where they were asked for."""
    is_over = {"F"} if "x" not in letters and state["dialect"] == "openpbs" else set()
    jobs = {number: job for number, job in state["jobs"].items() if job["state"] not in is_over}
    return [number for number in jobs if "[" not in number or number.endswith("[]")]


def look_up(state: State, operand: str, *, history: bool, printer: Printer) -> list[str]:
    number = number_in(operand)
    if not number[:1].isdecimal():
        printer.errors.append((f"qstat: Unknown queue destination {operand}", 170))
        return []
    head, _, span = number.partition("[")
    first, dash, last = span.rstrip("]").partition("-")
    found = [f"{head}[{index}]" for index in range(int(first), int(last) + 1)] if dash else [number]
    if any(each not in state["jobs"] for each in found):
        words = "Unknown Job Id" if state["dialect"] == "openpbs" else "Unknown Job Id Error"
        printer.errors.append((f"qstat: {words} {full_id(operand)}", UNKNOWN))
        return []
    if state["jobs"][found[0]]["state"] == "F" and not history and state["dialect"] == "openpbs":
        words = f"qstat: {full_id(operand)} Job has finished, use -x or -H to obtain historical job information"
        printer.errors.append((words, FINISHED))
        return []
    return found


def attributes(number: str, state: State) -> Pairs:
    """Return what PBS shows of a job; of a recorded one all that was recorded."""
    job = state["jobs"][number]
    pairs = job.get("recorded") or (torque_pairs(job) if state["dialect"] == "torque" else openpbs_pairs(job))
    return {name: str(value) for name, value in pairs.items() if value != "" or name in job.get("recorded", {})}


def common_pairs(job: Job) -> dict[str, object]:
    return {
        "Job_Name": job["name"],
        "Job_Owner": f"{job['owner']}@{HOST}",
        "job_state": job["state"],
        "queue": job["queue"],
        "server": HOST,
        "Checkpoint": "u",
        "ctime": ctime(job["ctime"]),
        "depend": job["depend"],
        "Error_Path": f"{HOST}:/dev/null",
        "exec_host": f"{HOST}/0*{cpus(job)}" if job["runs"] else "",
        "Hold_Types": job["holds"],
        "mtime": ctime(job.get("mtime", job["ctime"])),
        "Output_Path": f"{HOST}:/dev/null",
        "Priority": job["options"].get("p", 0),
        "qtime": ctime(job["ctime"]),
        "Rerunable": str(job["options"].get("r", "y") == "y"),
        **{f"Resource_List.{name}": value for name, value in job["wishes"].items()},
    }


def torque_pairs(job: Job) -> dict[str, object]:
    return {
        **common_pairs(job),
        "job_state": "C" if job["state"] == "F" else job["state"],
        "depend": "",
        "start_time": ctime(job.get("stime")),
        "comp_time": ctime(job.get("obittime")),
        "start_count": job["runs"] or "",
        "exit_status": job.get("exit_status", ""),
    }


def openpbs_pairs(job: Job) -> dict[str, object]:
    return {
        **common_pairs(job),
        "stime": ctime(job.get("stime")),
        "obittime": ctime(job.get("obittime")),
        "substate": job["substate"],
        "Variable_List": f"PBS_O_HOME=/home/{job['owner']},PBS_O_PATH={job['path']},PBS_O_HOST={HOST}",
        "comment": job.get("comment", ""),
        "run_count": job["runs"] or "",
        "Exit_status": job.get("exit_status", ""),
        "argument_list": "".join(
            f"<jsdl-hpcpa:Argument>{word.translate(ENTITIES)}</jsdl-hpcpa:Argument>" for word in job["program"][1:]
        ),
        "Submit_arguments": f"-N {job['name']} -- {shlex.join(job['program'])}",
        "project": job["options"].get("P", "_pbs_project_default"),
    }


def ctime(at: int | None) -> str:
    return "" if at is None else time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(at))


def queues_of(state: State) -> list[tuple[str, Pairs]]:
    return [
        (
            name,
            queue
            if "queue_type" in queue
            else {"queue_type": "Execution", "enabled": "True", "started": "True", **queue},
        )
        for name, queue in state["queues"].items()
    ]


def chosen(queues: list[tuple[str, Pairs]], operands: list[str], printer: Printer) -> list[tuple[str, Pairs]]:
    known = dict(queues)
    for operand in operands:
        if operand not in known:
            printer.errors.append((f"qstat: Unknown queue {operand}", 170))
    return [(name, pairs) for name, pairs in queues if not operands or name in operands]


def server_pairs(state: State) -> Pairs:
    return {
        "server_state": "Active",
        "server_host": HOST,
        "default_queue": "workq",
        "resources_available.matlab": "3",
        "resources_assigned.matlab": "1",
        "job_history_enable": str(state["history"]),
        "pbs_version": VERSION,
    }


def qselect(home: Path, argv: list[str], fault: Fault) -> None:
    state = look(home)
    letters = "u:N:s:xHq:l:A:P:" if state["dialect"] == "openpbs" else "a:A:ec:h:l:N:p:q:r:s:u:"
    named, _ = options(argv, letters, "qselect", "usage: qselect")
    wanted = dict(named)
    connect(state, "qselect")
    is_history = "x" in wanted or "H" in wanted
    if is_history and not state["history"]:
        complain("qselect: PBS is not configured to maintain job history")
        return
    for number, job in state["jobs"].items():
        if "[" in number and not number.endswith("[]"):
            continue
        if is_wanted(job, wanted, is_over_shown=is_history or state["dialect"] == "torque"):
            say(full_id(number))


def is_wanted(job: Job, wanted: dict[str, str], *, is_over_shown: bool) -> bool:
    is_over = job["state"] in {"F", "X"}
    return (
        (is_over_shown or not is_over)
        and (is_over or "H" not in wanted)
        and wanted.get("N", job["name"]) == job["name"]
        and (not wanted.get("s") or job["state"] in wanted["s"])
        and wanted.get("u", job["owner"]) in {job["owner"], *job.get("seen_as", ())}
    )


def pbsnodes(home: Path, argv: list[str], fault: Fault) -> None:
    letters = "aF:vlSjoC:r"
    named, rest = options(argv, letters, "pbsnodes", "usage: pbsnodes")
    # as getopt does, options count behind a node's name, too
    operands, (more, _) = rest[:1], options(rest[1:], letters, "pbsnodes", "usage: pbsnodes")
    state, wanted = look(home), dict([*named, *more])
    connect(state, "pbsnodes", 1)
    if "o" in wanted and user_of(state) != "root":
        fail(f"Error marking node {operands[0]} - Unauthorized Request ", 1)
    if {"o", "r"} & wanted.keys():
        return
    nodes = state.get("nodes") or {HOST: node_pairs(state)}
    for operand in operands:
        if operand not in nodes:
            fail(f"Node: {operand},  Error: Unknown node ", 1)
    if wanted.get("F") == "json":
        sys.stdout.write(json_of("nodes", nodes.items(), at=now()))
        return
    lines = (
        f"{name}\n" + "".join(f"     {key} = {value}\n" for key, value in pairs.items())
        for name, pairs in nodes.items()
    )
    Printer(state, "text", fault).put("".join(f"{text}\n" for text in lines))


def pbs_rstat(home: Path, argv: list[str], fault: Fault) -> None:
    options(argv, "fFSB", "pbs_rstat", "usage: pbs_rstat")
    state = look(home)
    connect(state, "pbs_rstat", 1)
    for name, pairs in state.get("reservations", {}).items():
        say(f"Resv ID: {name}.{HOST}\n" + "".join(f"{key} = {value}\n" for key, value in pairs.items()))


def node_pairs(state: State) -> Pairs:
    used = sum(
        cpus(job) for number, job in state["jobs"].items() if job["state"] in {"R", "S", "E"} and "[]" not in number
    )
    return {
        "Mom": HOST,
        "ntype": "PBS",
        "state": "free" if used < CPUS else "job-busy",
        "resources_available.arch": "linux",
        "resources_available.gpu_model": "a100",
        "resources_available.host": HOST,
        "resources_available.mem": f"{MEMORY_KB}kb",
        "resources_available.ncpus": str(CPUS),
        "resources_available.ngpus": str(GPUS),
        "resources_assigned.mem": "0kb",
        "resources_assigned.ncpus": str(used),
    }
