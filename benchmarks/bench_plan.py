"""How long a whole plan takes, from columns to decisions, and the reading of evidence before it.

The load of a plan: five priority classes, sixty shapes of one to eight GPUs or cores alone on four types of node, project
caps on GPU time and concurrent GPUs, user caps on jobs; one project in ten has used up its budget, and one node in ten is
free; the rules are those of a new site.yaml. Seeded, so it is the same every time.
"""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from benchmarks.figure import Figure, median_of, seconds_of
from elisa.engine.config import Site
from elisa.model.changes import Charge
from elisa.model.columns import ProjectUsage, ReadyColumns, Shape, UsageRow
from elisa.model.events import EventKind, RuntimeEvent
from elisa.model.ids import AttemptId, BackendName, NativeId, ProjectName, TaskId
from elisa.model.native import Answered, ClusterView, NativeState, NodeView, PartitionView, Seen
from elisa.model.resources import GpuRequest, Resources
from elisa.model.site import Cap, Metered, ProjectPolicy, SitePolicy
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.lifecycle import observe
from elisa.policies.plan import Plan, plan
from elisa.policies.snapshot import Snapshot

FIGURES = ("plan_1k_ms", "plan_100k_ms", "plan_1m_ms", "plan_100k_peak_mib", "observe_10k_ms")

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NOW_US = int(NOW.timestamp() * 1e6)
BACKEND = BackendName("cluster")
GPU_TYPES = ("a100", "h100", "l40s", "")

Load = tuple[ReadyColumns, ProjectUsage, tuple[ClusterView, ...], SitePolicy]


def measure() -> Iterator[Figure]:
    """Yield the figures; each size is planned from its columns, as a tick does."""
    yield Figure(figure="plan_1k_ms", value=_plan_ms(a_load(1_000, 50, 200)), unit="ms", goal="<=10", runs=9)
    large = a_load(100_000, 1_000, 2_000)
    yield Figure(figure="plan_100k_ms", value=_plan_ms(large), unit="ms", goal="<=100", runs=9)
    yield Figure(figure="plan_100k_peak_mib", value=_peak_mib(large), unit="MiB")
    yield Figure(figure="observe_10k_ms", value=_observe_ms(10_000), unit="ms", goal="<=300", runs=9)
    yield Figure(figure="plan_1m_ms", value=_plan_ms(a_load(1_000_000, 1_000, 2_000), runs=3), unit="ms", runs=3)


def decide(load: Load) -> Plan:
    """Make one plan, decisions and all."""
    ready, usage, clusters, site = load
    made = plan(Snapshot.build(ready, usage, clusters, (), site, NOW))
    assert made.decisions
    return made


def a_load(tasks: int, projects: int, nodes: int) -> Load:
    """Return ready tasks of `projects` projects, and a cluster of `nodes` nodes, one in ten of them free."""
    rng = random.Random(tasks)  # a load is no secret
    names = [f"project-{number:04}" for number in range(projects)]
    return _ready(rng, tasks, names), _usage(rng, names), (_cluster(rng, nodes),), _site(names)


def _observe_ms(count: int) -> float:
    """Return the time for one tick's evidence on live attempts: all are polled, one in five has sent a heartbeat."""
    live = [_attempt(number) for number in range(count)]
    answers = {NativeId(str(n)): Seen(native_id=NativeId(str(n)), state=NativeState.RUNNING) for n in range(count)}
    events = [
        RuntimeEvent(
            attempt=attempt.id,
            incarnation=0,
            rank=0,
            seq=1,
            at=NOW,
            kind=EventKind.HEARTBEAT,
            data={"cpu_s": 1.0, "max_memory_mib": 10},
        )
        for attempt in live[::5]
    ]
    polls = {BACKEND: Answered(observations=answers)}
    return 1000 * median_of(lambda: seconds_of(lambda: observe(live, events, polls, {}, NOW)), runs=9)


def _attempt(number: int) -> Attempt:
    return Attempt(
        id=AttemptId(f"t{number:09}.1"),
        task=TaskId(f"t{number:09}"),
        number=1,
        backend=BACKEND,
        partition="main",
        request=Resources(),
        state=AttemptState.RUNNING,
        intended_at=NOW,
        native_id=NativeId(str(number)),
        started_at=NOW,
        claimed=True,
    )


