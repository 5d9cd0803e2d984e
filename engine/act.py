"""Submissions carried out: each attempt written down before the resource manager is asked, and its answer after."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from elisa.backends.protocol import Arrays, array_key
from elisa.engine.asking import Answer, neighbours, side_by_side, waves
from elisa.engine.bundles import Chunks, ahead, array_limit, submits
from elisa.engine.flight import Flight, Leg
from elisa.engine.fusing import NOTHING_FUSED, Fused
from elisa.engine.handover import Handover
from elisa.engine.health import HealthBook
from elisa.engine.intents import Intents
from elisa.engine.managers import words_of
from elisa.engine.outcomes import Acted, NativeJob, Outcomes
from elisa.engine.workspace import Workspace
from elisa.model.errors import AtLimit, Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import AttemptId, BackendName, NativeId, TaskId
from elisa.model.native import JobRequest
from elisa.policies.chaining import Link
from elisa.policies.plan import Plan
from elisa.store.writer import Writer

__all__ = ["Acted", "Submitting"]

_log = logging.getLogger(__name__)

_Asked = tuple[NativeJob, JobRequest]
_Accepted = Mapping[AttemptId, NativeId]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Jobs that are written down together, and the calls for them; `flight` once these are being made."""

    jobs: Sequence[NativeJob]
    calls: Sequence[Sequence[_Asked]]
    flight: Flight[_Accepted] | None = None


