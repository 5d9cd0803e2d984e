"""The sections of `site.yaml` about backends and places: each knows how to become what a policy follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from elisa.engine.site_kinds import Count, Duration, Memory, Moment, Section, Weight
from elisa.model.hostlist import expand_hosts
from elisa.model.ids import BackendName
from elisa.model.site import (
    Closure,
    DataPlace,
    DataSet,
    Exploration,
    FusionRules,
    Power,
    PreemptionRules,
    Taint,
    Window,
)

__all__ = [
    "BackendConfig",
    "ClosureConfig",
    "DataConfig",
    "DataPlaceConfig",
    "ExplorationConfig",
    "FusionConfig",
    "PowerConfig",
    "PreemptionConfig",
]

_EXPLORATION, _FUSION, _PREEMPTION = Exploration(), FusionRules(), PreemptionRules()


class BackendConfig(Section):
    """One resource manager."""

    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")] = Field(
        description="`local`, `slurm`, `pbs`, `simulated`, or a kind that an installed package brings."
    )
    account: str = Field(default="", description="The account to charge where a task names none.")
    window: Count | None = Field(
        default=None, description="How many of elisa's jobs may wait in each of its partitions; else `default_window`."
    )
    windows: Mapping[str, Count] = Field(default={}, description="The same for single partitions, by name.")
    chain: Count | None = Field(
        default=None,
        description="How many stages of a pipeline, or further attempts at long work, may be queued behind a job that has not"
        " ended, one behind another; 0 is none. Left out, as many as suit its kind.",
    )
    taints: Mapping[str, str] = Field(
        default={}, description="Nodes, such as `n[1-4],gpu7`, that take only work which tolerates this name."
    )
    options: Mapping[str, Any] = Field(default={}, description="What only its kind knows: see below.")

    def limits(self, name: str) -> tuple[Window, ...]:
        """Return how many queued jobs elisa keeps in every partition of backend `name`, and in single ones."""
        whole = () if self.window is None else (("", self.window),)
        return tuple(
            Window(backend=BackendName(name), partition=partition, size=size)
            for partition, size in (*whole, *sorted(self.windows.items()))
        )

    def marks(self, name: str) -> tuple[Taint, ...]:
        """Return the taints of the nodes of backend `name`."""
        return tuple(
            Taint(name=taint, backend=BackendName(name), nodes=tuple(expand_hosts(nodes)))
            for taint, nodes in sorted(self.taints.items())
        )


class FusionConfig(Section):
    """Which short tasks share a native job, one after another, each still with an attempt, a log and an end of its own."""

    enabled: bool = Field(default=_FUSION.enabled, description="Whether any do.")
    longest: Duration = Field(
        default=int(_FUSION.longest_s), description="A task expected to run for longer has a native job to itself."
    )
    fill: Duration = Field(
        default=int(_FUSION.fill_s), description="A job is filled with no more than this much expected work."
    )
    most: Annotated[int, Field(ge=1)] = Field(default=_FUSION.most, description="How many tasks share one job at most.")
    lanes: Annotated[int, Field(ge=1)] = Field(
        default=_FUSION.lanes,
        description="How many of a job's tasks run side by side: it asks for so many times what one of them asks for.",
    )

    def policy(self) -> FusionRules:
        """Return it as the rules of a policy."""
        return FusionRules(
            enabled=self.enabled, longest_s=self.longest, fill_s=self.fill, most=self.most, lanes=self.lanes
        )


class PreemptionConfig(Section):
    """Whether and when running attempts may be asked to leave."""

    enabled: bool = Field(default=_PREEMPTION.enabled, description="Whether elisa preempts at all.")
    class_gap: Annotated[int, Field(ge=1)] = Field(
        default=_PREEMPTION.class_gap, description="How many classes better than its victim a task must be."
    )
    minimum_run: Duration = Field(
        default=int(_PREEMPTION.minimum_run_s), description="An attempt younger than this is left alone."
    )
    times: Count = Field(
        default=_PREEMPTION.times, description="A task that was preempted so often is left alone from then on."
    )
    grace: Duration = Field(
        default=int(_PREEMPTION.grace_s), description="What leaving in good order takes: weighed against deadlines."
    )
    restart: Duration = Field(
        default=int(_PREEMPTION.restart_s), description="What starting again costs beside the work that is lost."
    )
    costs: tuple[str, ...] = Field(
        default=(), description="Plug-ins of other packages (`cost.NAME`) that add to what stopping work costs."
    )

    def policy(self) -> PreemptionRules:
        """Return it as the rules of a policy."""
        return PreemptionRules(
            enabled=self.enabled,
            class_gap=self.class_gap,
            minimum_run_s=self.minimum_run,
            times=self.times,
            grace_s=self.grace,
            restart_s=self.restart,
            costs=self.costs,
        )


class ExplorationConfig(Section):
    """Which work is sent to a type of GPU that its kind was never measured on: one task of a kind at a time."""

    enabled: bool = Field(default=_EXPLORATION.enabled, description="Whether any is.")
    longest: Duration = Field(
        default=int(_EXPLORATION.longest_s),
        description="How long it is expected to run at most, or asks to where nothing is expected.",
    )

    def policy(self) -> Exploration:
        """Return it as the rules of a policy."""
        return Exploration(enabled=self.enabled, longest_s=float(self.longest))


class PowerConfig(Section):
    """What work is expected to draw, in watts. What is left out draws nothing; types of GPU stand under `gpu_watts`."""

    node: Weight = Field(default=0.0, description="A node, beside its cores and GPUs.")
    nodes: Mapping[str, Weight] = Field(
        default={}, description="The same for work that names a partition, by its name."
    )
    cpu: Weight = Field(default=0.0, description="One core.")
    gpu: Weight = Field(default=0.0, description="One GPU of a type that `gpu_watts` leaves out.")

    def policy(self, gpu_types: Mapping[str, float]) -> Power:
        """Return it, with the types of GPU."""
        return Power(
            node=self.node,
            nodes=tuple(sorted(self.nodes.items())),
            cpu=self.cpu,
            gpu=self.gpu,
            gpu_types=tuple(sorted(gpu_types.items())),
        )


class ClosureConfig(Section):
    """A time in which nodes must be empty. Work is started there only if it ends before."""

    backend: str = Field(description="The backend whose nodes they are.")
    starts_at: Moment = Field(alias="from", description="From when on they are closed.")
    ends_at: Moment = Field(alias="until", description="When they are open again.")
    nodes: str = Field(default="", description="Their names, such as `n[1-4],gpu7`; all of the backend if left out.")

    def policy(self) -> Closure:
        """Return it as the rules of a policy."""
        return Closure(
            backend=BackendName(self.backend),
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            nodes=tuple(expand_hosts(self.nodes)),
        )


class DataPlaceConfig(Section):
    """Where a data set is."""

    backend: str = Field(description="The backend whose nodes hold it.")
    partition: str = Field(default="", description="Those of this partition; of all if left out.")
    nodes: str = Field(default="", description="These nodes, such as `n[1-4],gpu7`; all if left out.")

    def policy(self) -> DataPlace:
        """Return it as the rules of a policy."""
        return DataPlace(
            backend=BackendName(self.backend), partition=self.partition, nodes=tuple(expand_hosts(self.nodes))
        )


class DataConfig(Section):
    """A data set that tasks may name under `data` of their `resources`."""

    paths: tuple[str, ...] = Field(
        default=(), description="Its folders: a task may name a path in one of them instead."
    )
    size: Memory = Field(default=0, description="How large it is; the term `near` counts bytes.")
    at: tuple[DataPlaceConfig, ...] = Field(default=(), description="Where it is.")

    def policy(self, name: str) -> DataSet:
        """Return it as the rules of a policy."""
        places = tuple(place.policy() for place in self.at)
        return DataSet(name=name, paths=self.paths, size_mib=self.size, places=places)
