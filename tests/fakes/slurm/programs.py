#!/usr/bin/env python3
"""sbatch, squeue, sacct, scancel and scontrol over a pretended cluster that really runs its jobs.

Called through links of those names in the `bin` of the cluster's folder. They print what Slurm 22.05 prints, byte for byte
where elisa reads it. `faults.json` makes them go wrong: see `fake_slurm.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

CPUS_PER_NODE = 8
CPUS = 4 * CPUS_PER_NODE
KILL_WAIT_S = 1.0
DEAD = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "OUT_OF_MEMORY",
    "DEADLINE",
)

Job = dict[str, Any]


@contextlib.contextmanager
def cluster(home: Path) -> Iterator[dict[str, Any]]:
    """Give the cluster's state, alone; what was changed in it is kept."""
    with (home / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state: dict[str, Any] = json.loads((home / "state.json").read_text())
        yield state
        text = home / f"state.{os.getpid()}"
        text.write_text(json.dumps(state))
        text.replace(home / "state.json")


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")


def fail(words: str, status: int = 1) -> NoReturn:
    sys.stderr.write(f"{words}\n")
    sys.exit(status)


def next_fault(home: Path, program: str) -> dict[str, Any]:
    """Take the next fault planned for this program, or none."""
    with cluster(home) as state:
        for fault in state["faults"]:
            if fault["program"] == program and fault["times"] > 0:
                fault["times"] -= 1
                return dict(fault)
    return {"kind": "none"}


def options(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split a command line into its long options and its plain words."""
    named = {word[2:].partition("=")[0]: word.partition("=")[2] for word in argv if word[:2] == "--"}
    return named, [word for word in argv if not word.startswith("-")]


# sbatch


def sbatch(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    wanted, _ = options(argv)
    script = sys.stdin.read()
    if "test-only" in wanted:
        return
    if fault["kind"] == "late":
        with cluster(home) as state:
            state["late"].append([wanted, script])
        fail("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    job = accept(home, wanted, script)
    if fault["kind"] == "twice":
        accept(home, wanted, script)
    if fault["kind"] == "lose_answer":
        fail("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    if fault["kind"] == "lose_number":
        return
    say(job)


def accept(home: Path, wanted: dict[str, str], script: str) -> str:
    with cluster(home) as state:
        number = str(state["next"])
        state["next"] += 1
        state["jobs"][number] = {
            "name": wanted["job-name"],
            "state": "PENDING",
            "reason": "None",
            "status": 0,
            "restarts": 0,
            "submitted": now(),
            "started": "N/A",
            "ended": "N/A",
            "nodes": "",
            "wanted": wanted,
            "environment": dict(os.environ),
            "listed": True,
        }
        (home / f"script.{number}").write_text(script)
    start_what_fits(home)
    return number


def let_late_in(home: Path) -> None:
    with cluster(home) as state:
        late, state["late"] = state["late"], []
    for wanted, script in late:
        accept(home, wanted, script)


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def cpus(job: Job) -> int:
    wanted = job["wanted"]
    return int(wanted["nodes"]) * int(wanted["ntasks-per-node"]) * int(wanted["cpus-per-task"])


def start_what_fits(home: Path) -> None:
    with cluster(home) as state:
        free = CPUS - sum(cpus(job) for job in state["jobs"].values() if job["state"] == "RUNNING")
        for number, job in state["jobs"].items():
            if job["state"] != "PENDING" or state["paused"] or not may_start(state, job):
                continue
            if cpus(job) > free:
                job["reason"] = "Resources"
                continue
            free -= cpus(job)
            job.update(state="RUNNING", reason="None", started=now(), nodes="n1")
            with (home / "jobs.log").open("a") as log:
                runner = [sys.executable, __file__, "_job", str(home), number]
                subprocess.Popen(runner, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def may_start(state: dict[str, Any], job: Job) -> bool:
    kind, _, numbers = job["wanted"].get("dependency", "").partition(":")
    if not kind:
        return True
    ends = [state["jobs"].get(number, {"state": "COMPLETED"})["state"] for number in numbers.split(":")]
    if kind == "afterany":
        job["reason"] = "Dependency"
        return all(end in DEAD for end in ends)
    job["reason"] = "DependencyNeverSatisfied" if any(e in DEAD and e != "COMPLETED" for e in ends) else "Dependency"
    return all(end == "COMPLETED" for end in ends)


# A job's own process


def run_job(home: Path, number: str) -> None:
    with cluster(home) as state:
        job = state["jobs"][number]
    wanted = job["wanted"]
    own = {"SLURM_JOB_ID": number, "SLURM_RESTART_COUNT": str(job["restarts"]), "SLURM_JOB_NAME": job["name"]}
    try:
        output, error = (open_log(wanted[name].replace("%%", "%")) for name in ("output", "error"))
        program = subprocess.Popen(
            ["/bin/sh", str(home / f"script.{number}")],
            cwd=wanted["chdir"],
            env={**job["environment"], **own},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=error,
            start_new_session=True,
        )
    except OSError:
        finish(home, number, 53, "FAILED")
        return
    with cluster(home) as state:
        state["jobs"][number]["pid"] = program.pid
    finish(home, number, *watch(home, number, program, 60.0 * int(wanted["time"])))


def open_log(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def watch(home: Path, number: str, program: subprocess.Popen[bytes], limit_s: float) -> tuple[int, str]:
    """Wait for a job's end; return its wait status and Slurm's word for it."""
    limit, kill_at, word = time.monotonic() + limit_s, 0.0, ""
    while program.poll() is None:
        with cluster(home) as state:
            verdict = state["jobs"][number].get("verdict", "")
        if not word and (verdict or time.monotonic() > limit):
            word = verdict or "TIMEOUT"
            kill_at = time.monotonic() + KILL_WAIT_S
            signal_all(program.pid, signal.SIGTERM)
        if word and time.monotonic() > kill_at:
            signal_all(program.pid, signal.SIGKILL)
        time.sleep(0.02)
    signal_all(program.pid, signal.SIGKILL)
    code = program.returncode
    status = 0 if word == "COMPLETED" else -code if code < 0 else code << 8
    return status, word or ("FAILED" if status else "COMPLETED")


def signal_all(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def finish(home: Path, number: str, status: int, word: str) -> None:
    with cluster(home) as state:
        job = state["jobs"][number]
        reason = {"FAILED": "NonZeroExitCode"}.get(word, "None")
        if word == "REQUEUE":
            job.update(state="PENDING", reason="BeginTime", restarts=job["restarts"] + 1, verdict="", nodes="")
        else:
            job.update(state=word, status=status, reason=reason, ended=now())
    start_what_fits(home)


# squeue, sacct, scancel, scontrol


def squeue(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    named, _ = options(argv)
    columns = [column.split(":") for column in named["Format"].split(",")]
    with cluster(home) as state:
        rows = [row(number, job, columns) for number, job in state["jobs"].items() if job["listed"]]
    if fault["kind"] == "partial":
        rows = rows[: len(rows) // 2]
    print_maybe_cut("".join(f"{line}\n" for line in rows), fault)


def row(number: str, job: Job, columns: list[list[str]]) -> str:
    values = {
        "JobArrayID": number,
        "State": job["state"],
        "exit_code": str(job["status"]),
        "RestartCnt": str(job["restarts"]),
        "SubmitTime": job["submitted"],
        "StartTime": job["started"],
        "EndTime": job["ended"],
        "Reason": job["reason"],
        "NodeList": job["nodes"],
        "Name": job["name"],
    }
    return "".join(values[name][: int(width)].ljust(int(width)) for name, width in columns)


def print_maybe_cut(text: str, fault: dict[str, Any]) -> None:
    sys.stdout.write(text[: len(text) * 2 // 3] if fault["kind"] == "cut" else text)


def sacct(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    named, _ = options(argv)
    numbers, names = named.get("jobs", "").split(","), named.get("name", "").split(",")
    with cluster(home) as state:
        if not state["accounting"]:
            fail("Slurm accounting storage is disabled")
        jobs = [(n, job) for n, job in state["jobs"].items() if n in numbers or job["name"] in names]
    text = "".join(f"{account(number, job, named['format'].split(','))}\n" for number, job in jobs)
    print_maybe_cut(text, fault)


def account(number: str, job: Job, fields: list[str]) -> str:
    signal_number = job["status"] & 0x7F
    values = {
        "JobID": number,
        "State": "CANCELLED by 0" if job["state"] == "CANCELLED" else job["state"],
        "ExitCode": f"0:{signal_number}" if signal_number else f"{job['status'] >> 8}:0",
        "Submit": job["submitted"],
        "Start": job["started"],
        "End": "Unknown" if job["ended"] == "N/A" else job["ended"],
        "NodeList": job["nodes"] or "None assigned",
        "JobName": job["name"],
    }
    return "|".join(values[name] for name in fields)


def scancel(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    with cluster(home) as state:
        for number in options(argv)[1]:
            job = state["jobs"].get(number)
            if job and job["state"] == "PENDING":
                job.update(state="CANCELLED", ended=now())
            elif job and job["state"] == "RUNNING":
                job["verdict"] = "CANCELLED"


def scontrol(home: Path, argv: list[str], fault: dict[str, Any]) -> None:
    with cluster(home) as state:
        used = sum(cpus(job) for job in state["jobs"].values() if job["state"] == "RUNNING")
    lines = []
    for line in (home / f"{argv[-1]}.txt").read_text().splitlines():
        here = min(used, CPUS_PER_NODE)
        lines.append(re.sub(r"CPUAlloc=\d+", f"CPUAlloc={here}", line))
        used -= here
    print_maybe_cut("\n".join(lines) + "\n", fault)


PROGRAMS = {"sbatch": sbatch, "squeue": squeue, "sacct": sacct, "scancel": scancel, "scontrol": scontrol}


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
            PROGRAMS[program.name](home, argv, fault)


if __name__ == "__main__":
    main()
