"""The agent: the first process of every job. It claims the task, runs its program within limits, and tells how it ended."""

from __future__ import annotations

import os
import sys
import time

from elisa.runtime.claim import (
    Claim,
    NativeJob,
    RefusedError,
    claim_task,
    continued,
    is_superseded,
    look_at_fence,
    native_job,
    read_done,
    release,
    write_done,
)
from elisa.runtime.courier import Courier
from elisa.runtime.crash import crash
from elisa.runtime.durable import make_folder
from elisa.runtime.environment import argv_of, deadline_of, environment_of
from elisa.runtime.eventfile import EventFiles, Scalar, read_records
from elisa.runtime.evidence import host_name
from elisa.runtime.job import DataFile, Job, JobError, read_job
from elisa.runtime.lean import Ignored
from elisa.runtime.segment import newest_saved, say_goes_on
from elisa.runtime.start import StartError, adopt_orphans, open_output, start_program
from elisa.runtime.supervise import FENCED, Ending, Supervisor, block_signals, usage_data
from elisa.runtime.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import IO, Callable, Dict, Mapping

    from elisa.runtime.badgpu import Look
    from elisa.runtime.checkpoint.foreign import RestartFiles
    from elisa.runtime.watch import Watch

    _Tell = Callable[[str, Dict[str, Scalar]], object]

__all__ = [
    "BAD_GPU",
    "CANNOT_START",
    "CUT_OFF",
    "GIVEN_BACK",
    "INVALID_DATA",
    "NOT_BEGUN",
    "REFUSED",
    "decline",
    "do_job",
    "run_job",
]

GIVEN_BACK = 77
CUT_OFF = 76
REFUSED = 75
INVALID_DATA = 74
CANNOT_START = 73
NOT_BEGUN = "not_begun"  # why an attempt ended whose turn in a shared job did not come
BAD_GPU = "bad_gpu"  # why one ended that was given a GPU which is not to be used
STOPPED = 143  # of a program that was made to stop and still claims success

_REFUSED_RANK = 2**40  # an agent that is refused must not take numbers from the one that holds the claim
_TELL_S = 60.0
_LONGEST_LOOK_S = 10.0  # between two looks for restart files
_LONGEST_SILENCE_S = 10.0  # between two signs of life: whose node was given up stops itself within that time
_RECENT_S = 1.0
_RECENT_SHARE = 0.05  # of the silence that is taken for death
_SIGNS = 4  # in the silence that is taken for death: a machine under load may be late with one


_NOTHING: Mapping[str, str] = {}


class _CutOffError(Exception):
    """Nothing may be started: the state folder is out of reach, or another attempt is allowed."""


class _Declined(NamedTuple):
    why: str
    was_asked: bool
    taken: Mapping[str, str]


class _Session(NamedTuple):
    """`contact` is the monotonic time before the claim was made.

    `share_s` returns the seconds to charge the attempt with, where its native job is shared; None where it is not.
    With `declined` the program is not to be run. `gpus` are those that it gets.
    """

    job: Job
    claim: Claim
    files: EventFiles
    contact: float
    restart_files: RestartFiles | None = None
    share_s: Callable[[], int] | None = None
    declined: _Declined | None = None
    gpus: tuple[str, ...] = ()


def run_job(path: str) -> int:
    """Do what the instructions at `path` say; return the status to exit with."""
    try:
        job = read_job(path)
    except JobError as error:
        _log(str(error))
        return CANNOT_START
    return do_job(job)


def do_job(job: Job, share_s: Callable[[], int] | None = None) -> int:
    """Do what the instructions say; return the status to exit with."""
    return _claim_and_do(job, share_s, None)


def decline(job: Job, why: str, *, was_asked: bool = False, taken: Mapping[str, str] = _NOTHING) -> int:
    """Claim the attempt with these instructions, and say that it did not begin, and why.

    `was_asked`: its native job was asked to leave, and the resource manager knows why; `taken` tells what it said already.
    """
    # Nobody need have finished for this one not to begin.
    return _claim_and_do(job._replace(behind=()), lambda: 0, _Declined(why, was_asked, taken))


