"""Places that are not for everybody for a time: closed ones, and those that are reserved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from .ids import BackendName, ClosureId, ProjectName, RuleId
from .metered import Metered

__all__ = ["CLOSING", "UNTIL_LIFTED", "Closure", "Reservation"]

_NO_ID = ClosureId("")
_NO_RULE = RuleId("")

CLOSING = "closure"
"""In place of the task for which room is kept: for nobody, as its place closes."""

UNTIL_LIFTED = datetime(9999, 1, 1, tzinfo=UTC)
"""The end of a closure that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """Nodes of a backend (none named: all of them) that must be empty from `starts_at` until `ends_at`.

    `why` and `by` are for a person. `is_forced`: even work that may not be preempted has to leave. One that stands in the
    site's own rules has no `id`, and lasts as long as they say.
    """

    backend: BackendName
    starts_at: datetime
    ends_at: datetime
    nodes: tuple[str, ...] = ()
    id: ClosureId = _NO_ID
    why: str = ""
    by: str = ""
    is_forced: bool = False

    @property
    def place(self) -> str:
        """Name the place for a person."""
        return f"{','.join(self.nodes)} of {self.backend}" if self.nodes else self.backend

    @property
    def is_open_ended(self) -> bool:
        """Tell whether it lasts until somebody lifts it."""
        return self.ends_at == UNTIL_LIFTED

    def overlaps(self, begin: datetime, end: datetime) -> bool:
        """Tell whether a time has a moment in common with it."""
        return self.starts_at < end and begin < self.ends_at

    def covers(self, node: str) -> bool:
        """Tell whether a node of its backend is among its nodes."""
        return not self.nodes or node in self.nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Room of a backend that is kept for a project, or some of its `users` (none: all), until before `ends_at`.

    `amount` counts `gpus` of one type, `cpus` or whole `nodes`, as `resource` says. What its holder has there counts towards
    it. `native` names a reservation of the resource manager's own that stands for it: the holder's jobs ask for that.
    One that `is_lent` may be used meanwhile by work that saves and leaves as soon as the holder needs it.
    Those of several things that were made as one have one `id`.
    """

    project: ProjectName
    backend: BackendName
    resource: Metered
    amount: int
    starts_at: datetime
    ends_at: datetime
    gpu_type: str = ""
    users: tuple[int, ...] = ()
    native: str = ""
    is_lent: bool = False
    why: str = ""
    by: str = ""
    id: RuleId = _NO_RULE

    @property
    def what(self) -> str:
        """Name what is kept for a person: `8 a100`, `1 node`, `64 cpus`."""
        name = self.gpu_type or self.resource.value
        return f"{self.amount} {name.removesuffix('s') if self.amount == 1 and not self.gpu_type else name}"

    def overlaps(self, begin_s: float, end_s: float) -> bool:
        """Tell whether a time (seconds since the epoch) has a moment in common with it."""
        return self.starts_at.timestamp() < end_s and begin_s < self.ends_at.timestamp()

    def is_for(self, project: str, uid: int) -> bool:
        """Tell whether work of this user in this project may use it."""
        return self.project == project and (not self.users or uid in self.users)
