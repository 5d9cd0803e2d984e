"""The state of a pretended PBS server, what happens to its jobs, and the process that runs each of them.

What is said of a job, and in which order, is what OpenPBS 23.06.06 was recorded to say; Torque's words where they differ.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# What a process of its own begins with, so that it finds these files.
REACH_US = f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[3])!r})"
SERVER = "vm"
CPUS, MEMORY_MB, GPUS = 32, 16 * 1024, 2
# A real one waits 10 s between TERM and KILL, and looks at time limits every few seconds.
KILL_DELAY_S = 0.8
QUEUED, HELD_FOR_A_JOB, HELD, RUNNING, SUSPENDED, DELETED, DONE, FAILED = 10, 22, 20, 42, 43, 91, 92, 93
NODE_LOST, OVER_WALLTIME, NO_PROGRAM = -20, -29, 254

Job = dict[str, Any]
State = dict[str, Any]

QUEUES: dict[str, dict[str, str]] = {
    "workq": {"enabled": "True", "started": "True"},
    "short": {
        "resources_max.walltime": "00:10:00",
        "resources_default.walltime": "00:02:00",
        "enabled": "True",
        "started": "True",
    },
    "closed": {"enabled": "False", "started": "True"},
    "stopped": {"enabled": "True", "started": "False"},
    "private": {"acl_user_enable": "True", "acl_users": "pbsuser2", "enabled": "True", "started": "True"},
}


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


def fresh(*, dialect: str, history: bool, user: str) -> State:
    """Return the state of a server that has just been set up."""
    return {
        "dialect": dialect,
        "history": history,
        "user": user,
        "next": 1,
        "jobs": {},
        "node": "free",
        "faults": [],
        "late": [],
        "is_down": False,
        "is_paused": False,
    }


def new_job(state: State, wanted: dict[str, Any], environment: dict[str, str]) -> str:
    """Take a job in; return its id."""
    number = str(state["next"])
    state["next"] += 1
    now = int(time.time())
    state["jobs"][number] = {
        **wanted,
        "environment": environment,
        "owner": state["user"],
        "state": "Q",
        "substate": QUEUED,
        "holds": wanted.get("holds", "n"),
        "ctime": now,
        "mtime": now,
        "qtime": now,
        "comment": "",
        "runs": 0,
        "is_known": True,
    }
    job = state["jobs"][number]
    if job["holds"] != "n":
        job.update(state="H", substate=HELD)
    settle_dependency(state, job)
    return f"{number}.{SERVER}"


def settle_dependency(state: State, job: Job) -> None:
    """Hold a job for the one before it, let it go, or end it without ever running it."""
    if not job.get("after") or job["state"] not in {"Q", "H"} or job["holds"] not in {"n", "s"}:
        return
    kind, _, ids = job["after"].partition(":")
    before = [state["jobs"].get(id_.partition(".")[0]) for id_ in ids.split(":")]
    if any(other is None or _is_hopeless(kind, other) for other in before):
        end(job, state="F", substate=DONE)
    elif all(other is not None and _is_over(other) for other in before):
        job.update(state="Q", substate=QUEUED, holds="n")
    else:
        job.update(state="H", substate=HELD_FOR_A_JOB, holds="s")


def _is_over(job: Job) -> bool:
    return bool(job["state"] in {"F", "C"})


def _is_hopeless(kind: str, job: Job) -> bool:
    # A predecessor that was deleted while it was held leaves its successors held for ever.
    if not _is_over(job) or (job["substate"] == DELETED and "status" not in job):
        return False
    return {"afterok": job.get("status") != 0, "afternotok": job.get("status") == 0}.get(kind, False)


def end(job: Job, *, state: str, substate: int, **facts: Any) -> None:
    """Write down that a job is over."""
    now = int(time.time())
    job.update(state=state, substate=substate, mtime=now, history=now, **facts)


def start_what_fits(home: Path) -> None:
    """Start queued jobs in their order, as far as there are cores."""
    with server(home) as state:
        if state["is_paused"] or state["is_down"] or state["node"] != "free":
            return
        for job in state["jobs"].values():
            settle_dependency(state, job)
        free = CPUS - sum(job["cpus"] for job in state["jobs"].values() if job["state"] in {"R", "E"})
        for number, job in state["jobs"].items():
            if job["state"] == "Q" and QUEUES[job["queue"]]["started"] == "False":
                job["comment"] = "Not Running: Queue not started."
            elif job["state"] == "Q" and job["cpus"] <= free:
                free -= job["cpus"]
                _start(home, number, job)
            elif job["state"] == "Q":
                job["comment"] = _why_not(job["cpus"], free)


def _why_not(asked: int, free: int) -> str:
    never = "Can Never Run" if asked > CPUS else "Not Running"
    return f"{never}: Insufficient amount of resource: ncpus (R: {asked} A: {free} T: {CPUS})"


def _start(home: Path, number: str, job: Job) -> None:
    now = int(time.time())
    began = time.strftime("%a %b %d at %H:%M", time.localtime(now))
    place = f"({SERVER}:ncpus={job['cpus']})"
    job.update(state="R", substate=RUNNING, stime=now, mtime=now, runs=job["runs"] + 1, exec_host=f"{SERVER}/0")
    job["exec_host"] += f"*{job['cpus']}" if job["cpus"] > 1 else ""
    job.update(exec_vnode=place, comment=f"Job run at {began} on {place}")
    job.pop("status", None)
    with (home / "jobs.log").open("a") as log:
        words = f"{REACH_US}; from tests.fakes.openpbs import server; server.run_job(*sys.argv[1:])"
        runner = [sys.executable, "-I", "-c", words, str(home), number]
        subprocess.Popen(runner, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def run_job(folder: str, number: str) -> None:
    """Be the node's daemon for one job."""
    home = Path(folder)
    with server(home) as state:
        job = state["jobs"][number]
        is_torque = state["dialect"] == "torque"
    program = _launch(home, number, job, is_torque=is_torque)
    if program is None:
        _finish(home, number, NO_PROGRAM)
        return
    with server(home) as state:
        if number in state["jobs"]:
            state["jobs"][number]["pid"] = program.pid
    _finish(home, number, _watch(home, number, program, is_torque=is_torque))