def _claim_and_do(job: Job, share_s: Callable[[], int] | None, declined: _Declined | None) -> int:
    block_signals()
    native = native_job(dict(os.environ))
    try:
        make_folder(job.event_dir)
        job = continued(job)
        contact = time.monotonic()
        claim = claim_task(job, native)
    except OSError as error:
        return _refused(job, native, RefusedError(f"the claim cannot be made: {error}"))
    except RefusedError as error:
        return _refused(job, native, error)
    files = EventFiles(job.event_dir, job.attempt, claim.incarnation, job.key)
    return _run_claimed(_Session(job, claim, files, contact, share_s=share_s, declined=declined))


def _log(text: str) -> None:
    sys.stderr.write(f"elisa agent: {text}\n")
    sys.stderr.flush()


def _write(files: EventFiles, kind: str, data: dict[str, Scalar], *, is_durable: bool = False) -> None:
    try:
        files.write(kind, data, time.time(), is_durable=is_durable)
    except OSError as error:
        _log(f"event {kind} could not be written: {error}")


def _refused(job: Job, native: NativeJob, refusal: RefusedError) -> int:
    _log(str(refusal))
    done = read_done(job)
    if done is not None and not _has_told_end(job):
        # The holder was killed between finishing the task and telling it: nobody else will ever use this number.
        _write(EventFiles(job.event_dir, job.attempt, done[0] + 1, job.key), "exited", done[1], is_durable=True)
    rank = _REFUSED_RANK + os.getpid()
    files = EventFiles(job.event_dir, job.attempt, refusal.incarnation, job.key, rank=rank, stride=2**23)
    _write(files, "refused", {"why": str(refusal), "native_id": native.native_id}, is_durable=True)
    return REFUSED


def _has_told_end(job: Job) -> bool:
    return any(record.kind == "exited" for record in read_records(job.event_dir, job.key))


def _run_claimed(session: _Session) -> int:
    job, claim, files = session.job, session.claim, session.files
    data: dict[str, Scalar] = {"host": host_name(), "pid": os.getpid(), "native_id": claim.native_id}
    # It need not be on the disk before what follows it in its file: the claim itself is, and that is what keeps others out.
    _write(files, "claimed", data)
    _forget_stop(job)
    if session.declined is not None:
        if session.declined.was_asked:
            _write(files, "stopping", {"signal": None, "why": "asked"})
        return _tell_end_at_once(session, REFUSED, NOT_BEGUN, session.declined.why, session.declined.taken)
    if job.gpus_per_node:
        look = _look_at_gpus(job)
        if look.refusal:
            return _tell_end_at_once(
                session, GIVEN_BACK, BAD_GPU, look.refusal, {"node": look.node} if look.node else {}
            )
        os.environ.update(look.changes)
        session = session._replace(gpus=look.gpus)
    bad = _first_bad(job.inputs, job.task_dir)
    if bad:
        return _tell_end_at_once(session, INVALID_DATA, "invalid_data", f"input {bad}")
    try:
        outputs = _open_outputs(job)
        session = _with_restart_files(session)
        _make_folders(job)
        contact = _look_before_start(session)
        return _supervise(session, _start(session, outputs), outputs, contact)
    except StartError as error:
        return _tell_end_at_once(session, CANNOT_START, "cannot_start", str(error))
    except _CutOffError as error:
        return _tell_end_at_once(session, CUT_OFF, FENCED, str(error))


def _look_at_gpus(job: Job) -> Look:
    from elisa.runtime.badgpu import look_at_gpus  # most jobs ask for none

    is_managed = native_job(dict(os.environ)).is_managed
    return look_at_gpus(os.environ, job.bad_gpus, job.gpus_per_node, time.time(), is_managed=is_managed)


