"""The right to run a task: of all native jobs that exist for it, by mistake or by restart, just one has it at a time.

In `claims/<task>/`: `fence` holds the number of the newest attempt allowed, and the first one needs none; `<attempt>` and,
after a restart of the same job, `<attempt>.r1`, `.r2` ... are the claims, each created once and never changed;
`<attempt>.released` says that its holder ended in order; `done` holds how the task was finished.
"""

from __future__ import annotations

import os
import time

from elisa.runtime.chain import wait_for_others
from elisa.runtime.crash import crash
from elisa.runtime.durable import leave_mark, publish_file
from elisa.runtime.evidence import Identity, has_ended, kill_all, own_identity, processes_of, start_ticks
from elisa.runtime.job import Job
from elisa.runtime.lean import dump_json, load_json
from elisa.runtime.segment import is_recalled, recall, wait_for_predecessor
from elisa.runtime.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Callable, Collection, Iterable

    from elisa.runtime.eventfile import Scalar

__all__ = [
    "Claim",
    "NativeJob",
    "RefusedError",
    "claim_task",
    "continued",
    "is_superseded",
    "look_at_fence",
    "native_job",
    "read_done",
    "release",
    "show_life",
    "write_done",
]

_FENCE_MARGIN_S = 5.0
_KILL_WAIT_S = 10.0
_RACES = 100
_MOST_DIGITS = 6  # of the number of an attempt
_NOBODY = 10**9  # a fence that cannot be read keeps everybody out


class RefusedError(Exception):
    """This job must not run the program; the message says why. `incarnation` is that of the holder."""

    def __init__(self, why: str, incarnation: int = 0) -> None:
        super().__init__(why)
        self.incarnation = incarnation


class NativeJob(NamedTuple):
    """This process's job as the resource manager names it. `restarts` None: the manager does not tell.

    A `is_managed` job runs at one place at a time by its manager's promise.
    """

    native_id: str
    restarts: int | None = None
    is_managed: bool = True


class Claim(NamedTuple):
    """A claim as it stands in its file."""

    native_id: str
    who: Identity
    incarnation: int
    restarts: int | None
    at: float
    path: str = ""


def native_job(env: dict[str, str]) -> NativeJob:
    """Return the native job that `env` describes; its id is empty outside of any resource manager.

    A backend that gives out other ids than its resource manager says so in ELISA_NATIVE_ID: the id must be the same one.
    """
    given = env.get("ELISA_NATIVE_ID", "")
    if env.get("SLURM_JOB_ID"):
        return NativeJob(given or env["SLURM_JOB_ID"], _count(env.get("SLURM_RESTART_COUNT", "0")))
    if env.get("PBS_JOBID"):
        return NativeJob(given or env["PBS_JOBID"], _count(env.get("PBS_RUN_COUNT") or env.get("PBS_RUNCOUNT") or ""))
    return NativeJob(given, is_managed=False)


