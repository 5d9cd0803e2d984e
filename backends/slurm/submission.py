"""sbatch: one job's script, its command line, and what the answer means.

https://slurm.schedmd.com/sbatch.html. The script is fixed and comes on standard input; every wish is an option, for
options beat the script's directives and the user's SBATCH_ variables. The environment that sbatch runs in is the job's own
(`--export=ALL`): both `--export=NONE` and a list of names make the node run the user's login shell first (measured on 22.05:
the whole profile ran, and SLURM_EXPORT_ENV was left for inner sruns to trip over).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace

from elisa.backends.protocol import tag_of
from elisa.backends.runner import Completed
from elisa.backends.slurm.extras import extra_options
from elisa.backends.slurm.identity import JobKey, native_id_of, split_native_id
from elisa.backends.slurm.options import GpuStyle, MemoryStyle, SlurmOptions
from elisa.backends.slurm.refusals import refusal
from elisa.model.errors import Rejected, SubmitUncertain
from elisa.model.hostlist import expand_hosts
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import JobRequest
from elisa.model.resources import Resources, is_shared

__all__ = [
    "checked",
    "common_options",
    "constraint_of",
    "gpus_of",
    "nice_of",
    "parse_number",
    "parse_submit",
    "render_script",
    "submit_argv",
]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# One answer line: the number, and the cluster where several are known. A site's wrapper may print more around it.
_ACCEPTED = re.compile(r"^([1-9][0-9]*)(?:;[^\n]*)?$", re.MULTILINE)
# 16 bits hold a count a node and 32 the minutes; larger numbers wrap around without a word: 65537 cores a task became 1 (22.05)
_LARGEST_COUNT = 0xFFFD
_LARGEST_TIME_MIN = 0x7FFFFFFF
# PriorityClass has five ranks: the highest is not held back at all.
_TOP_PRIORITY = 4
_MOST_NICE = 2_147_483_645


def render_script(request: JobRequest) -> str:
    """Return the script: its second line becomes the agent, which learns its native id from Slurm's own variable."""
    words = " ".join(shlex.quote(word) for word in request.argv)
    return f'#!/bin/sh\nexport ELISA_NATIVE_ID="$SLURM_JOB_ID".{request.attempt}; exec {words}\n'


def submit_argv(sbatch: str, request: JobRequest, instance: str, options: SlurmOptions) -> tuple[str, ...]:
    """Return sbatch's command line. Raises Rejected for an extra that may not be passed or a value no option can hold."""
    own = (
        f"--job-name={tag_of(instance, request.attempt)}",
        f"--chdir={request.workdir}",
        f"--output={_literal(request.stdout)}",
        f"--error={_literal(request.stderr)}",
        "--open-mode=append",
    )
    words = [sbatch, *own, *common_options(request, options)]
    for part in _parts_of(request):
        # what holds for all of a heterogeneous job is said of each of its components
        words += [":", *own, *common_options(part, options)]
    return checked(tuple(words))


def _parts_of(request: JobRequest) -> Iterator[JobRequest]:
    """Yield what the further components of a heterogeneous job ask for, each as a job by itself."""
    asked = request.resources
    for part in asked.components:
        yield replace(request, resources=replace(part.alone(asked.walltime_s), exclusive=asked.exclusive))