def _plan_ms(load: Load, runs: int = 9) -> float:
    return 1000 * median_of(lambda: seconds_of(lambda: decide(load)), runs=runs)


def _peak_mib(load: Load) -> float:
    tracemalloc.start()
    decide(load)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def _ready(rng: random.Random, count: int, projects: list[str]) -> ReadyColumns:
    shapes = [_shape(rng) for _ in range(60)]
    owners = [(project, 1000 + user) for project in projects for user in range(4)]
    day_us = int(timedelta(days=1).total_seconds() * 1e6)
    waited_us = [rng.randrange(day_us) for _ in range(count)]
    return ReadyColumns(
        task=[f"t{number:09}" for number in range(count)],
        owner=[rng.randrange(len(owners)) for _ in range(count)],
        owners=owners,
        priority=rng.choices(range(5), weights=(1, 4, 20, 4, 4), k=count),
        importance=[float(rng.randrange(20)) for _ in range(count)],
        submitted_us=[NOW_US - wait - 1 for wait in waited_us],
        ready_us=[NOW_US - wait for wait in waited_us],
        deadline_us=[NOW_US + rng.randrange(30 * day_us) if rng.random() < 0.3 else 0 for _ in range(count)],
        shape=[rng.randrange(len(shapes)) for _ in range(count)],
        shapes=shapes,
    )


def _shape(rng: random.Random) -> Shape:
    gpu_type = rng.choice(GPU_TYPES)
    gpus = GpuRequest(per_node=rng.choice((1, 2, 4, 8)), types=(gpu_type,)) if gpu_type else GpuRequest()
    return Shape(
        Resources(
            nodes=rng.choice((1, 1, 1, 2, 4)),
            cpus_per_task=rng.choice((1, 2, 4, 8)),
            memory_mib_per_node=1024 * rng.choice((2, 8, 32)),
            walltime_s=3600 * rng.choice((1, 4, 12, 24)),
            gpus=gpus,
        )
    )


def _usage(rng: random.Random, projects: list[str]) -> ProjectUsage:
    return ProjectUsage(
        rows=[
            UsageRow(
                project=name,
                owner_uid=1000 + user,
                gpu_type="a100",
                reserved=Charge(gpu_s=rng.randrange(10**6), gpu_type="a100"),
                spent=Charge(gpu_s=10**9 if number % 10 == 0 else rng.randrange(10**7), gpu_type="a100"),
                jobs=rng.randrange(4),
                gpus=rng.randrange(8),
            )
            for number, name in enumerate(projects)
            for user in range(4)
        ]
    )


def _cluster(rng: random.Random, nodes: int) -> ClusterView:
    return ClusterView(
        backend=BACKEND,
        nodes=tuple(_node(number, is_free=rng.random() < 0.1) for number in range(nodes)),
        partitions=(PartitionView(name="main", is_default=True),),
    )


def _node(number: int, *, is_free: bool) -> NodeView:
    gpu_type = GPU_TYPES[number % len(GPU_TYPES)]
    gpus = ((gpu_type, 8),) if gpu_type else ()
    return NodeView(
        name=f"node{number:04}",
        cpus=64,
        memory_mib=512 * 1024,
        free_cpus=64 if is_free else 4,
        free_memory_mib=512 * 1024 if is_free else 16 * 1024,
        gpus=gpus,
        free_gpus=gpus if is_free else tuple((kind, 0) for kind, _ in gpus),
    )


def _site(projects: list[str]) -> SitePolicy:
    caps = (
        Cap(resource=Metered.GPU_S, limit=10**9),
        Cap(resource=Metered.GPU_S, limit=5 * 10**8, gpu_type="a100"),
        Cap(resource=Metered.GPUS, limit=200),
    )
    user_caps = (Cap(resource=Metered.JOBS, limit=50),)
    return replace(
        Site().policy(),
        projects=tuple(
            ProjectPolicy(name=ProjectName(name), shares=1.0 + number % 3, caps=caps, user_caps=user_caps)
            for number, name in enumerate(projects)
        ),
    )
