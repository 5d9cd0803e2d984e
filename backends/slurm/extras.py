"""Options of sbatch that a task passes on by itself: from a list, and none that asks for more than elisa's books say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from elisa.backends.slurm.options import SlurmOptions
from elisa.model.errors import Rejected
from elisa.model.native import JobRequest
from elisa.model.resources import Resources
from elisa.model.units import parse_memory_mib

__all__ = ["EXTRAS", "extra_options"]

EXTRAS = frozenset(
    {
        "acctg-freq", "batch", "bb", "begin", "cluster-constraint", "comment", "container", "contiguous", "core-spec",
        "cores-per-socket", "cpu-freq", "deadline", "delay-boot", "distribution", "gpu-bind", "gpu-freq", "gpus-per-task",
        "gres-flags", "hint", "mail-type", "mail-user", "mcs-label", "mem-bind", "mem-per-cpu", "mem-per-gpu", "network",
        "nodelist", "ntasks-per-core", "ntasks-per-gpu", "ntasks-per-socket", "oversubscribe", "power", "prefer", "profile",
        "segment", "sockets-per-node", "spread-job", "switches", "thread-spec", "threads-per-core", "time-min", "tmp",
        "tres-bind", "use-min-nodes", "wckey",
    }
)  # fmt: skip
"""Options of sbatch that a task may set for itself. All others belong to elisa, could undo its guarantees, or ask for cores
and GPUs that no budget would see (`tres-per-task`, `gpus-per-socket`, `cpus-per-gpu`)."""

_WORD = re.compile(r"[A-Za-z0-9._@%+:/=-]+")


def extra_options(request: JobRequest, options: SlurmOptions) -> Iterator[str]:
    """Yield the options that a task passes on. Raises Rejected for one that it may not, or that contradicts its resources."""
    allowed = EXTRAS | set(options.extras)
    for name, value in request.extras:
        if name not in allowed or not _WORD.fullmatch(name):
            hint = f"allowed are {', '.join(sorted(allowed))}; a site adds others under `extras` of its slurm backend"
            raise Rejected(f"`{name}` is no option that a task may pass to sbatch", hint=hint)
        yield f"--{name}={value}" if value else f"--{name}"
    _refuse_contradictions(request.resources, dict(request.extras))


def _refuse_contradictions(asked: Resources, extras: Mapping[str, str]) -> None:
    """Raise Rejected where an extra asks for another amount than `resources`, which is what is booked and reserved."""
    if "gpus-per-task" in extras:
        count = extras["gpus-per-task"].rpartition(":")[2]
        gpus = int(count) * asked.tasks_per_node if count.isdecimal() else -1
        _refuse_unless(gpus == asked.gpus.per_node, "gpus-per-task", extras, f"gpus: {asked.gpus.per_node}")
    for name, times in (("mem-per-cpu", asked.cpus_per_node), ("mem-per-gpu", asked.gpus.per_node)):
        if name in extras and asked.memory_mib_per_node:
            is_same = _memory_mib(extras[name]) * times == asked.memory_mib_per_node
            _refuse_unless(is_same, name, extras, f"memory: {asked.memory_mib_per_node}MiB")
    if "oversubscribe" in extras:
        _refuse_unless(not asked.exclusive, "oversubscribe", extras, "exclusive: true")


def _refuse_unless(agrees: bool, name: str, extras: Mapping[str, str], resources: str) -> None:  # noqa: FBT001 - its verb
    if not agrees:
        value = f"={extras[name]}" if extras[name] else ""
        raise Rejected(
            f"`{name}` contradicts what the task asks for",
            why=f"its extras say `{name}{value}`, its resources `{resources}`, which is what budgets count",
            hint="leave the extra out, or let both say the same",
        )


def _memory_mib(text: str) -> int:
    """Return what Slurm reads in an amount of memory, MiB without a unit; -1 if it is none."""
    try:
        return int(text) if text.isdecimal() else parse_memory_mib(text.upper())
    except ValueError:
        return -1
