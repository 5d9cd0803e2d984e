"""Which resource managers fail us: each is left alone for longer and longer, so that a sick one is not asked to death."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from elisa.engine.files import Files
from elisa.model import layout
from elisa.model.codec import decode, encode

__all__ = ["Health", "HealthBook", "pause_s"]

# Cron ticks once a minute: the first failures cost no tick, a manager that stays down is asked every five minutes.
_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 300.0
_ALARMING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A run of failures: how many, since when, the last words, and when to try again."""

    failures: int
    since: datetime
    retry_at: datetime
    what: str

    @property
    def is_alarming(self) -> bool:
        """Tell whether somebody should look: it failed several times in a row."""
        return self.failures >= _ALARMING


def pause_s(failures: int, fraction: float) -> float:
    """Return how long to leave a manager alone after `failures` in a row: none after the first, at most five minutes.

    `fraction`, in [0, 1), spreads the tries of many users over the second half of the pause.
    """
    if failures <= 1:
        return 0.0
    longest = min(_FIRST_PAUSE_S * 2.0 ** min(failures - 2, 32), _LONGEST_PAUSE_S)
    return longest * (0.5 + fraction / 2)


class HealthBook:
    """The health of every backend that is not well, kept in the state folder between ticks.

    Losing the book is harmless: a sick manager is asked once more.
    """

    def __init__(self, files: Files, home: Path) -> None:
        self._files = files
        self._path = layout.backend_health(home)
        self._known = dict(_read(files, self._path))
        self._as_read = dict(self._known)

    @property
    def sick(self) -> Mapping[str, Health]:
        """What is not well, by name: a backend's own, or `NAME:submit` if only submitting fails."""
        return dict(self._known)

    def is_resting(self, name: str, now: datetime) -> bool:
        """Tell whether `name` should be left alone at this moment."""
        health = self._known.get(name)
        # A pause that begins in the future is a clock that jumped back, not a reason to wait.
        return health is not None and now < health.retry_at <= now + timedelta(seconds=_LONGEST_PAUSE_S)

    def failed(self, name: str, now: datetime, what: str, fraction: float) -> None:
        """Note one more failure of `name`."""
        before = self._known.get(name)
        failures = before.failures + 1 if before else 1
        self._known[name] = Health(
            failures=failures,
            since=before.since if before else now,
            retry_at=now + timedelta(seconds=pause_s(failures, fraction)),
            what=what,
        )

    def worked(self, name: str) -> None:
        """Forget the failures of `name`."""
        self._known.pop(name, None)

    def save(self) -> None:
        """Write the book down if anything changed."""
        if self._known != self._as_read:
            text = json.dumps({name: encode(health) for name, health in sorted(self._known.items())}, indent=1)
            self._files.write(self._path, text.encode())
            self._as_read = dict(self._known)


def _read(files: Files, path: Path) -> Mapping[str, Health]:
    try:
        content = json.loads(files.read(path) or b"{}")
        return {str(name): decode(Health, entry) for name, entry in content.items()}
    except (ValueError, AttributeError, RecursionError):
        return {}
