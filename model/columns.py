"""Ready tasks and usage as plain columns: what the store hands to a plan without building an object for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from .affinity import Bond, Company
from .charge import Charge
from .ids import RuleId
from .pipeline import SitePlacement
from .resources import Resources
from .rows import WorkName

__all__ = [
    "GangRow",
    "Outlook",
    "PastUse",
    "ProjectUsage",
    "ReadyColumns",
    "RunningRow",
    "Shape",
    "UnfinishedRow",
    "UsageRow",
]


class Shape(NamedTuple):
    """What tasks that are alike ask for; a hundred thousand ready tasks have a few dozen shapes.

    `expected_s` is how long they are expected to run where room is kept by expectations; 0 is their walltime. `asked_s` is
    the walltime that they ask for if they get less, because their places close; 0 if they get it. `claims` are the
    reservations that they may use; of one that `is_guest` only until a holder needs them, which it may be if it `may_leave`:
    be preempted, and saves when it is asked. `is_firm`: they are never overcommitted. `bond` ties them to other tasks.
    `tries` is a type of GPU to go to first, to be measured there.
    """

    request: Resources
    placement: SitePlacement = SitePlacement()
    expected_s: float = 0.0
    asked_s: int = 0
    claims: tuple[RuleId, ...] = ()
    may_leave: bool = False
    is_guest: bool = False
    is_firm: bool = False
    bond: Bond = Bond()
    tries: str = ""

    @property
    def duration_s(self) -> float:
        """How long room is kept for one of them."""
        return self.expected_s or float(self.request.walltime_s)


class GangRow(NamedTuple):
    """A gang of one pipeline: `size` members are neither final nor running, `minimum` of them must start together.

    `live` members run already. `minimum` 0 means all of `size`. Its `name` is as in `RunningRow.gang`.
    """

    size: int
    minimum: int = 0
    live: int = 0
    name: str = ""

    @property
    def needed(self) -> int:
        """How many more of its members must start together, one at least."""
        return max(1, (self.minimum or self.size + self.live) - self.live)

    @property
    def is_begun(self) -> bool:
        """Whether those that run already wait for others: what they hold is idle until then."""
        return 0 < self.live < (self.minimum or self.size + self.live)


class ReadyColumns(NamedTuple):
    """All ready tasks, one row each, in any order. The last columns may be left empty: then nothing is known.

    `owner` is an index into `owners`, which names each project and user id that occurs, once. `priority` is the rank of
    the class (`model.site.CLASS_RANK`: 0 is critical). `importance` adds the pipeline's to the
    task's. Times are microseconds since the epoch; `deadline_us` 0 is none. `shape` is an index into `shapes`, `gang` one
    into `gangs` or -1. `predicted_s` is the expected run time of the task, `path_s` that of the longest chain of
    unfinished tasks that begins with it; 0 in either is unknown. `progress` is the finished share, 0 to 1, `promise` how
    much its results are hoped to be worth, 0 to 1. `ranked_by` names, for the few tasks whose class does not rest on the
    rights of their owner, the user on whose it does. `brief_s` is how long a task is expected to run that may share a
    native job; 0: it may not.
    """

    task: Sequence[str]
    owner: Sequence[int]
    owners: Sequence[tuple[str, int]]
    priority: Sequence[int]
    importance: Sequence[float]
    submitted_us: Sequence[int]
    ready_us: Sequence[int]
    deadline_us: Sequence[int]
    shape: Sequence[int]
    shapes: Sequence[Shape]
    gang: Sequence[int] = ()
    gangs: Sequence[GangRow] = ()
    predicted_s: Sequence[float] = ()
    path_s: Sequence[float] = ()
    progress: Sequence[float] = ()
    promise: Sequence[float] = ()
    ranked_by: Mapping[str, int] = MappingProxyType({})
    brief_s: Sequence[float] = ()

    @property
    def ask_for_licences(self) -> bool:
        """Tell whether any of them asks for one."""
        return any(shape.request.licences for shape in self.shapes)


class RunningRow(NamedTuple):
    """A live attempt as preemption sees it.

    `priority` is the rank of its class. `saved_us` is when its newest checkpoint was taken, 0 if there is none; one that
    `saves_on_request` loses nothing when it is asked to leave. `slack_s` is what its deadline leaves it, infinite without
    one. `may_resize`: it is elastic, and saves; it gave way to the tasks of `gave_way_to` before, has had room to
    grow since `roomy_us` (0: it has none), and had `grew_from` nodes when it was last to grow (0: it shrank since).
    `is_protected`: nobody may take its place, for it came back too often without getting any further. `is_leaving`: it was
    asked already. `is_queued`: it waits in a native queue, of `partition`, and has not begun. `extra_cost` is what plug-ins
    add to the cost of stopping it, in billing hours. `gang` names its gang and the pipeline of that, as `PIPELINE/GANG`.
    `ready_us` is when its task became ready, 0 if that is not known.
    """

    attempt: str
    task: str
    project: str
    owner_uid: int
    backend: str
    nodes: tuple[str, ...]
    request: Resources
    priority: int
    started_us: int
    is_preemptible: bool = True
    saved_us: int = 0
    saves_on_request: bool = False
    times_preempted: int = 0
    slack_s: float = float("inf")
    is_leaving: bool = False
    is_queued: bool = False
    partition: str = ""
    is_protected: bool = False
    may_resize: bool = False
    gave_way_to: tuple[str, ...] = ()
    roomy_us: int = 0
    grew_from: int = 0
    extra_cost: float = 0.0
    gang: str = ""
    ready_us: int = 0


class UnfinishedRow(NamedTuple):
    """A task that is not over: the walltime it asks for, and the tasks it waits for, finished ones among them.

    `pipeline` is the id of its pipeline, `deadline_us` when that must end, 0 for none. `priority` is the rank of its class.
    `has_saved`: its next attempt goes on from a checkpoint.
    """

    task: str
    name: WorkName
    walltime_s: int
    pipeline: str = ""
    deadline_us: int = 0
    needs: tuple[str, ...] = ()
    priority: int = 0
    is_active: bool = False
    has_saved: bool = False


class Outlook(NamedTuple):
    """What is known about places beyond what they offer. Everything may be left out.

    `speeds`: how fast a shape (by its number) runs on a type of GPU, measured, 1 being the slowest known or unknown.
    `waits_s`: the expected wait in a partition of a backend. `watts`: the draw of one GPU of a type. `company` is who
    runs where of those that others are tied to.
    """

    speeds: Mapping[tuple[int, str], float] = MappingProxyType({})
    waits_s: Mapping[tuple[str, str], float] = MappingProxyType({})
    watts: Mapping[str, float] = MappingProxyType({})
    company: Company = Company()


class UsageRow(NamedTuple):
    """What one user of one project holds and has used, for one type of GPU ("" for work without).

    `reserved` belongs to live attempts, `spent` to ended ones. The rest counts what live attempts hold now.
    """

    project: str
    owner_uid: int
    gpu_type: str
    reserved: Charge
    spent: Charge
    jobs: int = 0
    nodes: int = 0
    cpus: int = 0
    memory_mib: int = 0
    gpus: int = 0
    watts: int = 0


class PastUse(NamedTuple):
    """What was spent in one slice of time that ended `age_s` seconds ago: the memory of fair share.

    `day` is that of the slice, in UTC, counted from the epoch on.
    """

    project: str
    owner_uid: int
    age_s: float
    spent: Charge
    day: int = 0


class ProjectUsage(NamedTuple):
    """All usage rows. Without `past`, fair share counts everything ever spent at its full weight."""

    rows: Sequence[UsageRow] = ()
    past: Sequence[PastUse] = ()
