"""Whatever a model object holds comes back out of the store as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elisa.model.changes import AttemptMoved, AttemptNoted, PipelineAdded, UsageSeen
from elisa.model.errors import StoreError
from elisa.model.ids import new_pipeline_id, new_task_id
from elisa.model.pipeline import (
    Backoff,
    CheckpointPolicy,
    Expansion,
    Gang,
    Grow,
    Output,
    Pipeline,
    PriorityClass,
    PythonCall,
    RestartWhen,
    ResultOf,
    RetryPolicy,
    SitePlacement,
    TaskSpec,
)
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import GpuRequest, Resources
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import CheckpointRef, End, PipelineRecord, Task, Usage
from elisa.store.convert import from_us, to_us
from elisa.store.writer import Writer
from tests.builders import NOW, SeededRandom, a_pipeline, a_task, an_attempt, intended, task_id

RANDOM = SeededRandom(1)
SEVERAL = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

counts = st.integers(0, 2**40)
seconds = st.floats(0, 1e9)
# Everything that a database can hold as text; a command may well have newlines and quotes.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
pairs = st.lists(st.tuples(words, words), max_size=2).map(tuple)
several = st.lists(words, max_size=3).map(tuple)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - strategy adds it
scalars = st.none() | st.booleans() | counts | st.floats(allow_nan=False) | words

amounts = st.integers(0, 2**20)
resources = st.builds(
    Resources,
    nodes=amounts,
    tasks_per_node=amounts,
    cpus_per_task=amounts,
    memory_mib_per_node=amounts,
    walltime_s=counts,
    gpus=st.builds(GpuRequest, per_node=amounts, types=several, memory_mib=counts),
    licences=st.lists(st.tuples(words, counts), max_size=2).map(tuple),
    features=several,
    constraint=words,
    exclusive=st.booleans(),
)
calls = st.builds(
    PythonCall,
    file=words,
    function=words,
    arguments=pairs,
    results=st.lists(st.tuples(words, st.builds(ResultOf, tasks=several, many=st.booleans())), max_size=2).map(tuple),
)
retries = st.builds(
    RetryPolicy,
    limit=counts,
    restart=st.sampled_from(RestartWhen),
    on=st.lists(st.sampled_from(EndReason), max_size=3).map(tuple),
    backoff=st.builds(Backoff, initial_s=seconds, factor=seconds, maximum_s=seconds, jitter=seconds),
    grow=st.builds(Grow, memory_factor=seconds, walltime_factor=seconds, memory_maximum_mib=counts),
)
specs = st.builds(
    TaskSpec,
    name=words,
    command=several,
    shell=st.booleans(),
    call=st.none() | calls,
    workdir=words,
    environment=pairs,
    pass_environment=several,
    when=words,
    parameters=st.lists(st.tuples(words, scalars), max_size=3).map(tuple),
    group=words,
    expansion=st.none() | st.builds(Expansion, source=words, output=words, limit=counts),
    resources=resources,
    gang=st.none() | st.builds(Gang, name=words, minimum=counts, timeout_s=st.none() | counts),
    retry=retries,
    checkpoint=st.none() | st.builds(CheckpointPolicy, interval_s=st.none() | seconds, keep=counts, pattern=words),
    preemptible=st.booleans(),
    priority=st.sampled_from(PriorityClass),
    importance=seconds,
    placement=st.builds(SitePlacement, backend=words, extras=pairs),
    outputs=st.lists(st.builds(Output, name=words, path=words, columns=several), max_size=2).map(tuple),
    labels=pairs,
    metadata=pairs,
)
pipelines = st.builds(
    Pipeline,
    name=words,
    project=words,
    tasks=st.lists(specs, min_size=1, max_size=3, unique_by=lambda spec: spec.name).map(tuple),
    folder=words,
    deadline=st.none() | moments,
    importance=seconds,
    priority=st.sampled_from(PriorityClass),
    labels=pairs,
    metadata=pairs,
)
checkpoints = st.builds(
    CheckpointRef, path=words, step=counts, size_bytes=counts, seconds=seconds, saved_at=st.none() | moments
)
usages = st.builds(Usage, cpu_s=seconds, max_memory_mib=counts, gpu_s=seconds, max_gpu_memory_mib=counts)
ends = st.builds(
    End,
    reason=st.sampled_from(EndReason),
    exit_code=st.none() | counts,
    signal=st.none() | counts,
    detail=words,
    step=st.none() | counts,
)


@given(moment=moments)
def test_a_moment_is_kept_to_the_microsecond(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert from_us(to_us(there)) == NOW


@SEVERAL
@given(pipeline=pipelines, submitted_at=moments, data=st.data())
def test_a_pipeline_and_its_tasks_come_back(
    writer: Writer, pipeline: Pipeline, submitted_at: datetime, data: st.DataObject
) -> None:
    key = new_pipeline_id(RANDOM)
    record = PipelineRecord(
        id=key, pipeline=pipeline, owner_uid=2**32 - 2, owner="ada", submitted_at=submitted_at, source="a b.yaml"
    )
    tasks = tuple(
        Task(
            id=new_task_id(RANDOM),
            pipeline=key,
            project=pipeline.project,
            owner_uid=2**32 - 2,
            spec=spec,
            state=data.draw(st.sampled_from(TaskState)),
            request=data.draw(resources),
            submitted_at=submitted_at,
            ready_at=data.draw(st.none() | moments),
            ended_at=data.draw(st.none() | moments),
            not_before=data.draw(st.none() | moments),
            attempts=data.draw(counts),
            failures=data.draw(counts),
            cancel_requested=data.draw(st.booleans()),
            resume_from=data.draw(st.none() | checkpoints),
        )
        for spec in pipeline.tasks
    )

    writer.apply((PipelineAdded(record=record, tasks=tasks),))

    assert writer.pipeline(key) == record
    assert writer.tasks_of(key) == tasks
    assert writer.tasks([task.id for task in tasks]) == {task.id: task for task in tasks}


@SEVERAL
@given(data=st.data(), end=ends, usage=usages)
def test_an_attempt_comes_back(writer: Writer, data: st.DataObject, end: End, usage: Usage) -> None:
    name = f"n{RANDOM.bits(60)}"
    own: dict[str, st.SearchStrategy[Any]] = {
        "backend": words,
        "partition": words,
        "request": resources,
        "intended_at": moments,
    }
    given_ = an_attempt(task_id(name, name)).having(
        **{field: data.draw(strategy) for field, strategy in own.items()},
        resume_from=data.draw(st.none() | checkpoints),
    )
    times: dict[str, Any] = {
        "started_at": data.draw(moments),
        "ended_at": data.draw(moments),
        "nodes": data.draw(words),
    }
    told: dict[str, Any] = {
        "absences": data.draw(counts),
        "quiet_ticks": 2,
        "claimed": True,
        "native_detail": data.draw(words),
    }
    ending = AttemptMoved(
        attempt=given_.id,
        before=AttemptState.INTENDED,
        after=AttemptState.ENDED,
        reason=because(ReasonCode.SEEN),
        end=end,
        incarnation=3,
        **times,
    )

    writer.apply((a_pipeline(a_task(name).ready(), name=name).added(), intended(given_)))
    writer.apply((AttemptNoted(attempt=given_.id, **told), UsageSeen(attempt=given_.id, usage=usage), ending))

    expected = given_.having(state=AttemptState.ENDED, end=end, usage=usage, incarnation=3, **told, **times)
    assert writer.attempts_of(given_.task) == (expected.build(),)


def test_a_number_that_no_database_holds_is_refused(writer: Writer) -> None:
    absurd = Resources(nodes=2**40, cpus_per_task=2**40)
    writer.apply((a_pipeline(a_task("train").ready()).added(),))

    with pytest.raises(StoreError, match="a number is too large"):
        writer.apply((intended(an_attempt("train").having(request=absurd)),))

    assert writer.live_attempts() == ()
