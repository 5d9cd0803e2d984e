"""When work has to save and park because its project holds more than it may have: for whoever waits between two ticks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime

from elisa.engine.rules import policy_of
from elisa.engine.workspace import Workspace
from elisa.policies.allowances import effective
from elisa.policies.hibernation import coming
from elisa.store.reader import Reader

__all__ = ["parting_moments"]


def parting_moments(ws: Workspace, reader: Reader, now: datetime) -> Iterator[datetime]:
    """Yield when attempts have to be asked to leave, as things stand; those that were asked are left out."""
    running, usage = reader.running(now), reader.usage(now)
    for one in coming(effective(policy_of(ws, reader, now), usage, now), usage.rows, running, now.timestamp()):
        if math.isfinite(one.at_s):
            yield max(now, datetime.fromtimestamp(one.at_s, UTC))