class Submitting:
    """Submissions of one plan. A backend that is full or leaves an answer in doubt gets nothing more in this tick."""

    def __init__(  # noqa: PLR0917 - the facts of a tick, each from another source
        self,
        ws: Workspace,
        writer: Writer,
        health: HealthBook,
        plan: Plan,
        now: datetime,
        fused: Fused = NOTHING_FUSED,
    ) -> None:
        self._ws = ws
        self._writer = writer
        self._health = health
        self._now = now
        self._handover = Handover(ws, writer, plan.snapshot.bad_gpus)
        self._outcomes = Outcomes(ws, writer, now)
        self._stopped: dict[BackendName, str] = {}
        self._health_of = submits
        self._plan = plan
        self._fused = fused
        self._flight: Flight[_Accepted] | None = None
        self._intents = Intents(ws, writer, plan, now, fused=fused)

    @property
    def acted(self) -> Acted:
        """What became of the submissions so far."""
        return self._outcomes.acted

    def carry_out(self) -> Acted:
        """Submit in the order of the plan; raises OSError, with everything settled, if the disk fails us.

        While the managers are asked about one piece of the plan, the next is written down.
        """
        before: _Piece | None = None
        try:
            for chunk in Chunks(self._plan, self._fused, self._ws.backends, self._health):
                jobs = self._intents.write([one for one in chunk if self._takes_more(one.backend)])
                before = self._follow(before, self._piece(jobs, before))
            self._finish(before)
        finally:
            # Whatever happened, nothing is submitted once this is over.
            self._call_back()
        return self.acted

    def chain(self, plan: Plan, links: Mapping[TaskId, Link]) -> bool:
        """Submit what a plan wants queued behind jobs that have not ended; tell whether anything was accepted."""
        before = len(self.acted.submitted)
        self._plan, self._fused, self._health_of = plan, NOTHING_FUSED, ahead
        self._intents = Intents(self._ws, self._writer, plan, self._now, links=links)
        self.carry_out()
        return len(self.acted.submitted) > before

    def _takes_more(self, name: BackendName) -> bool:
        kept = {submits(name), self._health_of(name)}
        return name not in self._stopped and not any(self._health.is_resting(one, self._now) for one in kept)

    def _piece(self, jobs: Sequence[NativeJob], before: _Piece | None) -> _Piece:
        """Write down all that jobs need; `before` is the piece that is being asked about."""
        self._ws.crash("act.intended")
        try:
            return _Piece(jobs=jobs, calls=list(self._arrays(self._prepare(jobs))))
        except OSError:
            self._finish(before)
            # The disk failed before the manager was asked about these: they certainly do not run.
            for job in jobs:
                self._outcomes.withdraw(job.items, "the state folder cannot be written")
            self._outcomes.flush()
            raise

    def _follow(self, before: _Piece | None, piece: _Piece) -> _Piece:
        """Begin to ask about a piece while the one before it is asked about, and settle that.

        What is not asked about beside the tick, or met trouble there, is settled first: it decides how the rest is asked about.
        """
        if before is None or before.flight is None or before.flight.is_over:
            self._finish(before)
            return self._begin(piece)
        begun = self._begin(piece, before.flight)
        self._finish(before)
        return begun

    def _begin(self, piece: _Piece, flight: Flight[_Accepted] | None = None) -> _Piece:
        """Have a piece asked about beside the tick, where its managers take several submissions at a time.

        A `flight` that is under way goes on with it; one that meets trouble does not.
        """
        takers = {self._at_once(call) for call in piece.calls}
        if not takers or any(most == 1 or name in self._stopped for name, most in takers):
            return piece
        for _ in piece.calls:
            self._ws.crash("act.submit.begin")
        if flight is None:
            self._call_back()
            flight = self._flight = Flight(self._ws.background)
        flight.add(
            [
                Leg(name, list(map(self._call, calls)), most)
                for (name, most), calls in neighbours(piece.calls, self._at_once)
            ]
        )
        return replace(piece, flight=flight)

    def _call_back(self) -> None:
        if self._flight is not None:
            self._flight.call_back()

    def _finish(self, piece: _Piece | None) -> None:
        if piece is not None:
            self._settle_rest(piece, self._land(piece))

    def _land(self, piece: _Piece) -> int:
        """Settle, as the answers come, what is asked about beside the tick; return how many calls that were."""
        asked = 0
        for answer in piece.flight.answers(len(piece.calls)) if piece.flight is not None else ():
            self._hand_over(piece.calls[asked], answer)
            self._outcomes.flush_if_due()
            asked += 1
        return asked

    def _settle_rest(self, piece: _Piece, asked: int) -> None:
        """Make the calls that were not made yet, and write down what became of all."""
        for wave in waves(piece.calls[asked:], self._at_once):
            for call, answer in zip(wave, self._answers(wave), strict=True):
                self._hand_over(call, answer)
            self._outcomes.flush_if_due()
        called = {job.first.id for call in piece.calls for job, _ in call}
        for job in piece.jobs:
            if job.first.id not in called:
                # A life of this database that was lost has released it: whatever became of that is still to be found.
                self._outcomes.doubt(job.items, "an attempt of this number was released before")
        self._outcomes.flush()

    def _prepare(self, jobs: Sequence[NativeJob]) -> Sequence[_Asked]:
        """Write the instructions of all but those that were released before; return them with what to ask for."""
        fresh = [job for job in jobs if not any(self._handover.is_used(item.attempt.id) for item in job.items)]
        requests = self._handover.prepare([(item.task, item.attempt) for job in fresh for item in job.items])
        asked = []
        for job in fresh:
            kept_off = self._plan.known(job.start, job.kept_off)
            alone = replace(requests[job.first.id], exclude_nodes=kept_off)
            request = self._handover.bundle(alone, job.items, job.bundle) if job.bundle is not None else alone
            asked.append((replace(job, alone=alone), request))
        self._handover.write_bundles()
        return asked

    def _arrays(self, asked: Sequence[_Asked]) -> Iterable[Sequence[_Asked]]:
        """Return what goes to a manager by one call, in order: what asks for the same thing, where it has arrays."""
        calls: list[list[_Asked]] = []
        latest: dict[tuple[BackendName, JobRequest], list[_Asked]] = {}
        for job, request in asked:
            key = (job.first.backend, array_key(request))
            call = latest.get(key)
            if call is None or len(call) >= array_limit(self._ws.backends, self._health, key[0]):
                call = latest[key] = []
                calls.append(call)
            call.append((job, request))
        return calls

    def _at_once(self, asked: Sequence[_Asked]) -> tuple[BackendName, int]:
        """Return whom a call goes to, and how many may run there side by side: one where the last was in vain."""
        name = asked[0][0].first.backend
        if submits(name) in self._health.sick:
            return name, 1
        return name, self._ws.backends[name].capabilities.submits_at_once

    def _answers(self, wave: Sequence[Sequence[_Asked]]) -> Sequence[Answer[_Accepted] | None]:
        """Have all calls of a wave made; None for one that is alone, and is made when its turn comes."""
        name = wave[0][0][0].first.backend
        if len(wave) == 1 or name in self._stopped:
            return [None] * len(wave)
        for _ in wave:
            self._ws.crash("act.submit.begin")
        return side_by_side(list(map(self._call, wave)))

    def _call(self, asked: Sequence[_Asked]) -> Callable[[], _Accepted]:
        return partial(self._submit, asked[0][0].first.backend, [request for _, request in asked])

    def _hand_over(self, asked: Sequence[_Asked], answer: Answer[_Accepted] | None) -> None:
        """Ask about jobs together, unless the answer is here; what is too much at once, in halves."""
        name = asked[0][0].first.backend
        left = [asked] if answer is None else list(reversed(self._settle(name, asked, answer)))
        while left:
            some = left.pop()
            if name in self._stopped:
                for job, _ in some:
                    self._outcomes.withdraw(job.items, self._stopped[name])
            else:
                left.extend(reversed(self._ask(name, some)))

    def _ask(self, name: BackendName, asked: Sequence[_Asked]) -> Sequence[Sequence[_Asked]]:
        """Ask about jobs together; return what is not settled by the answer, in the parts to ask about next."""
        self._ws.crash("act.submit.begin")
        return self._settle(name, asked, self._call(asked))

    def _settle(
        self, name: BackendName, asked: Sequence[_Asked], answer: Answer[_Accepted]
    ) -> Sequence[Sequence[_Asked]]:
        """Take the answer to a call; return what it does not settle, in the parts to ask about next."""
        items = [item for job, _ in asked for item in job.items]
        try:
            native_ids = answer()
        except Rejected as err:
            return self._after_rejection(name, asked, words_of(err))
        except Unavailable as err:
            if isinstance(err, AtLimit) and len(asked) > 1:
                # Of a thousand that are too many, those that can be are taken by about ten more calls.
                return (asked[: len(asked) // 2], asked[len(asked) // 2 :])
            self._stop(name, words_of(err))
            self._outcomes.withdraw(items, words_of(err))
        except SubmitUncertain as err:
            self._stop(name, words_of(err))
            self._outcomes.doubt(items, words_of(err))
        except Exception as err:  # noqa: BLE001 - a bug in one backend must not stop the tick of the others
            _log.exception("backend=%s attempt=%s", name, items[0].attempt.id)
            self._stop(name, words_of(err))
            self._outcomes.doubt(items, words_of(err))
        else:
            for job, _ in asked:
                self._outcomes.accept(job.items, native_ids[job.first.id])
            if name not in self._stopped:
                self._health.worked(self._health_of(name))
        self._ws.crash("act.submit.answered")
        return ()

    def _after_rejection(self, name: BackendName, asked: Sequence[_Asked], words: str) -> Sequence[Sequence[_Asked]]:
        """Learn whether jobs were refused for being together, or for what each of them asks for.

        The first is asked about alone, without the array, then without its bundle. If it is refused even so, then so are
        all others, and nobody is asked again.
        """
        (first, _), rest = asked[0], asked[1:]
        if rest:
            self._ask(name, asked[:1])
            refusal = self._outcomes.refusal(first.first.id)
            if refusal is None:
                return [[one] for one in rest]
            self._outcomes.reject([item for job, _ in rest for item in job.items], refusal)
        elif first.bundle is not None and first.alone is not None:
            alone = replace(first, items=first.items[:1], bundle=None)
            self._ask(name, [(alone, first.alone)])
            refusal = self._outcomes.refusal(first.first.id)
            if refusal is None:
                self._outcomes.withdraw(first.items[1:], words)
            else:
                self._outcomes.reject(first.items[1:], refusal)
        else:
            self._outcomes.reject(first.items, words)
        self._ws.crash("act.submit.answered")
        return ()

    def _submit(self, name: BackendName, requests: Sequence[JobRequest]) -> _Accepted:
        backend = self._ws.backends[name]
        if len(requests) == 1:
            return {requests[0].attempt: backend.submit(requests[0])}
        assert isinstance(backend, Arrays)
        return backend.submit_array(requests)

    def _stop(self, name: BackendName, words: str) -> None:
        """Ask a backend for nothing more; of calls that ran side by side the first one tells why."""
        if name in self._stopped:
            return
        self._stopped[name] = words
        self._health.failed(self._health_of(name), self._now, words, self._ws.random.uniform())
