"""The kinds of backends by name: those of elisa, and those that other packages bring along."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from elisa.backends.protocol import Backend
from elisa.model import layout
from elisa.model.errors import UsageError
from elisa.model.ids import BackendName
from elisa.model.ports import Clock, CrashPoint, RandomSource

__all__ = ["GROUP", "KINDS", "Opening", "choose_clock", "kinds", "open_backend"]

GROUP = "elisa.backends"
"""Entry points of this group are kinds of backends: functions that take an `Opening` and return a `Backend`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """All that a backend is opened with."""

    name: str
    options: Mapping[str, object]
    home: Path
    instance: str
    clock: Clock
    random: RandomSource
    crash: CrashPoint


def _open_local(opening: Opening) -> Backend:
    from elisa.backends.local.opening import open_local

    return open_local(
        opening.name,
        opening.options,
        home=opening.home,
        instance=opening.instance,
        clock=opening.clock,
        crash=opening.crash,
    )


def _open_simulated(opening: Opening) -> Backend:
    from elisa.backends.simulated.opening import open_simulated

    return open_simulated(opening.name, opening.options, home=opening.home, clock=opening.clock, crash=opening.crash)


def _open_slurm(opening: Opening) -> Backend:
    from elisa.backends.slurm.opening import open_slurm

    return open_slurm(
        BackendName(opening.name),
        opening.options,
        instance=opening.instance,
        clock=opening.clock,
        memory=layout.slurm_library(opening.home, opening.name),
        topology=layout.slurm_topology(opening.home, opening.name),
    )


def _open_pbs(opening: Opening) -> Backend:
    from elisa.backends.pbs.opening import open_pbs

    return open_pbs(BackendName(opening.name), opening.options, instance=opening.instance, clock=opening.clock)


KINDS = {"local": _open_local, "pbs": _open_pbs, "simulated": _open_simulated, "slurm": _open_slurm}
"""The kinds that come with elisa."""


def open_backend(  # noqa: PLR0913 - each of these opens the backend to a part of the world
    name: str,
    kind: str,
    options: Mapping[str, object],
    *,
    home: Path,
    instance: str,
    clock: Clock,
    random: RandomSource,
    crash: CrashPoint,
) -> Backend:
    """Return the backend that a site configured. Raises UsageError for a kind or an option that nobody knows."""
    opening = Opening(name=name, options=options, home=home, instance=instance, clock=clock, random=random, crash=crash)
    if kind in KINDS:
        return KINDS[kind](opening)
    return _open_foreign(kind, opening)


def _open_foreign(kind: str, opening: Opening) -> Backend:
    from importlib.metadata import entry_points

    found = entry_points(group=GROUP, name=kind)
    if not found:
        near = difflib.get_close_matches(kind, kinds(), n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(kinds())}"
        raise UsageError(f"backend `{opening.name}` is of the unknown kind `{kind}`", hint=hint)
    backend: Backend = next(iter(found)).load()(opening)
    return backend


def kinds() -> tuple[str, ...]:
    """Return the names of all kinds that can be opened."""
    from importlib.metadata import entry_points

    return tuple(sorted({*KINDS, *(point.name for point in entry_points(group=GROUP))}))


def choose_clock(kinds_in_use: Collection[str], clock: Clock) -> Clock:
    """Return a clock that jumps, beginning now, where every backend is simulated; `clock` itself otherwise."""
    if not kinds_in_use or set(kinds_in_use) != {"simulated"}:
        return clock
    from elisa.backends.simulated.clock import VirtualClock

    return VirtualClock(clock.now().astimezone(UTC).replace(microsecond=0))