def _launch(home: Path, number: str, job: Job, *, is_torque: bool) -> subprocess.Popen[bytes] | None:
    os.umask(int(job.get("umask") or "077", 8))
    script = home / f"script.{number}"
    # A login shell stays above a script, and dies of what it does not catch; a program has nothing above it.
    argv = job["argv"] or ["/bin/sh", "-c", 'PBS_SHELL=1; "$0" "$1"; exit $?', job["shell"], str(script)]
    argv = [job["shell"], str(script)] if is_torque else argv
    with contextlib.suppress(OSError):
        return subprocess.Popen(
            argv,
            cwd=home,
            env={**_base(home, number, job), **job["environment"]},
            stdin=subprocess.DEVNULL,
            stdout=_output(job["out"]),
            stderr=_output(job["err"]),
            start_new_session=True,
        )
    return None


def _output(path: str) -> int:
    return os.open(path or "/dev/null", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _base(home: Path, number: str, job: Job) -> dict[str, str]:
    return {
        "ENVIRONMENT": "BATCH",
        "HOME": str(home),
        "NCPUS": str(job["cpus"]),
        "OMP_NUM_THREADS": "1",
        "PATH": "/bin:/usr/bin",
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBDIR": str(home),
        "PBS_JOBID": f"{number}.{SERVER}",
        "PBS_JOBNAME": job["name"],
        "PBS_O_PATH": job["o_path"],
        "PBS_O_QUEUE": job["queue"],
        "PBS_QUEUE": job["queue"],
        "SHELL": "/bin/sh",
        "USER": job["owner"],
    }


def _watch(home: Path, number: str, program: subprocess.Popen[bytes], *, is_torque: bool) -> int:
    """Wait for a job's end; return its exit status in PBS's words."""
    with server(home) as state:
        limit_s = state["jobs"][number]["walltime"]
    limit, kill_at, is_late = time.monotonic() + (limit_s or 10**9), 0.0, False
    while program.poll() is None:
        with server(home) as state:
            wish = state["jobs"].get(number, {"wish": "KILL"}).get("wish", "")
        is_late = is_late or time.monotonic() > limit
        if (wish or is_late) and not kill_at:
            kill_at = time.monotonic() + (0.0 if wish == "KILL" else KILL_DELAY_S)
            signal_all(program.pid, signal.SIGKILL if wish == "KILL" else signal.SIGTERM)
        if kill_at and time.monotonic() > kill_at:
            signal_all(program.pid, signal.SIGKILL)
        time.sleep(0.02)
    signal_all(program.pid, signal.SIGKILL)
    code = program.returncode
    if is_late:
        return -11 if is_torque else OVER_WALLTIME
    return code if code >= 0 else 256 - code


def signal_all(group: int, number: int) -> None:
    """Signal a job's processes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _finish(home: Path, number: str, status: int) -> None:
    with server(home) as state:
        job = state["jobs"].get(number)
        if job is None or job["state"] not in {"R", "E", "S"}:
            return
        job.pop("pid", None)
        wish = job.pop("wish", "")
        if wish in {"NODE", "RERUN"}:
            lose_node(job) if wish == "NODE" else _queue_again(job, -11)
        else:
            _conclude(job, status, is_deleted=bool(wish), torque=state["dialect"] == "torque")
        if not state["history"] and job["state"] == "F":
            job["is_known"] = False
    start_what_fits(home)


def _conclude(job: Job, status: int, *, is_deleted: bool, torque: bool) -> None:
    words = {0: "and finished", OVER_WALLTIME: "and exceeded resource walltime"}.get(status, "and failed")
    substate = DELETED if is_deleted else (DONE if status == 0 else FAILED)
    comment = job["comment"] if is_deleted else f"{job['comment']} {words}"
    end(job, state="C" if torque else "F", substate=substate, status=status, obit=int(time.time()), comment=comment)


def lose_node(job: Job) -> None:
    """Do what PBS does with a job whose node is lost."""
    if job["rerunable"] == "y":
        _queue_again(job, NODE_LOST)
    else:
        end(job, state="F", substate=FAILED, status=NODE_LOST, obit=int(time.time()))


def _queue_again(job: Job, status: int) -> None:
    job.update(state="Q", substate=QUEUED, status=status, obit=int(time.time()), mtime=int(time.time()))
    for name in ("exec_host", "exec_vnode", "stime"):
        job.pop(name, None)
    job["comment"] = "Not Running: Not enough free nodes available"


def attributes(number: str, job: Job, *, is_torque: bool = False) -> Sequence[tuple[str, str]]:
    """Return what qstat says of a job, in its order. Times are printed in the zone of whoever asks."""
    moments = {name: job.get(name) for name in ("ctime", "mtime", "qtime", "stime", "obit")}
    clock = {name: time.ctime(value) for name, value in moments.items() if value is not None}
    pairs: list[tuple[str, Any]] = [
        ("Job_Name", job["name"]),
        ("Job_Owner", f"{job['owner']}@{SERVER}"),
        ("job_state", job["state"]),
        ("queue", job["queue"]),
        ("server", SERVER),
        ("Checkpoint", "u"),
        ("ctime", clock["ctime"]),
        ("depend", f"{job['after']}@{SERVER}" if job.get("after") else None),
        ("Error_Path", f"{SERVER}:{job['err']}"),
        ("exec_host", job.get("exec_host")),
        ("exec_vnode", job.get("exec_vnode")),
        ("Hold_Types", job["holds"]),
        ("mtime", clock["mtime"]),
        ("Output_Path", f"{SERVER}:{job['out']}"),
        ("Priority", job["priority"]),
        ("qtime", clock["qtime"]),
        ("Rerunable", "True" if job["rerunable"] == "y" else "False"),
        *((f"Resource_List.{name}", value) for name, value in sorted(job["resources"].items())),
        ("start_time" if is_torque else "stime", clock.get("stime")),
        ("comp_time" if is_torque else "obittime", clock.get("obit")),
        ("session_id", job.get("session")),
        ("substate", None if is_torque else job["substate"]),
        ("Variable_List", f"PBS_O_QUEUE={job['queue']},PBS_O_HOST={SERVER}"),
        ("comment", job["comment"] or None),
        ("run_count", job["runs"] or None),
        ("exit_status" if is_torque else "Exit_status", job.get("status")),
        ("Submit_arguments", job["arguments"]),
        ("project", "_pbs_project_default"),
    ]
    return [(name, str(value)) for name, value in pairs if value is not None]


def wait_seconds(text: str) -> int:
    """Return the seconds of a walltime as qsub reads it; ValueError if it is none."""
    if not re.fullmatch(r"\d+(:\d+){0,2}", text):
        raise ValueError(text)
    seconds = 0
    for part in text.split(":"):
        seconds = 60 * seconds + int(part)
    return seconds
