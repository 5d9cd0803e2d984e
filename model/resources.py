"""What a task asks for, in integers with the unit in the name."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "DEFAULT_WALLTIME_S",
    "MPS",
    "PERCENT",
    "SHARD",
    "Component",
    "DataWish",
    "Elastic",
    "GpuRequest",
    "Resources",
    "is_shared",
    "meets",
    "percent_of",
]

DEFAULT_WALLTIME_S = 3600
SHARD = "shard"
"""The type of GPU of an equal share of one that several jobs use side by side. Nobody gets one who does not ask for it."""

MPS = "mps"
"""The type of GPU of a percent of one that several jobs use side by side, each with so many of its threads. All percents that
a job gets on a node are of one GPU; where elisa gives them out itself, those of GPU 1 are of the type `mps:1`."""
PERCENT = 100


def percent_of(gpu: int) -> str:
    """Return the type of the percents of one GPU of a node."""
    return f"{MPS}:{gpu}"


def meets(kind: str, wish: str) -> bool:
    """Tell whether GPUs of a type are what is wished for."""
    return kind == wish or (wish == MPS and kind.startswith(f"{MPS}:"))


def is_shared(kind: str) -> bool:
    """Tell whether a type stands for parts of GPUs, which nobody gets who does not ask for them."""
    return kind == SHARD or meets(kind, MPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRequest:
    """GPUs wanted on each node. Empty `types` means any; otherwise any one of them, in order of preference.

    What is asked for may be shares of GPUs, so many `parts` of which make one: 1 until a plan says what the site does.
    """

    per_node: int = 0
    types: tuple[str, ...] = ()
    memory_mib: int = 0  # the least memory of one GPU; 0: any
    parts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Elastic:
    """How many nodes will do, or with `of_gpus` how many GPUs on each node: `least` to `most`, in multiples of `step`."""

    least: int
    most: int
    step: int = 1
    of_gpus: bool = False

    @property
    def unit(self) -> str:
        """What there may be more or fewer of."""
        return "gpus" if self.of_gpus else "nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """Nodes of another kind that a heterogeneous job has beside its first ones, for as long as those."""

    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int = 1
    memory_mib_per_node: int = 0
    gpus: GpuRequest = GpuRequest()
    features: tuple[str, ...] = ()
    constraint: str = ""

    def alone(self, walltime_s: int) -> Resources:
        """Return what a job would ask for that were this part alone."""
        return Resources(
            nodes=self.nodes,
            tasks_per_node=self.tasks_per_node,
            cpus_per_task=self.cpus_per_task,
            memory_mib_per_node=self.memory_mib_per_node,
            walltime_s=walltime_s,
            gpus=self.gpus,
            features=self.features,
            constraint=self.constraint,
        )

    @property
    def cpus(self) -> int:
        """Cores over all its nodes."""
        return self.nodes * self.tasks_per_node * self.cpus_per_task


@dataclass(frozen=True, slots=True, kw_only=True)
class DataWish:
    """Data that a task reads: a data set of the site by its name, or a path. `required`: it runs nowhere else."""

    name: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one attempt asks a resource manager for.

    `memory_mib_per_node` 0 leaves the site's default. `constraint` is the resource manager's own feature expression;
    `features` are names that every node must have, `tolerations` the taints that a node may have. With `components` it is a
    heterogeneous job: what stands here is for its first nodes, where the program is started, and the totals below count all
    of them. An `elastic` one will do with other numbers of nodes, or of GPUs on each, too: its `size` is the least of them in
    what a task asks for, and the number that was chosen in what an attempt does.
    With `numa` a node's part of it is kept on one NUMA node, as far as can be. `data` is what it reads. Its nodes hang on at
    most `switches` leaf switches (0: on any number); Slurm waits for that for `switches_wait_s`, with 0 for as long as it lets
    a job wait.
    `nodelist` names the very nodes, once a plan chose them because their names matter.
    `watts` and `gpu_watts` are what all of it is expected to draw, without its GPUs and by them: 0 until a plan prices it,
    and where the site says nothing.
    """

    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int = 1
    memory_mib_per_node: int = 0
    walltime_s: int = DEFAULT_WALLTIME_S
    gpus: GpuRequest = GpuRequest()
    licences: tuple[tuple[str, int], ...] = ()
    features: tuple[str, ...] = ()
    tolerations: tuple[str, ...] = ()
    constraint: str = ""
    exclusive: bool = False
    components: tuple[Component, ...] = ()
    elastic: Elastic | None = None
    numa: bool = False
    data: tuple[DataWish, ...] = ()
    switches: int = 0
    switches_wait_s: int = 0
    nodelist: tuple[str, ...] = ()
    watts: int = 0
    gpu_watts: int = 0

    @property
    def bounds(self) -> Elastic:
        """The sizes that will do; of what is not elastic just its nodes."""
        return self.elastic or Elastic(least=self.nodes, most=self.nodes)

    @property
    def size(self) -> int:
        """How many it asks for of what an elastic request may have more or fewer of: nodes, or GPUs on each."""
        return self.gpus.per_node if self.bounds.of_gpus else self.nodes

    @property
    def speed(self) -> float:
        """How fast elastic work is expected to go, 1 at the least size that will do: in proportion to its size."""
        return 1.0 if self.elastic is None else self.size / self.elastic.least

    @property
    def cpus_per_node(self) -> int:
        """Cores on each of the first nodes."""
        return self.tasks_per_node * self.cpus_per_task

    @property
    def cpus(self) -> int:
        """Cores over all nodes."""
        own = self.nodes * self.tasks_per_node * self.cpus_per_task
        return own + sum([part.cpus for part in self.components]) if self.components else own

    @property
    def gpu_count(self) -> int:
        """GPUs over all nodes."""
        own = self.nodes * self.gpus.per_node
        return own + sum([part.nodes * part.gpus.per_node for part in self.components]) if self.components else own

    @property
    def gpu_parts(self) -> int:
        """How many of what `gpu_count` counts make a GPU: 1, which is never too few, where not all of it is of one size."""
        if not self.components:
            return self.gpus.parts
        sizes = {gpus.parts for gpus in (self.gpus, *(part.gpus for part in self.components)) if gpus.per_node}
        return sizes.pop() if len(sizes) == 1 else 1

    @property
    def draw_w(self) -> int:
        """Watts that all of it is expected to draw, its GPUs among it."""
        return self.watts + self.gpu_watts

    @property
    def memory_mib(self) -> int:
        """Memory over all nodes."""
        own = self.nodes * self.memory_mib_per_node
        return (
            own + sum([part.nodes * part.memory_mib_per_node for part in self.components]) if self.components else own
        )

    @property
    def node_count(self) -> int:
        """All nodes."""
        return self.nodes + sum([part.nodes for part in self.components]) if self.components else self.nodes
