"""One job of a simulated cluster, from its acceptance to its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, NamedTuple

from elisa.backends.simulated.clock import from_us
from elisa.backends.simulated.program import Program
from elisa.model.codec import decode, encode
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import JobRequest, NativeState, Seen
from elisa.model.states import EndReason

__all__ = ["Cause", "Shape", "SimJob", "Stage", "shape_of"]

_SECOND = 1_000_000


class Stage(StrEnum):
    """How far a job has come."""

    PENDING = "pending"  # for its time, or for other jobs
    QUEUED = "queued"
    HELD = "held"  # out of the queue until it is released
    RUNNING = "running"
    STOPPING = "stopping"  # told to end, in its grace
    ENDED = "ended"


class Cause(StrEnum):
    """Why a running job will end at the moment that is planned for it."""

    COMPLETION = "completion"
    FAILURE = "failure"
    MEMORY = "memory"
    WALLTIME = "walltime"
    CANCEL = "cancel"
    PREEMPTION = "preemption"
    REFUSAL = "refusal"  # its agent gave way to another job
    NODE = "node"


class Shape(NamedTuple):
    """What a job needs of nodes: jobs of one shape fit or do not fit alike."""

    partition: str
    nodes: int
    cpus: int
    memory_mib: int
    gpus: int
    gpu_types: tuple[str, ...]
    gpu_memory_mib: int
    features: tuple[str, ...]
    constraint: str
    licences: tuple[tuple[str, int], ...]
    exclusive: bool
    excluded: tuple[str, ...]
    nodelist: tuple[str, ...]
    switches: int


def shape_of(request: JobRequest, partition: str) -> Shape:
    """Return what the nodes must offer."""
    asked = request.resources
    return Shape(
        partition=partition,
        nodes=asked.nodes,
        cpus=asked.cpus_per_node,
        memory_mib=asked.memory_mib_per_node,
        gpus=asked.gpus.per_node,
        gpu_types=asked.gpus.types,
        gpu_memory_mib=asked.gpus.memory_mib,
        features=asked.features,
        constraint=asked.constraint,
        licences=asked.licences,
        exclusive=asked.exclusive,
        excluded=request.exclude_nodes,
        nodelist=asked.nodelist,
        switches=asked.switches,
    )


@dataclass(slots=True, kw_only=True, eq=False)
class SimJob:
    """A job. Times are microseconds since the epoch; `order` counts acceptances; `version` dates what is planned for it.

    `saved` is the step of its newest checkpoint, `began_step` the one that it began from, `saves` how many it announced in
    this incarnation, `beats` likewise. Where several attempts share it, `members` are their programs, of which `program`
    is the one at number `turn`, which began at `started_us`; the job itself began at `native_us`. `dropped` attempts did
    not finish.
    """

    id: NativeId
    attempt: AttemptId
    order: int
    shape: Shape
    program: Program
    priority: int
    walltime_us: int
    grace_us: int
    lead_us: int
    after: tuple[NativeId, ...]
    accepted_us: int
    ready_us: int
    stage: Stage = Stage.PENDING
    detail: str = ""
    version: int = 0
    nodes: tuple[int, ...] = ()
    node_names: str = ""
    gpu_type: str = ""
    speed: float = 1.0
    started_us: int = 0
    base_us: int = 0
    end_us: int = 0
    cause: Cause = Cause.COMPLETION
    restarts: int = 0
    seq: int = 0
    saved: int = 0
    saves: int = 0
    beats: int = 0
    ended_us: int = 0
    reason: EndReason | None = None
    exit_code: int | None = None
    signal: int | None = None
    members: tuple[Program, ...] = ()
    turn: int = 0
    native_us: int = 0
    dropped: tuple[str, ...] = ()
    began_step: int = 0
    after_any: tuple[NativeId, ...] = ()

    @property
    def attempt_now(self) -> str:
        """The attempt whose program runs, or ran last."""
        voice = self.program.voice
        return voice.attempt if voice is not None else self.attempt

    def resume_at(self, step: int) -> None:
        """Begin with the work up to `step` done."""
        self.saved = self.began_step = max(self.saved, step)
        self.base_us = self.program.work_of(self.saved)

    @property
    def used_mib(self) -> int:
        """The memory that its program uses of each node."""
        return self.program.memory_mib or self.shape.memory_mib // 2

    @property
    def is_up(self) -> bool:
        """It holds nodes."""
        return self.stage in {Stage.RUNNING, Stage.STOPPING}

    @property
    def cycle_us(self) -> int:
        """The time from one save to the next; 0 if it never saves."""
        return self.program.checkpoint_us + self.program.save_us if self.program.checkpoint_us else 0

    @property
    def rate(self) -> float:
        """Work a microsecond, with the time that saves take counted in."""
        return self.speed * (self.program.checkpoint_us / self.cycle_us if self.cycle_us else 1.0)

    def work_at(self, us: int) -> int:
        """Return the work that is done at a moment of this incarnation."""
        return min(self.program.work_us, self.base_us + int((us - self.started_us) * self.rate))

    def plan(self) -> None:
        """Foresee how the run that has just begun will end, if nothing comes between."""
        program = self.program
        ends = [(self._when(program.work_us), 1, Cause.COMPLETION)]
        if self.walltime_us:
            ends.append((self.native_us + self.walltime_us, 2, Cause.WALLTIME))
        if program.failure is not None and program.failure.at_us >= self.base_us:
            ends.append((self._when(program.failure.at_us), 0, Cause.FAILURE))
        if 0 < self.shape.memory_mib < program.memory_mib:
            peak_us = max(self.base_us, program.work_us // 4)
            ends.append((self._when(peak_us) + _SECOND, 0, Cause.MEMORY))
        self.end_us, _, self.cause = min(ends)
        self.version += 1

    def _when(self, work_us: int) -> int:
        return self.started_us + math.ceil((work_us - self.base_us) / self.rate)

    def next_save_us(self) -> int | None:
        """Return when the next regular checkpoint will be whole; None if the run ends before."""
        at = self.started_us + (self.saves + 1) * self.cycle_us
        return at if self.cycle_us and at < self.end_us else None

    def status(self) -> tuple[int | None, int | None]:
        """Return the exit code and the signal that go with the cause of its end."""
        failure = self.program.failure
        match self.cause:
            case Cause.COMPLETION:
                return 0, None
            case Cause.REFUSAL:
                return 75, None
            case Cause.FAILURE if failure is not None:
                return failure.exit_code, failure.signal
            case Cause.MEMORY:
                return None, 9
            case Cause.NODE:
                return None, None
            case _:
                return None, 15

    def describe(self) -> Seen:
        """Say what the resource manager says of the job."""
        is_over = self.stage is Stage.ENDED
        return Seen(
            native_id=self.id,
            state=_NATIVE[self.stage],
            end_reason=self.reason if is_over else None,
            exit_code=self.exit_code if is_over else None,
            signal=self.signal if is_over else None,
            detail=self.detail,
            nodes=self.node_names,
            restarts=self.restarts,
            queued_at=from_us(self.accepted_us),
            given_at=from_us(self.native_us) if self.stage is Stage.RUNNING else None,
            started_at=from_us(self.native_us) if self.native_us else None,
            ended_at=from_us(self.ended_us) if is_over else None,
            raw=self.stage.value,
        )

    def to_row(self) -> list[Any]:
        """Return the job as JSON values."""
        return [encode(getattr(self, name)) for name in _FIELDS]

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> SimJob:
        """Read back what `to_row` returned."""
        values = dict(zip(_FIELDS, row, strict=False))  # an older elisa knew fewer
        values["program"] = decode(Program, values["program"])
        values["members"] = tuple(decode(Program, member) for member in values["members"])
        values["dropped"] = tuple(values["dropped"])
        values["shape"] = Shape._make(_frozen(value) for value in values["shape"])
        for name in ("nodes", "after", "after_any"):
            values[name] = tuple(values.get(name, ()))
        values["stage"], values["cause"] = Stage(values["stage"]), Cause(values["cause"])
        values["reason"] = EndReason(values["reason"]) if values["reason"] else None
        return cls(**values)


_NATIVE = {
    Stage.PENDING: NativeState.QUEUED,
    Stage.QUEUED: NativeState.QUEUED,
    Stage.HELD: NativeState.HELD,
    Stage.RUNNING: NativeState.RUNNING,
    Stage.STOPPING: NativeState.RUNNING,
    Stage.ENDED: NativeState.ENDED,
}
_FIELDS = tuple(field.name for field in fields(SimJob))


def _frozen(value: object) -> object:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
