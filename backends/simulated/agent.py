"""What the agent in a simulated job would write: its claim, its events, the program's files."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from elisa.backends.simulated.job import Cause, SimJob
from elisa.backends.simulated.program import Voice
from elisa.backends.simulated.sink import SpoolSink
from elisa.model import layout
from elisa.model.events import EventKind
from elisa.model.ids import AttemptId, TaskId, task_of
from elisa.runtime.eventfile import Record, Scalar, encode_record

__all__ = ["Agent"]

_SECOND = 1_000_000


class Agent:
    """Speaks for all jobs that have a voice. Event times are virtual."""

    def __init__(self, sink: SpoolSink) -> None:
        self._sink = sink

    def begin(self, job: SimJob, us: int) -> str:
        """Claim the attempt and announce the start; return why the job must not run, or nothing."""
        voice = job.program.voice
        if voice is None:
            return ""
        why = self._go_on(voice, job) or self._claim(voice, job, us)
        if why:
            self._say(job, us, EventKind.REFUSED, why=why, native_id=job.id)
            return why
        host = job.node_names.partition(",")[0]
        self._say(job, us, EventKind.CLAIMED, host=host, pid=job.order, native_id=job.id)
        step = job.saved or None
        gpus = ",".join(str(index) for index in range(job.shape.gpus))
        self._say(job, us, EventKind.STARTED, host=host, pid=job.order, resumed_step=step, gpus=gpus)
        return ""

    def _go_on(self, voice: Voice, job: SimJob) -> str:
        """Begin where the attempt before it left off; return why it cannot, or nothing."""
        if not voice.continues:
            return ""
        mark = json.loads(self._sink.read(layout.goes_on(Path(voice.home), AttemptId(voice.continues))) or b"{}")
        if "step" not in mark:
            self._sink.create(layout.recalled(Path(voice.home), AttemptId(voice.attempt)), b"")
            return f"attempt {voice.continues} did not end so that this one could go on"
        job.resume_at(int(mark["step"]))
        return ""

    def _claim(self, voice: Voice, job: SimJob, us: int) -> str:
        """Claim first, then look at the fence: the engine does it the other way round."""
        home, attempt, task = Path(voice.home), AttemptId(voice.attempt), TaskId(voice.task)
        if self._sink.read(layout.done_mark(home, task)) is not None:
            return "the task is done"
        unfinished = next((other for other in voice.behind if not self._is_done(home, AttemptId(other))), "")
        if unfinished:
            return f"attempt {unfinished}, which this was queued behind, did not finish its task"
        first, path = layout.claim(home, attempt), layout.incarnation_claim(home, attempt, job.restarts)
        who = {"host": job.node_names, "pid": job.order, "start": 0, "boot_id": "simulated"}
        claim = {"native_id": job.id, **who, "incarnation": job.restarts, "restarts": job.restarts, "at": us / _SECOND}
        is_mine = self._sink.create(path, json.dumps(claim).encode())
        holder = json.loads(self._sink.read(first) or b"{}").get("native_id")
        if not is_mine or holder != job.id:
            return f"job {holder} holds the claim"
        if self._sink.read(layout.recalled(home, attempt)) is not None:
            return "it was taken back while the attempt before it ran"
        fence = int(self._sink.read(layout.fence(home, task)) or b"0")
        return f"attempt {fence} was allowed after this one" if voice.number < fence else ""

    def _is_done(self, home: Path, attempt: AttemptId) -> bool:
        mark = json.loads(self._sink.read(layout.done_mark(home, task_of(attempt))) or b"{}")
        return bool(mark.get("attempt") == attempt)

    def has_finished(self, job: SimJob) -> bool:
        """Tell whether the attempt that ran last has finished its task, in this incarnation or before."""
        voice = job.program.voice
        return voice is not None and self._is_done(Path(voice.home), AttemptId(voice.attempt))

    def is_dropped(self, job: SimJob, us: int) -> bool:
        """Tell whether the member of a bundle whose turn it is does not begin."""
        voice = job.program.voice
        if voice is None:
            return False
        end_us = job.native_us + job.walltime_us
        is_late = bool(job.walltime_us) and us + voice.walltime_us > end_us
        is_unwanted = self._sink.read(layout.leave_file(Path(voice.home), AttemptId(voice.attempt))) is not None
        return is_late or is_unwanted or bool(set(job.dropped).intersection(voice.behind))

    def decline(self, job: SimJob, us: int, *, was_asked: bool) -> None:
        """Claim for a member of a bundle, and say that it did not begin."""
        voice = job.program.voice
        if voice is None or job.cause is Cause.NODE or self._claim(replace(voice, behind=()), job, us):
            return
        self._say(job, us, EventKind.CLAIMED, host=job.node_names.partition(",")[0], pid=job.order, native_id=job.id)
        if was_asked:
            self._say(job, us, EventKind.STOPPING, signal=None, why="asked")
        self._say(
            job, us, EventKind.EXITED, exit_code=None, signal=None, why="not_begun", detail="", run_s=0.0, share_s=0
        )

    def beat(self, job: SimJob, us: int) -> None:
        """Report use."""
        self._say(job, us, EventKind.HEARTBEAT, **_use(job, us))

    def save(self, job: SimJob, us: int, step: int) -> None:
        """Announce a checkpoint, with the progress and the metrics of its step."""
        voice = job.program.voice
        if voice is None:
            return
        path = _checkpoint_path(voice, step)
        seconds = job.program.save_us / _SECOND
        self._say(job, us, EventKind.CHECKPOINT, path=path, step=step, size_bytes=0, seconds=seconds)
        self._report(job, us, step)

    def _report(self, job: SimJob, us: int, step: int) -> None:
        program = job.program
        self._say(job, us, EventKind.PROGRESS, step=step, total=program.steps)
        for name, first, last in program.metrics:
            value = first + (last - first) * step / program.steps
            self._say(job, us, EventKind.METRIC, name=name, value=value, step=step)

    def stop(self, job: SimJob, us: int, why: str) -> None:
        """Announce that the program was told to end."""
        self._say(job, us, EventKind.STOPPING, signal="TERM", why=why)

    def end(self, job: SimJob, us: int) -> None:
        """Say the last words; after a node's death there are none."""
        voice = job.program.voice
        if job.cause is Cause.NODE or voice is None:
            return
        exit_code, signal = job.status()
        run_s = (us - job.started_us) / _SECOND
        last = {"exit_code": exit_code, "signal": signal, "why": "", "run_s": run_s, **_use(job, us)}
        if job.members:
            last["share_s"] = us // _SECOND - job.started_us // _SECOND
        if job.cause is Cause.COMPLETION:
            self._deliver(job, us)
            done = {"attempt": voice.attempt, "incarnation": job.restarts, "exited": last}
            self._sink.create(layout.done_mark(Path(voice.home), TaskId(voice.task)), json.dumps(done).encode())
        if job.cause is Cause.WALLTIME and job.saved > job.began_step:
            mark = {"attempt": voice.attempt, "path": _checkpoint_path(voice, job.saved), "step": job.saved}
            self._sink.create(layout.goes_on(Path(voice.home), AttemptId(voice.attempt)), json.dumps(mark).encode())
        self._say(job, us, EventKind.EXITED, **last)

    def _deliver(self, job: SimJob, us: int) -> None:
        for path, text in job.program.files:
            self._sink.create(Path(path), text.encode())
        for name, path in job.program.outputs:
            self._say(job, us, EventKind.OUTPUT, name=name, path=path, ok=True, why="")
        self._report(job, us, job.program.steps)

    def _say(self, job: SimJob, us: int, kind: EventKind, **data: Scalar) -> None:
        voice = job.program.voice
        if voice is None:
            return
        record = Record(voice.attempt, job.restarts, 0, job.seq, us / _SECOND, kind.value, data)
        self._sink.append(_event_file(voice.home, voice.attempt, job.restarts), encode_record(record, _key(voice.key)))
        job.seq += 1


def _checkpoint_path(voice: Voice, step: int) -> str:
    return f"{voice.checkpoint_dir}/step-{step:012d}"


@lru_cache(maxsize=1024)
def _event_file(home: str, attempt: str, incarnation: int) -> Path:
    return layout.event_dir(Path(home), AttemptId(attempt)) / f"{incarnation}-0-0.jsonl"


@lru_cache(maxsize=1024)
def _key(digits: str) -> bytes:
    return bytes.fromhex(digits)


def _use(job: SimJob, us: int) -> dict[str, Scalar]:
    ran_s = (us - job.started_us) / _SECOND
    return {
        "cpu_s": ran_s * job.shape.cpus * job.shape.nodes * 0.9,
        "max_memory_mib": job.used_mib,
        "memory_mib": job.used_mib,
        "gpu_s": ran_s * job.shape.gpus * job.shape.nodes * 0.8,
        "max_gpu_memory_mib": job.shape.gpu_memory_mib,
        "processes": job.shape.nodes,
    }
