"""What a task asks for, in integers with the unit in the name."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_WALLTIME_S", "GpuRequest", "Resources"]

DEFAULT_WALLTIME_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRequest:
    """GPUs wanted on each node. Empty `types` means any; otherwise any one of them, in order of preference."""

    per_node: int = 0
    types: tuple[str, ...] = ()
    memory_mib: int = 0  # the least memory of one GPU; 0: any


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one attempt asks a resource manager for.

    `memory_mib_per_node` 0 leaves the site's default. `constraint` is the resource manager's own feature expression;
    `features` are names that every node must have.
    """

    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int = 1
    memory_mib_per_node: int = 0
    walltime_s: int = DEFAULT_WALLTIME_S
    gpus: GpuRequest = GpuRequest()
    licences: tuple[tuple[str, int], ...] = ()
    features: tuple[str, ...] = ()
    constraint: str = ""
    exclusive: bool = False

    @property
    def cpus_per_node(self) -> int:
        """Cores on each node."""
        return self.tasks_per_node * self.cpus_per_task

    @property
    def cpus(self) -> int:
        """Cores over all nodes."""
        return self.nodes * self.cpus_per_node

    @property
    def gpu_count(self) -> int:
        """GPUs over all nodes."""
        return self.nodes * self.gpus.per_node

    @property
    def memory_mib(self) -> int:
        """Memory over all nodes."""
        return self.nodes * self.memory_mib_per_node
