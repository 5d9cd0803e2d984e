"""What jobs said, folded for each attempt into the few facts that matter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from elisa.model.changes import Change, CheckpointSeen, MetricSeen, Noted, OutputSeen, UsageSeen
from elisa.model.events import EventKind, RuntimeEvent
from elisa.model.ids import AttemptId, NativeId
from elisa.model.task import Attempt, CheckpointRef, Usage

__all__ = ["Heard", "Sightings", "by_attempt", "listen", "news_of"]

_NOTED = frozenset({EventKind.REFUSED, EventKind.QUARANTINED, EventKind.OVER_LIMIT})
_SPEAKS_OF_USE = frozenset({EventKind.HEARTBEAT, EventKind.EXITED})
# A refused duplicate says that another job runs: nothing it says is about the attempt itself.
_PROOF_OF_LIFE = frozenset(EventKind) - {EventKind.REFUSED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sightings:
    """What a search by tag brought for one attempt; not `complete`: absence proves nothing."""

    ids: tuple[NativeId, ...]
    complete: bool


@dataclass(slots=True, kw_only=True)
class Heard:
    """The newest word of each kind. Only the newest incarnation, and in it the first rank, speaks of starts and ends."""

    incarnation: int = 0
    is_alive: bool = False
    native_id: NativeId | None = None
    refused: RuntimeEvent | None = None
    started: RuntimeEvent | None = None
    stopping: RuntimeEvent | None = None
    over_limit: RuntimeEvent | None = None
    exited: RuntimeEvent | None = None
    step: int | None = None
    total: int | None = None
    checkpoint: CheckpointRef | None = None
    usage: Usage | None = None
    metrics: dict[str, tuple[float, int | None]] = field(default_factory=dict)
    outputs: dict[str, OutputSeen] = field(default_factory=dict)
    notes: list[Noted] = field(default_factory=list)

    @property
    def is_unfinished(self) -> bool:
        """Tell whether the job's own count says that steps are missing."""
        return self.step is not None and self.total is not None and self.step < self.total


def by_attempt(events: Iterable[RuntimeEvent]) -> Mapping[AttemptId, Sequence[RuntimeEvent]]:
    """Return the events of each attempt, in the order they were read."""
    grouped: dict[AttemptId, list[RuntimeEvent]] = defaultdict(list)
    for event in events:
        grouped[event.attempt].append(event)
    return grouped


def listen(events: Sequence[RuntimeEvent]) -> Heard:
    """Return what the events of one attempt come to, whatever order they arrive in."""
    heard = Heard()
    for event in sorted(events, key=lambda e: (e.incarnation, e.rank, e.seq)):
        _hear(heard, event)
    return heard


def _hear(heard: Heard, event: RuntimeEvent) -> None:
    if event.incarnation > heard.incarnation:
        heard.incarnation = event.incarnation
        heard.started = heard.stopping = heard.over_limit = heard.exited = None
    heard.is_alive |= event.kind in _PROOF_OF_LIFE
    if event.kind in _NOTED:
        facts = {key: value for key, value in event.data.items() if value is not None}
        heard.notes.append(Noted(subject=event.attempt, what=event.kind.value, facts=facts))
    if event.kind in _SPEAKS_OF_USE:
        heard.usage = _usage(event, heard.usage or Usage())
    _HEARERS.get(event.kind, _hear_nothing)(heard, event)


def _hear_nothing(heard: Heard, event: RuntimeEvent) -> None:
    """Keep no more of this kind than that its job lives."""


def _hear_claim(heard: Heard, event: RuntimeEvent) -> None:
    native_id = event.data.get("native_id")
    heard.native_id = NativeId(native_id) if isinstance(native_id, str) and native_id else heard.native_id


def _hear_refusal(heard: Heard, event: RuntimeEvent) -> None:
    heard.refused = event


def _hear_start(heard: Heard, event: RuntimeEvent) -> None:
    heard.started = heard.started or event


