"""What resource managers would refuse of a new pipeline: told while its author still looks, not found out by a tick."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from elisa.backends.protocol import Backend, Checks, Follows, Rehearses
from elisa.engine.request import trial_request
from elisa.engine.workspace import Workspace
from elisa.model.columns import Shape
from elisa.model.errors import Problem, Rejected, SpecError, Unavailable
from elisa.model.ids import BackendName
from elisa.model.native import JobRequest
from elisa.model.pipeline import Pipeline, TaskSpec
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.policies.placement import options_of
from elisa.policies.placement_pools import Pool

__all__ = ["check_requests", "refused_tasks"]

# Each costs the manager some hundredths of a second; a matrix that asks for one thing is one.
_QUESTIONS = 10
# A matrix of a hundred that is refused is one problem, not a hundred names.
_NAMED = 5


def check_requests(ws: Workspace, pipeline: Pipeline, source: str) -> None:
    """Raise SpecError for tasks that no backend where they may run has words for. Nobody is asked."""
    refusals: dict[tuple[str, str, str], list[str]] = {}
    known: dict[tuple[object, ...], Rejected | None] = {}
    for spec in pipeline.tasks:
        request = trial_request(spec)
        alike = (spec.placement.backend, request, spec.metadata, spec.outputs)
        if alike not in known:
            known[alike] = _in_no_words(ws, spec, request)
        refusal = known[alike]
        if refusal is not None:
            refusals.setdefault((refusal.what, refusal.why, refusal.hint), []).append(spec.name)
    if refusals:
        where = source or pipeline.name
        raise SpecError(tuple(_problem(where, names, *words) for words, names in refusals.items()))


def _in_no_words(ws: Workspace, spec: TaskSpec, request: JobRequest) -> Rejected | None:
    """Return why a task can't be told to any of the backends where it may run; None if it can, or there is none."""
    refusal = None
    for name, backend in ws.backends.items():
        if spec.placement.backend in {"", name}:
            one = _refusal(backend, spec, request)
            if one is None:
                return None
            refusal = refusal or one
    return refusal


def _refusal(backend: Backend, spec: TaskSpec, request: JobRequest) -> Rejected | None:
    try:
        if isinstance(backend, Checks):
            backend.check(request)
        if isinstance(backend, Follows):
            backend.follow(spec)
    except Rejected as err:
        return err
    return None


def _problem(where: str, names: Sequence[str], what: str, why: str, hint: str) -> Problem:
    more = f" and {len(names) - _NAMED} others" if len(names) > _NAMED else ""
    return Problem(file=where, line=0, what=f"{', '.join(names[:_NAMED])}{more}: {what}", text=why, hint=hint)


def refused_tasks(
    ws: Workspace, specs: Iterable[TaskSpec], pools: Sequence[Pool], silent: Mapping[BackendName, str]
) -> Iterator[tuple[str, Reason]]:
    """Yield the tasks that their managers would refuse wherever they may run, each with a manager's words.

    Managers are asked a few questions at the most. Where one does not answer, or can't be asked, nothing is said.
    """
    verdicts: dict[tuple[BackendName, JobRequest], Rejected | None] = {}
    for spec in specs:
        ways = options_of(Shape(spec.resources, spec.placement), pools, silent).ways
        places = {(pools[way.pool].backend, pools[way.pool].partition.name, way.gpu_type): None for way in ways}
        trials = [(name, trial_request(spec, partition, gpu, _account(ws, name))) for name, partition, gpu in places]
        refusal = _refused_everywhere(ws, trials, verdicts)
        if refusal is not None:
            words = refusal.why or refusal.what
            yield spec.name, because(ReasonCode.WOULD_BE_REFUSED, backend=trials[0][0], words=words)


def _account(ws: Workspace, backend: BackendName) -> str:
    return ws.site.backends[backend].account


def _refused_everywhere(
    ws: Workspace,
    trials: Collection[tuple[BackendName, JobRequest]],
    verdicts: dict[tuple[BackendName, JobRequest], Rejected | None],
) -> Rejected | None:
    """Return the first refusal if each of these trials meets one; as soon as one does not, no further one is made."""
    first = None
    for trial in trials:
        if trial not in verdicts:
            if len(verdicts) >= _QUESTIONS:
                return None
            verdicts[trial] = _rehearsed(ws, *trial)
        if verdicts[trial] is None:
            return None
        first = first or verdicts[trial]
    return first


def _rehearsed(ws: Workspace, name: BackendName, request: JobRequest) -> Rejected | None:
    backend = ws.backends[name]
    if not isinstance(backend, Rehearses):
        return None
    try:
        backend.rehearse(request)
    except Rejected as err:
        return err
    except Unavailable:
        return None
    return None
