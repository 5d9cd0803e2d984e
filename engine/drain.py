"""Places closed by a person, and opened again: written down at once, carried out by the ticks that follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from elisa.engine.clearing import is_in_the_way
from elisa.engine.managers import words_of
from elisa.engine.workspace import Workspace
from elisa.model.changes import Change, ClosureAdded, ClosureLifted
from elisa.model.columns import Shape
from elisa.model.errors import BackendError, StaleChange, UsageError
from elisa.model.hostlist import expand_hosts
from elisa.model.ids import BackendName, new_closure_id
from elisa.model.native import ClusterView
from elisa.model.pipeline import SitePlacement
from elisa.model.site import UNTIL_LIFTED, Closure
from elisa.model.task import Attempt
from elisa.pipelines.problems import nearest
from elisa.policies.placement import options_of
from elisa.policies.placement_pools import Pool, reachable_pools
from elisa.store.reader import Reader

__all__ = ["Affected", "Drained", "Undrained", "drain", "undrain"]

_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """An attempt that runs where it closes, and what becomes of it: `moves` says to where, `stays` why it does not.

    `saves`: it goes on from where it was; else it begins again.
    """

    attempt: Attempt
    name: str
    saves: bool
    moves: str = ""
    stays: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """A closure that was added, whom it concerns, and what a person should know."""

    closure: Closure
    affected: tuple[Affected, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undrained:
    """The closures that were lifted, and what of them stays closed."""

    lifted: tuple[Closure, ...]
    left: tuple[Closure, ...]


def drain(  # noqa: PLR0913 - what, when, and how
    ws: Workspace,
    backend: str,
    *,
    nodes: str = "",
    begin: datetime | None = None,
    end: datetime | None = None,
    why: str = "",
    forced: bool = False,
) -> Drained:
    """Close a backend, or some of its nodes, from `begin` (now if left out) until `end` (until it is lifted).

    Raises UsageError for a backend or a node that nobody knows, and for a time that is over before it begins.
    """
    now = ws.clock.now()
    name = _known(ws, backend)
    view, silence = _view(ws, name)
    closure = Closure(
        id=new_closure_id(ws.random),
        backend=name,
        nodes=_known_nodes(view, nodes),
        starts_at=begin or now,
        ends_at=end or UNTIL_LIFTED,
        why=why,
        by=ws.actor,
        is_forced=forced,
    )
    if closure.ends_at <= max(closure.starts_at, now):
        raise UsageError(
            "a closure cannot end before it begins",
            f"from {closure.starts_at.isoformat()} until {closure.ends_at.isoformat()}",
            "give a later --until, or leave it out and lift it with `elisa undrain`",
        )
    with ws.writer() as writer:
        writer.apply((ClosureAdded(closure=closure),))
        affected = tuple(_affected(ws, writer, closure, now))
    return Drained(closure=closure, affected=affected, notes=(*silence, *_warnings(ws, closure)))


def undrain(ws: Workspace, backend: str, *, nodes: str = "") -> Undrained:
    """Lift what people closed of a backend, or of some of its nodes; the others of a closure stay closed.

    Raises UsageError if nothing of it is closed, or only by the site's own rules.
    """
    name, wanted, now = _known(ws, backend), frozenset(expand_hosts(nodes)), ws.clock.now()
    with ws.writer() as writer:
        for left in reversed(range(_TRIES)):
            concerned = [one for one in writer.closures(now) if one.backend == name and _touches(one, wanted)]
            rests = [rest for one in concerned for rest in _rest(ws, one, wanted)]
            lifts: list[Change] = [ClosureLifted(closure=one.id, by=ws.actor) for one in concerned]
            try:
                writer.apply([*lifts, *(ClosureAdded(closure=rest) for rest in rests)])
                break
            except StaleChange:
                if not left:
                    raise
    if not concerned:
        raise _nothing_closed(ws, name, nodes)
    return Undrained(lifted=tuple(concerned), left=tuple(rests))


def _known(ws: Workspace, backend: str) -> BackendName:
    if backend not in ws.backends:
        known = ", ".join(sorted(ws.backends))
        raise UsageError(f"there is no backend {backend}", f"site.yaml has {known}", nearest(backend, ws.backends))
    return BackendName(backend)


def _view(ws: Workspace, name: BackendName) -> tuple[ClusterView | None, tuple[str, ...]]:
    try:
        return ws.backends[name].cluster(), ()
    except BackendError as err:
        return None, (f"{name} does not answer, so the names of nodes were not checked: {words_of(err)}",)


def _known_nodes(view: ClusterView | None, nodes: str) -> tuple[str, ...]:
    names = expand_hosts(nodes)
    known = {node.name for node in view.nodes} if view is not None else set()
    strange = [name for name in names if name not in known] if known else []
    if strange:
        why = f"it has {len(known)} nodes, such as {', '.join(sorted(known)[:3])}"
        raise UsageError(f"there is no node {strange[0]}", why, nearest(strange[0], known))
    if nodes.strip() and not names:
        raise UsageError(f"`{nodes}` names no node", hint="write it like n1,gpu[01-03]")
    return names


def _affected(ws: Workspace, reader: Reader, closure: Closure, now: datetime) -> Iterable[Affected]:
    there = [one for one in reader.live_attempts() if is_in_the_way(one, closure, now)]
    tasks = reader.tasks([one.task for one in there])
    shut = _shut(closure, (*reader.closures(now), *ws.site.policy().closures), now)
    elsewhere = _elsewhere(ws, shut) if there else ()
    for attempt in there:
        spec = tasks[attempt.task].spec
        stays = not spec.preemptible and not closure.is_forced
        yield Affected(
            attempt=attempt,
            name=spec.name,
            saves=spec.checkpoint is not None,
            moves="" if stays else _where_to(elsewhere, closure, spec.placement, attempt),
            stays="it may not be preempted; --force moves it too" if stays else "",
        )


def _shut(closure: Closure, others: Iterable[Closure], now: datetime) -> frozenset[BackendName]:
    """Return the backends that are closed as a whole, or in part by `closure` itself, when that begins."""
    begin = max(closure.starts_at, now)
    whole = (one.backend for one in others if not one.nodes and one.starts_at <= begin < one.ends_at)
    return frozenset((closure.backend, *whole))


def _elsewhere(ws: Workspace, shut: frozenset[BackendName]) -> tuple[Pool, ...]:
    """Return what the backends have that answer and are open."""
    views = [_view(ws, name)[0] for name in sorted(ws.backends) if name not in shut]
    queueing = [name for name, backend in ws.backends.items() if backend.capabilities.queues]
    site, known = ws.site.policy(), [view for view in views if view is not None]
    return reachable_pools(known, queueing, {}, site.taints, data=site.data)


def _where_to(elsewhere: Sequence[Pool], closure: Closure, wish: SitePlacement, attempt: Attempt) -> str:
    """Say where a task may go on. Every backend reads and writes the state folder, so its data is there already."""
    own = closure.backend
    ways = options_of(Shape(attempt.request, wish), elsewhere, {}).ways
    others = dict.fromkeys(elsewhere[way.pool].backend for way in ways)
    places = [*([f"other nodes of {own}"] if closure.nodes else []), *sorted(others)]
    if places:
        return f"on {' or '.join(places)}"
    if wish.backend or wish.partition:
        return f"once {own} is open again: its placement allows no other"
    return f"once {own} is open again: no other that is open can hold it"


def _warnings(ws: Workspace, closure: Closure) -> Iterable[str]:
    if closure.nodes and not ws.backends[closure.backend].capabilities.excludes:
        yield (
            f"{closure.backend} cannot be told to keep a job off {', '.join(closure.nodes)}: take them out of service"
            " there too, or jobs may begin on them again"
        )


def _touches(closure: Closure, wanted: frozenset[str]) -> bool:
    return not wanted or any(closure.covers(node) for node in wanted)


def _rest(ws: Workspace, closure: Closure, wanted: frozenset[str]) -> Sequence[Closure]:
    """Return what stays closed when some nodes of a closure are opened again."""
    if not wanted:
        return ()
    if not closure.nodes:
        raise UsageError(
            f"all of {closure.backend} is closed, not some of its nodes",
            "a closure of a whole backend cannot be lifted node by node",
            f"`elisa undrain {closure.backend}`, and then `elisa drain` for the nodes that stay closed",
        )
    left = tuple(node for node in closure.nodes if node not in wanted)
    return (replace(closure, id=new_closure_id(ws.random), nodes=left),) if left else ()


def _nothing_closed(ws: Workspace, backend: BackendName, nodes: str) -> UsageError:
    place = f"{nodes} of {backend}" if nodes else backend
    in_rules = any(one.backend == backend for one in ws.site.policy().closures)
    why = "`closures` in site.yaml closes it; nobody drained it" if in_rules else "nobody drained it"
    return UsageError(f"{place} is not closed", why, "`elisa status` shows what is")
