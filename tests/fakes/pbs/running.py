"""Jobs of a pretended PBS that really run: no daemon, but a process or a thread for each, which ends it as PBS would."""

from __future__ import annotations

import contextlib
import contextvars
import getpass
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.pbs.world import CPUS, HOST, Job, State, now, number_in, seconds, server

KILL_DELAY_S = 0.5


def watch_from_a_process(home: Path, number: str) -> None:
    with (home / "jobs.log").open("a") as log:
        runner = [str(home / "bin" / "qsub"), "_job", str(home), number]
        subprocess.Popen(runner, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


# A process outlives the program that started it; within a test's own process a thread does it for less.
WATCH: contextvars.ContextVar[Callable[[Path, str], None]] = contextvars.ContextVar(
    "WATCH", default=watch_from_a_process
)


def cpus(job: Job) -> int:
    wishes = job["wishes"]
    select = wishes.get("select") or wishes.get("nodes", "1").replace("ppn=", "ncpus=")
    count, _, chunk = select.partition(":")
    resources = dict(part.split("=", 1) for part in chunk.split(":") if "=" in part)
    return int(count) * int(resources.get("ncpus", 1)) if count.isdecimal() else 1


def is_array(number: str) -> bool:
    return number.endswith("[]")


def start_what_fits(home: Path) -> None:
    """Let waiting jobs go whose time has come and who find room."""
    with server(home) as state:
        settle_dependencies(state)
        busy = [
            job for number, job in state["jobs"].items() if job["state"] in {"R", "S", "E"} and not is_array(number)
        ]
        free = CPUS - sum(cpus(job) for job in busy)
        for number, job in state["jobs"].items():
            if job["state"] != "Q" or state["paused"] or is_array(number) or is_throttled(state, number):
                continue
            if cpus(job) > free:
                job["comment"] = "Not Running: Not enough free nodes available"
                continue
            free -= cpus(job)
            start(home, state, number)


def is_throttled(state: State, number: str) -> bool:
    parent = state["jobs"].get(f"{number.partition('[')[0]}[]", {})
    if parent.get("state") not in {"Q", "B", None}:
        return True
    limit, elements = parent.get("at_once", 0), elements_of(state, number)
    return bool(limit) and sum(job["state"] == "R" for job in elements.values()) >= limit


def elements_of(state: State, number: str) -> dict[str, Job]:
    """Return the elements of the array that `number` belongs to."""
    head = f"{number.partition('[')[0]}["
    return {name: job for name, job in state["jobs"].items() if name.startswith(head) and not is_array(name)}


def start(home: Path, state: State, number: str) -> None:
    job = state["jobs"][number]
    words = f"Job run at {time.strftime('%a %b %d at %H:%M')} on ({HOST}:ncpus={cpus(job)})"
    job.update(state="R", substate=42, stime=now(), comment=words, runs=job["runs"] + 1)
    parent = state["jobs"].get(f"{number.partition('[')[0]}[]")
    if parent and parent["state"] == "Q":
        parent.update(state="B", substate=70, stime=now(), comment=f"Job Array Began at {time.strftime('%c')}")
    if state.get("strands", 0) > 0:
        # as after a death of pbs_server while it sends a job: its node never gets it, and nobody sends it again
        state["strands"] -= 1
        job.update(substate=41, stime=None, mtime=now())
        return
    WATCH.get()(home, number)


def begin_stranded(home: Path, number: str) -> None:
    """Let a job begin after all that its node never got, as if nobody had deleted it."""
    with server(home) as state:
        state["jobs"][number].update(substate=42, stime=now(), deleted=False)
    WATCH.get()(home, number)


def settle_dependencies(state: State) -> None:
    for job in state["jobs"].values():
        if job["state"] == "H" and job["depend"]:
            settle_dependency(state, job)
    # Torque takes a job that is to follow one it does not know, and keeps no record of it
    state["jobs"] = {number: job for number, job in state["jobs"].items() if not job.get("vanishes")}


def settle_dependency(state: State, job: Job) -> None:
    """Release what waited for success, or for any end; a job whose predecessor failed or is unknown ends without having run."""
    kind, *names = job["depend"].split(":")
    befores = [state["jobs"].get(number_in(pbs_id)) for pbs_id in names]
    if state["dialect"] == "torque" and any(before is None for before in befores):
        job["vanishes"] = True
        return
    if kind == "afterany" and all(before is None or before["state"] == "F" for before in befores):
        job.update(state="Q", substate=10, holds="n")
    elif kind != "afterany" and any(
        before is None or (before["state"] == "F" and before.get("exit_status") != 0) for before in befores
    ):
        job.update(state="F", substate=92, mtime=now())
    elif all(before is not None and before["state"] == "F" for before in befores):
        job.update(state="Q", substate=10, holds="n")


def run_job(home: Path, number: str) -> None:
    """Be the process of one job."""
    with server(home) as state:
        job = state["jobs"][number]
    index = number.partition("[")[2].rstrip("]")
    environment = {
        "HOME": os.environ.get("HOME", "/"),
        "PATH": "/bin:/usr/bin",
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBID": f"{number}.{HOST}",
        "PBS_JOBNAME": job["name"],
        "PBS_O_PATH": job["path"],
        "USER": getpass.getuser(),
        **({"PBS_ARRAY_INDEX": index} if index else {}),
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
            signals, state["jobs"][number]["signals"] = state["jobs"][number].get("signals", []), []
        for name in signals:
            signal_all(program.pid, signal.Signals[name])
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
        job.pop("pid", None)
        if job["state"] == "F":
            return
        if state["dialect"] == "torque":
            status = {-29: -11}.get(status, 271 if substate == 91 else status)
        job.update(state="F", substate=substate, exit_status=status, obittime=now(), mtime=now())
        job["comment"] += words[substate]
        settle_array(state, number)
        if not state["history"]:
            settle_dependencies(state)  # a server without history lets go who waited before it forgets
            forget(state, number)
    start_what_fits(home)


def settle_array(state: State, number: str) -> None:
    """Show an element that is over as X as long as its array is not; the last one ends the array."""
    parent = state["jobs"].get(f"{number.partition('[')[0]}[]")
    if parent is None or parent["state"] == "F":
        return
    elements = elements_of(state, number)
    if all(job["state"] in {"F", "X"} for job in elements.values()):
        worst = max((job.get("exit_status") or 0 for job in elements.values()), default=0)
        parent.update(state="F", substate=92, exit_status=1 if worst else 0, obittime=now(), mtime=now())
    for job in elements.values():
        if job["state"] in {"F", "X"}:
            job["state"] = parent["state"] if parent["state"] == "F" else "X"


def forget(state: State, number: str) -> None:
    """Forget a job that is over; an element is remembered as long as its array."""
    parent = f"{number.partition('[')[0]}[]"
    if parent not in state["jobs"]:
        del state["jobs"][number]
    elif state["jobs"][parent]["state"] == "F":
        for name in [parent, *elements_of(state, number)]:
            del state["jobs"][name]
