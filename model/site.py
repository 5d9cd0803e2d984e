"""The rules of a site: how much of the native queues to fill, who owns which share, and what may be used by whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from .closures import UNTIL_LIFTED, Closure, Reservation
from .ids import BackendName, ProjectName, RuleId
from .metered import EVERYBODY, Metered
from .pipeline import PriorityClass

__all__ = [
    "CLASS_RANK",
    "EVERYBODY",
    "UNTIL_LIFTED",
    "Allowance",
    "BackfillTimes",
    "Billing",
    "Cap",
    "Closure",
    "DataPlace",
    "DataSet",
    "Exploration",
    "Factors",
    "FairShare",
    "FusionRules",
    "Grant",
    "Loan",
    "Metered",
    "PlacementWeights",
    "Power",
    "PreemptionRules",
    "ProjectPolicy",
    "Reservation",
    "ServiceClass",
    "SitePolicy",
    "Taint",
    "Window",
]

CLASS_RANK: Mapping[PriorityClass, int] = MappingProxyType({name: rank for rank, name in enumerate(PriorityClass)})
"""Rank of each class, 0 first."""

_NO_RULE = RuleId("")


class ServiceClass(StrEnum):
    """How firm a project's claim on the machine is; the first is served first among equals."""

    GUARANTEED = "guaranteed"  # its share is kept for it
    BURSTABLE = "burstable"  # its share, and what is idle
    BEST_EFFORT = "best_effort"  # only what is idle


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """A limit on one thing. A hard cap is never exceeded; a soft one only with what nobody else asks for.

    `gpu_type` narrows `gpu_s` and `gpus` to one type; "" counts all types together. One that begins anew `every` period
    counts everything ever used like the others: `before` of it, and of its limit, lies before the running period.
    """

    resource: Metered
    limit: int
    gpu_type: str = ""
    is_hard: bool = True
    before: int = 0
    every: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """An amount for `every` `day`, `week` or `month`, or for the last days (`30d`), in UTC.

    `carry_over` (0 to 1) is the part of what was left of the period before that the running one adds.
    """

    resource: Metered
    amount: int
    every: str
    gpu_type: str = ""
    carry_over: float = 0.0
    is_hard: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """An amount that may be used from `starts_at` until before `ends_at`; `carry_over` (0 to 1) of what is left lives on."""

    resource: Metered
    amount: int
    starts_at: datetime
    ends_at: datetime
    gpu_type: str = ""
    carry_over: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loan:
    """`amount` of a lender's budget that the borrower may use until `due_at`; `recallable` ones may be called back before.

    With `on_need` that happens by itself as soon as the lender is refused something for want of it. Loans of several
    things that were made as one have one `id`.
    """

    lender: ProjectName
    borrower: ProjectName
    resource: Metered
    amount: int
    starts_at: datetime
    due_at: datetime
    gpu_type: str = ""
    recallable: bool = True
    on_need: bool = True
    id: RuleId = _NO_RULE


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPolicy:
    """One project: its place in the share tree, what it may use, and how high its members may rank their work.

    `group` is a path such as `physics/lattice`. `user_caps` hold for each member on their own, but for those who have
    `member_caps`, by uid, in their place; `allowances` become caps of both kinds. `queue_limit` bounds its
    unfinished tasks, `importance_limit` how far importance may go up; 0 is no bound.
    """

    name: ProjectName
    group: str = ""
    shares: float = 1.0
    caps: tuple[Cap, ...] = ()
    user_caps: tuple[Cap, ...] = ()
    member_caps: tuple[tuple[int, tuple[Cap, ...]], ...] = ()
    allowances: tuple[Allowance, ...] = ()
    user_allowances: tuple[Allowance, ...] = ()
    grants: tuple[Grant, ...] = ()
    highest: PriorityClass = PriorityClass.HIGH
    service: ServiceClass = ServiceClass.BURSTABLE
    queue_limit: int = 0
    importance_limit: float = 0.0
    may_lend: bool = False

    def caps_of(self, uid: int) -> tuple[Cap, ...]:
        """Return the caps on one member."""
        return next((caps for who, caps in self.member_caps if who == uid), self.user_caps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How many queued native jobs elisa keeps at once in one partition ("" for every partition) of a backend."""

    backend: BackendName
    size: int
    partition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Billing:
    """How use becomes one number for fair share: weights for an hour of each, and of each type of GPU."""

    node: float = 0.0
    cpu: float = 1.0
    memory_gib: float = 0.25
    gpu: float = 16.0
    gpu_types: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FairShare:
    """Use counts half after `half_life_s`; 0 never forgets. `group_shares` weighs the inner groups of the tree."""

    half_life_s: float = 7 * 86400.0
    group_shares: tuple[tuple[str, float], ...] = ()
    billing: Billing = Billing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """Weights of the multifactor order; each factor lies between 0 and 1. `age_s` is the wait at which age counts 1.

    `others` are the weights of factors of other packages, by name.
    """

    age: float = 1000.0
    fair_share: float = 2000.0
    deadline: float = 4000.0
    importance: float = 1000.0
    size: float = 0.0
    progress: float = 500.0
    promise: float = 0.0
    age_s: float = 7 * 86400.0
    importance_full: float = 100.0
    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementWeights:
    """How much each term counts when a task may run in several places; each term lies between 0 (bad) and 1.

    `wish`: the author's first choice of GPU. `default`: the resource manager's own default partition. `finish`: ends
    soonest, wait and speed together. `cost`: is billed least. `load`: is least full. `energy`: draws least. `near`: has the
    input data. `fit`: leaves the fewest GPUs idle beside it. `affinity`: has nodes beside and apart from those that it prefers.
    `switches`: spreads it over the fewest. `others` are the weights of terms of other packages, by name.
    """

    wish: float = 10.0
    default: float = 3.0
    finish: float = 5.0
    cost: float = 2.0
    load: float = 1.0
    energy: float = 0.0
    near: float = 1.0
    fit: float = 0.5
    affinity: float = 4.0
    switches: float = 1.0
    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreemptionRules:
    """Who may be asked to leave. The beneficiary's class must be at least `class_gap` ranks above the victim's.

    A victim has run for `minimum_run_s`, and was preempted fewer than `times` times. `grace_s` is the time it gets to
    save, `restart_s` what starting again costs it beside the work since its newest checkpoint; `costs` names the plug-ins that
    add to it.
    """

    enabled: bool = False
    class_gap: int = 1
    minimum_run_s: float = 600.0
    times: int = 3
    grace_s: float = 120.0
    restart_s: float = 60.0
    costs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What work is expected to draw, in watts: a node beside its cores, one core, one GPU. 0 draws nothing.

    `nodes` are those of single partitions, by name; `gpu_types` are single types of GPU.
    """

    node: float = 0.0
    cpu: float = 0.0
    gpu: float = 0.0
    nodes: tuple[tuple[str, float], ...] = ()
    gpu_types: tuple[tuple[str, float], ...] = ()


class BackfillTimes(StrEnum):
    """How long a job is expected to keep its room."""

    REQUESTED = "requested"  # its walltime: no start that was promised is ever delayed
    PREDICTED = "predicted"  # as past runs let one expect: fuller, and a promise may be late where one runs longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """Whether work is sent to types of GPU that it was never measured on: who is expected to run for `longest_s` at most."""

    enabled: bool = False
    longest_s: float = 4 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionRules:
    """Which tasks share a native job, one after another.

    A task expected to run for longer than `longest_s` has one to itself. One job is filled with at most `fill_s` of expected
    work and `most` tasks, of which `lanes` run side by side, each with the cores and memory that it asks for.
    """

    enabled: bool = True
    longest_s: float = 60.0
    fill_s: float = 600.0
    most: int = 100
    lanes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """A mark on nodes of a backend that keeps work off them, except what tolerates it by name."""

    name: str
    backend: BackendName
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlace:
    """Where data are: all nodes of a backend, of one of its partitions, or the named ones."""

    backend: BackendName
    partition: str = ""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """Data that tasks read, by a name and the folders it lies in. `size_mib` 0: nobody says."""

    name: str
    paths: tuple[str, ...] = ()
    size_mib: int = 0
    places: tuple[DataPlace, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePolicy:
    """All rules of a site.

    `order` names the keys of the queue, the most important first; ties end in the task's id. `unlisted` holds for
    projects that are not named, `caps` for all work together. A task that has waited `aged_s` for each class from the best
    down to its own comes of age, see `policies.ageing`; 0 is never. `backfill_depth` is for how many blocked tasks room is
    kept free, where elisa places jobs itself; `backfill_due` for how many more of those that have a deadline;
    `backfill_times` tells for how long a job is expected to take its own; nothing is kept for who would begin later than in
    `backfill_lookahead_s` (0: however late). `gpu_watts` is what one GPU of a type draws, `gpu_shares` how many of a type
    of share make one. Work that saves may get less time than it asks for before its places close, if that is
    `shortened_run_s` or more; 0: never.
    `gpu_speeds` are how fast types of GPU are against one another where nothing was measured.
    `reserved_classes` are for these users only, by uid: see `policies.rights.best_rank`.
    """

    projects: tuple[ProjectPolicy, ...] = ()
    caps: tuple[Cap, ...] = ()
    unlisted: ProjectPolicy = ProjectPolicy(name=ProjectName(""))
    windows: tuple[Window, ...] = ()
    default_window: int = 20
    submits_per_tick: int = 1000
    order: tuple[str, ...] = ("class", "importance", "deadline", "fair_share", "age", "size")
    fair_share: FairShare = FairShare()
    factors: Factors = Factors()
    preemption: PreemptionRules = PreemptionRules()
    placement: PlacementWeights = PlacementWeights()
    loans: tuple[Loan, ...] = ()
    aged_s: float = 0.0
    backfill_depth: int = 1
    backfill_due: int = 0
    backfill_times: BackfillTimes = BackfillTimes.REQUESTED
    backfill_lookahead_s: float = 0.0
    gpu_watts: tuple[tuple[str, float], ...] = ()
    shortened_run_s: float = 0.0
    closures: tuple[Closure, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    taints: tuple[Taint, ...] = ()
    data: tuple[DataSet, ...] = ()
    power: Power = Power()
    reserved_classes: tuple[tuple[PriorityClass, tuple[int, ...]], ...] = ()
    fusion: FusionRules = FusionRules()
    gpu_speeds: tuple[tuple[str, float], ...] = ()
    exploration: Exploration = Exploration()
    gpu_shares: tuple[tuple[str, int], ...] = ()

    def project(self, name: ProjectName) -> ProjectPolicy:
        """Return the rules for a project, those for unlisted ones if it has none."""
        return next((project for project in self.projects if project.name == name), self.unlisted)
