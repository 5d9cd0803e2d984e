"""One tick: learn what happened, decide what follows, do it. A function of the state folder and the ports alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from elisa.engine.act import Submitting
from elisa.engine.advance import Evidence, advance
from elisa.engine.bundles import is_ahead
from elisa.engine.chaining import Chaining
from elisa.engine.circles import undo_circles
from elisa.engine.clearing import clearing_stops
from elisa.engine.decide import decide
from elisa.engine.facts_due import note_deadlines
from elisa.engine.gangs import gang_stops
from elisa.engine.growing import note_room
from elisa.engine.health import HealthBook
from elisa.engine.holding import holding_stops, keep_holds
from elisa.engine.kept_plans import keep
from elisa.engine.leftovers import leftover_stops
from elisa.engine.lock import tick_lock
from elisa.engine.managers import Managers
from elisa.engine.outcome import TickReport
from elisa.engine.places import keep_order
from elisa.engine.projects import call_back_needed
from elisa.engine.readiness import settle_waiting
from elisa.engine.rules import policy_of
from elisa.engine.seals import read_secret
from elisa.engine.spool import Reading, SpoolNews, read_new
from elisa.engine.stop import cancel_idle, send_stops, stops_due, stops_of
from elisa.engine.ticklog import rotate
from elisa.engine.unchaining import unchaining_stops
from elisa.engine.unpinning import unpinning_stops
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.changes import AttemptNoted
from elisa.model.errors import StaleChange, StoreError
from elisa.model.site import SitePolicy
from elisa.model.task import Attempt
from elisa.policies.allowances import effective
from elisa.policies.plan import Plan
from elisa.store.writer import Writer

__all__ = ["tick"]

_log = logging.getLogger(__name__)
_TRIES = 3
_CANARY_BITS = 64


def tick(ws: Workspace) -> TickReport:
    """Bring the store up to date with the world, decide, act, and write down what was done.

    Raises StoreBusy if another tick is running; StoreError, having submitted nothing, if the store cannot be trusted.
    """
    try:
        with tick_lock(ws.home, ws.clock.now()), ws.writer() as writer:
            writer.begin_tick(f"{ws.random.bits(_CANARY_BITS):016x}")
            now = ws.clock.now()
            _set_rules(writer, policy_of(ws, writer, now), now)
            report = _try_round(ws, writer)
            _back_up(writer)
            rotate(ws.home)
            return report
    except OSError as err:
        why = f"{err.filename or ws.home}: {err.strerror or err}"
        raise StoreError(
            "the state folder cannot be used", why, "see `elisa doctor`; what was begun is not lost"
        ) from err


def _set_rules(writer: Writer, site: SitePolicy, now: datetime) -> None:
    """Keep the caps as grants and loans make them at this moment, so that every intent is checked against those."""
    writer.set_policy(effective(site, writer.usage(now), now))


def _back_up(writer: Writer) -> None:
    """Keep a copy of the database, once a day; a tick whose work is done does not fail for want of it."""
    try:
        writer.keep_backup()
    except StoreError as err:
        _log.warning("no backup was made: %s (%s)", err.what, err.why)


def _try_round(ws: Workspace, writer: Writer) -> TickReport:
    """Do a round again if a command changed its ground: each step is safe to repeat."""
    for _ in range(_TRIES - 1):
        try:
            return _round(ws, writer, ws.clock.now())
        except StaleChange as err:
            _log.info("the state moved during the tick, which begins again: %s", err.what)
    return _round(ws, writer, ws.clock.now())


def _round(ws: Workspace, writer: Writer, now: datetime) -> TickReport:
    health = HealthBook(ws.files, ws.home)
    managers = Managers(ws.backends, health, ws.random, now)
    live = writer.live_attempts()
    # 1. Ask the resource managers, before reading the spool: a job that is over by then has said all it will.
    polls = managers.poll(live)
    # 2. Read what jobs said.
    news = _read_spool(ws, writer, live)
    if not news.mounted:
        return _unmounted(ws, writer, now)
    # 3. Search for submissions whose answer was lost.
    found = managers.find(attempt for attempt in live if attempt.native_id is None)
    # 4. Advance: commit what happened and what follows from it.
    observed = advance(ws, writer, Evidence(now=now, live=live, news=news, polls=polls, found=found))
    cancel_idle(writer)
    moved = settle_waiting(ws, writer, managers, now)
    if undo_circles(writer):
        moved += settle_waiting(ws, writer, managers, now)
    # 5. Plan.
    live = writer.live_attempts() if observed.changes else live
    plan, due, inputs, fused = decide(ws, writer, managers, health, live, now)
    keep(ws, writer, inputs, plan)
    passed_over = tuple(plan.passed_over())
    writer.apply(passed_over)
    call_back_needed(writer, inputs, plan, now)
    note_deadlines(writer, due)
    note_room(writer, inputs.running, plan)
    # 6. Act: stop what must stop, submit what shall start; every step written down first.
    by_id = {attempt.id: attempt for attempt in live}
    stops = [*stops_due(writer, by_id, observed, now, ws.site.jobs.grace), *stops_of(plan, by_id)]
    stops += clearing_stops(ws, writer, by_id, now, {stop.attempt.id for stop in stops})
    leaving = {stop.attempt.id for stop in stops}
    unheard_s = ws.site.recovery.unheard
    stops += [one for one in unchaining_stops(writer, by_id, plan, now, unheard_s) if one.attempt.id not in leaving]
    stops += unpinning_stops(by_id, plan.snapshot, {stop.attempt.id for stop in stops})
    stops += holding_stops(ws, writer, by_id, now, {stop.attempt.id for stop in stops})
    leaving = {stop.attempt.id for stop in stops}
    stops += gang_stops(ws, writer, by_id, plan.snapshot, now, leaving)
    stopped = send_stops(ws, writer, managers, stops)
    kept = keep_holds(ws, writer, managers, {name: one for name, one in by_id.items() if name not in stopped}, polls)
    submitting = Submitting(ws, writer, health, plan, now, fused)
    acted = submitting.carry_out()
    chaining = Chaining(ws=ws, reader=writer, managers=managers, seen=plan.snapshot, due=due, now=now, decided=plan)
    chaining.carry_out(submitting)
    reordered = keep_order(ws, writer, managers, plan.snapshot, now)
    # Last, for nothing waits for it: OpenPBS is silent for 50 s and more until it has deleted what its node does not know.
    stopped += send_stops(ws, writer, managers, leftover_stops(writer, now))
    health.save()
    report = TickReport(
        at=now,
        events=len(news.events),
        bad_events=len(news.bad),
        ended=tuple(attempt.id for attempt in observed.ended),
        moved=moved,
        submitted=tuple(acted.submitted),
        rejected=tuple(acted.rejected),
        withdrawn=tuple(acted.withdrawn),
        stopped=stopped,
        held=kept.held,
        released=kept.released,
        reordered=reordered,
        unsettled=(*observed.unsettled, *acted.uncertain),
        waiting=len(passed_over),
        live=(*by_id, *acted.submitted, *acted.uncertain),
        in_doubt=sum(isinstance(change, AttemptNoted) and bool(change.quiet_ticks) for change in observed.changes),
        unreachable=managers.unreachable,
        alarms=_alarms(health, news, plan),
    )
    # 7. Telling others, after the last commit, is up to whoever ran the tick.
    return _noted(writer, report)


def _read_spool(ws: Workspace, writer: Writer, live: Sequence[Attempt]) -> SpoolNews:
    reading = Reading(files=ws.files, home=ws.home, secret=read_secret(ws.files, ws.home), uid=ws.uid)
    return read_new(reading, [attempt.id for attempt in live], writer.events_cursor())


def _unmounted(ws: Workspace, writer: Writer, now: datetime) -> TickReport:
    alarm = (
        f"{layout.spool_sentinel(ws.home)} is missing: the spool is not mounted, or was wiped; nothing was concluded"
    )
    return _noted(writer, TickReport(at=now, alarms=(alarm,)))


def _noted(writer: Writer, report: TickReport) -> TickReport:
    writer.ticked(report.facts())
    return replace(report, revision=writer.revision(), tick=writer.meta().ticks)


def _alarms(health: HealthBook, news: SpoolNews, plan: Plan) -> tuple[str, ...]:
    sick = (
        f"{name} failed {state.failures} times since {state.since:%Y-%m-%d %H:%M}: {state.what}"
        for name, state in sorted(health.sick.items())
        if state.is_alarming and not is_ahead(name)
    )
    return (*sick, *news.unreadable, *plan.notes)
