"""Places that get no work, in words: closed by a person, or avoided because work broke there."""

from __future__ import annotations

from datetime import datetime

from elisa.cli.moments import show_moment
from elisa.engine.avoidance import Avoided
from elisa.model.site import Closure

__all__ = ["avoided_data", "avoided_words", "closure_data", "closure_words"]


def closure_words(closure: Closure, now: datetime) -> str:
    """Say what is closed, when and why."""
    begins = "is closed" if closure.starts_at <= now else f"closes at {show_moment(closure.starts_at, now)},"
    ends = "until `elisa undrain`" if closure.is_open_ended else f"until {show_moment(closure.ends_at, now)}"
    why = f": {closure.why}" if closure.why else ""
    return f"{closure.place} {begins} {ends}{why}{f' ({closure.by})' if closure.by else ''}"


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
