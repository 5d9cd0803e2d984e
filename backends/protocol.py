"""What elisa asks of a resource manager: five calls, and a few more of those that can do more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

from elisa.model.errors import Rejected
from elisa.model.ids import AttemptId, BackendName, NativeId
from elisa.model.native import CancelOutcome, Capabilities, ClusterView, Found, JobRequest, PartitionView, Poll
from elisa.model.pipeline import TaskSpec

__all__ = [
    "Advice",
    "Advises",
    "Arrays",
    "AsksToLeave",
    "Backend",
    "Checks",
    "CountsLicences",
    "Describes",
    "Description",
    "Follows",
    "Holds",
    "Previews",
    "Rehearses",
    "Reorders",
    "Reserves",
    "array_key",
    "refuse_components",
    "render_partition",
    "tag_of",
]


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
        """Return what the resource manager has and what of it is free. Raises Unavailable if it does not answer.

        Licences may be left out by a backend that `CountsLicences`.
        """
        ...


@runtime_checkable
class Reorders(Protocol):
    """A backend whose waiting jobs can be given other places (`Capabilities.reorders`)."""

    def reorder(self, priorities: Mapping[NativeId, int]) -> None:
        """Give jobs that wait new priorities, on the scale of `JobRequest.priority` and below 0, too.

        Jobs that do not wait any more are left alone. One call for each different priority. Raises Unavailable.
        """
        ...


@runtime_checkable
class Holds(Protocol):
    """A backend whose waiting jobs can be kept from starting (`Capabilities.hold`)."""

    def hold(self, ids: Collection[NativeId]) -> frozenset[NativeId]:
        """Keep jobs that wait from starting, as their owner may; return those that are held so now. Raises Unavailable."""
        ...

    def release(self, ids: Collection[NativeId]) -> frozenset[NativeId]:
        """Take back what `hold` did, but no hold of an operator; return those that their owner holds no more.

        Raises Unavailable.
        """
        ...


@runtime_checkable
class AsksToLeave(Protocol):
    """A backend that can ask a job to end without ending it by force a little later, as `cancel` does."""

    def ask_to_leave(self, ids: Collection[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        """Tell the agents of running jobs to save and end in their own time; cancel what can't be told so. Never raises."""
        ...


@runtime_checkable
class Arrays(Protocol):
    """A backend that takes many jobs at once (`Capabilities.arrays`)."""

    def submit_array(self, requests: Sequence[JobRequest]) -> Mapping[AttemptId, NativeId]:
        """Submit jobs that ask for the same thing, as `array_key` says, all or none.

        Raises what `submit` raises; AtLimit where fewer of them might be taken.
        """
        ...


@runtime_checkable
class Previews(Protocol):
    """A backend that can show what it would do."""

    def preview(self, request: JobRequest) -> tuple[tuple[str, ...], str]:
        """Return the command line and its standard input for a job. Raises Rejected or Unavailable."""
        ...


@runtime_checkable
class Checks(Protocol):
    """A backend that can tell by itself what its manager's options can't say."""

    def check(self, request: JobRequest) -> None:
        """Raise Rejected if a job can't be asked for in the manager's words. Asks nobody."""
        ...


@runtime_checkable
class Follows(Protocol):
    """A backend that follows what the metadata of a task say."""

    def follow(self, task: TaskSpec) -> None:
        """Raise Rejected if it can't. Asks nobody."""
        ...


@runtime_checkable
class Rehearses(Protocol):
    """A backend whose manager can tell whether it would take a job."""

    def rehearse(self, request: JobRequest) -> None:
        """Raise Rejected if the manager would refuse such a job, however much were free. Submits nothing.

        Raises Unavailable if it does not answer.
        """
        ...


class Description(NamedTuple):
    """What a new site.yaml says of a resource manager: comment lines, options that it needs, accounts of the user."""

    comments: tuple[str, ...]
    options: Mapping[str, str] = MappingProxyType({})
    accounts: tuple[str, ...] = ()


@runtime_checkable
class Describes(Protocol):
    """A backend that knows more of its site than `cluster()` tells."""

    def describe(self) -> Description:
        """Return what the manager says of itself. Raises Unavailable if it does not answer."""
        ...


class Advice(NamedTuple):
    """What `elisa doctor` says of a backend that answers. `is_concern`: it makes elisa's work harder."""

    what: str
    hint: str = ""
    is_concern: bool = False


@runtime_checkable
class Reserves(Protocol):
    """A backend whose manager has reservations of its own, and tells which."""

    def reservations(self) -> Mapping[str, bool]:
        """Return every reservation by name, and whether jobs of this user may run in it now. Raises Unavailable."""
        ...


@runtime_checkable
class CountsLicences(Protocol):
    """A backend whose manager counts licences, and is asked for them apart from what else there is."""

    def licences(self) -> Mapping[str, int]:
        """Return how many of each licence are free. Raises Unavailable."""
        ...


@runtime_checkable
class Advises(Protocol):
    """A backend that can tell what could be better at its site."""

    def advice(self) -> Sequence[Advice]:
        """Return what is worth knowing. Raises Unavailable if the manager does not answer."""
        ...


def render_partition(partition: PartitionView) -> str:
    """Return a partition or queue and its limits in one line."""
    limit = f"up to {partition.max_walltime_s // 60} min" if partition.max_walltime_s else "no time limit"
    marks = [limit]
    marks += [f"up to {partition.max_nodes} nodes"] if partition.max_nodes else []
    marks += ["default"] if partition.is_default else []
    marks += ["jobs may be preempted"] if partition.preemptible else []
    marks += [] if partition.is_up else ["down"]
    return f"{partition.name}: {', '.join(marks)}"


def array_key(request: JobRequest) -> JobRequest:
    """Return what two requests must have in common to become elements of one array; a heterogeneous job is alone."""
    if request.resources.components:
        return request
    return replace(request, attempt=AttemptId(""), argv=(), workdir="", stdout="", stderr="", predicted_s=None)


def refuse_components(request: JobRequest) -> None:
    """Raise Rejected for a heterogeneous job, where a backend can't run one."""
    if request.resources.components:
        raise Rejected("no heterogeneous jobs here", "it asks for `components`", "use a backend of Slurm for it")


def tag_of(instance: str, attempt: AttemptId) -> str:
    """Return the name a native job carries, such as `el.4f2a.t7k2m9qx4t.1`, so that it is found after a lost answer."""
    return f"el.{instance}.{attempt}"
