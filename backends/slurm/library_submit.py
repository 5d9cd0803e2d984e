"""A job request in the words of `pyslurm.JobSubmitDescription`, for those requests that it can say in full."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from elisa.backends.protocol import tag_of
from elisa.backends.slurm.options import GpuStyle, MemoryStyle, SlurmOptions
from elisa.backends.slurm.submission import constraint_of, gpus_of, nice_of
from elisa.model.native import JobRequest
from elisa.model.resources import is_shared

__all__ = ["description_of_job"]

_STATUS = Path("/proc/self/status")
# None would be every profile that there is; an iterator is true even where it yields none.
_NO_PROFILE = iter(())
# The release whose sbatch was seen to tell the launchers of MPI how to start, and srun what each task is to have.
_TELLS_MORE = (24, 11)
_LAUNCHERS = {
    "HYDRA_BOOTSTRAP": "slurm",
    "HYDRA_LAUNCHER_EXTRA_ARGS": "--external-launcher",
    "I_MPI_HYDRA_BOOTSTRAP": "slurm",
    "I_MPI_HYDRA_BOOTSTRAP_EXEC_EXTRA_ARGS": "--external-launcher",
    "OMPI_MCA_plm_slurm_args": "--external-launcher",
    "PRTE_MCA_plm_slurm_args": "--external-launcher",
}


def description_of_job(  # noqa: PLR0917 - what is asked for, and of whom
    request: JobRequest,
    instance: str,
    options: SlurmOptions,
    script: str,
    base: Mapping[str, str],
    release: tuple[int, ...],
) -> dict[str, object] | None:
    """Return the arguments that say what the sbatch of a `release` would be told; None where only sbatch can.

    That is: heterogeneous jobs, limits on switches, hints at NUMA, options passed on as they are, another cluster, other
    ways to ask for memory and GPUs than the usual ones, a signal of no known name; and dependencies, for pyslurm can't
    say that a job whose predecessor fails is to stay (`--kill-on-invalid-dep=no`).
    """
    is_usual = options.gpu_style is GpuStyle.GRES and options.memory_style is MemoryStyle.NODE
    asked = request.resources
    if (
        request.extras
        or request.after
        or request.after_any
        or asked.components
        or asked.switches
        or asked.numa
        or options.cluster
        or not is_usual
        or (request.signal_lead_s > 0 and _number(options.signal) is None)
    ):
        return None
    usual = {**base, "LC_ALL": "C.UTF-8", **(_LAUNCHERS if release >= _TELLS_MORE else {})}
    told = _of_sbatch(request, tag_of(instance, request.attempt), release)
    environment = {**usual, **dict(request.environment), **told}
    return {**_own(request, instance, script), "environment": environment, **dict(_wishes(request, options))}


def _own(request: JobRequest, instance: str, script: str) -> dict[str, object]:
    return {
        "name": tag_of(instance, request.attempt),
        "working_directory": request.workdir,
        "standard_in": "/dev/null",
        "standard_output": request.stdout.replace("%", "%%"),
        "standard_error": request.stderr.replace("%", "%%"),
        "log_files_open_mode": "append",
        "script": script,
        "is_requeueable": False,
        "profile_types": _NO_PROFILE,
    }


def _of_sbatch(request: JobRequest, tag: str, release: tuple[int, ...]) -> dict[str, str]:
    """Return what sbatch itself tells a job: slurmd takes the umask from it, programs and srun what was asked for."""
    asked = request.resources
    told = {
        "SLURM_CPUS_PER_TASK": str(asked.cpus_per_task),
        "SLURM_JOB_NAME": tag,
        "SLURM_NTASKS_PER_NODE": str(asked.tasks_per_node),
        "SLURM_OPEN_MODE": "a",
        "SLURM_PRIO_PROCESS": str(os.getpriority(os.PRIO_PROCESS, 0)),
        "SLURM_SUBMIT_DIR": request.workdir,
        "SLURM_SUBMIT_HOST": socket.gethostname(),
        "SLURM_UMASK": f"0{_umask():03o}",
    }
    return told | ({"SLURM_TRES_PER_TASK": f"cpu={asked.cpus_per_task}"} if release >= _TELLS_MORE else {})


def _umask() -> int:
    """Return this process's umask. To read it by changing it would give files that other threads make now another one."""
    told = re.search(r"^Umask:\s*([0-7]+)$", _STATUS.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    if told:
        return int(told[1], 8)
    # Linux before 4.7
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _wishes(request: JobRequest, options: SlurmOptions) -> Iterator[tuple[str, object]]:
    asked = request.resources
    yield "nodes", str(asked.nodes)
    yield "ntasks", asked.nodes * asked.tasks_per_node
    yield "ntasks_per_node", asked.tasks_per_node
    yield "cpus_per_task", asked.cpus_per_task
    yield "time_limit", -(-asked.walltime_s // 60)
    if asked.memory_mib_per_node:
        yield "memory_per_node", f"{asked.memory_mib_per_node}M"
    if asked.gpus.per_node:
        yield "gres_per_node", gpus_of(asked) if any(map(is_shared, asked.gpus.types)) else f"gpu:{gpus_of(asked)}"
    named: dict[str, object] = {
        "partitions": [request.partition] if request.partition else [],
        "account": request.account,
        "qos": request.qos,
        "reservations": [request.reservation] if request.reservation else [],
        "excluded_nodes": list(request.exclude_nodes),
        "required_nodes": list(asked.nodelist),
        "constraints": constraint_of(asked),
        "licenses": [f"{name}:{count}" for name, count in asked.licences],
        "resource_sharing": "exclusive" if asked.exclusive else "",
        "nice": nice_of(request.priority, options),
        "signal": f"B:{_number(options.signal)}@{request.signal_lead_s}" if request.signal_lead_s > 0 else "",
    }
    yield from ((name, value) for name, value in named.items() if value)


def _number(name: str) -> int | None:
    """Return the number of a signal called `USR2`, `SIGUSR2` or `12`: releases of pyslurm differ in the names they know."""
    if name.isdecimal():
        return int(name)
    return signal.Signals.__members__.get(f"SIG{name.removeprefix('SIG')}")
