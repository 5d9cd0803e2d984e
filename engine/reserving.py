"""Room reserved for a project: written down at once, kept by the plans that follow, over by itself at its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from elisa.backends.protocol import Backend, Reserves
from elisa.engine.managers import words_of
from elisa.engine.projects import amount_body, check_period, demand_right, named_project
from elisa.engine.roles import uid_of
from elisa.engine.rules import reserved_by, ruled_by
from elisa.engine.workspace import Workspace
from elisa.model.changes import RuleDropped, RuleSet
from elisa.model.columns import RunningRow
from elisa.model.errors import BackendError, UsageError
from elisa.model.ids import BackendName, RuleId, new_rule_id
from elisa.model.rules import Rule, RuleKind
from elisa.model.site import Reservation
from elisa.model.task import Attempt, Task
from elisa.pipelines.problems import nearest
from elisa.policies.reservations import asked_of, capacity_of
from elisa.policies.rights import Action
from elisa.store.reader import Reader

__all__ = ["Bound", "Reserved", "people_s", "release_reserved", "reserve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Reservations that were made as one, and what a person should know."""

    reservations: tuple[Reservation, ...]
    notes: tuple[str, ...]


def reserve(  # noqa: PLR0913 - for whom, what, where, when
    ws: Workspace,
    project: str,
    backend: str,
    amount: Mapping[str, str],
    *,
    begin: datetime,
    end: datetime,
    users: Sequence[str] = (),
    native: str = "",
    lend: bool = False,
    why: str = "",
) -> Reserved:
    """Keep room of a backend for a project, or for some of its users, from `begin` until `end`.

    With `lend`, work that saves may use it until they need it. Raises UsageError for what is no backend, amount or time, and
    for more than the backend has; PolicyError for who may not.
    """
    name, now = named_project(project), ws.clock.now()
    body: dict[str, object] = {
        "backend": _known(ws, backend, native, lend=lend),
        "amount": amount_body(amount),
        "from": begin.isoformat(),
        "until": end.isoformat(),
        "users": [uid_of(int(user) if user.isdigit() else user, "--user") for user in users],
        "native": native,
        "lend": lend,
        "why": why,
    }
    rule = Rule(id=new_rule_id(ws.random), kind=RuleKind.RESERVATION, project=name, body=body, by=ws.actor)
    made = reserved_by(rule)
    check_period(max(begin, now), end)
    demand_right(ws, Action.RESERVE, name)
    notes = tuple(note for one in made for note in _checked(ws, one))
    with ws.writer() as writer:
        over = [RuleDropped(rule=one.id, by=ws.actor) for one in writer.rules() if _is_over(one, now)]
        writer.apply([RuleSet(rule=rule), *over])
        notes += tuple(note for one in made for note in _in_the_way(writer.running(now), one))
    return Reserved(reservations=made, notes=notes)


def release_reserved(ws: Workspace, id_: str) -> tuple[Reservation, ...]:
    """Give room that was reserved by command back before its end. Raises UsageError if there is no such reservation."""
    with ws.writer() as writer:
        known = {rule.id: rule for rule in writer.rules() if rule.kind is RuleKind.RESERVATION}
        rule = known.get(RuleId(id_))
        if rule is None:
            hint = nearest(id_, known) or "`elisa status` shows them; what stands in site.yaml is changed there"
            raise UsageError(f"there is no reservation {id_}", f"{len(known)} were made by command", hint)
        demand_right(ws, Action.RELEASE, rule.project)
        writer.apply([RuleDropped(rule=rule.id, by=ws.actor)])
    return reserved_by(rule)


def people_s(reader: Reader, now: datetime) -> tuple[Reservation, ...]:
    """Return the reservations that people made by command and that are not over, the first to begin first."""
    rules = (rule for rule in reader.rules() if rule.kind is RuleKind.RESERVATION)
    left = [one for rule in rules for one in reserved_by(rule) if one.ends_at > now]
    return tuple(sorted(left, key=lambda one: (one.starts_at, one.id)))


