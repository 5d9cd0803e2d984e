"""Virtual time: it stands still until somebody makes it jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["VirtualClock", "from_us", "to_us"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(moment: datetime) -> int:
    """Return the microseconds since the epoch: simulated time is counted in integers, so that nothing is rounded."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """Return the moment, in UTC."""
    return _EPOCH + timedelta(microseconds=us)


class VirtualClock:
    """A clock for the engine and the simulated clusters it drives; all of them share one."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """Return the present moment."""
        return self._now

    def jump_to(self, moment: datetime) -> None:
        """Make it `moment`; one that has passed changes nothing."""
        self._now = max(self._now, moment)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.jump_to(self._now + timedelta(seconds=seconds))
