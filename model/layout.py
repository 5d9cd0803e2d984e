"""Where everything lies in the state folder: the one place that knows the names of its files.

Every function is pure. `home` may be any kind of path; the answer is of the same kind.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import NamedTuple, TypeVar

from elisa.model.ids import AttemptId, BackendName, PipelineId, TaskId, attempt_number, task_of

__all__ = [
    "AttemptPlaces",
    "agent_log",
    "attempt_dir",
    "attempt_places",
    "audit_head",
    "backend_health",
    "backups",
    "bundle_file",
    "checkpoint_dir",
    "claim",
    "claims",
    "database",
    "database_url",
    "done_mark",
    "environment_file",
    "event_dir",
    "event_secret",
    "fence",
    "goes_on",
    "incarnation_claim",
    "job_file",
    "leave_file",
    "local_jobs",
    "pipeline_dir",
    "plan_file",
    "plans",
    "queue_places",
    "recalled",
    "released",
    "result_file",
    "roles_file",
    "runs",
    "server_clock",
    "simulated_state",
    "site_file",
    "slurm_library",
    "slurm_topology",
    "spool",
    "spool_dir",
    "spool_sentinel",
    "stderr_log",
    "stdout_log",
    "task_claims",
    "task_dir",
    "task_dir_name",
    "tick_lock",
]

P = TypeVar("P", bound=PurePath)

_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]")
# Besides the ones that mean something to a filesystem, names that look as if we had made them safe ourselves.
_SPECIAL = re.compile(r"^$|^\.|-[0-9a-f]{8}$")
# 200 of the 255 bytes that every filesystem allows: room for the hash and for suffixes of temporary files.
_NAME_LIMIT = 200
# A path is made in one step wherever a task needs it: step by step, paths were a quarter of what a tick computes to submit.
_SPOOL, _CLAIMS, _RUNS = "spool", "claims", "runs"
_CHECKPOINTS, _ATTEMPTS = "checkpoints", "attempts"
_STDOUT, _STDERR, _RESULT = "stdout.log", "stderr.log", "result.json"


def database(home: P) -> P:
    return home / "elisa.db"


def database_url(home: P) -> P:
    """Return the file that names the PostgreSQL database which takes the place of `database`, if there is one."""
    return home / "database.url"


def audit_head(home: P) -> P:
    """Return the file that repeats the newest hash of the audit outside of the database."""
    return home / "audit.head"


def site_file(home: P) -> P:
    """Return the path of the configuration: backends, windows, budgets."""
    return home / "site.yaml"


def roles_file(home: P) -> P:
    """Return the path of the file that says who may do what; only an administrator can write one that counts."""
    return home / "roles.yaml"


def tick_lock(home: P) -> P:
    return home / "tick.lock"


def backups(home: P) -> P:
    """Return the folder that keeps copies of the database from before a migration or a rebuild."""
    return home / "backups"


def backend_health(home: P) -> P:
    """Return the file that remembers which resource managers did not answer, and until when each is left alone."""
    return home / "backends.json"


def slurm_library(home: P, backend: str) -> P:
    """Return the file that remembers whether pyslurm can be used for a backend."""
    return home / f"pyslurm-{backend}.json"


def slurm_topology(home: P, backend: str) -> P:
    """Return the file that remembers on which switches the nodes of a backend hang."""
    return home / f"topology-{backend}.json"


def plans(home: P) -> P:
    """Return the folder that keeps what the plans of the last ticks looked at, and what they decided."""
    return home / "plans"


def plan_file(home: P, tick: int) -> P:
    return plans(home) / f"{tick:010d}.json.z"


def queue_places(home: P) -> P:
    """Return the file that remembers which places elisa gave to its jobs in native queues."""
    return home / "places.json"


def spool(home: P) -> P:
    return home / _SPOOL


def spool_sentinel(home: P) -> P:
    """Return the file whose absence means that the spool is not mounted: nothing may be concluded from silence then."""
    return spool(home) / ".elisa-spool"


def spool_dir(home: P, attempt: AttemptId) -> P:
    return home.joinpath(_SPOOL, attempt)


def job_file(home: P, attempt: AttemptId) -> P:
    """Return the path of the sealed instructions of an attempt."""
    return home.joinpath(_SPOOL, attempt, "job.json")


def agent_log(home: P, attempt: AttemptId) -> P:
    """Return the file for what the native job itself prints: the agent's own words, and the resource manager's.

    It lies beside the instructions: its manager opens it before the agent can make a folder.
    """
    return spool_dir(home, attempt) / "agent.log"


def bundle_file(home: P, leader: AttemptId) -> P:
    """Return the path of the instructions of a native job that several attempts share, by the first of them."""
    return spool_dir(home, leader) / "bundle.json"


def leave_file(home: P, attempt: AttemptId) -> P:
    """Return the path whose presence tells the agent of a shared native job that one attempt in it is to leave."""
    return spool_dir(home, attempt) / "leave"


def event_dir(home: P, attempt: AttemptId) -> P:
    return home.joinpath(_SPOOL, attempt, "events")


def event_secret(home: P) -> P:
    """Return the file with the secret from which each attempt's key for signing its events is made."""
    return home / "events.key"