def _look_before_start(session: _Session) -> float:
    """Return from when the last sign of life counts: to make ready may have taken longer than a node is waited for.

    The claim is one, and another is left only where it was not made just now.
    """
    job, claim, now = session.job, session.claim, time.monotonic()
    is_recent = now - session.contact < min(_RECENT_S, job.self_fence_s * _RECENT_SHARE)
    try:
        is_over = is_superseded(job, claim) if is_recent else look_at_fence(job, claim)
    except OSError as error:
        raise _CutOffError(f"the state folder is out of reach: {error}") from error
    if is_over:
        raise _CutOffError("another attempt was allowed after this one")
    return session.contact if is_recent else now


def _with_restart_files(session: _Session) -> _Session:
    """Prepare the restart files of a program that writes its own, and let it resume from the newest."""
    job, rules = session.job, session.job.checkpoint
    if rules is None or not rules.pattern:
        return session
    from elisa.runtime.checkpoint.foreign import RestartFiles

    files = RestartFiles(rules, job.task_dir, job.checkpoint_dir, job.attempt)
    at_step = job.resume_step if job.is_exact_resume else None
    try:
        resumed = files.prepare(at_step=at_step, is_first=job.number == 1 and session.claim.incarnation == 0)
    except OSError as error:
        raise StartError(f"the restart files cannot be made ready: {error}") from error
    job = job._replace(resume_path=resumed.path if resumed else "", resume_step=resumed.step if resumed else None)
    return session._replace(job=job, restart_files=files)


def _forget_stop(job: Job) -> None:
    with Ignored(OSError):
        os.unlink(job.stop_file)


def _first_bad(declared: tuple[DataFile, ...], folder: str, tell: _Tell | None = None) -> str:
    """Check declared files, tell about each, and return what is wrong with the first bad one."""
    bad = ""
    for item in declared:
        path = os.path.join(folder, item.path)
        is_ok, why = _check(item, path)
        if tell is not None:
            tell("output", {"name": item.name, "path": path, "ok": is_ok, "why": why})
        if not is_ok and not bad and not (item.optional and not os.path.lexists(path)):
            bad = f"{item.name} ({path}): {why}"
    return bad


def _check(item: DataFile, path: str) -> tuple[bool, str]:
    from elisa.runtime.formats import check_format  # most jobs declare nothing, and it brings csv and zipfile

    return check_format(path, item.format, item.columns)


def _make_folders(job: Job) -> None:
    """Make what the program writes into: its submission leaves that to the job, where it costs the login node nothing."""
    for folder in filter(None, (job.task_dir, job.checkpoint_dir)):
        try:
            make_folder(folder)
        except OSError as error:
            raise StartError(f"the folder {folder} cannot be made: {error.strerror}") from error


def _open_outputs(job: Job) -> tuple[IO[bytes], IO[bytes]]:
    stdout = open_output(job.stdout or os.devnull)
    stderr = stdout if job.stderr == job.stdout else open_output(job.stderr or os.devnull)
    return stdout, stderr


def _start(session: _Session, outputs: tuple[IO[bytes], IO[bytes]]) -> int:
    job, claim = session.job, session.claim
    deadline = deadline_of(job, os.environ, time.time())
    env = environment_of(job, os.environ, incarnation=claim.incarnation, deadline=deadline)
    adopt_orphans()
    crash("agent.start")
    workdir = job.workdir or job.task_dir
    pid = start_program(argv_of(job), workdir=workdir, env=env, stdout=outputs[0], stderr=outputs[1])
    crash("agent.started")
    return pid


