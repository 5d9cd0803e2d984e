"""The campaigns themselves on trial: each bug planted here must be caught, or what they find nothing of proves nothing."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.agent import Agent
from elisa.backends.simulated.backend import Fate, SimulatedBackend
from elisa.backends.simulated.job import SimJob, Stage
from elisa.engine import advance, commands, handover, segments, settle, stop
from elisa.engine import tick as tick_module
from elisa.engine.advance import Evidence
from elisa.engine.fence import claimed
from elisa.engine.handover import Handover
from elisa.engine.intents import Intents
from elisa.engine.managers import Managers
from elisa.engine.outcome import TickReport
from elisa.engine.outcomes import Outcomes
from elisa.engine.spool import read_new
from elisa.engine.submit import submit
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.changes import AttemptIntended, Change
from elisa.model.decisions import Submit
from elisa.model.errors import BackendError, ElisaError, ExitCode, Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import BackendName, NativeId, ProjectName
from elisa.model.native import Answered, Gone, JobRequest, Poll, Unreachable
from elisa.model.pipeline import NeedKind, Pipeline
from elisa.model.reasons import ReasonCode, because
from elisa.model.site import SitePolicy
from elisa.model.states import EndReason, TaskState
from elisa.model.task import Attempt, End
from elisa.policies import lifecycle, readiness, recovery
from elisa.policies.lifecycle import LifecycleRules, Observed
from elisa.policies.snapshot import Snapshot
from elisa.runtime.eventfile import Record, encode_record
from elisa.store import attempts as store_attempts
from elisa.store.audit import AuditTrail
from elisa.store.writer import Writer
from tests.reliability.believing import a_believing_world
from tests.reliability.forking import enumerate_crashes
from tests.reliability.invariants import assert_sound, assert_still
from tests.reliability.specs import after, job
from tests.reliability.test_crashes import STORIES, chaining, recover
from tests.reliability.world import World, scratch_folder

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]
Hunt = Callable[[], object]


@contextmanager
def a_world() -> Iterator[World]:
    with scratch_folder() as folder:
        yield World.make(Path(folder) / "home")


# Hunts: short lives, each in a kind of trouble.


def die_everywhere(name: str, *points: str) -> None:
    """Live through a story, dying at these points (all points, if none is named)."""
    story = STORIES[name]
    enumerate_crashes(
        story.act,
        lambda world: recover(story, world),
        make=story.make,
        prepare=story.prepare,
        picks=lambda _n, point: not points or point in points,
    )


def submit_with(fates: tuple[Fate, ...], *, lasts_s: int = 900) -> None:
    """Have the answers to the first submissions go wrong in given ways."""
    with a_world() as world:
        world.cluster.fail_submit(*fates)
        world.submit(job("a", lasts_s=lasts_s), job("b", after("a")))
        for _ in range(40):
            world.tick()
            assert_sound(world)
            world.pass_time(60)
        assert world.states() == {"a": TaskState.SUCCEEDED, "b": TaskState.SUCCEEDED}
        assert_still(world)


def an_agent_that_comes_late() -> None:
    """Have a job begin after all whose manager called it running all the time, before one takes its place."""
    with scratch_folder() as folder:
        world, manager = a_believing_world(Path(folder) / "home", obeys=False)
        world.submit(job("a", lasts_s=3600))
        world.tick()
        world.tick()
        world.pass_time(601)
        for _ in range(3):
            world.tick()
        manager.begin(manager.unbegun[0], world.cluster._cluster.now_us)
        for _ in range(10):
            world.tick()
            world.pass_time(60)
        assert_sound(world)
        assert len(world.attempts("a")) == 2


def accept_late(late_s: float = 300) -> None:
    """Accept a job long after its answer was lost: after five minutes nobody waits for it any more."""
    with a_world() as world:
        faults = world.cluster.spec.faults
        late = replace(faults, answers=replace(faults.answers, late_s=late_s))
        world.cluster.spec = replace(world.cluster.spec, faults=late)
        world.cluster.fail_submit(Fate.ACCEPT_LATE)
        world.submit(job("a", lasts_s=900))
        world.run()
        assert_sound(world)
        assert world.states() == {"a": TaskState.SUCCEEDED}


def silence() -> None:
    """Have the manager say nothing for half an hour, over a job that says little itself."""
    with a_world() as world:
        world.cluster.spec = world.cluster._cluster.spec = replace(world.cluster.spec, heartbeat_s=0)
        world.submit(job("a", lasts_s=3000))
        world.tick()
        world.pass_time(60)
        world.tick()
        world.cluster.fail_answers(1800)
        for _ in range(30):
            report = world.tick()
            assert report.exit_code != 0
            world.pass_time(60)
        world.run()
        assert_sound(world)
        assert len(world.attempts("a")) == 1


def forget_a_job() -> None:
    """Have the manager lose every memory of a running job."""
    with a_world() as world:
        world.submit(job("a", lasts_s=600))
        world.tick()
        world.pass_time(60)
        world.tick()
        native_id = world.attempts("a")[0].native_id
        assert native_id is not None
        world.cluster.forget(native_id)
        world.run()
        assert_sound(world)


def preempt_a_saver() -> None:
    """Push a job out after its first checkpoints."""
    with a_world() as world:
        world.submit(job("a", lasts_s=900, saves_every_s=60))
        world.tick()
        world.pass_time(400)
        world.tick()
        native_id = world.attempts("a")[0].native_id
        assert native_id is not None
        world.cluster.preempt(native_id)
        world.run()
        assert_sound(world)


def cancel_and_retry_a_saver() -> None:
    with a_world() as world:
        world.submit(job("a", lasts_s=900, saves_every_s=60))
        world.tick()
        world.pass_time(400)
        world.tick()
        task = world.tasks()["a"].id
        commands.cancel(world.workspace(), [task])
        for _ in range(6):
            world.tick()
            world.pass_time(60)
        commands.retry(world.workspace(), [task])
        world.run()
        assert_sound(world)


def live_through(name: str) -> None:
    """Live through a story without dying."""
    story = STORIES[name]
    with scratch_folder() as folder:
        world = story.make(Path(folder) / "home")
        story.prepare(world)
        story.act(world)
        recover(story, world)


def a_plain_life() -> None:
    with a_world() as world:
        world.submit(job("a", saves_every_s=30), job("b", after("a")))
        while not world.is_over():
            world.tick()
            assert_sound(world)
            assert_still(world)
            world.pass_time(60)
        assert world.states() == {"a": TaskState.SUCCEEDED, "b": TaskState.SUCCEEDED}


def a_failing_life() -> None:
    with a_world() as world:
        world.submit(job("a", fails={"exit_code": 1, "at": 0.5, "times": 9}), job("b", after("a")))
        world.run(ticks=60)
        assert_sound(world)
        assert world.states() == {"a": TaskState.FAILED, "b": TaskState.SKIPPED}


def a_manager_that_lets_go_behind_a_failure() -> None:
    """Have the cluster start what waits behind a job as soon as that one is over, however it ended."""
    with scratch_folder() as folder:
        world = chaining(Path(folder) / "home")
        inside = world.cluster._cluster

        def unmet(waiting: SimJob) -> list[NativeId]:
            return [one for one in waiting.after if one in inside.jobs and inside.jobs[one].stage is not Stage.ENDED]

        inside._unmet = unmet  # type: ignore[method-assign]
        world.submit(job("a", fails={"exit_code": 1, "at": 0.5, "times": 1}), job("b", after("a")))
        world.run()
        assert_sound(world)


def a_manager_that_lets_the_next_attempt_go() -> None:
    """Have the cluster start what was queued ahead while the one before it runs."""
    with scratch_folder() as folder:
        world = chaining(Path(folder) / "home")
        inside = world.cluster._cluster
        inside._unmet = lambda waiting: [one for one in waiting.after if one in inside.jobs]  # type: ignore[method-assign]
        world.submit(job("a", lasts_s=300, walltime_s=120, saves_every_s=30, expected_s=300))
        world.run()
        assert_sound(world)


def a_full_cluster() -> None:
    with a_world() as world:
        world.cluster.fail_submit(Fate.BUSY, Fate.REJECTED)
        world.submit(job("a"), job("b"))
        for _ in range(12):
            world.tick()
            assert_sound(world)
            world.pass_time(60)
        assert sorted(world.states().values()) == [TaskState.FAILED, TaskState.SUCCEEDED]


def a_capped_life() -> None:
    with scratch_folder() as folder:
        world = STORIES["a budget"].make(Path(folder) / "home")
        STORIES["a budget"].prepare(world)
        for _ in range(20):
            world.tick()
            assert_sound(world)
            world.pass_time(120)


def forgery() -> None:
    """Somebody without the key writes that the job has ended well."""
    with a_world() as world:
        world.submit(job("a", lasts_s=600))
        world.tick()
        attempt = world.attempts("a")[0].id
        record = Record(attempt, 0, 0, 99, world.clock.now().timestamp(), "exited", {"exit_code": 0, "signal": None})
        path = layout.event_dir(world.home, attempt) / "0-7-0.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_record(record, bytes(32)))
        world.pass_time(60)
        world.tick()
        assert_sound(world)


def an_unmounted_spool() -> None:
    with a_world() as world:
        world.submit(job("a", lasts_s=600), job("b"))
        world.tick()
        sentinel = world.home / "spool" / ".elisa-spool"
        sentinel.rename(sentinel.with_name("elsewhere"))
        world.pass_time(60)
        assert world.tick().exit_code != 0


def somebody_elses_task() -> None:
    with a_world() as world:
        ours = world.workspace()
        theirs = replace(ours, uid=ours.uid + 1)
        submit(theirs, Pipeline(name="theirs", project=ProjectName("nlp"), tasks=(job("a"),)))
        world.tick()
        assert world.recorder.accepted == []


# Plants: each takes away one thing that holds the house up.


def intent_after_the_call(patch: Patch) -> None:
    late: list[AttemptIntended] = []
    flush = Outcomes.flush

    def write(self: Intents, decisions: Sequence[Submit]) -> list[Any]:
        tasks = self._writer.tasks([decision.task for decision in decisions])
        jobs = [job for one in decisions if (job := self._job(one, tasks)) is not None]
        late.extend(intent for job in jobs for intent in self._intents(job))
        return jobs

    def record(self: Outcomes) -> None:
        self._writer.apply(late)
        late.clear()
        flush(self)

    patch.setattr(Intents, "write", write)
    patch.setattr(Outcomes, "flush", record)


def agents_ignore_the_fence(patch: Patch) -> None:
    claim = Agent._claim

    def heedless(self: Agent, *told: Any) -> str:
        why = claim(self, *told)
        return "" if why.startswith("attempt ") else why

    patch.setattr(Agent, "_claim", heedless)


def agents_do_not_look_for_marks(patch: Patch) -> None:
    patch.setattr(Agent, "_is_done", lambda *_: True)


def the_next_attempt_does_not_look(patch: Patch) -> None:
    patch.setattr(Agent, "_go_on", lambda *_: "")


def nobody_sees_that_the_next_attempt_runs(patch: Patch) -> None:
    patch.setattr(segments, "claimed", lambda *_: False)


def what_is_queued_ahead_is_anybodys_attempt(patch: Patch) -> None:
    patch.setattr(segments.Ahead, "own", lambda _self, ended: ended)


def a_broken_chain_is_a_cancel(patch: Patch) -> None:
    patch.setattr(recovery, "_RULES", tuple(rule for rule in recovery._RULES if rule is not recovery._never_began))


def nobody_raises_the_fence(patch: Patch) -> None:
    patch.setattr(settle, "shut_out", lambda files, home, attempt: not claimed(files, home, attempt))
    patch.setattr(handover, "fences_to_raise", lambda *_: {})


def no_grace_and_no_fence(patch: Patch) -> None:
    agents_ignore_the_fence(patch)
    patch.setattr(advance, "_rules", lambda *_: LifecycleRules(grace_s=0, absences=1))


def lost_answers_are_asked_for_again(patch: Patch) -> None:
    submit_once = SimulatedBackend.submit

    def insist(self: SimulatedBackend, request: JobRequest) -> NativeId:
        try:
            return submit_once(self, request)
        except SubmitUncertain:
            return submit_once(self, request)

    patch.setattr(SimulatedBackend, "submit", insist)


def _mistaken_for(other: type[BackendError]) -> Plant:
    def plant(patch: Patch) -> None:
        submit_once = SimulatedBackend.submit

        def mistake(self: SimulatedBackend, request: JobRequest) -> NativeId:
            try:
                return submit_once(self, request)
            except SubmitUncertain as err:
                raise other(err.what) from err

        patch.setattr(SimulatedBackend, "submit", mistake)

    return plant


def lost_answers_are_never_settled(patch: Patch) -> None:
    patch.setattr(Managers, "find", lambda *_: {})


def gone_is_finished(patch: Patch) -> None:
    def finish(draft: Any, attempt: Attempt, heard: Any, *, since: datetime) -> None:
        lifecycle._end(draft, attempt, heard, End(reason=EndReason.COMPLETED), because(ReasonCode.SUCCEEDED))

    patch.setattr(lifecycle, "_count_absence", finish)


def silence_is_absence(patch: Patch) -> None:
    poll = Managers.poll

    def conclude(self: Managers, live: Sequence[Attempt]) -> Mapping[BackendName, Poll]:
        nobody = Answered(observations={a.native_id: Gone(native_id=a.native_id) for a in live if a.native_id})
        return {
            name: nobody if isinstance(answer, Unreachable) else answer for name, answer in poll(self, live).items()
        }

    patch.setattr(Managers, "poll", conclude)


def doubt_is_success(patch: Patch) -> None:
    patch.setattr(TickReport, "exit_code", ExitCode.DONE)


def nothing_is_refunded(patch: Patch) -> None:
    patch.setattr(store_attempts, "settle", lambda *_: None)


def nothing_is_reserved(patch: Patch) -> None:
    patch.setattr(store_attempts, "reserve", lambda *_: None)


def moves_are_not_audited(patch: Patch) -> None:
    add = AuditTrail.add
    patch.setattr(AuditTrail, "add", lambda self, kind, *rest: None if kind == "task.moved" else add(self, kind, *rest))


def _planned_with(**changed: Any) -> Plant:
    def plant(patch: Patch) -> None:
        build = Snapshot.build.__func__  # type: ignore[attr-defined]

        def careless(cls: type[Snapshot], *facts: Any, **more: Any) -> Snapshot:
            ready, usage, clusters, live, site, now = facts
            return build(
                cls, ready, usage, clusters, live, changed.get("site", site), now, **{**more, **_only_uid(changed)}
            )

        patch.setattr(Snapshot, "build", classmethod(careless))
        patch.setattr(Writer, "set_policy", lambda *_: None)
        patch.setattr(Intents, "_is_wanted", lambda *_, **__: True)

    return plant


def _only_uid(changed: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"uid": changed["uid"]} if "uid" in changed else {}


def checkpoints_are_not_resumed_from(patch: Patch) -> None:
    patch.setattr(recovery, "_resume", lambda _: None)


def nobody_shuts_out(patch: Patch) -> None:
    patch.setattr(settle, "shut_out", lambda *_: True)


def a_retry_begins_at_the_start(patch: Patch) -> None:
    patch.setattr(commands, "newest_checkpoint", lambda *_: None)


def instructions_are_not_written(patch: Patch) -> None:
    patch.setattr(Handover, "_write", lambda *_: None)


def cursors_are_forgotten(patch: Patch) -> None:
    patch.setattr(tick_module, "read_new", lambda *told: replace(read_new(*told), cursors=()))


def cursors_are_committed_first(patch: Patch) -> None:
    def hasty(ws: Workspace, writer: Writer, evidence: Evidence) -> Observed:
        writer.apply(evidence.news.cursors)
        ws.crash("planted")
        return advance.advance(ws, writer, replace(evidence, news=replace(evidence.news, cursors=())))

    patch.setattr(tick_module, "advance", hasty)


def a_lost_wish_is_not_repeated(patch: Patch) -> None:
    patch.setattr(stop, "_is_unheard", lambda *_: False)


def cancels_are_not_sent(patch: Patch) -> None:
    patch.setattr(tick_module, "send_stops", lambda *_: ())


def withdrawn_tasks_stay_active(patch: Patch) -> None:
    withdraw = Outcomes.withdraw

    def forgetful(self: Outcomes, *told: Any) -> None:
        withdraw(self, *told)
        self._changes.pop()

    patch.setattr(Outcomes, "withdraw", forgetful)


def a_failure_will_do(patch: Patch) -> None:
    met: dict[NeedKind, Any] = readiness._MET  # type: ignore[assignment]
    patch.setitem(met, NeedKind.SUCCESS, readiness._ended)


def every_change_is_its_own_transaction(patch: Patch) -> None:
    apply = Writer.apply

    def piecemeal(self: Writer, changes: Sequence[Change]) -> None:
        for change in changes:
            apply(self, [change])

    patch.setattr(Writer, "apply", piecemeal)


def seals_are_not_checked(patch: Patch) -> None:
    patch.setattr(hmac, "compare_digest", lambda *_: True)


def the_sentinel_is_not_looked_for(patch: Patch) -> None:
    patch.setattr(tick_module, "read_new", lambda *told: replace(read_new(*told), mounted=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    plant: Plant
    hunt: Hunt


BUGS = {
    "the call before the intent": Bug(
        plant=intent_after_the_call, hunt=partial(die_everywhere, "a diamond", "simulated.submit.accepted")
    ),
    "agents do not look for marks": Bug(
        plant=agents_do_not_look_for_marks, hunt=a_manager_that_lets_go_behind_a_failure
    ),
    "a broken chain is a cancel": Bug(plant=a_broken_chain_is_a_cancel, hunt=partial(live_through, "a broken chain")),
    "the next attempt does not look": Bug(
        plant=the_next_attempt_does_not_look, hunt=a_manager_that_lets_the_next_attempt_go
    ),
    "nobody sees that the next attempt runs": Bug(
        plant=nobody_sees_that_the_next_attempt_runs, hunt=partial(live_through, "long work")
    ),
    "what is queued ahead is anybody's attempt": Bug(
        plant=what_is_queued_ahead_is_anybodys_attempt, hunt=partial(live_through, "a cancel of long work")
    ),
    "agents ignore the fence": Bug(plant=agents_ignore_the_fence, hunt=accept_late),
    "nobody raises the fence": Bug(plant=nobody_raises_the_fence, hunt=accept_late),
    "nobody shuts out what never began": Bug(plant=nobody_shuts_out, hunt=an_agent_that_comes_late),
    "no grace and no fence": Bug(plant=no_grace_and_no_fence, hunt=partial(accept_late, 90)),
    "a lost answer is asked for again": Bug(
        plant=lost_answers_are_asked_for_again, hunt=partial(submit_with, (Fate.ACCEPT_LOST,))
    ),
    "a lost answer is taken for a no": Bug(
        plant=_mistaken_for(Rejected), hunt=partial(submit_with, (Fate.ACCEPT_LOST,))
    ),
    "a lost answer is taken for not now": Bug(
        plant=_mistaken_for(Unavailable), hunt=partial(submit_with, (Fate.ACCEPT_LOST,))
    ),
    "a lost answer is never settled": Bug(
        plant=lost_answers_are_never_settled, hunt=partial(submit_with, (Fate.LOST,))
    ),
    "gone is finished": Bug(plant=gone_is_finished, hunt=forget_a_job),
    "silence is absence": Bug(plant=silence_is_absence, hunt=silence),
    "doubt is success": Bug(plant=doubt_is_success, hunt=silence),
    "nothing is refunded": Bug(plant=nothing_is_refunded, hunt=a_plain_life),
    "nothing is reserved": Bug(plant=nothing_is_reserved, hunt=a_plain_life),
    "moves are not audited": Bug(plant=moves_are_not_audited, hunt=a_plain_life),
    "caps are not looked at": Bug(plant=_planned_with(site=SitePolicy()), hunt=a_capped_life),
    "anybody's tasks are started": Bug(plant=_planned_with(uid=None), hunt=somebody_elses_task),
    "no attempt resumes": Bug(plant=checkpoints_are_not_resumed_from, hunt=preempt_a_saver),
    "a retry begins at the start": Bug(plant=a_retry_begins_at_the_start, hunt=cancel_and_retry_a_saver),
    "no instructions": Bug(plant=instructions_are_not_written, hunt=a_plain_life),
    "cursors are forgotten": Bug(plant=cursors_are_forgotten, hunt=a_plain_life),
    "cursors are committed first": Bug(
        plant=cursors_are_committed_first, hunt=partial(die_everywhere, "a lost node", "planted")
    ),
    "a lost wish is not repeated": Bug(
        plant=a_lost_wish_is_not_repeated, hunt=partial(die_everywhere, "a cancel", "stop.sent")
    ),
    "cancels are not sent": Bug(plant=cancels_are_not_sent, hunt=partial(live_through, "a cancel")),
    "withdrawn tasks stay active": Bug(plant=withdrawn_tasks_stay_active, hunt=a_full_cluster),
    "a failure will do": Bug(plant=a_failure_will_do, hunt=a_failing_life),
    "no transactions": Bug(
        plant=every_change_is_its_own_transaction, hunt=partial(die_everywhere, "a diamond", "store.committed")
    ),
    "seals are not checked": Bug(plant=seals_are_not_checked, hunt=forgery),
    "the sentinel is not looked for": Bug(plant=the_sentinel_is_not_looked_for, hunt=an_unmounted_spool),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = BUGS[name]
    bug.plant(monkeypatch)

    with pytest.raises((AssertionError, ElisaError)):
        bug.hunt()


HUNTS = {
    bug.hunt if not isinstance(bug.hunt, partial) else (bug.hunt.func, bug.hunt.args): bug.hunt for bug in BUGS.values()
}


@pytest.mark.slow
@pytest.mark.parametrize("hunt", HUNTS.values(), ids=lambda hunt: str(getattr(hunt, "func", hunt).__name__))
def test_the_same_hunt_finds_nothing_without_the_bug(hunt: Hunt) -> None:
    hunt()
