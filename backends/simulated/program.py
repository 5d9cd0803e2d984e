"""What a simulated job does with its time, as its instructions and its author's metadata (`told.py`) say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elisa.backends.simulated.dice import Dice, Distribution, parse_distribution
from elisa.backends.simulated.sink import SpoolSink
from elisa.backends.simulated.spec import ClusterSpec
from elisa.backends.simulated.told import Fails, Metric, Told, read_told
from elisa.model.errors import Rejected
from elisa.model.native import JobRequest
from elisa.runtime.job import Job, JobError, parse_job

__all__ = ["Failure", "Program", "Voice", "read_programs"]

_SECOND = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """As whom a job's agent speaks."""

    home: str
    key: str
    attempt: str
    task: str
    number: int
    checkpoint_dir: str
    walltime_us: int = 0
    behind: tuple[str, ...] = ()
    continues: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How the program fails once it has come so far in its work."""

    at_us: int
    exit_code: int | None
    signal: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The work of one attempt. `checkpoint_us` 0: it never saves. Without a `voice` it is silent."""

    work_us: int
    steps: int
    resume_step: int = 0
    checkpoint_us: int = 0
    save_us: int = 0
    memory_mib: int = 0
    failure: Failure | None = None
    metrics: tuple[tuple[str, float, float], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    voice: Voice | None = None

    def step_at(self, work_us: int) -> int:
        """Return the last step that so much work completes."""
        return self.steps if work_us >= self.work_us else self.steps * work_us // self.work_us

    def work_of(self, step: int) -> int:
        """Return the least work that completes `step`."""
        return min(self.work_us, -(-step * self.work_us // self.steps))


def read_programs(request: JobRequest, spec: ClusterSpec, dice: Dice, sink: SpoolSink) -> tuple[Program, ...]:
    """Return what the job will do: by its sealed instructions if it has some, by its environment otherwise.

    One program, or those of all attempts that share it. Raises Rejected for metadata that cannot be understood, with the
    words for its author.
    """
    instructions = _instructions(request, sink)
    if instructions is None or "jobs" not in instructions:
        return (_read_program(request, instructions, spec, dice),)
    members = (_read(Path(path), request, sink) for path in instructions["jobs"])
    return tuple(_read_program(request, member, spec, dice) for member in members)


def _read_program(
    request: JobRequest, instructions: Mapping[str, Any] | None, spec: ClusterSpec, dice: Dice
) -> Program:
    try:
        if instructions is None:
            return _bare(request, spec, dice)
        return _told(parse_job(instructions), instructions, spec, dice)
    except (ValueError, TypeError, KeyError, JobError) as err:
        raise Rejected(f"the simulation of {request.attempt} is described wrongly", str(err)) from err


def _instructions(request: JobRequest, sink: SpoolSink) -> Mapping[str, Any] | None:
    if "--job" not in request.argv[:-1]:
        return None
    return _read(Path(request.argv[request.argv.index("--job") + 1]), request, sink)


def _read(path: Path, request: JobRequest, sink: SpoolSink) -> Mapping[str, Any]:
    data = sink.read(path)
    if data is None:
        raise Rejected(f"{request.attempt} has no instructions", "its job.json is missing")
    content = json.loads(data)
    return content if isinstance(content, Mapping) else {}


def _bare(request: JobRequest, spec: ClusterSpec, dice: Dice) -> Program:
    """A job without an agent, as tests submit it: `SIM_DURATION` in seconds, `SIM_EXIT` its status, `SIM_SIGNAL`."""
    told = dict(request.environment)
    duration_s = told.get("SIM_DURATION")
    source = spec.duration if duration_s is None else parse_distribution(float(duration_s))
    work_us = _work_us(source, dice, request.attempt)
    exit_code, signal = int(told.get("SIM_EXIT", "0")), int(told.get("SIM_SIGNAL", "0"))
    failure = None
    if exit_code or signal:
        failure = Failure(at_us=work_us, exit_code=None if signal else exit_code, signal=signal or None)
    memory_mib = int(told.get("SIM_MEMORY", "0"))
    return Program(work_us=work_us, steps=max(1, work_us // _SECOND), failure=failure, memory_mib=memory_mib)


def _told(job: Job, content: Mapping[str, Any], spec: ClusterSpec, dice: Dice) -> Program:
    told = read_told(dict(content.get("metadata") or {}))
    work_us = _work_us(told.duration or spec.duration, dice, job.task)
    steps = told.steps or max(1, work_us // _SECOND)
    if told.nodes:
        work_us = max(1, round(work_us * told.nodes / job.nodes))
    if told.gpus and job.gpus_per_node:
        work_us = max(1, round(work_us * told.gpus / job.gpus_per_node))
    rules = job.checkpoint
    return Program(
        work_us=work_us,
        steps=steps,
        resume_step=min(steps, job.resume_step or 0),
        checkpoint_us=round((rules.interval_s or spec.checkpoint_s) * _SECOND) if rules else 0,
        save_us=round(told.save_s * _SECOND),
        memory_mib=told.memory_mib,
        failure=_failure(told.fails, job, work_us, dice),
        metrics=tuple(_drawn(name, source, job, dice) for name, source in told.metrics.items()),
        outputs=tuple((output.name, output.path) for output in job.outputs),
        files=tuple(_files(job, told)),
        voice=Voice(
            home=job.home,
            key=job.key.hex(),
            attempt=job.attempt,
            task=job.task,
            number=job.number,
            checkpoint_dir=job.checkpoint_dir,
            walltime_us=round(job.walltime_s * _SECOND),
            behind=job.behind,
            continues=job.continues,
        ),
    )


def _work_us(source: Distribution, dice: Dice, subject: str) -> int:
    return max(1, round(dice.draw(source, "duration", subject) * _SECOND))


def _failure(told: Fails | None, job: Job, work_us: int, dice: Dice) -> Failure | None:
    if told is None or job.number > told.times:
        return None
    if not dice.happens(told.probability, "fail", job.attempt):
        return None
    exit_code = None if told.signal else told.exit_code
    return Failure(at_us=round(work_us * told.at), exit_code=exit_code, signal=told.signal)


def _drawn(name: str, source: Metric, job: Job, dice: Dice) -> tuple[str, float, float]:
    if isinstance(source, tuple):
        return (name, *source)
    value = dice.draw(source, "metric", job.task, name)
    return name, value if source == Distribution(kind="constant", numbers=(value,)) else 0.0, value


def _files(job: Job, told: Told) -> list[tuple[str, str]]:
    """Return the files the program leaves when it succeeds, with what they hold."""
    paths = {output.name: output.path for output in job.outputs}
    files = [(paths[name], json.dumps(value)) for name, value in told.outputs.items()]
    if job.call and job.call.get("result_path"):
        files.append((str(job.call["result_path"]), json.dumps(told.result)))
    return files