def _supervise(session: _Session, pid: int, outputs: tuple[IO[bytes], IO[bytes]], contact: float) -> int:
    job, claim = session.job, session.claim
    look_s = min(_LONGEST_SILENCE_S, job.self_fence_s / _SIGNS)
    courier = Courier(session.files, lambda: look_at_fence(job, claim), contact=contact, look_s=look_s)
    courier.send(
        "started",
        {"host": host_name(), "pid": pid, "resumed_step": job.resume_step, "gpus": job.gpus_per_node},
    )
    if session.restart_files is not None:
        courier.start()  # to look at them may take long
    watch = _begin_watch(session, courier)
    saved_at = (lambda: watch.saved_at) if watch else (lambda: float("-inf"))
    supervisor = Supervisor(job, pid, courier, tuple(dict.fromkeys(outputs)), saved_at)
    try:
        ending = supervisor.run()
        if watch is not None:
            watch.close(is_finished=ending.signal is None)
    except BaseException as error:
        supervisor.kill()
        data = {"exit_code": None, "signal": None, "why": "agent_failed", "detail": repr(error), **_share(session)}
        _tell_end(session, courier, data)
        raise
    crash("agent.ended")
    return _conclude(session, courier, ending)


def _begin_watch(session: _Session, courier: Courier) -> Watch | None:
    if session.restart_files is None:
        return None
    from elisa.runtime.watch import Watch

    return Watch(session.restart_files, courier.send, min(session.job.sample_s, _LONGEST_LOOK_S))


def _conclude(session: _Session, courier: Courier, ending: Ending) -> int:
    job, claim = session.job, session.claim
    status, why, detail = ending.status(), ending.why, ""
    is_success = status == 0 and not why
    if is_success and job.outputs:
        courier.start()  # to check them may take long
    bad = _first_bad(job.outputs, job.task_dir, courier.send) if is_success else ""
    if bad:
        status, why, detail, is_success = INVALID_DATA, "invalid_data", f"output {bad}", False
    data: dict[str, Scalar] = {
        "exit_code": ending.exit_code,
        "signal": ending.signal,
        "why": why,
        "detail": detail,
        "run_s": ending.run_s,
        "gpus": ",".join(session.gpus),
        **ending.taken,
        **usage_data(ending.usage, ending.gpu_use),
        **_share(session),
    }
    is_done = is_success and _say_done(job, claim, data)
    if why == "timeout" and job.checkpoint is not None:
        _say_goes_on(job)
    _tell_end(session, courier, data, is_done=is_done)
    if why == FENCED:
        return CUT_OFF
    return status if status or not why else STOPPED


def _tell_end(session: _Session, courier: Courier, data: dict[str, Scalar], *, is_done: bool = False) -> None:
    courier.send("exited", data, is_durable=True)
    if not courier.close(min(_TELL_S, session.job.self_fence_s)):
        _log(f"the end could not be written: {data}")
    _release(session.job, session.claim, is_done=is_done)


def _share(session: _Session) -> dict[str, Scalar]:
    return {} if session.share_s is None else {"share_s": session.share_s()}


def _say_done(job: Job, claim: Claim, data: dict[str, Scalar]) -> bool:
    """Mark the task as done; tell whether the disk has the mark."""
    try:
        return write_done(job, claim, data)
    except OSError as error:
        _log(f"the task could not be marked as done: {error}")
        return False


def _say_goes_on(job: Job) -> None:
    """Let an attempt that was queued ahead go on, if the time ran out over progress."""
    try:
        saved = newest_saved(job)
        if saved is not None:
            crash("agent.goes_on")
            say_goes_on(job, saved)
            crash("agent.going_on")
    except (OSError, ValueError) as error:
        _log(f"no word was left for the next attempt: {error}")


def _release(job: Job, claim: Claim, *, is_done: bool = False) -> None:
    try:
        release(job, claim, is_done=is_done)
    except OSError as error:
        _log(f"the claim could not be released: {error}")


def _tell_end_at_once(session: _Session, status: int, why: str, detail: str, more: Mapping[str, str] = _NOTHING) -> int:
    """Tell the end of a program that never ran; `more` may say on which node, if that is why."""
    _log(detail)
    data: dict[str, Scalar] = {"exit_code": None, "signal": None, "why": why, "detail": detail, "run_s": 0.0, **more}
    data.update(_share(session))
    _write(session.files, "exited", data, is_durable=True)
    _release(session.job, session.claim)
    return status