def checked(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command line as it is. Raises Rejected if a word holds what no option can."""
    for word in argv:
        if _CONTROL.search(word):
            raise Rejected("a control character in an option of sbatch", why=repr(word))
    return argv


def common_options(request: JobRequest, options: SlurmOptions) -> tuple[str, ...]:
    """Return the options that do not tell one attempt from another. Raises Rejected."""
    return (*_fixed(options), *_wishes(request, options), *extra_options(request, options))


def _fixed(options: SlurmOptions) -> Iterator[str]:
    yield "--parsable"
    if options.cluster:
        yield f"--clusters={options.cluster}"
    yield "--input=/dev/null"
    yield "--export=ALL"
    # a login node's limits on processor time or memory are not meant for jobs
    yield "--propagate=NONE"
    # elisa starts the next attempt itself: a site's requeue would run the same one twice
    yield "--no-requeue"
    # otherwise a broken chain looks like a cancellation; elisa withdraws it itself
    yield "--kill-on-invalid-dep=no"


def _literal(path: str) -> str:
    """Return a path in which sbatch replaces nothing: it reads `%j`, and a backslash switches that off for all of it."""
    return path.replace("%", "%%")


def _wishes(request: JobRequest, options: SlurmOptions) -> Iterator[str]:
    named = {
        "partition": request.partition,
        "account": request.account,
        "qos": request.qos,
        "reservation": request.reservation,
        "exclude": ",".join(_excluded(request)),
        "nodelist": "" if "nodelist" in dict(request.extras) else ",".join(request.resources.nodelist),
        "dependency": ",".join(_dependencies(request)),
    }
    yield from (f"--{name}={value}" for name, value in named.items() if value)
    yield from _resources(request.resources, options, {name for name, _ in request.extras})
    nice = nice_of(request.priority, options)
    if nice:
        yield f"--nice={nice}"
    if request.signal_lead_s > 0:
        yield f"--signal=B:{options.signal}@{request.signal_lead_s}"


def nice_of(priority: int, options: SlurmOptions) -> int:
    """Return the nice value of a job of elisa's `priority`: users may hold their own jobs back, never push them."""
    return min(_MOST_NICE, max(0, _TOP_PRIORITY - priority) * options.nice_step)


def _excluded(request: JobRequest) -> Iterator[str]:
    """Yield the nodes to keep off, but not those that the author asks for: both is an error to Slurm."""
    wanted = expand_hosts(dict(request.extras).get("nodelist", ""))
    yield from (name for name in request.exclude_nodes if name not in wanted)


def _dependencies(request: JobRequest) -> Iterator[str]:
    for kind, others in (("afterok", request.after), ("afterany", request.after_any)):
        known = [split_native_id(native_id) for native_id in others]
        if None in known:
            raise Rejected("a dependency on a job that is not Slurm's", why=", ".join(others))
        if known:
            yield f"{kind}:" + ":".join(parts[0].number for parts in known if parts)


def _resources(asked: Resources, options: SlurmOptions, extras: set[str]) -> Iterator[str]:
    _refuse_what_overflows(asked)
    yield f"--nodes={asked.nodes}"
    yield f"--ntasks-per-node={asked.tasks_per_node}"
    yield f"--cpus-per-task={asked.cpus_per_task}"
    # whole minutes are Slurm's grain
    yield f"--time={-(-asked.walltime_s // 60)}"
    if asked.memory_mib_per_node and not extras & {"mem-per-cpu", "mem-per-gpu"}:
        yield _memory(asked, options.memory_style)
    if asked.gpus.per_node and "gpus-per-task" not in extras:
        yield _gpus(asked, options.gpu_style)
    constraint = constraint_of(asked)
    if constraint:
        yield f"--constraint={constraint}"
    if asked.licences:
        yield "--licenses=" + ",".join(f"{name}:{count}" for name, count in asked.licences)
    if asked.exclusive:
        yield "--exclusive"
    if asked.numa:
        yield from (f"--{name}={value}" for name, value in _close_together(asked) if name not in extras)
    if asked.switches and "switches" not in extras:
        minutes, seconds = divmod(asked.switches_wait_s, 60)
        yield f"--switches={asked.switches}" + (f"@{minutes}:{seconds:02}" if asked.switches_wait_s else "")


def _close_together(asked: Resources) -> Iterator[tuple[str, str]]:
    """Yield what makes Slurm fill one socket after another, and bind the steps of a job to what is near."""
    yield "distribution", "block:block"
    yield "mem-bind", "local"
    if asked.gpus.per_node:
        yield "gpu-bind", "closest"


def _refuse_what_overflows(asked: Resources) -> None:
    largest = max(asked.tasks_per_node, asked.cpus_per_task, asked.gpus.per_node)
    if largest > _LARGEST_COUNT or asked.walltime_s > 60 * _LARGEST_TIME_MIN:
        raise Rejected(f"it asks for more than Slurm can count to: {largest} a node, {asked.walltime_s} s")


def _memory(asked: Resources, style: MemoryStyle) -> str:
    if style is MemoryStyle.CPU:
        return f"--mem-per-cpu={-(-asked.memory_mib_per_node // asked.cpus_per_node)}M"
    return f"--mem={asked.memory_mib_per_node}M"


def _gpus(asked: Resources, style: GpuStyle) -> str:
    if any(map(is_shared, asked.gpus.types)):
        return f"--gres={gpus_of(asked)}"  # resources of their own: gres/shard, gres/mps
    per_task, rest = divmod(asked.gpus.per_node, asked.tasks_per_node)
    if style is GpuStyle.GPUS_PER_TASK and not rest:
        return f"--gpus-per-task={gpus_of(asked, per_task)}"
    if style is GpuStyle.GRES:
        return f"--gres=gpu:{gpus_of(asked)}"
    return f"--gpus-per-node={gpus_of(asked)}"


def gpus_of(asked: Resources, count: int = 0) -> str:
    """Return GPUs as Slurm names them, such as `a100:4`; those of a node unless told how many.

    Slurm can't say "one of these types": the most preferred one that the placement left.
    """
    return ":".join((*asked.gpus.types[:1], str(count or asked.gpus.per_node)))


def constraint_of(asked: Resources) -> str:
    """Return what every node must have, as one expression."""
    features = "&".join(asked.features)
    if features and asked.constraint:
        return f"{features}&({asked.constraint})"
    return features or asked.constraint


def parse_submit(answer: Completed, attempt: AttemptId) -> NativeId:
    """Return the native id in sbatch's answer. Raises Rejected, Unavailable or SubmitUncertain."""
    return native_id_of(JobKey(parse_number(answer), attempt), attempt)


def parse_number(answer: Completed) -> str:
    """Return the job number in sbatch's answer. Raises Rejected, Unavailable or SubmitUncertain."""
    if not answer.ok:
        raise refusal(answer)
    numbers = _ACCEPTED.findall(answer.stdout)
    if len(numbers) != 1:
        raise SubmitUncertain("sbatch gave no job number", why=repr((answer.stdout + answer.stderr)[:200]))
    return str(numbers[0])
