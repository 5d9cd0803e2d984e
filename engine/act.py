"""Submissions carried out: each attempt written down before the resource manager is asked, and its answer after."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from elisa.backends.protocol import Arrays, array_key
from elisa.engine.bundles import Chunks, array_limit, submits
from elisa.engine.handover import Handover
from elisa.engine.health import HealthBook
from elisa.engine.managers import words_of
from elisa.engine.workspace import Workspace
from elisa.model.changes import AttemptIntended, AttemptMoved, AttemptSubmitted, Change, Charge, TaskMoved
from elisa.model.decisions import Submit
from elisa.model.errors import AtLimit, PolicyError, Rejected, StaleChange, SubmitUncertain, Unavailable
from elisa.model.ids import AttemptId, BackendName, NativeId, TaskId, attempt_id
from elisa.model.native import JobRequest
from elisa.model.reasons import Fact, ReasonCode, because
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import Attempt, End, Task
from elisa.policies.blame import own_bad_nodes
from elisa.policies.budgets import charge_of
from elisa.policies.chaining import Link
from elisa.policies.plan import Plan
from elisa.policies.recovery import after_end
from elisa.store.writer import Writer

__all__ = ["Acted", "Submitting"]

_log = logging.getLogger(__name__)
# Outcomes wait no longer than this to be written down: what is not written must be searched for after a crash.
_FLUSH_AFTER = timedelta(seconds=1)


@dataclass(slots=True, kw_only=True)
class Acted:
    """What became of a plan's submissions."""

    submitted: list[AttemptId] = field(default_factory=list)
    rejected: list[AttemptId] = field(default_factory=list)
    withdrawn: list[AttemptId] = field(default_factory=list)
    uncertain: list[AttemptId] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """`kept_off` are the nodes that the job must not get."""

    task: Task
    attempt: Attempt
    kept_off: tuple[str, ...] = ()


_Asked = tuple[_Item, JobRequest]


