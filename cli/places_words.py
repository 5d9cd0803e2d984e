"""Places that get no work, or only some, in words: closed, reserved, or avoided because work broke there."""

from __future__ import annotations

from datetime import datetime

from elisa.cli.moments import show_moment
from elisa.engine.avoidance import Avoided
from elisa.model.closures import Closure, Reservation

__all__ = [
    "avoided_data",
    "avoided_words",
    "closure_data",
    "closure_words",
    "reservation_data",
    "reservation_words",
]


def closure_words(closure: Closure, now: datetime) -> str:
    """Say what is closed, when and why."""
    begins = "is closed" if closure.starts_at <= now else f"closes at {show_moment(closure.starts_at, now)},"
    ends = "until `elisa undrain`" if closure.is_open_ended else f"until {show_moment(closure.ends_at, now)}"
    why = f": {closure.why}" if closure.why else ""
    return f"{closure.place} {begins} {ends}{why}{f' ({closure.by})' if closure.by else ''}"


def reservation_words(one: Reservation, now: datetime) -> str:
    """Say what is held for whom, and until when."""
    begins = "" if one.starts_at <= now else f" from {show_moment(one.starts_at, now)}"
    users = f" (users {', '.join(map(str, one.users))})" if one.users else ""
    native = f", as {one.native} of its own" if one.native else ""
    lent = ", lent to work that saves" if one.is_lent else ""
    why = f": {one.why}" if one.why else ""
    when = f"{begins} until {show_moment(one.ends_at, now)}"
    by = f" ({one.by})" if one.by else ""
    return f"{one.backend} holds {one.what} for {one.project}{users}{when}{native}{lent}{why}{by} [{one.id}]"


def avoided_words(avoided: Avoided, now: datetime) -> str:
    """Say which node or GPU is avoided, and what speaks against it."""
    return (
        f"{avoided.place} is avoided until {show_moment(avoided.until, now)}: "
        f"{avoided.broken} of its last {avoided.runs} runs broke there"
    )


def closure_data(closure: Closure) -> dict[str, object]:
    """Return the JSON form of a closure; one without an end has none."""
    return {
        "id": closure.id,
        "backend": closure.backend,
        "nodes": list(closure.nodes),
        "starts_at": closure.starts_at,
        "ends_at": None if closure.is_open_ended else closure.ends_at,
        "why": closure.why,
        "by": closure.by,
        "forced": closure.is_forced,
    }


def reservation_data(one: Reservation) -> dict[str, object]:
    """Return the JSON form of a reservation."""
    return {
        "id": one.id,
        "project": one.project,
        "users": list(one.users),
        "backend": one.backend,
        "resource": one.resource.value,
        "gpu_type": one.gpu_type,
        "amount": one.amount,
        "starts_at": one.starts_at,
        "ends_at": one.ends_at,
        "native": one.native,
        "lent": one.is_lent,
        "why": one.why,
        "by": one.by,
    }


def avoided_data(avoided: Avoided) -> dict[str, object]:
    """Return the JSON form of a node or GPU that is avoided."""
    return {
        "backend": avoided.backend,
        "node": avoided.node,
        "gpu": avoided.gpu,
        "until": avoided.until,
        "broken": avoided.broken,
        "runs": avoided.runs,
        "weight": round(avoided.failures, 2),
    }
