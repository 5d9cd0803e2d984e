"""The script and the command line of one task, as its resource manager gets them; nothing is written or submitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from elisa.backends.protocol import Previews
from elisa.engine.decide import decide
from elisa.engine.handover import Handover
from elisa.engine.health import HealthBook
from elisa.engine.managers import Managers
from elisa.engine.workspace import Workspace
from elisa.model.decisions import Submit
from elisa.model.errors import UsageError
from elisa.model.ids import AttemptId, BackendName, NativeId, TaskId, attempt_id
from elisa.model.native import JobRequest
from elisa.model.reasons import Reason
from elisa.model.states import AttemptState, TaskState
from elisa.model.task import Attempt, Task
from elisa.policies.blame import own_bad_nodes
from elisa.store.reader import Reader

__all__ = ["Script", "script_of"]

_WAITS = frozenset({TaskState.WAITING, TaskState.READY, TaskState.HELD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What one attempt is handed over with.

    `argv` is run as it is; `stdin` is empty where nothing is read from it. `environment` is what `argv` gets of elisa.
    `native_id` is that of a submission that was answered. `reason` is why the next tick does or does not submit it, None
    if no plan was asked because the attempt exists or the task is not ready (`state`).
    """

    attempt: AttemptId
    backend: BackendName
    partition: str
    argv: tuple[str, ...]
    stdin: str
    environment: tuple[tuple[str, str], ...]
    state: TaskState
    native_id: NativeId | None = None
    is_next: bool = False
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """An attempt that is or would be. `is_next`: the next tick would submit it; `reason` says why, or why not."""

    attempt: Attempt
    kept_off: tuple[str, ...] = ()
    is_next: bool = False
    reason: Reason | None = None


def script_of(ws: Workspace, reader: Reader, task_id: TaskId) -> Script:
    """Return the script of a task's newest attempt, or of the next one if the task waits.

    Raises UsageError if it has no backend, Rejected or Unavailable as the backend does.
    """
    task = reader.task(task_id)
    chosen = _chosen(ws, reader, task)
    request = Handover(ws, reader).describe(task, chosen.attempt)
    return _shown(ws, task, chosen, replace(request, exclude_nodes=chosen.kept_off))


def _shown(ws: Workspace, task: Task, chosen: _Chosen, request: JobRequest) -> Script:
    attempt = chosen.attempt
    backend = ws.backends[attempt.backend]
    # a backend that has no program for it starts the agent itself
    argv, stdin = backend.preview(request) if isinstance(backend, Previews) else (request.argv, "")
    return Script(
        attempt=attempt.id,
        backend=attempt.backend,
        partition=attempt.partition,
        argv=argv,
        stdin=stdin,
        environment=request.environment,
        state=task.state,
        native_id=attempt.native_id,
        is_next=chosen.is_next,
        reason=chosen.reason,
    )


def _chosen(ws: Workspace, reader: Reader, task: Task) -> _Chosen:
    attempts = reader.attempts_of(task.id)
    if task.state in _WAITS or not attempts:
        return _next(ws, reader, task)
    newest = max(attempts, key=lambda attempt: attempt.number)
    if newest.backend not in ws.backends:
        raise UsageError(f"site.yaml has no backend `{newest.backend}` any more", f"{newest.id} was handed to it")
    return _Chosen(attempt=newest, kept_off=_kept_off(reader, newest))


def _kept_off(reader: Reader, attempt: Attempt) -> tuple[str, ...]:
    """Return the nodes that an attempt was kept off, as its intent was written down."""
    for row in reader.audit(subject=attempt.id):
        because = row.facts.get("because")
        if isinstance(because, dict) and because.get("kept_off"):
            return tuple(str(because["kept_off"]).split(","))
    return ()


def _next(ws: Workspace, reader: Reader, task: Task) -> _Chosen:
    """Return the attempt that the next tick would make, or one where the author or the site put it."""
    now = ws.clock.now()
    fresh = Attempt(
        id=attempt_id(task.id, task.attempts + 1),
        task=task.id,
        number=task.attempts + 1,
        backend=BackendName(""),
        partition=task.spec.placement.partition,
        request=task.request,
        state=AttemptState.INTENDED,
        intended_at=now,
        resume_from=task.resume_from,
    )
    if task.state is not TaskState.READY:
        return _Chosen(attempt=_as_asked(ws, task, fresh))
    return _planned(ws, reader, task, fresh, now)


def _planned(ws: Workspace, reader: Reader, task: Task, fresh: Attempt, now: datetime) -> _Chosen:
    health = HealthBook(ws.files, ws.home)
    managers = Managers(ws.backends, health, ws.random, now)
    plan, *_ = decide(ws, reader, managers, health, reader.live_attempts(), now)
    starts = {decision.task: decision for decision in plan.decisions if isinstance(decision, Submit)}
    if task.id not in starts:
        return _Chosen(attempt=_as_asked(ws, task, fresh), reason=plan.reason(task.id))
    start = starts[task.id]
    attempt = replace(fresh, backend=start.backend, partition=start.partition, request=plan.request(task.id))
    bad = own_bad_nodes(reader.attempts_of(task.id), plan.bad_gpus(task.id)) if task.attempts else ()
    kept_off = plan.known(task.id, plan.kept_off(task.id, sorted(bad)))
    return _Chosen(attempt=attempt, kept_off=kept_off, is_next=True, reason=start.reason)


def _as_asked(ws: Workspace, task: Task, fresh: Attempt) -> Attempt:
    """Return an attempt where its author put it, or else on the first backend: no plan has chosen another place."""
    named = task.spec.placement.backend
    if named and named not in ws.backends:
        raise UsageError(f"no backend is called `{named}`", "the task names it", "add it to site.yaml")
    if not ws.backends:
        raise UsageError("site.yaml has no backend", hint="add one under `backends`")
    return replace(fresh, backend=BackendName(named or next(iter(ws.backends))))
