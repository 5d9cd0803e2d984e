"""Builders: a test names only what matters to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from elisa.model.affinity import Bond
from elisa.model.columns import GangRow, ProjectUsage, ReadyColumns, Shape
from elisa.model.events import EventKind, RuntimeEvent
from elisa.model.ids import AttemptId, BackendName, NativeId, PipelineId, ProjectName, TaskId, attempt_number, task_of
from elisa.model.native import (
    Answered,
    ClusterView,
    Gone,
    NativeState,
    NodeView,
    Observation,
    PartitionView,
    Poll,
    Seen,
)
from elisa.model.pipeline import SitePlacement, TaskSpec
from elisa.model.resources import GpuRequest, Resources
from elisa.model.site import SitePolicy
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import Attempt, CheckpointRef, End, Task
from elisa.policies.plan import Plan, plan
from elisa.policies.snapshot import Snapshot

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = BackendName("here")
_FREE = Bond()


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_request(gpus: int = 0, types: tuple[str, ...] = (), **fields: Any) -> Resources:
    return Resources(gpus=GpuRequest(per_node=gpus, types=types), **fields)


def an_attempt(id_: str = "t1.1", state: AttemptState = AttemptState.RUNNING, **fields: Any) -> Attempt:
    started = {"started_at": after(-600)} if state is AttemptState.RUNNING else {}
    known = {} if state is AttemptState.INTENDED else {"native_id": NativeId("77"), "submitted_at": after(-3000)}
    defaults: dict[str, Any] = {
        "id": AttemptId(id_),
        "task": task_of(AttemptId(id_)),
        "number": attempt_number(AttemptId(id_)),
        "backend": HERE,
        "partition": "main",
        "request": Resources(),
        "state": state,
        "intended_at": after(-3600),
    }
    return Attempt(**{**defaults, **known, **started, **fields})


def an_event(
    kind: EventKind, attempt: str = "t1.1", *, incarnation: int = 0, seq: int = 0, **data: Any
) -> RuntimeEvent:
    rank = data.pop("rank", 0)
    return RuntimeEvent(
        attempt=AttemptId(attempt), incarnation=incarnation, rank=rank, seq=seq, at=after(-5), kind=kind, data=data
    )


def seen(state: NativeState, **fields: Any) -> Seen:
    return Seen(native_id=NativeId("77"), state=state, **fields)


def gone() -> Gone:
    return Gone(native_id=NativeId("77"))


def answered(*observations: Observation) -> Mapping[BackendName, Poll]:
    return {HERE: Answered(observations={seen_.native_id: seen_ for seen_ in observations})}


def ended(
    reason: EndReason,
    id_: str = "t1.1",
    *,
    step: int | None = None,
    exit_code: int | None = None,
    detail: str = "",
    **fields: Any,
) -> Attempt:
    state = AttemptState.LOST if reason is EndReason.LOST else AttemptState.ENDED
    end = End(reason=reason, step=step, exit_code=exit_code, detail=detail)
    return an_attempt(id_, state, **{"end": end, "started_at": after(-600), "ended_at": NOW, **fields})


def a_checkpoint(step: int) -> CheckpointRef:
    return CheckpointRef(path=f"step-{step}", step=step)


def a_task(state: TaskState = TaskState.ACTIVE, **fields: Any) -> Task:
    spec = fields.pop("spec", None) or TaskSpec(name="train", command=("true",), **fields.pop("spec_fields", {}))
    defaults: dict[str, Any] = {
        "id": TaskId("t1"),
        "pipeline": PipelineId("p1"),
        "project": ProjectName("vision"),
        "owner_uid": 1000,
        "spec": spec,
        "state": state,
        "request": Resources(),
        "submitted_at": after(-7200),
    }
    return Task(**{**defaults, **fields})


def a_node(name: str = "n1", *, gpus: Mapping[str, int] | None = None, **fields: Any) -> NodeView:
    counts = tuple((gpus or {}).items())
    defaults: dict[str, Any] = {
        "cpus": 8,
        "memory_mib": 32768,
        "free_cpus": fields.get("cpus", 8),
        "free_memory_mib": fields.get("memory_mib", 32768),
        "gpus": counts,
        "free_gpus": counts,
    }
    return NodeView(name=name, **{**defaults, **fields})


def a_cluster(*nodes: NodeView, partitions: Sequence[str] = (), backend: str = HERE) -> ClusterView:
    return ClusterView(
        backend=BackendName(backend),
        nodes=nodes or (a_node(),),
        partitions=tuple(PartitionView(name=name, is_default=place == 0) for place, name in enumerate(partitions)),
    )


class Ready:
    """Ready tasks, added one by one."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.shapes: list[Shape] = []
        self.gangs: list[GangRow] = []

    def add(
        self,
        id_: str,
        request: Resources | None = None,
        *,
        placement: SitePlacement | None = None,
        bond: Bond = _FREE,
        may_leave: bool = False,
        **row: Any,
    ) -> Ready:
        shape = Shape(request or Resources(), placement or SitePlacement(), bond=bond, may_leave=may_leave)
        if shape not in self.shapes:
            self.shapes.append(shape)
        defaults = {
            "task": id_,
            "project": "vision",
            "owner_uid": 1000,
            "priority": 2,
            "importance": 0.0,
            "age_s": 60.0,
            "deadline_s": 0.0,
            "shape": self.shapes.index(shape),
            "gang": -1,
            "predicted_s": 0.0,
            "path_s": 0.0,
            "progress": 0.0,
            "promise": 0.0,
            "brief_s": 0.0,
        }
        self.rows.append({**defaults, **row})
        return self

    def columns(self) -> ReadyColumns:
        def column(name: str) -> list[Any]:
            return [row[name] for row in self.rows]

        def micros(name: str, sign: int) -> list[int]:
            return [int((NOW.timestamp() + sign * row[name]) * 1e6) for row in self.rows]

        owners = list(dict.fromkeys(zip(column("project"), column("owner_uid"), strict=True)))
        return ReadyColumns(
            task=column("task"),
            owner=[owners.index((row["project"], row["owner_uid"])) for row in self.rows],
            owners=owners,
            priority=column("priority"),
            importance=column("importance"),
            submitted_us=micros("age_s", -1),
            ready_us=micros("age_s", -1),
            deadline_us=[
                at if row["deadline_s"] else 0 for at, row in zip(micros("deadline_s", 1), self.rows, strict=True)
            ],
            shape=column("shape"),
            shapes=self.shapes,
            gang=column("gang"),
            gangs=self.gangs,
            predicted_s=column("predicted_s"),
            path_s=column("path_s"),
            progress=column("progress"),
            promise=column("promise"),
            brief_s=column("brief_s"),
        )


def a_snapshot(
    ready: Ready,
    *clusters: ClusterView,
    site: SitePolicy | None = None,
    usage: ProjectUsage | None = None,
    live: Sequence[Attempt] = (),
    **extra: Any,
) -> Snapshot:
    return Snapshot.build(
        ready.columns(), usage or ProjectUsage(), clusters or (a_cluster(),), live, site or SitePolicy(), NOW, **extra
    )


def a_plan(ready: Ready, *clusters: ClusterView, **extra: Any) -> Plan:
    return plan(a_snapshot(ready, *clusters, **extra))


def started(made: Plan) -> list[str]:
    return [decision.task for decision in made.decisions if hasattr(decision, "rank")]
