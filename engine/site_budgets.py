"""The sections of `site.yaml` about who may use how much: budgets, projects, grants and loans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from elisa.engine.roles import User, uid_of
from elisa.engine.site_kinds import Count, Memory, Moment, Section, Weight
from elisa.model.ids import BackendName, ProjectName, RuleId
from elisa.model.pipeline import PriorityClass
from elisa.model.site import Allowance, Cap, Grant, Loan, Metered, ProjectPolicy, Reservation, ServiceClass

__all__ = [
    "Amounts",
    "AtOnce",
    "Budget",
    "GrantConfig",
    "Limits",
    "LoanConfig",
    "ProjectConfig",
    "ReservationConfig",
    "RoomAmounts",
]


Every = Annotated[str, Field(pattern=r"^(day|week|month|[1-9][0-9]{0,2}d)$")]
PositiveCount = Annotated[int, Field(strict=True, ge=1)]
PartCount = Annotated[int, Field(strict=True, ge=1, le=10_000)]


class Amounts(Section):
    """What may be used in all, in hours of each. What is left out is not limited."""

    node_hours: Weight | None = Field(default=None, description="Hours of whole nodes.")
    cpu_hours: Weight | None = Field(default=None, description="Hours of cores.")
    gpu_hours: Weight | None = Field(default=None, description="Hours of GPUs of all types together.")
    memory_gib_hours: Weight | None = Field(default=None, description="Hours of a GiB of memory.")
    energy_kwh: Weight | None = Field(
        default=None, description="Kilowatt hours, as `power` and `gpu_watts` estimate them and agents measure them."
    )
    gpu_hours_by_type: Mapping[str, Weight] = Field(
        default={}, description="Hours of GPUs of single types, beside `gpu_hours`."
    )

    def caps(self, *, is_hard: bool) -> tuple[Cap, ...]:
        """Return these amounts as limits in seconds."""
        plain = (
            (Metered.NODE_S, self.node_hours, 3600),
            (Metered.CPU_S, self.cpu_hours, 3600),
            (Metered.GPU_S, self.gpu_hours, 3600),
            (Metered.WATT_S, self.energy_kwh, 3_600_000),
            (Metered.MEMORY_MIB_S, self.memory_gib_hours, 3600 * 1024),
        )
        return (
            *(Cap(resource=what, limit=int(n * unit), is_hard=is_hard) for what, n, unit in plain if n is not None),
            *(
                Cap(resource=Metered.GPU_S, limit=int(hours * 3600), gpu_type=kind, is_hard=is_hard)
                for kind, hours in self.gpu_hours_by_type.items()
            ),
        )


class Budget(Amounts):
    """The same for ever, or anew in every period: what is spent counts on the day of its booking, in UTC."""

    every: Every | None = Field(
        default=None,
        description="`day`, `week` or `month` of the calendar, or `30d`: the last thirty days. In all if left out.",
    )
    carry_over: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="The part of what is left of a day, week or month that the next one adds."
    )

    @model_validator(mode="after")
    def _can_carry(self) -> Budget:
        if self.carry_over and self.every is not None and self.every[0].isdigit():
            raise ValueError(f"nothing is left over from the last {self.every}: carry_over needs day, week or month")
        return self

    def allowances(self, *, is_hard: bool) -> tuple[Allowance, ...]:
        """Return what begins anew, none if it counts for ever."""
        return tuple(
            Allowance(
                resource=cap.resource,
                amount=cap.limit,
                every=self.every,
                gpu_type=cap.gpu_type,
                carry_over=self.carry_over,
                is_hard=is_hard,
            )
            for cap in super().caps(is_hard=is_hard)
            if self.every is not None
        )

    def caps(self, *, is_hard: bool) -> tuple[Cap, ...]:
        """Return what counts for ever."""
        return () if self.every is not None else super().caps(is_hard=is_hard)


class AtOnce(Section):
    """What live attempts may hold together at one moment. Those that wait in a native queue count too."""

    jobs: Count | None = Field(default=None, description="Native jobs.")
    nodes: Count | None = Field(default=None, description="Nodes.")
    cpus: Count | None = Field(default=None, description="Cores.")
    gpus: Count | None = Field(default=None, description="GPUs of all types together.")
    memory: Memory | None = Field(default=None, description="Memory over all nodes.")
    gpus_by_type: Mapping[str, Count] = Field(default={}, description="GPUs of single types, beside `gpus`.")
    watts: Count | None = Field(default=None, description="Watts, as `power` and `gpu_watts` estimate them.")

    def caps(self, *, is_hard: bool = True) -> tuple[Cap, ...]:
        """Return these limits."""
        plain = (
            (Metered.JOBS, self.jobs),
            (Metered.NODES, self.nodes),
            (Metered.CPUS, self.cpus),
            (Metered.GPUS, self.gpus),
            (Metered.MEMORY_MIB, self.memory),
            (Metered.WATTS, self.watts),
        )
        return (
            *(Cap(resource=what, limit=limit, is_hard=is_hard) for what, limit in plain if limit is not None),
            *(
                Cap(resource=Metered.GPUS, limit=n, gpu_type=kind, is_hard=is_hard)
                for kind, n in self.gpus_by_type.items()
            ),
        )


class Limits(Section):
    """Limits of a project, or of each of its users."""

    budget: Budget = Field(default=Budget(), description="What may be used, in all or in a period: never exceeded.")
    soft_budget: Budget = Field(default=Budget(), description="Work beyond it comes after everybody else's.")
    at_once: AtOnce = Field(default=AtOnce(), description="What may be held at one moment: never exceeded.")
    soft_at_once: AtOnce = Field(
        default=AtOnce(), description="Work that holds more than that comes after everybody else's."
    )

    def caps(self) -> tuple[Cap, ...]:
        """Return all of them."""
        cumulative = (*self.budget.caps(is_hard=True), *self.soft_budget.caps(is_hard=False))
        return (*cumulative, *self.at_once.caps(), *self.soft_at_once.caps(is_hard=False))

    def allowances(self) -> tuple[Allowance, ...]:
        """Return what begins anew in every period."""
        return (*self.budget.allowances(is_hard=True), *self.soft_budget.allowances(is_hard=False))


class GrantConfig(Section):
    """An amount for a period. Where a project has grants of a thing, it may use that thing only within their periods."""

    amount: Amounts = Field(description="How much, on top of what was used before the period.")
    starts_at: Moment = Field(alias="from", description="When the period begins.")
    ends_at: Moment = Field(alias="until", description="When it is over.")
    carry_over: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="The part of what is left at the end that the project's next grant adds."
    )

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
    """One project: its share, what it and each of its users may use, and how high it may rank its work."""

    group: str = Field(default="", description="Its place in the tree of shares, such as `physics/lattice`.")
    shares: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=1.0, description="What it is due, against the shares of its siblings in the tree."
    )
    per_user: Limits = Field(default=Limits(), description="The same limits for each of its users by themselves.")
    grants: tuple[GrantConfig, ...] = Field(default=(), description="Amounts for periods.")
    highest: PriorityClass = Field(
        default=PriorityClass.HIGH,
        description="The best class its tasks may have: a better one is refused at submission.",
    )
    service: ServiceClass = Field(
        default=ServiceClass.BURSTABLE,
        description="`guaranteed` work goes first up to the project's due share of the machine, `best_effort` work last.",
    )
    queue_limit: Count = Field(default=0, description="How many unfinished tasks it may have; 0 is no limit.")
    importance_limit: Weight = Field(
        default=0.0, description="How much `importance` counts at most, pipeline and task together; 0 is no limit."
    )
    may_lend: bool = Field(default=False, description="Whether loans may take from its budget.")

    def policy(self, name: str) -> ProjectPolicy:
        """Return it as the rules of project `name`."""
        return ProjectPolicy(
            name=ProjectName(name),
            group=self.group,
            shares=self.shares,
            caps=self.caps(),
            user_caps=self.per_user.caps(),
            allowances=self.allowances(),
            user_allowances=self.per_user.allowances(),
            grants=tuple(grant for config in self.grants for grant in config.grants()),
            highest=self.highest,
            service=self.service,
            queue_limit=self.queue_limit,
            importance_limit=self.importance_limit,
            may_lend=self.may_lend,
        )


class LoanConfig(Section):
    """What one project lends another until a moment. Both need a hard limit on the thing, and the lender `may_lend`."""

    lender: str = Field(description="The project that gives.")
    borrower: str = Field(description="The project that takes.")
    amount: Amounts = Field(
        default=Amounts(),
        description="How much of a budget: so much less for the lender, so much more for the borrower.",
    )
    at_once: AtOnce = Field(
        default=AtOnce(), description="How much more the borrower may hold at one moment, likewise."
    )
    starts_at: Moment = Field(alias="from", description="From when on.")
    due_at: Moment = Field(alias="until", description="When what was not used goes back.")
    recallable: bool = Field(default=True, description="Whether the lender may call it back before.")
    on_need: bool = Field(
        default=True,
        description="Whether a recallable loan goes back by itself as soon as work of the lender is refused for want of it.",
    )

    @model_validator(mode="after")
    def _is_something(self) -> LoanConfig:
        if not self._lent():
            raise ValueError("name what is lent, such as gpu_hours=20 or at_once.gpus=4")
        return self

    def _lent(self) -> tuple[Cap, ...]:
        return (*self.amount.caps(is_hard=True), *self.at_once.caps())

    @property
    def name(self) -> RuleId:
        """A name for one that stands in site.yaml: two of the same day are called back together."""
        return RuleId(f"{self.lender}-{self.borrower}-{self.starts_at:%Y%m%d}")

    def loans(self, name: RuleId | None = None) -> tuple[Loan, ...]:
        """Return one loan for each amount, all with one id."""
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
                on_need=self.on_need,
                id=name or self.name,
            )
            for cap in self._lent()
        )


class RoomAmounts(Section):
    """Room of one backend. A GPU comes with its part of a node's cores and memory, a core with its part of the memory."""

    nodes: PositiveCount | None = Field(default=None, description="Whole nodes.")
    cpus: PositiveCount | None = Field(default=None, description="Cores.")
    gpus: Mapping[str, PositiveCount] = Field(default={}, description="GPUs, by type.")

    @model_validator(mode="after")
    def _is_something(self) -> RoomAmounts:
        if self.nodes is None and self.cpus is None and not self.gpus:
            raise ValueError("name nodes, cpus or gpus of a type, such as gpus.a100=8")
        return self

    def amounts(self) -> tuple[tuple[Metered, str, int], ...]:
        """Return how much of each thing, and of which type of GPU."""
        plain = ((Metered.NODES, self.nodes), (Metered.CPUS, self.cpus))
        return (
            *((what, "", count) for what, count in plain if count is not None),
            *((Metered.GPUS, kind, count) for kind, count in sorted(self.gpus.items())),
        )