def _hear_stopping(heard: Heard, event: RuntimeEvent) -> None:
    heard.stopping = event


def _hear_over_limit(heard: Heard, event: RuntimeEvent) -> None:
    heard.over_limit = event


def _hear_exit(heard: Heard, event: RuntimeEvent) -> None:
    if event.rank == 0:
        heard.exited = event


def _hear_progress(heard: Heard, event: RuntimeEvent) -> None:
    heard.step, heard.total = _integer(event, "step"), _integer(event, "total")
    if heard.step is not None and heard.total:
        heard.metrics["progress"] = (heard.step / heard.total, heard.step)


def _hear_metric(heard: Heard, event: RuntimeEvent) -> None:
    name, value = event.data.get("name"), event.data.get("value")
    if isinstance(name, str) and isinstance(value, (int, float)):
        heard.metrics[name] = (float(value), _integer(event, "step"))


def _hear_output(heard: Heard, event: RuntimeEvent) -> None:
    name = str(event.data.get("name", ""))
    heard.outputs[name] = OutputSeen(
        attempt=event.attempt,
        name=name,
        path=str(event.data.get("path") or ""),
        ok=event.data.get("ok") is True,
        why=str(event.data.get("why") or ""),
    )


def _hear_checkpoint(heard: Heard, event: RuntimeEvent) -> None:
    path, step = event.data.get("path"), _integer(event, "step")
    if isinstance(path, str) and step is not None:
        heard.checkpoint = CheckpointRef(
            path=path,
            step=step,
            size_bytes=_integer(event, "size_bytes") or 0,
            seconds=_number(event, "seconds", 0.0),
            saved_at=event.at,
        )
        heard.step = max(step, heard.step or 0)


_HEARERS = {
    EventKind.CLAIMED: _hear_claim,
    EventKind.REFUSED: _hear_refusal,
    EventKind.STARTED: _hear_start,
    EventKind.STOPPING: _hear_stopping,
    EventKind.OVER_LIMIT: _hear_over_limit,
    EventKind.EXITED: _hear_exit,
    EventKind.PROGRESS: _hear_progress,
    EventKind.METRIC: _hear_metric,
    EventKind.OUTPUT: _hear_output,
    EventKind.CHECKPOINT: _hear_checkpoint,
}


def news_of(attempt: Attempt, heard: Heard) -> list[Change]:
    """Return the changes that record what was said without moving the attempt."""
    changes: list[Change] = [*heard.notes, *heard.outputs.values()]
    if heard.checkpoint is not None and heard.checkpoint != attempt.last_checkpoint:
        changes.append(CheckpointSeen(attempt=attempt.id, checkpoint=heard.checkpoint))
    changes.extend(
        MetricSeen(attempt=attempt.id, name=name, value=value, step=step)
        for name, (value, step) in heard.metrics.items()
    )
    if heard.usage is not None and heard.usage != attempt.usage:
        changes.append(UsageSeen(attempt=attempt.id, usage=heard.usage))
    return changes


def _usage(event: RuntimeEvent, before: Usage) -> Usage:
    return Usage(
        cpu_s=_number(event, "cpu_s", before.cpu_s),
        max_memory_mib=int(_number(event, "max_memory_mib", before.max_memory_mib)),
        gpu_s=_number(event, "gpu_s", before.gpu_s),
        max_gpu_memory_mib=int(_number(event, "max_gpu_memory_mib", before.max_gpu_memory_mib)),
        gpu_j=_number(event, "gpu_j", before.gpu_j),
    )


def _number(event: RuntimeEvent, key: str, default: float) -> float:
    value = event.data.get(key)
    return float(value) if isinstance(value, (int, float)) else default


def _integer(event: RuntimeEvent, key: str) -> int | None:
    value = event.data.get(key)
    return int(value) if isinstance(value, (int, float)) else None
