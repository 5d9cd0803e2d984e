"""The sections of `site.yaml` about backends and rules: each knows how to become what a policy or an agent follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field, model_validator

from elisa.engine.release import JobRules
from elisa.engine.site_kinds import Count, Duration, Memory, Moment, Section, Weight
from elisa.model.hostlist import expand_hosts
from elisa.model.ids import BackendName
from elisa.model.site import (
    Billing,
    Closure,
    DataPlace,
    DataSet,
    Exploration,
    Factors,
    FairShare,
    FusionRules,
    PlacementWeights,
    Power,
    PreemptionRules,
    Taint,
    Window,
)
from elisa.model.states import INFRASTRUCTURE_ENDS, EndReason
from elisa.policies.lifecycle import LifecycleRules
from elisa.policies.refunds import RefundRules

__all__ = [
    "BackendConfig",
    "BillingConfig",
    "ClosureConfig",
    "DataConfig",
    "DataPlaceConfig",
    "ExplorationConfig",
    "FactorsConfig",
    "FairShareConfig",
    "FusionConfig",
    "JobsConfig",
    "PlacementConfig",
    "PowerConfig",
    "PreemptionConfig",
    "RecoveryConfig",
    "RefundsConfig",
]

_BILLING, _FUSION, _PREEMPTION = Billing(), FusionRules(), PreemptionRules()
_EXPLORATION = Exploration()
_FACTORS, _JOBS, _LIFECYCLE, _PLACEMENT = Factors(), JobRules(), LifecycleRules(), PlacementWeights()


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


class BillingConfig(Section):
    """What an hour of each counts in fair share."""

    node: Weight = Field(default=_BILLING.node, description="A node.")
    cpu: Weight = Field(default=_BILLING.cpu, description="A core.")
    memory_gib: Weight = Field(default=_BILLING.memory_gib, description="A GiB of memory.")
    gpu: Weight = Field(default=_BILLING.gpu, description="A GPU.")
    gpu_types: Mapping[str, Weight] = Field(default={}, description="A GPU of a type, in place of `gpu`.")


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


class FairShareConfig(Section):
    """How past use counts."""

    half_life: Duration = Field(
        default=int(FairShare().half_life_s), description="After this time use counts half; `0s` never forgets."
    )
    groups: Mapping[str, Weight] = Field(
        default={}, description="Shares of the inner groups of the tree, by path; 1 for those not named."
    )
    billing: BillingConfig = Field(default=BillingConfig(), description="How use becomes one number.")

    def policy(self) -> FairShare:
        """Return it as the rules of a policy."""
        billing = Billing(
            node=self.billing.node,
            cpu=self.billing.cpu,
            memory_gib=self.billing.memory_gib,
            gpu=self.billing.gpu,
            gpu_types=tuple(sorted(self.billing.gpu_types.items())),
        )
        return FairShare(half_life_s=self.half_life, group_shares=tuple(sorted(self.groups.items())), billing=billing)


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


_Weights = TypeVar("_Weights", bound=Section)


def _with_others(section: _Weights, others: Mapping[str, float]) -> _Weights:
    """Return the section. Raises ValueError if a weight for another package has a name that is built in."""
    for name in sorted(others.keys() & type(section).model_fields.keys()):
        raise ValueError(f"`{name}` is built in: give it its weight beside `others`, not under it")
    return section


class FactorsConfig(Section):
    """Weights of the order key `multifactor`; each factor lies between 0 and 1."""

    age: Weight = Field(default=_FACTORS.age, description="How long the task has been ready, of `full_age`.")
    fair_share: Weight = Field(default=_FACTORS.fair_share, description="The place of its owner in the fair tree.")
    deadline: Weight = Field(
        default=_FACTORS.deadline, description="The part of the time left until the deadline that its work needs."
    )
    importance: Weight = Field(default=_FACTORS.importance, description="Its importance, of `full_importance`.")
    size: float = Field(
        default=_FACTORS.size, description="How little a full run is billed; a negative weight prefers large work."
    )
    progress: Weight = Field(default=_FACTORS.progress, description="The share of its work that is done.")
    promise: Weight = Field(
        default=_FACTORS.promise, description="What its results are hoped to be worth, as its `promise` declares."
    )
    full_age: Duration = Field(default=int(_FACTORS.age_s), description="The wait at which age counts 1.")
    full_importance: Annotated[float, Field(gt=0)] = Field(
        default=_FACTORS.importance_full, description="The importance that counts 1."
    )
    others: Mapping[str, Weight] = Field(
        default={}, description="Weights of factors of other packages (`factor.NAME`), by name."
    )

    @model_validator(mode="after")
    def _others_are_others(self) -> FactorsConfig:
        return _with_others(self, self.others)

    def policy(self) -> Factors:
        """Return it as the rules of a policy."""
        return Factors(
            age=self.age,
            fair_share=self.fair_share,
            deadline=self.deadline,
            importance=self.importance,
            size=self.size,
            progress=self.progress,
            promise=self.promise,
            age_s=self.full_age,
            importance_full=self.full_importance,
            others=tuple(sorted(self.others.items())),
        )


class PlacementConfig(Section):
    """Weights of the terms that choose between places a task may run in; each term lies between 0 and 1."""

    wish: Weight = Field(default=_PLACEMENT.wish, description="The author's first choice of GPU.")
    default: Weight = Field(default=_PLACEMENT.default, description="The resource manager's own default partition.")
    finish: Weight = Field(default=_PLACEMENT.finish, description="Ends soonest, wait and speed together.")
    cost: Weight = Field(default=_PLACEMENT.cost, description="Is billed least.")
    load: Weight = Field(default=_PLACEMENT.load, description="Is least full.")
    energy: Weight = Field(default=_PLACEMENT.energy, description="Draws least.")
    near: Weight = Field(default=_PLACEMENT.near, description="Has the data that it reads.")
    fit: Weight = Field(default=_PLACEMENT.fit, description="Leaves the fewest GPUs idle beside it.")
    affinity: Weight = Field(
        default=_PLACEMENT.affinity, description="Has nodes beside, and apart from, the tasks that it prefers."
    )
    switches: Weight = Field(
        default=_PLACEMENT.switches, description="Spreads work on several nodes over the fewest switches."
    )
    others: Mapping[str, Weight] = Field(
        default={}, description="Weights of terms of other packages (`score.NAME`), by name."
    )

    @model_validator(mode="after")
    def _others_are_others(self) -> PlacementConfig:
        return _with_others(self, self.others)

    def policy(self) -> PlacementWeights:
        """Return it as the rules of a policy."""
        return PlacementWeights(**self.model_dump() | {"others": tuple(sorted(self.others.items()))})


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


class RefundsConfig(Section):
    """What is given back of a project's budget for work that was lost through no fault of its own."""

    part: Annotated[float, Field(ge=0, le=1)] = Field(default=1.0, description="How much of what was lost.")
    whole_run: bool = Field(
        default=False,
        description="Whether all of the run counts as lost, not only what came after its last checkpoint.",
    )
    ends: tuple[EndReason, ...] = Field(
        default=tuple(sorted(INFRASTRUCTURE_ENDS)), description="After which ends of an attempt."
    )

    def rules(self) -> RefundRules:
        """Return it as the rules of a policy."""
        return RefundRules(ends=frozenset(self.ends), share=self.part, whole_run=self.whole_run)


