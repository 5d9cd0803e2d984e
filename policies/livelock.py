"""Work that comes back again and again without getting any further, though nothing about it is wrong.

It is stopped so that others may run, its turn in a shared job does not come, its manager takes it off its nodes: none of that
costs a retry, so nothing else would ever end it. Who came back so often waits longer from time to time, by chance not as
long as others, so that what goes round comes apart (binary exponential backoff: Metcalfe and Boggs, *Ethernet*, CACM 19,
1976), and once it runs it is left alone until it has got further.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from elisa.model.reasons import Fact
from elisa.model.states import INFRASTRUCTURE_ENDS, EndReason
from elisa.model.task import Attempt, had_its_turn

__all__ = ["Rounds", "SpinRules", "got_further", "rounds_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpinRules:
    """So many rounds without progress that ended in the last `within_s` are a livelock."""

    rounds: int = 5
    within_s: float = 21_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """How often a task came back in a row without getting any further, since when, and what sent it back."""

    times: int
    since: datetime
    causes: tuple[tuple[str, int], ...]

    def facts(self, now: datetime) -> dict[str, Fact]:
        """Return it as facts of a reason."""
        causes = ", ".join(f"{cause} {times}x" for cause, times in self.causes)
        return {"times": self.times, "within_s": round((now - self.since).total_seconds()), "causes": causes}


def got_further(attempt: Attempt) -> bool:
    """Tell whether the attempt left a checkpoint beyond the one it began from."""
    if attempt.last_checkpoint is None:
        return False
    return attempt.resume_from is None or attempt.last_checkpoint.step > attempt.resume_from.step


def rounds_of(attempts: Iterable[Attempt], now: datetime, rules: SpinRules = SpinRules()) -> Rounds | None:
    """Return the livelock that a task with these attempts is in, None if it is in none."""
    after = now - timedelta(seconds=rules.within_s)
    fruitless = [(one, cause) for one, cause in _fruitless(attempts) if (one.ended_at or one.intended_at) >= after]
    if len(fruitless) < rules.rounds:
        return None
    causes = Counter(cause for _, cause in fruitless)
    since = min(one.intended_at for one, _ in fruitless)
    return Rounds(times=len(fruitless), since=since, causes=tuple(sorted(causes.items())))


def _fruitless(attempts: Iterable[Attempt]) -> Iterator[tuple[Attempt, str]]:
    """Yield the newest rounds in a row, each with its cause. Breakdowns are counted elsewhere, and end no row."""
    for attempt in sorted(attempts, key=lambda one: one.number, reverse=True):
        cause = _cause(attempt)
        if cause and not got_further(attempt):
            yield attempt, cause
        elif attempt.end is not None and (got_further(attempt) or attempt.end.reason not in INFRASTRUCTURE_ENDS):
            return


def _cause(attempt: Attempt) -> str:
    """Return what sent a task back through no doing of its own; "" for any other end."""
    if attempt.end is None:
        return ""
    if not had_its_turn(attempt):
        return "turn did not come"
    if attempt.end.reason is EndReason.PREEMPTED:
        return "taken off by the resource manager"
    if attempt.end.reason is EndReason.BAD_GPU:
        return "given a bad GPU"
    if attempt.end.reason is EndReason.CANCELLED and attempt.cancel_sent:
        return "asked to leave" if attempt.started_at is not None else "taken back from the queue"
    return ""