def claims(home: P) -> P:
    return home / _CLAIMS


def server_clock(home: P) -> P:
    """Return a file that the engine writes anew to learn what time the file server has."""
    return claims(home) / ".now"


def task_claims(home: P, task: TaskId) -> P:
    return home.joinpath(_CLAIMS, task)


def done_mark(home: P, task: TaskId) -> P:
    """Return the file in which the attempt that finished the task says so."""
    return task_claims(home, task) / "done"


def fence(home: P, task: TaskId) -> P:
    """Return the file that holds the number of the newest attempt allowed to run."""
    return home.joinpath(_CLAIMS, task, "fence")


def claim(home: P, attempt: AttemptId) -> P:
    """Return the file that the one native job running this attempt has created."""
    return task_claims(home, task_of(attempt)) / attempt


def released(home: P, attempt: AttemptId, incarnation: int) -> P:
    """Return the file by which a holder of the claim says that nothing of it runs any more."""
    claimed = incarnation_claim(home, attempt, incarnation)
    return claimed.with_name(f"{claimed.name}.released")


def goes_on(home: P, attempt: AttemptId) -> P:
    """Return the file that says that an attempt left its place with work to do, and from where to go on."""
    return claim(home, attempt).with_name(f"{attempt}.goes_on")


def recalled(home: P, attempt: AttemptId) -> P:
    """Return the file that keeps an attempt which was queued ahead from ever beginning."""
    return claim(home, attempt).with_name(f"{attempt}.recalled")


def incarnation_claim(home: P, attempt: AttemptId, incarnation: int) -> P:
    """Return the claim of an attempt's native job after so many restarts of it."""
    first = claim(home, attempt)
    return first.with_name(f"{first.name}.r{incarnation}") if incarnation else first


def runs(home: P) -> P:
    return home / _RUNS


def pipeline_dir(home: P, pipeline: PipelineId) -> P:
    return home.joinpath(_RUNS, pipeline)


def environment_file(home: P, pipeline: PipelineId) -> P:
    """Return the file that keeps what the pipeline takes from its submitter's environment, out of the database."""
    return pipeline_dir(home, pipeline) / ".environment.json"


def task_dir_name(name: str) -> str:
    """Return `name` where it is safe as a folder's name, else a safe form that no other task's name has."""
    safe = _UNSAFE.sub("_", name)[:_NAME_LIMIT]
    if safe == name and not _SPECIAL.search(name):
        return name
    import hashlib

    return f"{safe.lstrip('.') or '_'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def task_dir(home: P, pipeline: PipelineId, name: str) -> P:
    """Return the folder of the task called `name`, kept from attempt to attempt."""
    return home.joinpath(_RUNS, pipeline, task_dir_name(name))


def checkpoint_dir(home: P, pipeline: PipelineId, name: str) -> P:
    return home.joinpath(_RUNS, pipeline, task_dir_name(name), _CHECKPOINTS)


def attempt_dir(home: P, pipeline: PipelineId, name: str, attempt: AttemptId) -> P:
    return home.joinpath(_RUNS, pipeline, task_dir_name(name), _ATTEMPTS, str(attempt_number(attempt)))


class AttemptPlaces(NamedTuple):
    """Where an attempt's own things lie, as the functions of these names say, in text: many are wanted for each of many."""

    pipeline_dir: str
    task_dir: str
    checkpoint_dir: str
    stdout_log: str
    stderr_log: str
    result_file: str


def attempt_places(home: PurePath, pipeline: PipelineId, name: str, attempt: AttemptId) -> AttemptPlaces:
    """Return all places of an attempt of the task called `name` at once."""
    whole = f"{home}/{_RUNS}/{pipeline}"
    task = f"{whole}/{task_dir_name(name)}"
    own = f"{task}/{_ATTEMPTS}/{attempt_number(attempt)}"
    return AttemptPlaces(
        pipeline_dir=whole,
        task_dir=task,
        checkpoint_dir=f"{task}/{_CHECKPOINTS}",
        stdout_log=f"{own}/{_STDOUT}",
        stderr_log=f"{own}/{_STDERR}",
        result_file=f"{own}/{_RESULT}",
    )


def stdout_log(home: P, pipeline: PipelineId, name: str, attempt: AttemptId) -> P:
    return attempt_dir(home, pipeline, name, attempt) / _STDOUT


def stderr_log(home: P, pipeline: PipelineId, name: str, attempt: AttemptId) -> P:
    return attempt_dir(home, pipeline, name, attempt) / _STDERR


def result_file(home: P, pipeline: PipelineId, name: str, attempt: AttemptId) -> P:
    """Return the file that one attempt of a Python call writes its return value to."""
    return attempt_dir(home, pipeline, name, attempt) / _RESULT


def local_jobs(home: P) -> P:
    """Return the folder in which the local backend keeps a folder for each native job."""
    return home / "local"


def simulated_state(home: P, backend: BackendName) -> P:
    """Return the file in which a simulated cluster outlives the process that drives it."""
    return home / "simulated" / f"{backend}.json"
