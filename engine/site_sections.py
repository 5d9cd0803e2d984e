"""The sections of `site.yaml`, checked as they are read: each knows how to become the rules that a policy follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from elisa.engine.release import JobRules
from elisa.model.ids import BackendName, ProjectName
from elisa.model.pipeline import PriorityClass
from elisa.model.site import (
    Billing,
    Cap,
    Factors,
    FairShare,
    Grant,
    Loan,
    Metered,
    PreemptionRules,
    ProjectPolicy,
    ServiceClass,
    Window,
)
from elisa.model.units import parse_duration_s, parse_memory_mib
from elisa.policies.lifecycle import LifecycleRules

__all__ = [
    "Amounts",
    "AtOnce",
    "BackendConfig",
    "BillingConfig",
    "Count",
    "Duration",
    "FactorsConfig",
    "FairShareConfig",
    "GrantConfig",
    "JobsConfig",
    "Limits",
    "LoanConfig",
    "PreemptionConfig",
    "ProjectConfig",
    "RecoveryConfig",
    "Section",
    "known_settings",
]


def _duration_s(value: object) -> int:
    return parse_duration_s(value if isinstance(value, str) else str(value))


def _memory_mib(value: object) -> int:
    return parse_memory_mib(value if isinstance(value, str) else str(value))


# Units stand in the text; a bare number is refused, because nobody knows whether it meant seconds or minutes.
Duration = Annotated[int, BeforeValidator(_duration_s), Field(json_schema_extra={"type": "string"})]
Memory = Annotated[int, BeforeValidator(_memory_mib), Field(json_schema_extra={"type": "string"})]
Count = Annotated[int, Field(strict=True, ge=0)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


_BILLING, _PREEMPTION = Billing(), PreemptionRules()
_FACTORS, _JOBS, _LIFECYCLE = Factors(), JobRules(), LifecycleRules()


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BackendConfig(Section):
    """One resource manager. Settings that only its kind knows stand in `options`."""

    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    account: str = ""
    window: Count | None = None
    windows: Mapping[str, Count] = {}
    options: Mapping[str, Any] = {}

    def limits(self, name: str) -> tuple[Window, ...]:
        """Return how many queued jobs elisa keeps in all of backend `name`, and in single partitions."""
        whole = () if self.window is None else (("", self.window),)
        return tuple(
            Window(backend=BackendName(name), partition=partition, size=size)
            for partition, size in (*whole, *sorted(self.windows.items()))
        )


class Amounts(Section):
    """What may be used in all, in hours of each."""

    node_hours: Weight | None = None
    cpu_hours: Weight | None = None
    gpu_hours: Weight | None = None
    memory_gib_hours: Weight | None = None
    gpu_hours_by_type: Mapping[str, Weight] = {}

    def caps(self, *, is_hard: bool) -> tuple[Cap, ...]:
        """Return these amounts as limits in seconds."""
        plain = (
            (Metered.NODE_S, self.node_hours, 3600),
            (Metered.CPU_S, self.cpu_hours, 3600),
            (Metered.GPU_S, self.gpu_hours, 3600),
            (Metered.MEMORY_MIB_S, self.memory_gib_hours, 3600 * 1024),
        )
        return (
            *(Cap(resource=what, limit=int(n * unit), is_hard=is_hard) for what, n, unit in plain if n is not None),
            *(
                Cap(resource=Metered.GPU_S, limit=int(hours * 3600), gpu_type=kind, is_hard=is_hard)
                for kind, hours in self.gpu_hours_by_type.items()
            ),
        )


class AtOnce(Section):
    """What live attempts may hold together at one moment."""

    jobs: Count | None = None
    nodes: Count | None = None
    cpus: Count | None = None
    gpus: Count | None = None
    memory: Memory | None = None
    gpus_by_type: Mapping[str, Count] = {}

    def caps(self) -> tuple[Cap, ...]:
        """Return these limits."""
        plain = (
            (Metered.JOBS, self.jobs),
            (Metered.NODES, self.nodes),
            (Metered.CPUS, self.cpus),
            (Metered.GPUS, self.gpus),
            (Metered.MEMORY_MIB, self.memory),
        )
        return (
            *(Cap(resource=what, limit=limit) for what, limit in plain if limit is not None),
            *(Cap(resource=Metered.GPUS, limit=n, gpu_type=kind) for kind, n in self.gpus_by_type.items()),
        )


class Limits(Section):
    """Limits of a project, or of each of its users. `budget` is never exceeded, `soft_budget` only with idle resources."""

    budget: Amounts = Amounts()
    soft_budget: Amounts = Amounts()
    at_once: AtOnce = AtOnce()

    def caps(self) -> tuple[Cap, ...]:
        """Return all of them."""
        return (*self.budget.caps(is_hard=True), *self.soft_budget.caps(is_hard=False), *self.at_once.caps())


class GrantConfig(Section):
    """An amount for a period. `from` and `until` are moments with their time zone."""

    amount: Amounts
    starts_at: Annotated[AwareDatetime, Field(alias="from")]
    ends_at: Annotated[AwareDatetime, Field(alias="until")]
    carry_over: Annotated[float, Field(ge=0, le=1)] = 0.0

    def grants(self) -> tuple[Grant, ...]:
        """Return one grant for each amount."""
        return tuple(
            Grant(
                resource=cap.resource,
                amount=cap.limit,
                gpu_type=cap.gpu_type,
                starts_at=self.starts_at,
                ends_at=self.ends_at,
                carry_over=self.carry_over,
            )
            for cap in self.amount.caps(is_hard=True)
        )


class ProjectConfig(Limits):
    """One project."""

    group: str = ""
    shares: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    per_user: Limits = Limits()
    grants: tuple[GrantConfig, ...] = ()
    highest: PriorityClass = PriorityClass.HIGH
    service: ServiceClass = ServiceClass.BURSTABLE
    queue_limit: Count = 0
    may_lend: bool = False

    def policy(self, name: str) -> ProjectPolicy:
        """Return it as the rules of project `name`."""
        return ProjectPolicy(
            name=ProjectName(name),
            group=self.group,
            shares=self.shares,
            caps=self.caps(),
            user_caps=self.per_user.caps(),
            grants=tuple(grant for config in self.grants for grant in config.grants()),
            highest=self.highest,
            service=self.service,
            queue_limit=self.queue_limit,
            may_lend=self.may_lend,
        )


class LoanConfig(Section):
    """What one project lends another until a moment."""

    lender: str
    borrower: str
    amount: Amounts
    starts_at: Annotated[AwareDatetime, Field(alias="from")]
    due_at: Annotated[AwareDatetime, Field(alias="until")]
    recallable: bool = True

    def loans(self) -> tuple[Loan, ...]:
        """Return one loan for each amount."""
        return tuple(
            Loan(
                lender=ProjectName(self.lender),
                borrower=ProjectName(self.borrower),
                resource=cap.resource,
                amount=cap.limit,
                gpu_type=cap.gpu_type,
                starts_at=self.starts_at,
                due_at=self.due_at,
                recallable=self.recallable,
            )
            for cap in self.amount.caps(is_hard=True)
        )


class BillingConfig(Section):
    """Weights of an hour of each in fair share."""

    node: Weight = _BILLING.node
    cpu: Weight = _BILLING.cpu
    memory_gib: Weight = _BILLING.memory_gib
    gpu: Weight = _BILLING.gpu
    gpu_types: Mapping[str, Weight] = {}


class FairShareConfig(Section):
    """How past use counts."""

    half_life: Duration = int(FairShare().half_life_s)
    groups: Mapping[str, Weight] = {}
    billing: BillingConfig = BillingConfig()

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

    enabled: bool = _PREEMPTION.enabled
    class_gap: Annotated[int, Field(ge=1)] = _PREEMPTION.class_gap
    minimum_run: Duration = int(_PREEMPTION.minimum_run_s)
    times: Count = _PREEMPTION.times
    grace: Duration = int(_PREEMPTION.grace_s)
    restart: Duration = int(_PREEMPTION.restart_s)

    def policy(self) -> PreemptionRules:
        """Return it as the rules of a policy."""
        return PreemptionRules(
            enabled=self.enabled,
            class_gap=self.class_gap,
            minimum_run_s=self.minimum_run,
            times=self.times,
            grace_s=self.grace,
            restart_s=self.restart,
        )


class FactorsConfig(Section):
    """Weights of the multifactor order."""

    age: Weight = _FACTORS.age
    fair_share: Weight = _FACTORS.fair_share
    deadline: Weight = _FACTORS.deadline
    importance: Weight = _FACTORS.importance
    size: float = _FACTORS.size
    progress: Weight = _FACTORS.progress
    full_age: Duration = int(_FACTORS.age_s)
    full_importance: Annotated[float, Field(gt=0)] = _FACTORS.importance_full

    def policy(self) -> Factors:
        """Return it as the rules of a policy."""
        return Factors(
            age=self.age,
            fair_share=self.fair_share,
            deadline=self.deadline,
            importance=self.importance,
            size=self.size,
            progress=self.progress,
            age_s=self.full_age,
            importance_full=self.full_importance,
        )


class JobsConfig(Section):
    """What every job's agent does: how often it speaks and samples, how long a program may take to leave."""

    heartbeat: Duration = int(_JOBS.heartbeat_s)
    sample: Duration = int(_JOBS.sample_s)
    grace: Duration = int(_JOBS.grace_s)
    self_fence: Duration = int(_JOBS.self_fence_s)
    output_limit: Memory = _JOBS.output_limit_mib

    def rules(self) -> JobRules:
        """Return it in the units of an agent's instructions."""
        return JobRules(
            heartbeat_s=self.heartbeat,
            sample_s=self.sample,
            grace_s=self.grace,
            self_fence_s=self.self_fence,
            output_limit_mib=self.output_limit,
        )


class RecoveryConfig(Section):
    """How much silence is proof that a job never was, or is no more."""

    grace: Duration = int(_LIFECYCLE.grace_s)
    absences: Annotated[int, Field(ge=1)] = _LIFECYCLE.absences
    linger_ticks: Count = _LIFECYCLE.linger_ticks

    def rules(self) -> LifecycleRules:
        """Return it as the rules of a policy."""
        return LifecycleRules(grace_s=self.grace, absences=self.absences, linger_ticks=self.linger_ticks)


def known_settings() -> frozenset[str]:
    """Return the name of every setting of every section, for a hint at what a wrong one was meant to be."""
    return frozenset(
        info.alias or name for section in Section.__subclasses__() for name, info in section.model_fields.items()
    )
