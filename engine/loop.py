"""Tick after tick: until nothing is left to do, or for ever."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from elisa.engine.outcome import TickReport
from elisa.engine.reserving import people_s
from elisa.engine.tick import tick
from elisa.engine.waiting import Jumps, Wait, jump, wait_for
from elisa.engine.workspace import Workspace
from elisa.model.errors import StaleChange, StoreBusy
from elisa.model.reasons import ReasonCode
from elisa.model.states import TaskState
from elisa.store.reader import Reader

__all__ = ["Done", "loop", "once", "until", "until_idle"]

_log = logging.getLogger(__name__)
# Between ticks without news: processes of our own are watched closely, other people's machines are left in peace.
_LOCAL_S, _REMOTE_S = 2.0, 15.0

Done = Callable[[Reader, TickReport], bool]
"""Looks at the store after a tick and tells whether to stop."""


def once(ws: Workspace) -> TickReport:
    """Tick once. Simulated time goes on to the next event first, if there is one: nobody else moves it."""
    with Reader.open(ws.home) as reader:
        is_going_on = bool(reader.live_attempts()) or reader.next_look_at() is not None
    if is_going_on and isinstance(ws.clock, Jumps):
        jump(ws, TickReport(at=ws.clock.now()), 0.0)
    return tick(ws)


def until_idle(ws: Workspace, *, on_tick: Callable[[TickReport], None] | None = None) -> TickReport:
    """Tick until nothing runs and nothing will change by itself; return the last report."""
    return until(ws, partial(_is_idle, ws), on_tick=on_tick)


def _is_idle(ws: Workspace, reader: Reader, report: TickReport) -> bool:
    if report.live or report.unsettled or report.alarms or (report.did_something and report.waiting):
        return False
    # Tasks may wait for a moment, for a manager that does not answer now, or for a closed or reserved place.
    if reader.next_look_at() is not None or (report.unreachable and report.waiting):
        return False
    closed = any(not one.is_open_ended for one in reader.closures(report.at))
    return not (report.waiting and (closed or people_s(reader, report.at) or _opens_again(ws, reader, report)))


def _opens_again(ws: Workspace, reader: Reader, report: TickReport) -> bool:
    """Tell whether a task waits for a place to open that the site's own rules have closed."""
    is_closed = any(one.ends_at > report.at for one in ws.site.policy().closures)
    return is_closed and any(row.reason == ReasonCode.CLOSED for row in reader.task_rows(states=(TaskState.READY,)))


def until(
    ws: Workspace,
    is_done: Done,
    *,
    every_s: float | None = None,
    wait: Wait | None = None,
    on_tick: Callable[[TickReport], None] | None = None,
) -> TickReport:
    """Tick until `is_done`, at once when a job has news and every `every_s` seconds anyway; return the last report."""
    wait, every_s = wait or wait_for(ws), every_s or _usual_s(ws)
    report = TickReport(at=ws.clock.now())
    while True:
        ticked = _tick(ws)
        if ticked is not None:
            report = ticked
            if on_tick is not None:
                on_tick(report)
            with Reader.open(ws.home) as reader:
                if is_done(reader, report):
                    return report
        wait(ws, report, every_s)


def loop(ws: Workspace, every_s: float, *, on_tick: Callable[[TickReport], None] | None = None) -> None:
    """Tick for ever; ends only by an exception."""
    until(ws, _never, every_s=every_s, on_tick=on_tick)


def _never(reader: Reader, report: TickReport) -> bool:  # noqa: ARG001 - one signature for all conditions
    return False


def _tick(ws: Workspace) -> TickReport | None:
    """Tick, unless somebody else does so at this moment: that is as good."""
    try:
        return tick(ws)
    except (StoreBusy, StaleChange) as err:
        _log.info("no tick this time: %s", err.what)
        return None


def _usual_s(ws: Workspace) -> float:
    return _REMOTE_S if any(backend.capabilities.queues for backend in ws.backends.values()) else _LOCAL_S
