"""pbs_rstat: the reservations that there are, and in which of them a user's jobs may run now.

https://help.altair.com/2024.1.0/PBS%20Professional/PBSReferenceGuide2024.1.pdf (pbs_rstat, "Reservation States").
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from elisa.backends.pbs.attributes import Attributes, parse_records
from elisa.backends.pbs.inventory import admits

__all__ = ["parse_reservations", "reservations_argv"]

_HEAD = "Resv ID: "
# its queue takes and starts jobs
_RUNS = "RESV_RUNNING"


def reservations_argv(rstat: str) -> tuple[str, ...]:
    """Return the question about all reservations."""
    return (rstat, "-f")


def parse_reservations(text: str, user: str) -> Mapping[str, bool]:
    """Return each reservation by the name of its queue, which jobs name, and whether `user` may run there now."""
    # as qstat's, but not indented
    lines = (line if line.startswith((_HEAD, "\t")) else f"    {line}" for line in text.split("\n"))
    found = dict(parse_records("\n".join(lines), _HEAD))
    return MappingProxyType({name.partition(".")[0]: _is_open(facts, user) for name, facts in found.items()})


def _is_open(reservation: Attributes, user: str) -> bool:
    return reservation.get("reserve_state") == _RUNS and admits(reservation.get("Authorized_Users", ""), user)
