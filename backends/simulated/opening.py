"""Open a simulated cluster from a site's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.parse import parse_cluster
from elisa.model import layout
from elisa.model.ids import BackendName
from elisa.model.ports import Clock, CrashPoint, no_crash

__all__ = ["open_simulated"]


def open_simulated(
    name: str, options: Mapping[str, object], *, home: Path, clock: Clock, crash: CrashPoint = no_crash
) -> SimulatedBackend:
    """Return the cluster that a configuration describes, as it was left. Raises UsageError for a description that can't be."""
    memory = layout.simulated_state(home, BackendName(name))
    return SimulatedBackend(parse_cluster(options), clock, memory=memory, crash=crash, name=name)