class Bound:
    """The reservations of resource managers that stand for elisa's own, and what is free of each as a tick goes on."""

    def __init__(self, ws: Workspace, reader: Reader) -> None:
        self._now = now = ws.clock.now()
        self._running = [one for one in ruled_by(ws.site, reader.rules()).reservations if _runs(one, now)]
        rows = reader.running(now) if self._running else ()
        self._open: dict[BackendName, Mapping[str, bool] | None] = {}
        self._backends = ws.backends
        self._left = [one.amount - sum(asked_of(row.request, one) for row in _of(rows, one)) for one in self._running]

    def take(self, task: Task, attempt: Attempt) -> str:
        """Return the name of one that the attempt is to run in, which then has less; "" if none has enough room and time."""
        end_s = self._now.timestamp() + attempt.request.walltime_s
        for place, one in enumerate(self._running):
            asked = asked_of(attempt.request, one)
            is_theirs = one.backend == attempt.backend and one.is_for(task.project, task.owner_uid)
            has_room = 0 < asked <= self._left[place] and end_s <= one.ends_at.timestamp()
            if is_theirs and has_room and self._is_open(one):
                self._left[place] -= asked
                return one.native
        return ""

    def _is_open(self, one: Reservation) -> bool:
        """Tell whether the manager would take the user's jobs there: what was taken away since costs no task its life."""
        if one.backend not in self._open:
            self._open[one.backend] = _native(self._backends[one.backend])
        known = self._open[one.backend]
        return known is None or known.get(one.native, False)


def _native(backend: Backend) -> Mapping[str, bool] | None:
    """Return the reservations of a manager's own; None where they are not told."""
    try:
        return backend.reservations() if isinstance(backend, Reserves) else None
    except BackendError:
        return None


def _is_over(rule: Rule, now: datetime) -> bool:
    return rule.kind is RuleKind.RESERVATION and all(one.ends_at <= now for one in reserved_by(rule))


def _runs(one: Reservation, now: datetime) -> bool:
    return bool(one.native) and one.starts_at <= now < one.ends_at


def _of(rows: Iterable[RunningRow], one: Reservation) -> Iterable[RunningRow]:
    return (row for row in rows if row.backend == one.backend and one.is_for(row.project, row.owner_uid))


def _known(ws: Workspace, backend: str, native: str, *, lend: bool) -> BackendName:
    if backend not in ws.backends:
        known = ", ".join(sorted(ws.backends))
        raise UsageError(f"there is no backend {backend}", f"site.yaml has {known}", nearest(backend, ws.backends))
    name = BackendName(backend)
    if native and not ws.backends[name].capabilities.queues:
        raise UsageError(f"{backend} has no reservations of its own", f"--native {native} was given", "leave it out")
    told = _native(ws.backends[name]) if native else None
    if told is not None and native not in told:
        known = f"it has {', '.join(sorted(told))}" if told else "it has none"
        raise UsageError(
            f"{backend} has no reservation {native}",
            known,
            "have one made there first: `--native` names it, and makes none",
        )
    if lend and ws.backends[name].capabilities.queues:
        raise UsageError(f"room of {backend} cannot be lent", "it places its jobs itself", "leave out --lend")
    return name


def _checked(ws: Workspace, one: Reservation) -> tuple[str, ...]:
    """Raise UsageError if the backend has less than is asked for; say so if it does not answer."""
    try:
        view = ws.backends[one.backend].cluster()
    except BackendError as err:
        return (f"{one.backend} does not answer, so what it has was not checked: {words_of(err)}",)
    total = capacity_of(view, one)
    if total < one.amount:
        raise UsageError(
            f"{one.backend} cannot hold {one.what}", f"it has {total} that are up", f"reserve at most {total}"
        )
    return ()


def _in_the_way(rows: Iterable[RunningRow], one: Reservation) -> tuple[str, ...]:
    """Say whose jobs may still have some of it when it begins: nobody is asked to leave for it."""
    begin_s = one.starts_at.timestamp()
    others = [
        row
        for row in rows
        if row.backend == one.backend
        and asked_of(row.request, one)
        and not one.is_for(row.project, row.owner_uid)
        and not row.is_queued
        and row.started_us / 1e6 + row.request.walltime_s > begin_s
    ]
    if not others:
        return ()
    held = sum(asked_of(row.request, one) for row in others)
    last_s = max(row.started_us / 1e6 + row.request.walltime_s for row in others)
    until = datetime.fromtimestamp(last_s, UTC).astimezone()
    what = one.gpu_type or one.resource.value
    return (f"others' jobs have {held} {what} of {one.backend} and may keep them until {until:%Y-%m-%d %H:%M}",)