def _count(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def claim_task(job: Job, native: NativeJob, sleep: Callable[[float], None] = time.sleep) -> Claim:
    """Claim the right to run `job`; raises RefusedError. What a dead holder left running here is killed first.

    May wait, up to `self_fence_s`, for the holder of an older attempt to show that it is alive, and a minute for the mark
    of an attempt that it was queued behind. `job` is as `continued` returns it where it continues another.
    """
    os.makedirs(job.claim_dir, mode=0o700, exist_ok=True)
    _refuse_if_over(job)
    unfinished = wait_for_others(job, sleep)
    if unfinished:
        raise RefusedError(f"attempt {unfinished}, which this was queued behind, did not finish its task")
    _refuse_while_older_lives(job, sleep)
    claim = _take(job, native)
    try:
        _refuse_if_over(job)
        _end_leftovers(job, claim, sleep)
    except RefusedError:
        release(job, claim)
        raise
    return claim


def continued(job: Job, sleep: Callable[[float], None] = time.sleep) -> Job:
    """Return the instructions with the place from which the attempt before it is to be gone on from.

    Raises RefusedError if that one did not leave so, or does not leave.
    """
    if not job.continues:
        return job
    os.makedirs(job.claim_dir, mode=0o700, exist_ok=True)
    _refuse_if_over(job)
    saved = wait_for_predecessor(job, sleep)
    if saved is None:
        _refuse_if_over(job)
        recall(job)
        raise RefusedError(f"attempt {job.continues} did not end so that this one could go on")
    return job._replace(resume_path=saved.path, resume_step=saved.step, is_exact_resume=False)


def is_superseded(job: Job, claim: Claim) -> bool:
    """Tell whether this holder must stop at once: a newer attempt or incarnation may run. Raises OSError."""
    there = os.listdir(job.claim_dir)
    next_claim = os.path.basename(_claim_path(job, job.attempt, claim.incarnation + 1))
    return next_claim in there or _read_fence(job, there) > job.number


def look_at_fence(job: Job, claim: Claim) -> bool:
    """Leave a sign of life; then tell whether this holder is superseded. Raises OSError."""
    show_life(claim)
    return is_superseded(job, claim)


def show_life(claim: Claim) -> None:
    """Leave a sign of life by the clock of the file server: the time of change of the claim. Raises OSError.

    It takes no room on a full disk, and is on the server when this returns: what only waits in the memory of a node that
    is cut off is no sign.
    """
    fd = os.open(claim.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.utime(fd)
        os.fsync(fd)
    finally:
        os.close(fd)


def _refuse_if_over(job: Job) -> None:
    there = os.listdir(job.claim_dir)
    fence = _read_fence(job, there)
    if fence > job.number:
        raise RefusedError(f"attempt {fence} was allowed after this one")
    newer = [name for name, number in _attempts(job, there) if number > job.number]
    if newer:
        raise RefusedError(f"attempt {newer[0]} has begun after this one")
    if os.path.basename(_done_path(job)) in there:
        raise RefusedError("the task is done")
    if job.continues and is_recalled(job):
        raise RefusedError("it was taken back while the attempt before it ran")


def _read_fence(job: Job, there: Collection[str]) -> int:
    """Return the number of the newest attempt allowed; 0 where none had to be kept out. `there` is what the folder holds.

    It is listed each time: NFS may remember that there was no fence until the folder is opened, and asks the server anew then.
    """
    if "fence" not in there:
        return 0
    with open(os.path.join(job.claim_dir, "fence"), "rb") as stream:
        text = stream.read(20).strip()
    return int(text) if text.isdigit() else _NOBODY


def _attempts(job: Job, there: Iterable[str]) -> list[tuple[str, int]]:
    """Return the attempts at this task that have claimed it, with their numbers."""
    parts = [(name, *name.rpartition(".")) for name in there]
    return sorted((name, int(number)) for name, task, _, number in parts if task == job.task and _is_number(number))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS


def _claims(job: Job, attempt: str) -> list[Claim | None]:
    """Return the claims of `attempt`, one an incarnation; None for one that cannot be read."""
    found: list[Claim | None] = []
    while os.path.lexists(_claim_path(job, attempt, len(found))):
        found.append(_read_claim(_claim_path(job, attempt, len(found))))
    return found


def _claim_path(job: Job, attempt: str, incarnation: int) -> str:
    return os.path.join(job.claim_dir, attempt + (f".r{incarnation}" if incarnation else ""))


def _read_claim(path: str) -> Claim | None:
    try:
        content = load_json(path)
        who = Identity(**{name: content[name] for name in Identity._fields})
        return Claim(content["native_id"], who, content["incarnation"], content["restarts"], content["at"], path)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _take(job: Job, native: NativeJob) -> Claim:
    me = own_identity()
    for _ in range(_RACES):
        held = _claims(job, job.attempt)
        if held:
            _refuse_if_held(job, held, native, me)
        claim = Claim(native.native_id, me, len(held), native.restarts, time.time())
        path = _claim_path(job, job.attempt, len(held))
        crash("claim.take")
        if publish_file(path, _render(claim)):
            crash("claim.taken")
            return claim._replace(path=path)
    raise RefusedError("the claim changes hands all the time")


def _render(claim: Claim) -> bytes:
    content = {
        "native_id": claim.native_id,
        **claim.who._asdict(),
        "incarnation": claim.incarnation,
        "restarts": claim.restarts,
        "at": claim.at,
    }
    return dump_json(content).encode()


def _refuse_if_held(job: Job, held: list[Claim | None], native: NativeJob, me: Identity) -> None:
    incarnation, holder = len(held) - 1, held[-1]
    if holder is None:
        raise RefusedError("somebody holds the claim, and who it is cannot be read", incarnation)
    is_released = os.path.exists(_released_path(job, incarnation))
    if _was_restarted(holder, native, me, is_released=is_released):
        return
    if is_released:
        raise RefusedError("the attempt is over", incarnation)
    if not has_ended(holder.who, me):
        name = holder.native_id or "without an id"
        raise RefusedError(f"job {name} on {holder.who.host} (process {holder.who.pid}) holds the claim", incarnation)


def _was_restarted(holder: Claim, native: NativeJob, me: Identity, *, is_released: bool) -> bool:
    """Tell whether the resource manager's word proves `holder` to be an earlier life of this very job."""
    if not native.native_id or holder.native_id != native.native_id:
        return False
    if native.restarts is not None and holder.restarts is not None:
        return native.restarts > holder.restarts
    # A manager that does not count restarts starts a job elsewhere only after it ended where it was.
    return native.is_managed and (is_released or holder.who.host != me.host)


def _released_path(job: Job, incarnation: int) -> str:
    return _claim_path(job, job.attempt, incarnation) + ".released"


def _done_path(job: Job) -> str:
    return os.path.join(job.claim_dir, "done")


def write_done(job: Job, claim: Claim, data: dict[str, Scalar]) -> bool:
    """Say that the task is done, before the event that tells it: a restart in between must not run it again.

    Return whether it was this that said so: it is on the disk then.
    """
    content = {"attempt": job.attempt, "incarnation": claim.incarnation, "exited": data}
    return publish_file(_done_path(job), dump_json(content).encode())


def read_done(job: Job) -> tuple[int, dict[str, Scalar]] | None:
    """Return the incarnation of this attempt that finished the task, and the data of its `exited` event."""
    try:
        content = load_json(_done_path(job))
    except (OSError, ValueError):
        return None
    return (content["incarnation"], content["exited"]) if content.get("attempt") == job.attempt else None


def release(job: Job, claim: Claim, *, is_done: bool = False) -> None:
    """Say that nothing of this incarnation runs any more.

    A loss of power may take it where this holder's mark that the task `is_done` is on the disk. That alone turns everybody
    away; and should somebody have the task run again, he waits for a while, as for any holder that was not heard of.
    """
    leave_mark(_released_path(job, claim.incarnation), is_durable=not is_done)


def _refuse_while_older_lives(job: Job, sleep: Callable[[float], None]) -> None:
    for attempt, number in _attempts(job, os.listdir(job.claim_dir)):
        if number < job.number and attempt not in job.confirmed_ended:
            _wait_for_older(job, attempt, own_identity(), sleep)


def _wait_for_older(job: Job, attempt: str, me: Identity, sleep: Callable[[float], None]) -> None:
    """Return when the last holder of `attempt` is known to have ended; raises RefusedError when it lives.

    A holder on another host proves to be alive by what it writes. One that cannot write kills its program after
    `self_fence_s`; so who was silent for longer than that runs nothing any more.
    """
    held = _claims(job, attempt)
    holder = held[-1]
    if os.path.exists(_claim_path(job, attempt, len(held) - 1) + ".released"):
        return
    if holder is not None and holder.who.host == me.host:
        if not has_ended(holder.who, me):
            raise RefusedError(f"attempt {attempt} still runs here (process {holder.who.pid})")
        return
    before = _last_sign(job, attempt)
    silent_s = max(0.0, _server_now(job) - before)
    sleep(max(0.0, job.self_fence_s + _FENCE_MARGIN_S - silent_s))
    if _last_sign(job, attempt) > before:
        raise RefusedError(f"attempt {attempt} is still alive on {holder.who.host if holder else 'another host'}")


def _last_sign(job: Job, attempt: str) -> float:
    """Return when `attempt` last wrote anything, by the clock of the file server."""
    folder = os.path.join(job.home, "spool", attempt, "events")
    paths = [_claim_path(job, attempt, incarnation) for incarnation in range(len(_claims(job, attempt)))]
    if os.path.isdir(folder):
        paths.extend(os.path.join(folder, name) for name in os.listdir(folder))
    return max(_written_at(path) for path in paths)


def _written_at(path: str) -> float:
    with open(path, "rb") as stream:  # NFS asks the server anew when a file is opened
        return os.fstat(stream.fileno()).st_mtime


def _server_now(job: Job) -> float:
    """Return the time by the clock of the file server: the clocks of two nodes need not agree."""
    path = os.path.join(job.claim_dir, f".now-{os.getpid()}-{os.urandom(4).hex()}")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        return os.stat(path).st_mtime
    finally:
        os.unlink(path)


def _end_leftovers(job: Job, claim: Claim, sleep: Callable[[float], None]) -> None:
    """Kill what earlier holders of this task left running on this host; raises RefusedError if it will not die.

    Nobody starts a program before the disk has a claim of his, so that under the first claim of all nothing is looked for:
    to read the environment of every process takes longer than all that a short task needs else.
    """
    attempts = [name for name, _ in _attempts(job, os.listdir(job.claim_dir))]
    if claim.incarnation == 0 and attempts == [job.attempt]:
        return
    deadline = time.monotonic() + _KILL_WAIT_S
    while True:
        left = [pid for attempt in attempts for pid in processes_of(job.home, attempt) if start_ticks(pid) is not None]
        if not left:
            return
        if time.monotonic() > deadline:
            raise RefusedError(f"processes {left} of an earlier attempt cannot be killed")
        kill_all(left)
        sleep(0.02)
