"""How a task stood in a plan, as sentences and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from elisa.cli.order_words import keys_data, keys_words, places_data, places_words
from elisa.engine.standing import Standing
from elisa.model.amounts import in_units, unit_of
from elisa.model.closures import CLOSING
from elisa.model.codec import encode
from elisa.model.reasons import Reason, ReasonCode
from elisa.model.resources import MPS, Resources
from elisa.model.units import format_duration, format_memory
from elisa.policies.ageing import Ageing
from elisa.policies.relief import Relief
from elisa.report.words import in_words

__all__ = ["standing_data", "standing_words"]

_LARGER = "a smaller request or a larger cluster"
_ONLY: Mapping[ReasonCode, str] = {
    ReasonCode.NEVER_FITS: _LARGER,
    ReasonCode.GANG_TOO_LARGE: _LARGER,
    ReasonCode.NO_BACKEND: "another placement, or a place of that name,",
    ReasonCode.OTHER_OWNER: "a tick of its owner",
    ReasonCode.BACKEND_UNREACHABLE: "an answer, or a placement on another backend,",
    ReasonCode.GANG_INCOMPLETE: "more members that are ready",
}
_TOLERANCE = "a toleration of that taint, or fewer nodes,"
_WITHOUT: Mapping[str, str] = {
    "budgets": "no budget or limit",
    "windows": "no bound on elisa's jobs in native queues",
    "running jobs": "nothing else running",
    "tasks in front": "nothing in front of it",
}


def standing_words(one: Standing) -> Iterator[str]:
    """Yield what it asks for, its place with the factors that count, and what would change the answer."""
    yield f"it needs {_asked(one.request)}"
    yield f"rank {one.rank} of {one.ready} ready tasks in tick {one.tick}: {keys_words(one.keys, one.factors)}"
    yield from places_words(one.places)
    if one.starts:
        return
    if one.relief is not None:
        ways = list(_ways(one.relief))
        yield f"it would pass {', or '.join(ways)}" if ways else "nothing that is known of would let it pass by itself"
    if one.helps:
        yield f"it would start now with {', or with '.join(_WITHOUT[name] for name in one.helps)}"
    elif one.reason.code in _ONLY:
        yield f"only {_TOLERANCE if _is_tainted(one.reason) else _ONLY[one.reason.code]} would change that"
    elif one.relief is None and not _is_closed(one.reason):
        yield "no single obstacle stands in its way: it takes more than one"
    if one.ageing is not None:
        yield _ageing_words(one.ageing, one.at)


def _is_closed(reason: Reason) -> bool:
    return reason.code is ReasonCode.CLOSED or reason.facts.get("task") == CLOSING


def _is_tainted(reason: Reason) -> bool:
    return " without the taint " in str(reason.facts.get("resource", ""))


def _ageing_words(ageing: Ageing, at: datetime) -> str:
    if ageing.goes_ahead:
        return f"it came of age on {_day(ageing.at)}, and goes ahead of all others"
    if ageing.at <= at:
        return f"it came of age on {_day(ageing.at)}; others of its owner's that did before go ahead first"
    return f"it comes of age on {_day(ageing.at)}"


def _asked(request: Resources) -> str:
    kind = " or ".join(request.gpus.types) or ("gpu" if request.gpu_count == 1 else "gpus")
    gpus = [f"{request.gpu_count}% of a GPU" if MPS in request.gpus.types else f"{request.gpu_count} {kind}"]
    gpus = gpus if request.gpu_count else []
    nodes = [f"{request.nodes} nodes"] if request.nodes > 1 else []
    memory = [format_memory(request.memory_mib)] if request.memory_mib else []
    parts = [*nodes, *gpus, f"{request.cpus} cores", *memory]
    return f"{', '.join(parts)} for {format_duration(request.walltime_s)}"


def _ways(relief: Relief) -> Iterator[str]:
    if relief.at is not None:
        yield f"from {_day(relief.at)} on, by a new period, a grant or a loan"
    if relief.ends_at is not None:
        yield f"at {_day(relief.ends_at)} at the latest, when enough of its project's jobs are over"
    amount = f"{in_units(relief.resource, relief.short)} {unit_of(relief.resource, relief.gpu_type)}"
    yield from (f"if {name} lends {amount}" for name in relief.lenders)
    if relief.walltime_s >= 60:
        yield f"with a walltime of {format_duration(relief.walltime_s)}"


def _day(moment: datetime) -> str:
    return f"{moment.astimezone():%a %Y-%m-%d %H:%M}"


def standing_data(one: Standing) -> Mapping[str, object]:
    """Return the JSON form."""
    return {
        "tick": one.tick,
        "at": one.at,
        "rank": one.rank,
        "ready": one.ready,
        "keys": keys_data(one.keys),
        "factors": [line._asdict() for line in one.factors],
        "places": places_data(one.places),
        "reason": {"code": one.reason.code, "facts": one.reason.facts, "words": in_words(one.reason)},
        "ageing": None if one.ageing is None else one.ageing._asdict(),
        "helps": list(one.helps),
        "relief": encode(one.relief),
        "words": list(standing_words(one)),
    }
