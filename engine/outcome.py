"""What a tick did, for whoever ran it and for `elisa status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from elisa.model.errors import ExitCode
from elisa.model.ids import AttemptId, BackendName
from elisa.model.reasons import Fact

__all__ = ["TickReport"]

_NOBODY: Mapping[BackendName, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class TickReport:
    """Counts and ids of one tick. `moved` tasks changed state because of what they need; `waiting` ones were passed over.

    The native jobs of `held`, `released` and `reordered` attempts wait, and were kept from starting, let go, or given another
    place in their queue, as their managers confirmed.
    `unsettled` attempts may or may not have been submitted: later ticks find out. `in_doubt` counts those whose job is
    over or gone without a word from it; a few more ticks decide. `alarms` are for a person. `revision` is that of
    the store when the tick left it, `tick` the number of the tick, which `elisa replay` takes.
    """

    at: datetime
    events: int = 0
    bad_events: int = 0
    ended: tuple[AttemptId, ...] = ()
    moved: int = 0
    submitted: tuple[AttemptId, ...] = ()
    rejected: tuple[AttemptId, ...] = ()
    withdrawn: tuple[AttemptId, ...] = ()
    stopped: tuple[AttemptId, ...] = ()
    held: tuple[AttemptId, ...] = ()
    released: tuple[AttemptId, ...] = ()
    reordered: tuple[AttemptId, ...] = ()
    unsettled: tuple[AttemptId, ...] = ()
    waiting: int = 0
    live: tuple[AttemptId, ...] = ()
    in_doubt: int = 0
    unreachable: Mapping[BackendName, str] = field(default_factory=lambda: _NOBODY)
    alarms: tuple[str, ...] = ()
    revision: int = 0
    tick: int = 0

    @property
    def exit_code(self) -> ExitCode:
        """Done, or unreachable if anything is uncertain: what was not known was not acted upon."""
        is_certain = not (self.unreachable or self.unsettled or self.alarms)
        return ExitCode.DONE if is_certain else ExitCode.UNREACHABLE

    @property
    def did_something(self) -> bool:
        """Tell whether the state of any task or attempt changed."""
        return bool(self.ended or self.moved or self.submitted or self.rejected or self.withdrawn or self.stopped)

    def ids(self) -> Mapping[str, tuple[AttemptId, ...]]:
        """Return the attempts that something happened to, by what happened."""
        return {
            "ended": self.ended,
            "submitted": self.submitted,
            "rejected": self.rejected,
            "withdrawn": self.withdrawn,
            "stopped": self.stopped,
            "held": self.held,
            "released": self.released,
            "reordered": self.reordered,
            "unsettled": self.unsettled,
        }

    def facts(self) -> Mapping[str, Fact]:
        """Return the counts as the store keeps them."""
        return {
            "events": self.events,
            "bad_events": self.bad_events,
            **{what: len(attempts) for what, attempts in self.ids().items()},
            "waiting": self.waiting,
            "live": len(self.live),
            "unreachable": ", ".join(sorted(self.unreachable)),
            "outages": "; ".join(f"{name}: {words}" for name, words in sorted(self.unreachable.items())),
            "alarms": "; ".join(self.alarms),
        }
