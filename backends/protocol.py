"""What elisa asks of a resource manager: five calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from elisa.model.ids import AttemptId, BackendName, NativeId
from elisa.model.native import CancelOutcome, Capabilities, ClusterView, Found, JobRequest, Poll

__all__ = ["Backend", "tag_of"]


class Backend(Protocol):
    """Ask one resource manager to run, stop and describe jobs.

    Implementations hold no truth of their own: every answer is about now, and the engine keeps the history.
    """

    @property
    def name(self) -> BackendName:
        """The name under which the site configured this backend."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this backend can do."""
        ...

    def submit(self, request: JobRequest) -> NativeId:
        """Hand one job to the resource manager, tagged with its attempt's id.

        Raises Rejected (it said no for good), Unavailable (it certainly took nothing) or SubmitUncertain (it may have).
        Never tries twice.
        """
        ...

    def poll(self, ids: Collection[NativeId]) -> Poll:
        """Describe all these jobs with one question. Every id is Seen or Gone in Answered; never raises BackendError."""
        ...

    def cancel(self, ids: Collection[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        """Ask for these jobs to be stopped (TERM, grace, KILL) without waiting for it; an outcome for every id."""
        ...

    def find(self, tags: Collection[AttemptId]) -> Found:
        """Look for jobs by their tags, live ones and finished ones where the manager can still name them.

        Raises Unavailable if it does not answer.
        """
        ...

    def cluster(self) -> ClusterView:
        """Return what the resource manager has and what of it is free. Raises Unavailable if it does not answer."""
        ...


def tag_of(instance: str, attempt: AttemptId) -> str:
    """Return the name a native job carries, such as `el.4f2a.t7k2m9qx4t.1`, so that it is found after a lost answer."""
    return f"el.{instance}.{attempt}"
