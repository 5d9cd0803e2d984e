"""What this machine has to give, and which of it a job gets."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from elisa.backends.local.numa import ANYWHERE, choose_numa, numa_nodes
from elisa.backends.promises import promised_of
from elisa.backends.runner import Runner
from elisa.model.resources import PERCENT, SHARD, GpuRequest, Resources, is_shared, meets, percent_of

__all__ = ["Held", "LocalSlots", "NeverFits", "NoRoom", "assign", "detect_slots", "free_gpus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSlots:
    """What jobs may use of this machine.

    `gpus` names the type of each GPU, in the order of their indices. Where `parts` has a number above 1 for a GPU, that many
    jobs share it: it is then given away in shards only. Those of `mps` are given away in percents. `promised` is what jobs
    together may ask for of cores and memory, in percent of what is there; one alone never gets more than that. `numa` are the
    cores of each NUMA node, empty if there is but one.
    """

    cpus: int
    memory_mib: int
    gpus: tuple[str, ...] = ()
    gpu_memory_mib: int = 0  # of each; 0: not known
    parts: tuple[int, ...] = ()
    mps: tuple[int, ...] = ()
    promised: tuple[int, int] = (100, 100)
    numa: tuple[tuple[int, ...], ...] = ()

    @property
    def all_promised(self) -> LocalSlots:
        """What jobs may ask for together."""
        cpus, memory_mib = promised_of(self.cpus, self.memory_mib, self.promised)
        return replace(self, cpus=cpus, memory_mib=memory_mib)

    def kind_of(self, gpu: int) -> str:
        """Return the type by which a GPU is given away."""
        if gpu in self.mps:
            return percent_of(gpu)
        return SHARD if self.parts_of(gpu) > 1 else self.gpus[gpu]

    def parts_of(self, gpu: int) -> int:
        """Return in how many parts a GPU is given away."""
        if gpu in self.mps:
            return PERCENT
        return self.parts[gpu] if gpu < len(self.parts) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one job holds.

    `gpus` are indices; one comes as often as the job has parts of it. `numa` is the NUMA node that it is kept on.
    """

    cpus: int
    memory_mib: int
    gpus: tuple[int, ...] = ()
    numa: int = ANYWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoom:
    """Not now: something else holds what is asked for."""

    resource: str
    asked: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverFits:
    """Not on this machine, however empty."""

    resource: str
    asked: int
    largest: int


def assign(slots: LocalSlots, taken: Iterable[Held], asked: Resources) -> Held | NoRoom | NeverFits:
    """Choose what a job gets: cores and memory by count, GPUs by index, all of one type, in its order of preference."""
    everything = _choose(slots, (), asked)
    if isinstance(everything, NoRoom):
        return NeverFits(resource=everything.resource, asked=everything.asked, largest=everything.free)
    return _choose(slots.all_promised, tuple(taken), asked)


def _choose(slots: LocalSlots, taken: tuple[Held, ...], asked: Resources) -> Held | NoRoom:
    cpus = slots.cpus if asked.exclusive else asked.cpus_per_node
    limits = (
        ("nodes", asked.nodes, 1),
        ("cpus", cpus, slots.cpus - sum(held.cpus for held in taken)),
        ("memory_mib", asked.memory_mib_per_node, slots.memory_mib - sum(held.memory_mib for held in taken)),
        ("gpu_memory_mib", asked.gpus.memory_mib, slots.gpu_memory_mib or asked.gpus.memory_mib),
    )
    for resource, wanted, free in limits:
        if wanted > free:
            return NoRoom(resource=resource, asked=wanted, free=max(0, free))
    gpus = _choose_gpus(slots, taken, asked.gpus)
    if isinstance(gpus, NoRoom):
        return gpus
    numa = choose_numa(slots.numa, [(held.numa, held.cpus) for held in taken], cpus) if asked.numa else ANYWHERE
    return Held(cpus=cpus, memory_mib=asked.memory_mib_per_node, gpus=gpus, numa=numa)


def _choose_gpus(slots: LocalSlots, taken: tuple[Held, ...], asked: GpuRequest) -> tuple[int, ...] | NoRoom:
    free = free_gpus(slots, taken)
    groups = [
        tuple(gpu for gpu in free if slots.kind_of(gpu) == kind)
        for wish in asked.types
        for kind in dict.fromkeys(slots.kind_of(gpu) for gpu in free)
        if meets(kind, wish)
    ]
    if not asked.types:
        groups = [tuple(gpu for gpu in free if not is_shared(slots.kind_of(gpu)))]
    for group in groups:
        if len(group) >= asked.per_node:
            return group[: asked.per_node]
    return NoRoom(resource="gpus", asked=asked.per_node, free=max((len(group) for group in groups), default=0))


def free_gpus(slots: LocalSlots, taken: Iterable[Held]) -> tuple[int, ...]:
    """Return the indices of the GPUs that no job holds, each as often as there are free parts of it; the fullest first."""
    used = Counter(gpu for held in taken for gpu in held.gpus)
    left = {gpu: slots.parts_of(gpu) - used[gpu] for gpu in range(len(slots.gpus))}
    return tuple(gpu for gpu in sorted(left, key=lambda gpu: (left[gpu], gpu)) for _ in range(left[gpu]))


def detect_slots(runner: Runner, *, look_for_gpus: bool = True) -> LocalSlots:
    """Return what this process may use of the machine: its cores, the memory, and the GPUs that nvidia-smi lists."""
    # Where there is no nvidia-smi, looking for it costs nothing; where there is one, it may take a second.
    gpus, gpu_memory_mib = _detect_gpus(runner) if look_for_gpus and shutil.which("nvidia-smi") else ((), 0)
    return LocalSlots(
        cpus=len(os.sched_getaffinity(0)),
        memory_mib=_memory_mib(),
        gpus=gpus,
        gpu_memory_mib=gpu_memory_mib,
        numa=numa_nodes(),
    )


def _memory_mib() -> int:
    total_kib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        limit = "max"
    return min(total_kib // 1024, int(limit) // 2**20) if limit.isdigit() else total_kib // 1024


def _detect_gpus(runner: Runner) -> tuple[tuple[str, ...], int]:
    answer = runner.run(
        ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"), timeout_s=10.0
    )
    rows = [line.rpartition(",") for line in answer.stdout.splitlines() if line.count(",")] if answer.ok else []
    memories = [int(memory) for _, _, memory in rows if memory.strip().isdigit()]
    return tuple(_gpu_type(name) for name, _, _ in rows), min(memories, default=0)


def _gpu_type(name: str) -> str:
    """Return `a100-sxm4-80gb` for `NVIDIA A100-SXM4-80GB`: a word that can be written in a request."""
    return "-".join(name.strip().lower().removeprefix("nvidia ").split())