class Submitting:
    """Submissions of one plan. A backend that is full or leaves an answer in doubt gets nothing more in this tick."""

    def __init__(self, ws: Workspace, writer: Writer, health: HealthBook, plan: Plan, now: datetime) -> None:
        self._ws = ws
        self._writer = writer
        self._health = health
        self._plan = plan
        self._now = now
        self._handover = Handover(ws, writer)
        self._links: Mapping[TaskId, Link] = {}
        self._stopped: dict[BackendName, str] = {}
        self._refused: dict[AttemptId, str] = {}
        self._outcomes: list[Change] = []
        self._flushed_at = ws.clock.now()
        self.acted = Acted()

    def carry_out(self) -> Acted:
        """Submit in the order of the plan; raises OSError, with everything settled, if the disk fails us."""
        for chunk in Chunks(self._plan, self._ws.backends, self._health):
            self._submit_chunk(self._intend([one for one in chunk if self._takes_more(one.backend)]))
        return self.acted

    def chain(self, plan: Plan, links: Mapping[TaskId, Link]) -> bool:
        """Submit what a plan wants queued behind jobs that have not ended; tell whether anything was accepted."""
        before = len(self.acted.submitted)
        self._plan, self._links = plan, links
        self.carry_out()
        return len(self.acted.submitted) > before

    def _takes_more(self, name: BackendName) -> bool:
        return name not in self._stopped and not self._health.is_resting(submits(name), self._now)

    def _intend(self, decisions: Sequence[Submit]) -> list[_Item]:
        """Write down the intents in one transaction; where a rule or a change of mind forbids one, each by itself."""
        tasks = self._writer.tasks([decision.task for decision in decisions])
        pairs = [(decision, tasks[decision.task]) for decision in decisions if decision.task in tasks]
        wanted = [(decision, self._item(decision, task)) for decision, task in pairs]
        wanted = [(decision, item) for decision, item in wanted if self._is_ours(item.task)]
        try:
            self._writer.apply([self._intent(decision, item) for decision, item in wanted])
        except (PolicyError, StaleChange):
            return [item for decision, item in wanted if self._intend_alone(decision, item)]
        return [item for _, item in wanted]

    def _intend_alone(self, decision: Submit, item: _Item) -> bool:
        try:
            self._writer.apply([self._intent(decision, item)])
        except (PolicyError, StaleChange) as err:
            _log.info("attempt=%s not submitted: %s", item.attempt.id, err.what)
            return False
        return True

    def _is_ours(self, task: Task) -> bool:
        """Tell whether the task is still to be submitted, by the user who runs this tick and nobody else."""
        wanted = TaskState.WAITING if task.id in self._links else TaskState.READY
        return task.owner_uid == self._ws.uid and task.state is wanted and not task.cancel_requested

    def _item(self, decision: Submit, task: Task) -> _Item:
        bad = own_bad_nodes(self._writer.attempts_of(task.id)) if task.attempts else ()
        kept_off = self._plan.kept_off(task.id, sorted(bad))
        return _Item(task=task, attempt=self._attempt(decision, task), kept_off=kept_off)

    def _attempt(self, decision: Submit, task: Task) -> Attempt:
        number = task.attempts + 1
        return Attempt(
            id=attempt_id(task.id, number),
            task=task.id,
            number=number,
            backend=decision.backend,
            partition=decision.partition,
            request=self._plan.request(task.id),
            state=AttemptState.INTENDED,
            intended_at=self._now,
            behind=self._links[task.id].behind if task.id in self._links else (),
            resume_from=task.resume_from,
        )

    def _intent(self, decision: Submit, item: _Item) -> AttemptIntended:
        given = self._links[decision.task].reason(decision) if decision.task in self._links else decision.reason
        reason = because(given.code, **given.facts, **_told(item.kept_off)) if item.kept_off else given
        return AttemptIntended(attempt=item.attempt, reserve=self._plan.charge(decision.task), reason=reason)

    def _submit_chunk(self, items: Sequence[_Item]) -> None:
        self._ws.crash("act.intended")
        left = {item.attempt.id: item for item in items}
        try:
            requests = self._prepare(items)
            for asked in self._arrays(
                [(item, requests[item.attempt.id]) for item in items if item.attempt.id in requests]
            ):
                self._hand_over(asked)
                for item, _ in asked:
                    del left[item.attempt.id]
                self._flush_if_due()
        except OSError:
            # The disk failed before the manager was asked about these: they certainly do not run.
            for item in left.values():
                self._withdraw(item, ReasonCode.BACKEND_BUSY, "the state folder cannot be written")
            self._flush()
            raise
        for item in left.values():
            # A life of this database that was lost has released it: whatever became of that is still to be found.
            self._doubt(item, "an attempt of this number was released before")
        self._flush()

    def _prepare(self, items: Sequence[_Item]) -> dict[AttemptId, JobRequest]:
        fresh = [item for item in items if not self._handover.is_used(item.attempt.id)]
        requests = self._handover.prepare([(item.task, item.attempt) for item in fresh])
        kept_off = {item.attempt.id: self._plan.known(item.task.id, item.kept_off) for item in fresh}
        return {name: replace(request, exclude_nodes=kept_off[name]) for name, request in requests.items()}

    def _arrays(self, asked: Sequence[_Asked]) -> Iterable[Sequence[_Asked]]:
        """Return what goes to a manager by one call, in order: what asks for the same thing, where it has arrays."""
        calls: list[list[_Asked]] = []
        latest: dict[tuple[BackendName, JobRequest], list[_Asked]] = {}
        for item, request in asked:
            key = (item.attempt.backend, array_key(request))
            call = latest.get(key)
            if call is None or len(call) >= array_limit(self._ws.backends, self._health, key[0]):
                call = latest[key] = []
                calls.append(call)
            call.append((item, request))
        return calls

    def _hand_over(self, asked: Sequence[_Asked]) -> None:
        """Ask about jobs together; what is too much at once, in halves."""
        name = asked[0][0].attempt.backend
        left = [asked]
        while left:
            some = left.pop()
            if name in self._stopped:
                for item, _ in some:
                    self._withdraw(item, ReasonCode.BACKEND_BUSY, self._stopped[name])
            else:
                left.extend(reversed(self._ask(name, some)))

    def _ask(self, name: BackendName, asked: Sequence[_Asked]) -> Sequence[Sequence[_Asked]]:
        """Ask about jobs together; return what is not settled by the answer, in the parts to ask about next."""
        items = [item for item, _ in asked]
        self._ws.crash("act.submit.begin")
        try:
            native_ids = self._submit(name, [request for _, request in asked])
        except Rejected as err:
            if len(asked) > 1:
                return self._ask_first_alone(name, asked)
            self._reject(items[0], words_of(err))
        except Unavailable as err:
            if isinstance(err, AtLimit) and len(asked) > 1:
                # Of a thousand that are too many, those that can be are taken by about ten more calls.
                return (asked[: len(asked) // 2], asked[len(asked) // 2 :])
            self._stop(name, words_of(err))
            for item in items:
                self._withdraw(item, ReasonCode.BACKEND_BUSY, words_of(err))
        except SubmitUncertain as err:
            self._stop(name, words_of(err))
            self._doubt_all(items, words_of(err))
        except Exception as err:  # noqa: BLE001 - a bug in one backend must not stop the tick of the others
            _log.exception("backend=%s attempt=%s", name, items[0].attempt.id)
            self._stop(name, words_of(err))
            self._doubt_all(items, words_of(err))
        else:
            for item in items:
                self._accept(item, native_ids[item.attempt.id])
        self._ws.crash("act.submit.answered")
        return ()

    def _ask_first_alone(self, name: BackendName, asked: Sequence[_Asked]) -> Sequence[Sequence[_Asked]]:
        """Learn whether an array was refused for what each of its jobs asks for: then all are, and nobody is asked again."""
        first, rest = asked[0][0], asked[1:]
        self._ask(name, asked[:1])
        words = self._refused.get(first.attempt.id)
        if words is None:
            return [[one] for one in rest]
        for item, _ in rest:
            self._reject(item, words)
        return ()

    def _submit(self, name: BackendName, requests: Sequence[JobRequest]) -> Mapping[AttemptId, NativeId]:
        backend = self._ws.backends[name]
        if len(requests) == 1:
            return {requests[0].attempt: backend.submit(requests[0])}
        assert isinstance(backend, Arrays)
        return backend.submit_array(requests)

    def _accept(self, item: _Item, native_id: NativeId) -> None:
        reason = because(ReasonCode.ACCEPTED, native_id=native_id)
        self._outcomes.append(AttemptSubmitted(attempt=item.attempt.id, native_id=native_id, reason=reason))
        self._health.worked(submits(item.attempt.backend))
        self.acted.submitted.append(item.attempt.id)

    def _reject(self, item: _Item, words: str) -> None:
        self._refused[item.attempt.id] = words
        end = End(reason=EndReason.REJECTED, detail=words)
        ended = self._end(item, end, ReasonCode.REFUSED_BY_BACKEND, words)
        self._outcomes.append(after_end(item.task, ended, (), self._now, self._ws.random.uniform()))
        self.acted.rejected.append(item.attempt.id)

    def _withdraw(self, item: _Item, code: ReasonCode, words: str) -> None:
        """Take back an intent that certainly reached nobody: the task is ready again, as if nothing had been."""
        # Not `lost`: nothing was, and a row of these must not look like a task that keeps losing its place.
        self._end(item, End(reason=EndReason.CANCELLED, detail=f"not submitted: {words}"), code, words)
        reason = because(code, backend=item.attempt.backend, words=words)
        self._outcomes.append(
            TaskMoved(
                task=item.task.id,
                before=TaskState.ACTIVE,
                after=TaskState.WAITING if item.attempt.behind else TaskState.READY,
                reason=reason,
                resume_from=item.task.resume_from,
            )
        )
        self.acted.withdrawn.append(item.attempt.id)

    def _end(self, item: _Item, end: End, code: ReasonCode, words: str) -> Attempt:
        reason = because(code, backend=item.attempt.backend, words=words)
        self._outcomes.append(
            AttemptMoved(
                attempt=item.attempt.id,
                before=AttemptState.INTENDED,
                after=AttemptState.ENDED,
                reason=reason,
                end=end,
                spend=Charge(gpu_type=charge_of(item.attempt.request, 0).gpu_type),
                ended_at=self._now,
            )
        )
        return _ended(item.attempt, end)

    def _doubt_all(self, items: Sequence[_Item], words: str) -> None:
        for item in items:
            self._doubt(item, words)

    def _doubt(self, item: _Item, words: str) -> None:
        """Leave the attempt as it is intended: a later tick finds out what became of it."""
        _log.warning("attempt=%s backend=%s may have been submitted: %s", item.attempt.id, item.attempt.backend, words)
        self.acted.uncertain.append(item.attempt.id)

    def _stop(self, name: BackendName, words: str) -> None:
        self._stopped[name] = words
        self._health.failed(submits(name), self._now, words, self._ws.random.uniform())

    def _flush_if_due(self) -> None:
        if self._ws.clock.now() - self._flushed_at >= _FLUSH_AFTER:
            self._flush()

    def _flush(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        if outcomes:
            self._writer.apply(outcomes)
            self._ws.crash("act.recorded")
        self._flushed_at = self._ws.clock.now()


def _told(kept_off: Sequence[str]) -> Mapping[str, Fact]:
    return {"kept_off": ",".join(kept_off)}


def _ended(attempt: Attempt, end: End) -> Attempt:
    return replace(attempt, state=AttemptState.ENDED, end=end)
