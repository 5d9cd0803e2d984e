"""`elisa drain` and `elisa undrain`: places closed to work, and opened again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from elisa.cli.home import existing_home
from elisa.cli.moments import parse_moment
from elisa.cli.output import note, print_json, print_plain
from elisa.cli.places_words import closure_data, closure_words
from elisa.engine.drain import Affected, Drained
from elisa.engine.drain import drain as close
from elisa.engine.drain import undrain as reopen
from elisa.engine.workspace import open_workspace
from elisa.model.site import Closure
from elisa.model.text import clean

__all__ = ["drain", "undrain"]


def drain(
    *,
    backend: str,
    nodes: str,
    begin: str | None,
    until: str | None,
    reason: str,
    force: bool,
    home: str | None,
    json: bool,
) -> int:
    """Close a place."""
    with open_workspace(existing_home(home)) as workspace:
        now = workspace.clock.now()
        starts_at, ends_at = parse_moment(begin, now, "--from"), parse_moment(until, now, "--until")
        done = close(workspace, backend, nodes=nodes, begin=starts_at, end=ends_at, why=reason, forced=force)
        now = workspace.clock.now()
    if json:
        affected = [_affected_data(one) for one in done.affected]
        print_json("drain", 1, {"closure": closure_data(done.closure), "affected": affected, "notes": list(done.notes)})
        return 0
    for line in _drained_words(done, now):
        print_plain(clean(line))
    for words in done.notes:
        note(f"warning: {words}")
    return 0


def undrain(*, backend: str, nodes: str, home: str | None, json: bool) -> int:
    """Open a place again."""
    with open_workspace(existing_home(home)) as workspace:
        now = workspace.clock.now()
        done = reopen(workspace, backend, nodes=nodes)
    if json:
        print_json("undrain", 1, {"lifted": _many(done.lifted), "left": _many(done.left)})
        return 0
    for closure in done.lifted:
        print_plain(clean(f"lifted: {closure.place}{f': {closure.why}' if closure.why else ''}"))
    for closure in done.left:
        print_plain(clean(f"still: {closure_words(closure, now)}"))
    return 0


def _drained_words(done: Drained, now: datetime) -> Iterator[str]:
    yield closure_words(done.closure, now)
    if not done.affected:
        yield "no work is known to run there that would not be over in time"
    for one in done.affected:
        leaves = "saves, leaves and continues" if one.saves else "saves nothing: it is stopped, and begins again"
        yield f"{one.attempt.id} {one.name} {f'stays: {one.stays}' if one.stays else f'{leaves} {one.moves}'}"


def _affected_data(one: Affected) -> dict[str, object]:
    return {"attempt": one.attempt.id, "name": one.name, "saves": one.saves, "moves": one.moves, "stays": one.stays}


def _many(closures: Iterable[Closure]) -> list[dict[str, object]]:
    return [closure_data(one) for one in closures]