class ReservationConfig(Section):
    """Room of a backend that is kept for a project for a time: nobody else's work is started that would run into it."""

    project: str = Field(description="For whom.")
    backend: str = Field(description="Where.")
    amount: RoomAmounts = Field(description="How much. What the project has there already counts towards it.")
    starts_at: Moment = Field(alias="from", description="From when on.")
    ends_at: Moment = Field(alias="until", description="Until when.")
    users: tuple[User, ...] = Field(default=(), description="Only for these users of the project; all if left out.")
    native: str = Field(
        default="",
        description="The name of a reservation of Slurm's or PBS's own that stands for it: the project's jobs ask for that.",
    )
    lend: bool = Field(
        default=False,
        description="Whether preemptible work that saves when it is asked may use the room until the project needs it. Where"
        " elisa places jobs itself.",
    )
    why: str = Field(default="", description="What for.")

    @property
    def name(self) -> RuleId:
        """A name for one that stands in site.yaml."""
        return RuleId(f"{self.project}-{self.backend}-{self.starts_at:%Y%m%d}")

    def reservations(self, name: RuleId | None = None, by: str = "") -> tuple[Reservation, ...]:
        """Return one reservation for each amount, all with one id."""
        return tuple(
            Reservation(
                project=ProjectName(self.project),
                backend=BackendName(self.backend),
                resource=resource,
                amount=amount,
                gpu_type=gpu_type,
                starts_at=self.starts_at,
                ends_at=self.ends_at,
                users=tuple(uid_of(user, "`users` of a reservation") for user in self.users),
                native=self.native,
                is_lent=self.lend,
                why=self.why,
                by=by,
                id=name or self.name,
            )
            for resource, gpu_type, amount in self.amount.amounts()
        )
