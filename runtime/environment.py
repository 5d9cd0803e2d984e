"""The environment of a program: only what is named here or in its instructions, and what elisa tells it."""

from __future__ import annotations

import os
import sys

from elisa.runtime.lean import dump_json
from elisa.runtime.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Mapping

    from elisa.runtime.job import Job

__all__ = ["argv_of", "deadline_of", "environment_of"]

_PASSED = frozenset(
    {
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
        "CUDA_MPS_LOG_DIRECTORY",
        "CUDA_MPS_PIPE_DIRECTORY",
        "CUDA_VISIBLE_DEVICES",
        "GPU_DEVICE_ORDINAL",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LOGNAME",
        "NVIDIA_VISIBLE_DEVICES",
        "OMP_NUM_THREADS",
        "PATH",
        "ROCR_VISIBLE_DEVICES",
        "SHELL",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
    }
)
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_PASSED_PREFIXES = ("LC_", "SLURM_", "PBS_")


def environment_of(job: Job, outside: Mapping[str, str], *, incarnation: int, deadline: float | None) -> dict[str, str]:
    """Return the whole environment of the program. `deadline` is when its walltime ends, in seconds since the epoch."""
    env = {name: value for name, value in outside.items() if _is_passed(name, job.pass_env)}
    told = _told(job, incarnation, deadline)
    if job.nodes > 1 or job.tasks_per_node > 1 or job.gpus_per_node > 1:
        from elisa.runtime.launch import rendezvous

        env.update(rendezvous({**outside, **told}))
    env.update(job.env)
    env.update(told)
    if job.call is not None:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (_own_folder(), env.get("PYTHONPATH", ""))))
    return env


def deadline_of(job: Job, outside: Mapping[str, str], now: float) -> float | None:
    """Return when the job's time is over, in seconds since the epoch: by its walltime, or sooner if Slurm says so.

    SLURM_JOB_END_TIME (since 23.02) counts from the start of the native job, which was before the agent's.
    """
    ends = [now + job.walltime_s] if job.walltime_s else []
    told = outside.get("SLURM_JOB_END_TIME", "")
    if told.isdigit() and int(told) > now:
        ends.append(float(told))
    return min(ends, default=None)


def _is_passed(name: str, wanted: tuple[str, ...]) -> bool:
    if name in _PASSED or name.startswith(_PASSED_PREFIXES):
        return True
    return any(name == item or (item.endswith("*") and name.startswith(item[:-1])) for item in wanted)


def _told(job: Job, incarnation: int, deadline: float | None) -> dict[str, str]:
    told = {
        "ELISA_ATTEMPT": job.attempt,
        "ELISA_TASK": job.task,
        "ELISA_TASK_DIR": job.task_dir,
        "ELISA_PIPELINE_DIR": job.pipeline_dir,
        "ELISA_CHECKPOINT_DIR": job.checkpoint_dir,
        "ELISA_EVENTS": job.event_dir,
        "ELISA_INCARNATION": str(incarnation),
        "ELISA_JOB": job.path,
        "ELISA_STOP": job.stop_file,
        "ELISA_NODES": str(job.nodes),
        "ELISA_TASKS_PER_NODE": str(job.tasks_per_node),
        "ELISA_CPUS_PER_TASK": str(job.cpus_per_task),
        "ELISA_GPUS_PER_NODE": str(job.gpus_per_node),
    }
    if deadline is not None:
        told["ELISA_DEADLINE"] = f"{deadline:.3f}"
    if job.resume_path:
        told["ELISA_RESUME_FROM"] = job.resume_path
        told["ELISA_RESUME_STEP"] = str(job.resume_step or 0)
    for name, value in job.parameters.items():
        told["ELISA_PARAM_" + "".join(letter if letter in _LETTERS else "_" for letter in name.upper())] = _as_text(
            value
        )
    return told


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else dump_json(value)


def _own_folder() -> str:
    """Return the folder that holds the package this runs from."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def argv_of(job: Job) -> list[str]:
    """Return what to execute. A shell has its say only where the author asked for one."""
    if job.call is not None:
        return [sys.executable, "-m", "elisa.runtime", "call", "--job", job.path]
    if job.shell:
        return ["/bin/sh", "-c", *job.argv]
    return list(job.argv)
