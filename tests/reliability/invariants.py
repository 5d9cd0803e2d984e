"""What must hold at every moment, whatever was killed before; the numbers are those of docs on reliability."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from elisa.engine.rules import ruled_by
from elisa.model.changes import Charge
from elisa.model.ids import TaskId, task_of
from elisa.model.needs import ResolvedNeed
from elisa.model.pipeline import NeedKind
from elisa.model.site import EVERYBODY, Metered
from elisa.model.states import FINAL_TASK_STATES, TaskState
from elisa.model.task import Attempt
from elisa.store.reader import Reader
from tests.reliability.world import Run, World

__all__ = ["assert_sound", "assert_still", "broken", "double_runs", "unfinished"]


def assert_sound(world: World) -> None:
    problems = list(broken(world))
    assert not problems, problems


def broken(world: World) -> Iterator[str]:
    """Yield a sentence for every invariant that does not hold."""
    with Reader.open(world.home) as reader:
        yield from (f"I4/I5: {problem}" for problem in reader.verify_audit().problems)
        yield from _several_live(reader)
        yield from _over_cap(world, reader)
        yield from _stale_resumes(world, reader)
        yield from _without_attempt(reader)
        yield from _too_early(world, reader)
        yield from _still_held(world, reader)
        yield from _unknown_jobs(world, reader)
        yield from _unearned(world, reader)
    yield from (f"I2: {words}" for words in double_runs(world))


def _several_live(reader: Reader) -> Iterator[str]:
    live: dict[TaskId, list[str]] = defaultdict(list)
    for attempt in _own(reader.live_attempts()):
        live[attempt.task].append(attempt.id)
    yield from (f"I2: {attempts} live at once" for attempts in live.values() if len(attempts) > 1)


def _own(attempts: Iterable[Attempt]) -> Iterator[Attempt]:
    """Leave out what is queued ahead, or was so in vain: it is no attempt at its task before the one in front has ended."""
    return (attempt for attempt in attempts if attempt.continues is None)


def _without_attempt(reader: Reader) -> Iterator[str]:
    active = {row.id for row in reader.task_rows(states=(TaskState.ACTIVE,))}
    busy = {attempt.task for attempt in _own(reader.live_attempts())}
    yield from (f"I1: {task} is active and has no live attempt" for task in sorted(active - busy))
    yield from (f"I1: {task} has a live attempt and is not active" for task in sorted(busy - active))


def _still_held(world: World, reader: Reader) -> Iterator[str]:
    """What is over holds nothing: as many jobs are booked as are live, and nothing is reserved without one."""
    # What begins only after another has ended holds no place of its own until then.
    usage = reader.usage(world.clock.now()).rows
    live = sum(attempt.inherits is None for attempt in reader.live_attempts())
    booked = sum(row.jobs for row in usage)
    if booked != live:
        yield f"I4: {booked} jobs are booked, {live} are live"
    if not live and any(row.reserved != Charge(gpu_type=row.gpu_type) for row in usage):
        yield f"I4: something is reserved for nobody: {usage}"


_COLUMNS = {
    Metered.NODE_S: "node_s",
    Metered.CPU_S: "cpu_s",
    Metered.GPU_S: "gpu_s",
    Metered.MEMORY_MIB_S: "memory_mib_s",
    Metered.WATT_S: "watt_s",
}


def _over_cap(world: World, reader: Reader) -> Iterator[str]:
    usage = reader.usage(world.clock.now()).rows
    site = ruled_by(world.site, reader.rules())
    for bearer, caps in ((EVERYBODY, site.caps), *((project.name, project.caps) for project in site.projects)):
        for cap in caps:
            column = _COLUMNS.get(cap.resource)
            rows = [row for row in usage if bearer in {EVERYBODY, row.project}]
            if column is None:
                held = sum(getattr(row, cap.resource.value) for row in rows)
            else:
                # What a job used beyond its walltime is booked as it was; only reservations are up to us.
                held = sum(getattr(row.reserved, column) for row in rows)
            if cap.is_hard and held > cap.limit and _has_admitted(world, reader):
                yield f"I3: {bearer} holds {held} {cap.resource.value}, its cap is {cap.limit}"


def _has_admitted(world: World, reader: Reader) -> bool:
    """Tell whether anything that is live was admitted under the caps as they are now."""
    return world.cut_at is None or any(one.intended_at >= world.cut_at for one in reader.live_attempts())


def _stale_resumes(world: World, reader: Reader) -> Iterator[str]:
    saved = {run.attempt: run.saved for run in world.recorder.runs.values()}
    for row in reader.task_rows():
        newest = -1
        for attempt in _own(reader.attempts_of(row.id)):
            begun = attempt.resume_from.step if attempt.resume_from else -1
            if begun < newest:
                yield f"I6: {attempt.id} begins at step {begun}, there was a checkpoint of step {newest}"
            known = attempt.last_checkpoint.step if attempt.last_checkpoint else -1
            newest = max(newest, known, saved.get(attempt.id, -1))


def _unknown_jobs(world: World, reader: Reader) -> Iterator[str]:
    """Whatever the cluster took was intended before, and handed to it once."""
    known = reader.attempts(sorted(set(world.recorder.accepted)))
    for attempt, times in Counter(world.recorder.accepted).items():
        if attempt not in known:
            yield f"the cluster has a job of {attempt}, which nobody intended"
        if times > 1:
            yield f"I2: {attempt} was handed over {times} times"


def _unearned(world: World, reader: Reader) -> Iterator[str]:
    """Only what ran to its end may count as a success."""
    complete = {run.task for run in world.recorder.runs.values() if run.is_complete}
    for row in reader.task_rows(states=(TaskState.SUCCEEDED,)):
        if row.attempts and row.id not in complete:
            yield f"{row.id} is called succeeded, and never ran to its end"


def _too_early(world: World, reader: Reader) -> Iterator[str]:
    """No program starts before those whose success its task needs have run to their ends, whoever queued it when."""
    finished: dict[TaskId, int] = {}
    for run in world.recorder.runs.values():
        if run.is_complete and run.ended_us is not None:
            finished[run.task] = min(run.ended_us, finished.get(run.task, run.ended_us))
    ran = {row.id for row in reader.task_rows() if row.attempts}
    needs = reader.upstream(ran)
    for run in world.recorder.runs.values():
        for name, target in _wanted(needs.get(run.task, ())):
            if target in ran and not finished.get(target, run.began_us + 1) <= run.began_us:
                yield f"{run.attempt} began before {name} had succeeded"
    yield from _submitted_early(reader, ran, needs)


def _submitted_early(
    reader: Reader, ran: Collection[TaskId], needs: Mapping[TaskId, Sequence[ResolvedNeed]]
) -> Iterator[str]:
    """No job is submitted before what its task needs has succeeded, but behind the very jobs that will bring that."""
    states = {target.id: target.state for found in needs.values() for need in found for target in need.targets}
    for task in ran:
        for attempt in reader.attempts_of(task):
            behind = {task_of(other) for other in attempt.behind}
            for name, target in _wanted(needs.get(task, ())):
                if target not in behind and states[target] is not TaskState.SUCCEEDED:
                    yield f"{attempt.id} was submitted before {name} had succeeded, and not behind it"


def _wanted(needs: Sequence[ResolvedNeed]) -> Iterator[tuple[str, TaskId]]:
    for resolved in needs:
        if resolved.need.kind is NeedKind.SUCCESS and resolved.need.at_least is None:
            yield from ((target.name, target.id) for target in resolved.targets)


def double_runs(world: World) -> Iterator[str]:
    """Yield the programs of one task that ran at the same time, as the cluster itself knows it."""
    runs: dict[TaskId, list[Run]] = defaultdict(list)
    for run in world.recorder.runs.values():
        runs[run.task].append(run)
    for task, found in runs.items():
        for one, other in pairwise(sorted(found, key=lambda run: run.began_us)):
            if one.ended_us is None or other.began_us < one.ended_us:
                yield f"{task} ran as {one.native_id} until {one.ended_us} and as {other.native_id} from {other.began_us}"


# A tick may make news for the next one: a job it submits starts, an absence is counted. It ends soon.
_TICKS_TO_STILLNESS = 6


def assert_still(world: World) -> None:
    """While time stands still, ticks soon change nothing any more (I7)."""
    before: tuple[object, ...] = ()
    for _ in range(_TICKS_TO_STILLNESS):
        report = world.tick()
        after = _content(world)
        if after == before and not report.events:
            return
        before = after
    raise AssertionError(f"I7: ticks without news go on changing things: {before}")


def _content(world: World) -> tuple[object, ...]:
    with Reader.open(world.home) as reader:
        tasks = [row.id for row in reader.task_rows()]
        rows = len(reader.audit())
        return (
            rows,
            dict(reader.tasks(tasks)),
            {task: tuple(map(_uncounted, reader.attempts_of(task))) for task in tasks},
            reader.usage(world.clock.now()),
        )


def _uncounted(attempt: Attempt) -> Attempt:
    """Another complete listing without a job is news, although nobody moves for it."""
    return replace(attempt, absences=0, quiet_ticks=0)


def unfinished(world: World) -> list[str]:
    return [name for name, state in world.states().items() if state not in FINAL_TASK_STATES]
