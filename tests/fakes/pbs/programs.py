"""qsub, qstat, qdel, qselect, qhold, qrls, qalter and pbsnodes over a pretended PBS that really runs its jobs.

Called through programs of those names in the `bin` of the server's folder. They print and return what OpenPBS 23.06.06 does,
as far as its recordings go, or what Torque does; `fake_pbs.py` makes them go wrong. No daemon: each job has a process.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

CPUS, GPUS, MEMORY_KB = 32, 8, 64 * 1024 * 1024
KILL_DELAY_S = 0.5
HOST = "vm"

Job = dict[str, Any]
State = dict[str, Any]


@contextlib.contextmanager
def server(home: Path) -> Iterator[State]:
    """Give the server's state, alone; what was changed in it is kept."""
    with (home / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state: State = json.loads((home / "state.json").read_text())
        yield state
        text = home / f"state.{os.getpid()}"
        text.write_text(json.dumps(state))
        text.replace(home / "state.json")


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")


def complain(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def fail(words: str, status: int) -> NoReturn:
    complain(words)
    sys.exit(status)


def now() -> int:
    return int(time.time())


def next_fault(home: Path, program: str) -> dict[str, Any]:
    """Take the next fault planned for this program, or none."""
    with server(home) as state:
        for fault in state["faults"]:
            if fault["program"] == program and fault["times"] > 0:
                fault["times"] -= 1
                return dict(fault)
    return {"kind": "none"}


def options(argv: Sequence[str], with_value: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Split a command line as getopt does; `with_value` are the letters that take one."""
    named, rest = [], list(argv)
    while rest and rest[0].startswith("-") and rest[0] not in {"-", "--"}:
        letter = rest.pop(0)[1:]
        named.append((letter, rest.pop(0) if letter in with_value else ""))
    return named, rest


def number_in(text: str) -> str:
    return text.partition(".")[0].partition("[")[0]


# qsub


def qsub(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    named, rest = options(argv, "AaCeIlMmNoPpqrSWv")
    with server(home) as state:
        is_torque = state["dialect"] == "torque"
    # a program's empty arguments are lost on the way
    program = ["/bin/sh", "-c", sys.stdin.read()] if is_torque else [word for word in rest[1:] if word]
    refuse(home, dict(named), [value for name, value in named if name == "l"])
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


def refuse(home: Path, named: dict[str, str], wishes: list[str]) -> None:
    with server(home) as state:
        limits = state["queues"].get(named.get("q", "workq"))
    if limits is None:
        fail("qsub: Unknown queue", 170)
    if limits.get("enabled") == "False":
        fail("qsub: Queue is not enabled", 173)
    if "max_queued" in limits:
        fail(f"qsub: would exceed queue {named['q']}'s per-user limit", 38)
    wished = dict(wish.split("=", 1) for wish in wishes)
    if seconds(limits.get("resources_max.walltime", "")) < seconds(wished["walltime"]) > 0 and limits.keys() & {
        "resources_max.walltime"
    }:
        fail("qsub: Job violates queue and/or server resource limits", 188)
    if "nosuch" in wished:
        fail("qsub: Unknown resource Resource_List.nosuch", 187)
    if not all(32 <= ord(letter) < 127 for letter in named.get("o", "")):
        fail("qsub: illegal -o value\nusage: qsub [-a date_time] [-A account_string] [-c interval]", 2)


def seconds(text: str) -> int:
    parts = [int(part) for part in text.split(":")] if text else [0]
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def accept(home: Path, named: list[tuple[str, str]], program: list[str]) -> str:
    single = dict(named)
    with server(home) as state:
        number = str(state["next"])
        state["next"] += 1
        depend = next((v.removeprefix("depend=") for n, v in named if n == "W" and v.startswith("depend=")), "")
        state["jobs"][number] = {
            "name": single["N"],
            "queue": single.get("q", "workq"),
            "state": "H" if depend else "W" if "a" in single else "Q",
            "substate": 22 if depend else 30 if "a" in single else 10,
            "holds": "s" if depend else "n",
            "depend": depend,
            "wishes": dict(value.split("=", 1) for name, value in named if name == "l"),
            "options": {name: value for name, value in named if name not in {"l", "W"}},
            "program": program,
            "path": os.environ.get("PATH", ""),
            "ctime": now(),
            "runs": 0,
        }
    start_what_fits(home)
    return number


def let_late_in(home: Path) -> None:
    with server(home) as state:
        late, state["late"] = state["late"], []
    for named, program in late:
        accept(home, named, program)


def cpus(job: Job) -> int:
    select = job["wishes"].get("select") or job["wishes"]["nodes"].replace("ppn=", "ncpus=")
    count, _, chunk = select.partition(":")
    resources = dict(part.split("=", 1) for part in chunk.split(":") if "=" in part)
    return int(count) * int(resources.get("ncpus", 1))


def start_what_fits(home: Path) -> None:
    with server(home) as state:
        for job in state["jobs"].values():
            if job["state"] == "H" and job["depend"]:
                settle_dependency(state, job)
        free = CPUS - sum(cpus(job) for job in state["jobs"].values() if job["state"] in {"R", "S", "E"})
        for number, job in state["jobs"].items():
            if job["state"] != "Q" or state["paused"]:
                continue
            if cpus(job) > free:
                job["comment"] = "Not Running: Not enough free nodes available"
                continue
            free -= cpus(job)
            words = f"Job run at {time.strftime('%a %b %d at %H:%M')} on ({HOST}:ncpus={cpus(job)})"
            job.update(state="R", substate=42, stime=now(), comment=words, runs=job["runs"] + 1)
            with (home / "jobs.log").open("a") as log:
                runner = [sys.executable, __file__, "_job", str(home), number]
                subprocess.Popen(runner, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def settle_dependency(state: State, job: Job) -> None:
    """Release what waited for success; a job whose predecessor failed or is unknown ends without having run."""
    befores = [state["jobs"].get(number_in(pbs_id)) for pbs_id in job["depend"].split(":")[1:]]
    if any(before is None or (before["state"] == "F" and before.get("exit_status") != 0) for before in befores):
        job.update(state="F", substate=92, mtime=now())
    elif all(before is not None and before["state"] == "F" for before in befores):
        job.update(state="Q", substate=10, holds="n")


# A job's own process


def run_job(home: Path, number: str) -> None:
    with server(home) as state:
        job = state["jobs"][number]
    environment = {
        "HOME": os.environ.get("HOME", "/"),
        "PATH": "/bin:/usr/bin",
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBID": f"{number}.{HOST}",
        "PBS_JOBNAME": job["name"],
        "PBS_O_PATH": job["path"],
        "USER": getpass.getuser(),
    }
    quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    try:
        program = subprocess.Popen(
            job["program"], cwd=environment["HOME"], env=environment, start_new_session=True, **quiet
        )
    except OSError:
        finish(home, number, 254, 93)
        return
    with server(home) as state:
        state["jobs"][number]["pid"] = program.pid
    finish(home, number, *watch(home, number, program, seconds(job["wishes"]["walltime"])))


def watch(home: Path, number: str, program: subprocess.Popen[bytes], limit_s: float) -> tuple[int, int]:
    """Wait for a job's end; return its exit status and substate as PBS would."""
    limit, kill_at, forced = time.monotonic() + limit_s, 0.0, 0
    while program.poll() is None:
        with server(home) as state:
            deleted = state["jobs"][number].get("deleted", False)
            verdict = state["jobs"][number].get("verdict")
        if not kill_at and (deleted or verdict is not None or time.monotonic() > limit):
            forced = verdict or (0 if deleted else -29)
            kill_at = time.monotonic() + KILL_DELAY_S
            signal_all(program.pid, signal.SIGTERM)
        if kill_at and time.monotonic() > kill_at:
            signal_all(program.pid, signal.SIGKILL)
        time.sleep(0.02)
    signal_all(program.pid, signal.SIGKILL)
    code = program.returncode
    status = 256 - code if code < 0 else code
    if kill_at and not forced:
        return status, 91
    return (forced, 93) if forced else (status, 93 if status else 92)


def signal_all(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def finish(home: Path, number: str, status: int, substate: int) -> None:
    words = {91: "", 92: " and finished", 93: " and exceeded resource walltime" if status == -29 else " and failed"}
    with server(home) as state:
        job = state["jobs"][number]
        if state["dialect"] == "torque":
            status = {-29: -11}.get(status, 271 if substate == 91 else status)
        job.update(state="F", substate=substate, exit_status=status, obittime=now(), mtime=now())
        job["comment"] += words[substate]
        if not state["history"]:
            del state["jobs"][number]
    start_what_fits(home)


# qstat


def qstat(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    with server(home) as state:
        pass
    if argv == ["--version"]:
        say("pbs_version = 23.06.06") if state["dialect"] == "openpbs" else say("Version: 6.1.2\nCommit: d9a5de")
        return
    named, operands = options(argv, "u")
    letters = {name for name, _ in named}
    if "E" in letters and not state["express"]:
        fail("qstat: invalid option -- 'E'\nusage: qstat [-f] [-J] [-p] [-t] [-x] [-F format] [-D delim]", 2)
    if state["down"]:
        fail(f"Connection refused\nqstat: cannot connect to server {HOST} (errno=15010)", 255)
    if "Q" in letters or "B" in letters:
        print_maybe_cut("".join(queue_texts(state) if "Q" in letters else [server_text(state)]), fault)
    else:
        print_jobs(state, operands, letters, fault)


def print_jobs(state: State, operands: list[str], letters: set[str], fault: dict[str, Any]) -> None:
    history = "x" in letters
    if history and not state["history"]:
        for operand in operands or [""]:
            complain(f"qstat: PBS is not configured to maintain job history {full_id(operand)}")
        return
    known, errors = [], []
    for operand in operands or [number for number, job in state["jobs"].items() if job["state"] != "F"]:
        number = number_in(operand)
        job = state["jobs"].get(number)
        if job is None:
            errors.append((f"qstat: Unknown Job Id {full_id(operand)}", 153))
        elif job["state"] == "F" and not history and state["dialect"] == "openpbs":
            words = f"qstat: {full_id(operand)} Job has finished, use -x or -H to obtain historical job information"
            errors.append((words, 35))
        else:
            known.append(job_text(number, job, state["dialect"]))
    if "E" in letters:  # one request: an error only if nothing at all is known, and about the first id
        errors = errors[:1] if not known else []
    if fault["kind"] == "partial":
        known = known[: len(known) // 2]
    print_maybe_cut("".join(known), fault)
    for words, _ in errors:
        complain(words)
    if errors:
        sys.exit(errors[-1][1])


def full_id(operand: str) -> str:
    return operand if "." in operand or not operand else f"{operand}.{HOST}"


def job_text(number: str, job: Job, dialect: str) -> str:
    is_torque = dialect == "torque"
    pairs: dict[str, object] = {
        "Job_Name": job["name"],
        "Job_Owner": f"{getpass.getuser()}@{HOST}",
        "job_state": "C" if is_torque and job["state"] == "F" else job["state"],
        "queue": job["queue"],
        "server": HOST,
        "Checkpoint": "u",
        "ctime": ctime(job["ctime"]),
        "depend": "" if is_torque else job["depend"],
        "Error_Path": f"{HOST}:/dev/null",
        "exec_host": f"{HOST}/0*{cpus(job)}" if job["runs"] else "",
        "Hold_Types": job["holds"],
        "mtime": ctime(job.get("mtime", job["ctime"])),
        "Output_Path": f"{HOST}:/dev/null",
        "qtime": ctime(job["ctime"]),
        "Rerunable": "False",
        **{f"Resource_List.{name}": value for name, value in job["wishes"].items()},
    }
    if is_torque:
        pairs["start_time"] = ctime(job.get("stime"))
        pairs["comp_time"] = ctime(job.get("obittime"))
        pairs["start_count"] = job["runs"] or ""
        pairs["exit_status"] = job.get("exit_status", "")
    else:
        pairs["stime"] = ctime(job.get("stime"))
        pairs["obittime"] = ctime(job.get("obittime"))
        pairs["substate"] = job["substate"]
        pairs["Variable_List"] = f"PBS_O_HOME=/home/{getpass.getuser()},PBS_O_PATH={job['path']},PBS_O_HOST={HOST}"
        pairs["comment"] = job.get("comment", "")
        pairs["run_count"] = job["runs"] or ""
        pairs["Exit_status"] = job.get("exit_status", "")
        pairs["Submit_arguments"] = f"-N {job['name']} -- {shlex.join(job['program'])}"
    return f"Job Id: {number}.{HOST}\n{attribute_lines(pairs)}\n"


def ctime(at: int | None) -> str:
    return "" if at is None else time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(at))


def attribute_lines(pairs: dict[str, object]) -> str:
    return "".join(f"{fold(f'    {name} = {value}')}\n" for name, value in pairs.items() if value != "")


def fold(line: str) -> str:
    parts = [line[:79]]
    parts += [line[at : at + 71] for at in range(79, len(line), 71)]
    return "\n\t".join(parts)


def queue_texts(state: State) -> list[str]:
    texts = []
    for name, queue in state["queues"].items():
        pairs = {"queue_type": "Execution", "enabled": "True", "started": "True", **queue}
        texts.append(f"Queue: {name}\n{attribute_lines(pairs)}\n")
    return texts


def server_text(state: State) -> str:
    pairs = {
        "server_state": "Active",
        "server_host": HOST,
        "default_queue": "workq",
        "pbs_version": "23.06.06",
        "job_history_enable": str(state["history"]),
        "resources_available.matlab": "3",
        "resources_assigned.matlab": "1",
    }
    return f"Server: {HOST}\n{attribute_lines(pairs)}\n"


def print_maybe_cut(text: str, fault: dict[str, Any]) -> None:
    sys.stdout.write(text[: len(text) * 2 // 3] if fault["kind"] == "cut" else text)


# qdel, qselect, qhold, qrls, qalter, pbsnodes


def qdel(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    status = 0
    with server(home) as state:
        if state["down"]:
            fail(f"Connection refused\nCouldn't connect to cluster: {HOST}", 162)
        for operand in argv:
            job = state["jobs"].get(number_in(operand))
            words, code = delete(job, fault)
            if words:
                # of several that failed, the last of a kind may not be named
                complain(f"qdel: {words} {full_id(operand)}")
                status = code
    start_what_fits(home)
    sys.exit(status)


def delete(job: Job | None, fault: dict[str, Any]) -> tuple[str, int]:
    if job is None:
        return "Unknown Job Id", 153
    if job["state"] == "F":
        return "Job has finished", 35
    if fault["kind"] == "mom_down":
        return "Server could not connect to MOM", 222
    if job["state"] == "R":
        job["deleted"] = True
        job["comment"] += f" and terminated by {getpass.getuser()}@{HOST}"
    else:
        job.update(state="F", substate=91, mtime=now())
    return "", 0


def qselect(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    named, _ = options(argv, "uNs")
    wanted = dict(named)
    with server(home) as state:
        pass
    if state["down"]:
        fail(f"Connection refused\nqselect: cannot connect to server {HOST} (errno=15010)", 162)
    if "x" in wanted and not state["history"]:
        complain("qselect: PBS is not configured to maintain job history")
        return
    for number, job in state["jobs"].items():
        is_live = job["state"] != "F" or "x" in wanted or state["dialect"] == "torque"
        if is_live and wanted.get("N", job["name"]) == job["name"]:
            say(f"{number}.{HOST}")


def change(home: Path, argv: list[str], program: str) -> None:
    named, operands = options(argv, "hlpN")
    status = 0
    with server(home) as state:
        for operand in operands:
            job = state["jobs"].get(number_in(operand))
            if job is None or job["state"] == "F":
                words = "Unknown Job Id" if job is None else "Job has finished"
                complain(f"{program}: {words} {full_id(operand)}")
                status = 153 if job is None else 35
            elif program == "qhold" and job["state"] == "Q":
                job.update(state="H", holds="u", substate=20)
            elif program == "qrls" and job["holds"] == "u":
                job.update(state="Q", holds="n", substate=10)
            elif program == "qalter":
                job["options"].update(named)
    start_what_fits(home)
    sys.exit(status)


def qhold(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    change(home, argv, "qhold")


def qrls(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    change(home, argv, "qrls")


def qalter(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    change(home, argv, "qalter")


def pbsnodes(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    with server(home) as state:
        used = sum(cpus(job) for job in state["jobs"].values() if job["state"] in {"R", "S", "E"})
    if state["down"]:
        fail(f"Connection refused\npbsnodes: cannot connect to server {HOST}, error=15010", 1)
    pairs = {
        "Mom": HOST,
        "ntype": "PBS",
        "state": "free" if used < CPUS else "job-busy",
        "resources_available.arch": "linux",
        "resources_available.gpu_model": "a100",
        "resources_available.host": HOST,
        "resources_available.mem": f"{MEMORY_KB}kb",
        "resources_available.ncpus": CPUS,
        "resources_available.ngpus": GPUS,
        "resources_assigned.mem": "0kb",
        "resources_assigned.ncpus": used,
    }
    print_maybe_cut(f"{HOST}\n" + "".join(f"     {name} = {value}\n" for name, value in pairs.items()) + "\n", fault)


PROGRAMS = {
    "qsub": qsub,
    "qstat": qstat,
    "qdel": qdel,
    "qselect": qselect,
    "qhold": qhold,
    "qrls": qrls,
    "qalter": qalter,
    "pbsnodes": pbsnodes,
}


def main() -> None:
    program, argv = Path(sys.argv[0]), sys.argv[1:]
    if argv[:1] == ["_job"]:
        run_job(Path(argv[1]), argv[2])
        return
    if argv[:1] == ["_start"]:
        let_late_in(Path(argv[1]))
        start_what_fits(Path(argv[1]))
        return
    home = program.parent.parent
    fault = next_fault(home, program.name)
    match fault["kind"]:
        case "hang":
            time.sleep(3600)
        case "fail":
            fail(fault["words"], fault.get("status", 1))
        case "garbage":
            say(fault["words"])
        case _:
            if program.name == "qsub":
                with server(home) as state:
                    is_down = state["down"]
                if is_down:
                    fail(f"Connection refused\nqsub: cannot connect to server {HOST} (errno=15010)", 162)
            PROGRAMS[program.name](home, argv, fault)


if __name__ == "__main__":
    main()
