"""Which tasks are certain to be wanted, and which jobs that wait behind others will not begin."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from elisa.model.ids import AttemptId, BackendName, TaskId
from elisa.model.needs import ResolvedNeed, Target
from elisa.model.pipeline import Need, NeedKind, RestartWhen, RetryPolicy
from elisa.model.reasons import ReasonCode
from elisa.model.resources import Elastic, GpuRequest, Resources
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import Attempt, Task
from elisa.policies.chaining import (
    NEVER_STARTS,
    Link,
    Tip,
    has_failed,
    is_chained,
    kept_back,
    link_of,
    stranded,
    tips_of,
    with_heirs,
)
from elisa.policies.recovery import after_end
from tests.builders import NOW, OWNER_UID, AttemptBuilder, TaskBuilder, a_task, an_attempt

PREP, TRAIN, REPORT = an_attempt("prep"), an_attempt("train"), an_attempt("report")
CLUSTER, OTHER = BackendName("cluster"), BackendName("other")


def target(name: str, state: TaskState = TaskState.ACTIVE, **fields: Any) -> Target:
    return Target(id=a_task(name).id, name=name, state=state, **fields)


def need(*targets: Target, **fields: Any) -> ResolvedNeed:
    return ResolvedNeed(need=Need(tasks=tuple(one.name for one in targets), **fields), targets=targets)


def tip(attempt: AttemptBuilder, backend: BackendName = CLUSTER, uid: int = OWNER_UID, depth: int = 0) -> Tip:
    return Tip(attempt.id, backend, uid, depth)


LONG_AGO = NOW - timedelta(seconds=901)
TIPS = {PREP.task: tip(PREP), TRAIN.task: tip(TRAIN, depth=2)}


def link(
    task: TaskBuilder | Task, *needs: ResolvedNeed, tips: dict[TaskId, Tip] = TIPS, earlier: Any = ()
) -> Link | None:
    return link_of(task if isinstance(task, Task) else task.build(), needs, tips, earlier)


def test_task_that_lacks_one_success_goes_behind_that_job() -> None:
    found = link(a_task("report"), need(target("prep")))

    assert found == Link(task=REPORT.task, behind=(PREP.id,), backend=CLUSTER, depth=1)


def test_task_that_lacks_several_goes_behind_all_one_deeper_than_the_deepest() -> None:
    found = link(a_task("report"), need(target("prep")), need(target("train"), target("done", TaskState.SUCCEEDED)))

    assert found is not None
    assert (set(found.behind), found.depth) == ({PREP.id, TRAIN.id}, 3)


@pytest.mark.parametrize(
    "task",
    [
        a_task("report").ready(),
        a_task("report").specified(chain=False),
        a_task("report").in_gang("g"),
        a_task("report").made_from("prep"),
        a_task("report").having(not_before=NOW),
        a_task("report").having(cancel_requested=True),
        a_task("report").having(owner_uid=OWNER_UID + 1),
    ],
    ids=["not waiting", "declines", "in a gang", "a template", "waits for its time", "unwanted", "another owner's"],
)
def test_some_tasks_are_never_chained(task: TaskBuilder) -> None:
    assert link(task, need(target("prep"))) is None


@pytest.mark.parametrize(
    "needs",
    [
        (),
        (need(target("done", TaskState.SUCCEEDED)),),
        (need(target("elsewhere", TaskState.ACTIVE)),),
        (need(target("prep"), kind=NeedKind.COMPLETION),),
        (need(target("prep"), kind=NeedKind.CHECKPOINT, step=5),),
        (need(target("prep"), kind=NeedKind.DATA, output="model"),),
        (need(target("prep"), timeout_s=60),),
        (need(target("prep"), target("train"), at_least=1),),
        (need(target("prep")), need(target("later", TaskState.WAITING))),
    ],
    ids=["none", "all met", "no job", "an end", "a checkpoint", "data", "a time limit", "any of two", "one not begun"],
)
def test_what_could_be_decided_otherwise_is_left_to_the_ticks(needs: tuple[ResolvedNeed, ...]) -> None:
    assert link(a_task("report"), *needs) is None


def test_need_that_is_met_already_does_not_matter_whatever_its_kind() -> None:
    met = need(target("train", checkpoint_step=9), kind=NeedKind.CHECKPOINT, step=5)

    found = link(a_task("report"), need(target("prep")), met)

    assert found is not None
    assert found.behind == (PREP.id,)


def test_few_of_many_are_certain_once_all_that_are_left_are_needed() -> None:
    some = need(target("prep"), target("train"), target("done", TaskState.SUCCEEDED), at_least=3)

    found = link(a_task("report"), some)

    assert found is not None
    assert set(found.behind) == {PREP.id, TRAIN.id}


def test_jobs_on_two_backends_cannot_be_waited_for() -> None:
    tips = {PREP.task: tip(PREP), TRAIN.task: tip(TRAIN, OTHER)}

    assert link(a_task("report"), need(target("prep"), target("train")), tips=tips) is None


@pytest.mark.parametrize(
    ("when", "is_linked"),
    [
        ("done.loss < 1", True),
        ("done.loss > 1", False),
        ("prep.loss < 1", False),
        ('prep.state == "succeeded"', False),
        ("done.accuracy > 1", False),
    ],
    ids=["true", "false", "of what still runs", "its state", "never reported"],
)
def test_condition_must_be_true_for_good(when: str, is_linked: bool) -> None:  # noqa: FBT001 - of a table
    done = need(target("done", TaskState.SUCCEEDED, metrics={"loss": 0.5}))
    running = need(target("prep", metrics={"loss": 0.5}))

    assert (link(a_task("report").specified(when=when), done, running) is not None) is is_linked


def earlier(**fields: Any) -> Attempt:
    return REPORT.having(behind=(PREP.id,)).ended(fields.pop("reason", EndReason.CANCELLED)).having(**fields).build()


@pytest.mark.parametrize(
    ("before", "is_linked"),
    [
        (earlier(reason=EndReason.REJECTED), False),
        (earlier(native_id="47"), False),
        (earlier(native_id="47", cancel_sent=True), True),
        (earlier(), True),
        (earlier(native_id="47", claimed=True, reason=EndReason.FAILED), True),
        (replace(earlier(native_id="47"), behind=(TRAIN.id,)), True),
    ],
    ids=["refused", "ended by others", "taken back", "never handed over", "ran", "behind another"],
)
def test_what_was_not_wanted_behind_these_jobs_is_not_offered_again(before: Attempt, is_linked: bool) -> None:  # noqa: FBT001 - of a table
    assert (link(a_task("report"), need(target("prep")), earlier=[before]) is not None) is is_linked


def live(*attempts: AttemptBuilder) -> dict[AttemptId, Attempt]:
    return {one.id: one.build() for one in attempts}


def tasks(*found: TaskBuilder) -> dict[TaskId, Task]:
    return {one.id: one.build() for one in found}


def test_depth_counts_the_jobs_in_a_row_that_wait() -> None:
    running, first = PREP.on("cluster").running("1"), TRAIN.on("cluster").submitted("2").having(behind=(PREP.id,))
    second = REPORT.on("cluster").submitted("3").having(behind=(TRAIN.id,))

    tips = tips_of(live(running, first, second), tasks(a_task("prep"), a_task("train"), a_task("report")))

    assert [tips[one.task].depth for one in (PREP, TRAIN, REPORT)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("attempt", "task"),
    [
        (PREP, a_task("prep")),
        (PREP.submitted().having(cancel_sent=True), a_task("prep")),
        (PREP.running().ended().having(state=AttemptState.RUNNING), a_task("prep")),
        (PREP.submitted(), a_task("prep").having(cancel_requested=True)),
        (PREP.submitted(), a_task("prep").having(hold_requested=True)),
        (PREP.submitted(), a_task("prep").specified(retry=RetryPolicy(restart=RestartWhen.ALWAYS))),
        (PREP.submitted(), a_task("unknown")),
    ],
    ids=[
        "not submitted",
        "asked to leave",
        "said its end",
        "to be cancelled",
        "to be held",
        "a service",
        "not asked about",
    ],
)
def test_nothing_goes_behind_what_may_not_finish(attempt: AttemptBuilder, task: TaskBuilder) -> None:
    assert tips_of(live(attempt), tasks(task)) == {}


FOLLOWER = REPORT.submitted("3").having(behind=(TRAIN.id,))


def test_job_is_chained_as_long_as_one_in_front_lives_and_it_has_not_begun() -> None:
    waiting, front = FOLLOWER.build(), live(TRAIN.running())

    assert is_chained(waiting, front)
    assert not is_chained(waiting, {})
    assert not is_chained(replace(waiting, state=AttemptState.RUNNING), front)


@pytest.mark.parametrize(("middle", "last"), [(TRAIN, REPORT), (REPORT, TRAIN)], ids=["one way", "the other"])
def test_who_waits_behind_a_failure_is_stranded_and_all_behind_it(middle: AttemptBuilder, last: AttemptBuilder) -> None:
    chain = live(last.submitted("3").having(behind=(middle.id,)), middle.submitted("2").having(behind=(PREP.id,)))

    found = stranded(chain, {PREP.id: PREP.ended(EndReason.FAILED).build()})

    assert [one.id for one in found] == [middle.id, last.id]


@pytest.mark.parametrize(
    "front",
    [PREP.running(), PREP.submitted(), PREP.running().having(cancel_sent=True), PREP.ended()],
    ids=["runs", "waits", "runs and was asked to leave", "completed"],
)
def test_who_may_still_begin_is_not_stranded(front: AttemptBuilder) -> None:
    middle = TRAIN.submitted("2").having(behind=(PREP.id,))
    built = front.build()
    is_over = built.state is AttemptState.ENDED

    assert stranded(live(middle) if is_over else live(middle, front), {PREP.id: built} if is_over else {}) == ()


def test_who_waits_behind_a_queued_job_that_leaves_or_nobody_knows_is_stranded() -> None:
    leaving = TRAIN.submitted("2").having(cancel_sent=True)

    assert [one.id for one in stranded(live(leaving, FOLLOWER), {})] == [REPORT.id]
    assert [one.id for one in stranded(live(FOLLOWER), {})] == [REPORT.id]


def test_managers_word_that_it_never_starts_counts_once_those_in_front_are_over() -> None:
    told = FOLLOWER.having(native_detail=f"{NEVER_STARTS}: it will never start as it is")

    assert [one.id for one in stranded(live(told), {TRAIN.id: TRAIN.ended().build()})] == [REPORT.id]
    assert stranded(live(told, TRAIN.running()), {}) == ()


@pytest.mark.parametrize(
    ("detail", "front", "bound_s", "expected"),
    [
        ("Dependency", TRAIN.ended().having(ended_at=LONG_AGO), 900, [REPORT.id]),
        ("waits for afterok:7[].vm", TRAIN.ended().having(ended_at=LONG_AGO), 900, [REPORT.id]),
        ("Resources", TRAIN.ended().having(ended_at=LONG_AGO), 900, []),
        ("Dependency", TRAIN.ended().having(ended_at=NOW - timedelta(seconds=900)), 900, []),
        ("Dependency", TRAIN.ended().having(ended_at=LONG_AGO), 0, []),
        ("Dependency", TRAIN.ended(EndReason.FAILED).having(ended_at=LONG_AGO), 900, []),
        ("Dependency", TRAIN.running(), 900, []),
    ],
    ids=["Slurm", "PBS", "it waits for room", "not long enough", "switched off", "they failed", "they run"],
)
def test_who_waits_too_long_for_what_has_finished_is_kept_back(
    detail: str, front: AttemptBuilder, bound_s: float, expected: list[AttemptId]
) -> None:
    built, waiting = front.build(), FOLLOWER.having(native_detail=detail)
    is_live = built.state is AttemptState.RUNNING
    before = {} if is_live else {built.id: built}

    found = kept_back(live(waiting, front) if is_live else live(waiting), before, NOW, bound_s)

    assert [one.id for one in found] == expected


def test_only_success_is_no_failure() -> None:
    assert has_failed(None)
    assert has_failed(TRAIN.ended(EndReason.TIMEOUT).build())
    assert has_failed(TRAIN.having(state=AttemptState.LOST).build())
    assert not has_failed(TRAIN.ended().build())
    assert not has_failed(TRAIN.running().build())


# What follows the end of a job that was queued behind others.


def fate(attempt: AttemptBuilder, task: TaskBuilder | None = None, *, is_broken: bool = False) -> Any:
    active = (task or a_task("report")).being(TaskState.ACTIVE).build()
    return after_end(active, attempt.build(), (), NOW, 0.5, is_chain_broken=is_broken)


@pytest.mark.parametrize(
    ("attempt", "is_broken"),
    [
        (FOLLOWER.ended(EndReason.CANCELLED), True),
        (FOLLOWER.ended(EndReason.LOST), True),
        (FOLLOWER.ended(EndReason.CANCELLED).having(cancel_sent=True), False),
        (FOLLOWER.ended(EndReason.REJECTED), False),
        (FOLLOWER.ended(EndReason.CANCELLED, detail=NEVER_STARTS), False),
    ],
    ids=["behind a failure", "refused behind a failure", "taken back", "not accepted", "never satisfied"],
)
def test_job_that_never_began_gives_its_task_back_at_no_cost(attempt: AttemptBuilder, is_broken: bool) -> None:  # noqa: FBT001 - of a table
    moved = fate(attempt, is_broken=is_broken)

    assert (moved.after, moved.reason.code, moved.counts_as_failure) == (
        TaskState.WAITING,
        ReasonCode.CHAIN_BROKEN,
        False,
    )


def test_persons_cancel_of_a_job_behind_healthy_ones_cancels_its_task() -> None:
    moved = fate(FOLLOWER.ended(EndReason.CANCELLED))

    assert (moved.after, moved.reason.code) == (TaskState.CANCELLED, ReasonCode.CANCELLED_OUTSIDE)


def test_owners_cancel_and_hold_come_before_a_broken_chain() -> None:
    broken = FOLLOWER.ended(EndReason.CANCELLED)

    assert fate(broken, a_task("report").having(cancel_requested=True), is_broken=True).after is TaskState.CANCELLED
    assert fate(broken, a_task("report").having(hold_requested=True), is_broken=True).after is TaskState.HELD


def test_what_ran_and_failed_is_tried_again_but_has_its_needs_looked_at() -> None:
    ran = FOLLOWER.ended(EndReason.PREEMPTED).having(claimed=True, started_at=NOW)

    moved = fate(ran, is_broken=True)

    assert (moved.after, moved.reason.code, moved.not_before) == (TaskState.WAITING, ReasonCode.RESUME, None)


def test_who_was_taken_back_five_times_behind_the_same_jobs_is_not_queued_behind_them_again() -> None:
    taken_back = [REPORT.having(number=number, behind=(PREP.id,), cancel_sent=True).build() for number in range(1, 6)]
    report, lacks = a_task("report"), need(target("prep"))

    assert link(report, lacks, earlier=taken_back[:4]) is not None
    assert link(report, lacks, earlier=taken_back) is None
    assert link(report, lacks, earlier=[replace(one, behind=(TRAIN.id,)) for one in taken_back]) is not None


def asking(cpus: int = 1, **more: Any) -> Resources:
    return Resources(cpus_per_task=cpus, **more)


def heirs(wanted: dict[str, Resources], held: Resources, *others: Attempt) -> dict[str, AttemptId | None]:
    """Return whose place each of these stages behind `prep` takes over."""
    front = PREP.having(request=held).build()
    links = [Link(task=an_attempt(name).task, behind=(front.id,), backend=CLUSTER, depth=1) for name in wanted]
    tasks = {an_attempt(name).task: a_task(name).having(request=request).build() for name, request in wanted.items()}
    found = with_heirs(links, tasks, {one.id: one for one in (front, *others)})
    return {name: link.inherits for name, link in zip(wanted, found, strict=True)}


def test_first_that_asks_for_no_more_takes_over_the_place_of_the_one_in_front() -> None:
    assert heirs({"large": asking(5), "train": asking(4), "report": asking(1)}, asking(4)) == {
        "large": None,
        "train": PREP.id,
        "report": None,
    }


def test_place_that_is_promised_already_is_taken_over_by_nobody_else() -> None:
    promised = TRAIN.having(inherits=PREP.id, behind=(PREP.id,)).build()

    assert heirs({"report": asking()}, asking(), promised) == {"report": None}


@pytest.mark.parametrize(
    ("wanted", "is_heir"),
    [
        (asking(gpus=GpuRequest(per_node=2, types=("a100",))), True),
        (asking(gpus=GpuRequest(per_node=2, types=("v100",))), False),
        (asking(gpus=GpuRequest(per_node=2, types=("a100", "v100"))), False),
        (asking(gpus=GpuRequest(per_node=3, types=("a100",))), False),
        (asking(), False),
        (asking(nodes=2), False),
        (asking(gpus=GpuRequest(per_node=1, types=("a100",)), elastic=Elastic(least=1, most=2)), False),
    ],
    ids=["the same", "another type", "any of two types", "more", "none", "more nodes", "elastic"],
)
def test_place_with_gpus_is_taken_over_by_what_is_booked_alike(wanted: Resources, *, is_heir: bool) -> None:
    held = asking(gpus=GpuRequest(per_node=2, types=("a100",)))

    assert (heirs({"report": wanted}, held)["report"] is not None) == is_heir