class JobsConfig(Section):
    """What the agent of every job does."""

    heartbeat: Duration = Field(default=int(_JOBS.heartbeat_s), description="How often it says that it lives.")
    sample: Duration = Field(default=int(_JOBS.sample_s), description="How often it looks at what the program uses.")
    grace: Duration = Field(
        default=int(_JOBS.grace_s), description="How long a program that is asked to end may take before it is killed."
    )
    self_fence: Duration = Field(
        default=int(_JOBS.self_fence_s),
        description="An agent that cannot reach the state folder for so long kills its program; a successor waits a quarter"
        " longer after the last sign of life, unless something proves sooner that nothing runs any more.",
    )
    output_limit: Memory = Field(
        default=_JOBS.output_limit_mib, description="What a program may print before it is stopped."
    )
    local_checkpoints: str = Field(
        default=_JOBS.local_checkpoints,
        description="A folder on each node's own fast disk, where `elisa.checkpoint` saves first; may name `$VARIABLES` of the"
        " job. Empty: there is none.",
    )

    def rules(self) -> JobRules:
        """Return it in the units of an agent's instructions."""
        return JobRules(
            heartbeat_s=self.heartbeat,
            sample_s=self.sample,
            grace_s=self.grace,
            self_fence_s=self.self_fence,
            output_limit_mib=self.output_limit,
            local_checkpoints=self.local_checkpoints,
        )


class RecoveryConfig(Section):
    """How much silence proves that a job never was, or is no more. All conditions must hold together."""

    grace: Duration = Field(
        default=int(_LIFECYCLE.grace_s),
        description="A job that cannot be found is given up after this time at the earliest.",
    )
    absences: Annotated[int, Field(ge=1)] = Field(
        default=_LIFECYCLE.absences,
        description="So many complete listings must lack it, while the job itself is silent.",
    )
    linger_ticks: Count = Field(
        default=_LIFECYCLE.linger_ticks,
        description="How many ticks an unexplained end waits for the other word, the job's or the manager's.",
    )

    refunds: RefundsConfig | None = Field(
        default=None, description="What is given back for work that failures lost; nothing if left out."
    )

    def rules(self) -> LifecycleRules:
        """Return it as the rules of a policy."""
        return LifecycleRules(
            grace_s=self.grace,
            absences=self.absences,
            linger_ticks=self.linger_ticks,
            refunds=None if self.refunds is None else self.refunds.rules(),
        )
