"""Questions to the resource managers, each behind a guard: whatever one of them does, the others are still served."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from elisa.backends.protocol import AsksToLeave, Backend, CountsLicences, Holds, Reorders
from elisa.engine.health import HealthBook
from elisa.model.errors import BackendError
from elisa.model.ids import AttemptId, BackendName, NativeId
from elisa.model.native import CancelOutcome, ClusterView, Found, Poll, Unreachable
from elisa.model.ports import RandomSource
from elisa.model.task import Attempt
from elisa.policies.lifecycle import Sightings

__all__ = ["Managers", "words_of"]

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Managers:
    """The backends of one tick. One that fails is not asked again in this tick, nor before its pause is over."""

    def __init__(
        self, backends: Mapping[BackendName, Backend], health: HealthBook, random: RandomSource, now: datetime
    ) -> None:
        self._backends = backends
        self._health = health
        self._random = random
        self._now = now
        self._silent: dict[BackendName, str] = {}
        self._clusters: tuple[ClusterView, ...] | None = None
        self._are_licences_known = False

    @property
    def unreachable(self) -> Mapping[BackendName, str]:
        """Those that gave no usable answer in this tick, or were left alone, and why."""
        return dict(self._silent)

    def poll(self, live: Iterable[Attempt]) -> Mapping[BackendName, Poll]:
        """Ask each backend once about all live attempts it has native jobs of."""
        ids: dict[BackendName, list[NativeId]] = defaultdict(list)
        for attempt in live:
            if attempt.native_id is not None:
                ids[attempt.backend].append(attempt.native_id)
        return {name: self._poll(name, list(dict.fromkeys(wanted))) for name, wanted in sorted(ids.items())}

    def _poll(self, name: BackendName, ids: list[NativeId]) -> Poll:
        return self._ask(name, lambda backend: backend.poll(ids))

    def find(self, unsettled: Iterable[Attempt]) -> Mapping[AttemptId, Sightings]:
        """Search each backend once, by tag, for submissions whose answer was lost; nothing for one that does not answer."""
        groups: dict[BackendName, list[Attempt]] = defaultdict(list)
        for attempt in unsettled:
            groups[attempt.backend].append(attempt)
        answers = [(group, self._find(name, _tags(group))) for name, group in sorted(groups.items())]
        return {
            attempt.id: Sightings(ids=answer.ids.get(attempt.leader or attempt.id, ()), complete=answer.complete)
            for group, answer in answers
            if isinstance(answer, Found)
            for attempt in group
        }

    def _find(self, name: BackendName, tags: list[AttemptId]) -> Found | Unreachable:
        return self._ask(name, lambda backend: backend.find(tags))

    def clusters(self, *, licences: bool = False) -> tuple[ClusterView, ...]:
        """Return what each reachable backend has and what of it is free: asked once, whoever wants to know.

        A backend that counts its licences apart is asked for them only where somebody wants `licences`.
        """
        if self._clusters is None:
            answers = [self._ask(name, _cluster) for name in sorted(self._backends)]
            self._clusters = tuple(answer for answer in answers if isinstance(answer, ClusterView))
        if licences and not self._are_licences_known:
            views = map(self._with_licences, self._clusters)
            self._clusters = tuple(view for view in views if view is not None)
            self._are_licences_known = True
        return self._clusters

    def _with_licences(self, view: ClusterView) -> ClusterView | None:
        """Return a view with its licences; None if its backend does not answer any more."""
        backend = self._backends[view.backend]
        if not isinstance(backend, CountsLicences):
            return view
        counted = self._ask(view.backend, lambda _: backend.licences())
        return None if isinstance(counted, Unreachable) else replace(view, licences=counted)

    def cancel(self, name: BackendName, ids: list[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        """Ask a backend to stop these jobs; nothing for any of them if it does not answer."""
        answer = self._ask(name, lambda backend: backend.cancel(ids))
        return {} if isinstance(answer, Unreachable) else answer

    def ask_to_leave(self, name: BackendName, ids: list[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        """Ask running jobs to end in their own time, as far as the backend can let them; else as `cancel` does."""

        def ask(backend: Backend) -> Mapping[NativeId, CancelOutcome]:
            return backend.ask_to_leave(ids) if isinstance(backend, AsksToLeave) else backend.cancel(ids)

        answer = self._ask(name, ask)
        return {} if isinstance(answer, Unreachable) else answer

    def reorder(self, name: BackendName, priorities: Mapping[NativeId, int]) -> bool:
        """Ask a backend to give waiting jobs new priorities; tell whether it heard."""

        def ask(backend: Backend) -> bool:
            assert isinstance(backend, Reorders)
            backend.reorder(priorities)
            return True

        return self._ask(name, ask) is True

    def hold(self, name: BackendName, ids: Collection[NativeId]) -> frozenset[NativeId] | None:
        """Ask a backend to keep waiting jobs from starting; return those that are held now, None if it does not answer."""
        return self._held(name, lambda backend: backend.hold(ids))

    def release(self, name: BackendName, ids: Collection[NativeId]) -> frozenset[NativeId] | None:
        """Ask a backend to let held jobs go; return those that it did, None if it does not answer."""
        return self._held(name, lambda backend: backend.release(ids))

    def _held(self, name: BackendName, call: Callable[[Holds], frozenset[NativeId]]) -> frozenset[NativeId] | None:
        def ask(backend: Backend) -> frozenset[NativeId]:
            assert isinstance(backend, Holds)
            return call(backend)

        answer = self._ask(name, ask)
        return None if isinstance(answer, Unreachable) else answer

    def _ask(self, name: BackendName, question: Callable[[Backend], T]) -> T | Unreachable:
        if name not in self._silent and self._health.is_resting(name, self._now):
            self._silent[name] = f"left alone for a while: {self._health.sick[name].what}"
        if name in self._silent:
            return Unreachable(what=self._silent[name])
        answer = self._guarded(name, question)
        if isinstance(answer, Unreachable):
            self._silent[name] = answer.what
            self._health.failed(name, self._now, answer.what, self._random.uniform())
        else:
            self._health.worked(name)
        return answer

    def _guarded(self, name: BackendName, question: Callable[[Backend], T]) -> T | Unreachable:
        backend = self._backends.get(name)
        if backend is None:
            return Unreachable(what="it is not configured any more, but has live jobs")
        try:
            return question(backend)
        except BackendError as err:
            return Unreachable(what=words_of(err))
        except Exception as err:  # noqa: BLE001 - a bug in one backend must not stop the tick of the others
            _log.exception("backend=%s failed in a way nobody expected", name)
            return Unreachable(what=words_of(err))


def _tags(attempts: Iterable[Attempt]) -> list[AttemptId]:
    """Return the tags of their native jobs: a shared one carries that of the first attempt in it."""
    return list(dict.fromkeys(attempt.leader or attempt.id for attempt in attempts))


def _cluster(backend: Backend) -> ClusterView:
    return backend.cluster()


def words_of(err: Exception) -> str:
    """Return in one line what an error says."""
    if isinstance(err, BackendError):
        return f"{err.what}: {err.why}" if err.why else err.what
    return f"{type(err).__name__}: {err}"
