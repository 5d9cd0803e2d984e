"""`elisa cancel`, `hold`, `release` and `retry`: what a person wishes, written down for the tick."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from elisa.cli.home import existing_home
from elisa.cli.output import print_json, print_plain
from elisa.engine import commands
from elisa.engine.workspace import open_workspace

__all__ = ["cancel", "hold", "release", "retry"]


def cancel(*, ids: Sequence[str], home: str | None, json: bool) -> int:
    """Wish tasks stopped for good."""
    return _carry_out("cancel", commands.cancel, ids, home, json=json)


def hold(*, ids: Sequence[str], home: str | None, json: bool) -> int:
    """Keep tasks from starting."""
    return _carry_out("hold", commands.hold, ids, home, json=json)


def release(*, ids: Sequence[str], home: str | None, json: bool) -> int:
    """Let held tasks start again."""
    return _carry_out("release", commands.release, ids, home, json=json)


def retry(*, ids: Sequence[str], from_step: int | None, home: str | None, json: bool) -> int:
    """Try ended tasks again."""
    return _carry_out("retry", partial(commands.retry, from_step=from_step), ids, home, json=json)


Wish = Callable[..., commands.Done]


def _carry_out(name: str, wish: Wish, ids: Sequence[str], home: str | None, *, json: bool) -> int:
    with open_workspace(existing_home(home)) as workspace:
        done = wish(workspace, tuple(ids))
    if json:
        print_json(name, 1, {"changed": list(done.changed), "unchanged": dict(done.unchanged)})
        return 0
    for task in done.changed:
        print_plain(f"{task}: {_PAST[name]}")
    for task, why in done.unchanged.items():
        print_plain(f"{task}: left as it is ({why})")
    return 0


_PAST = {
    "cancel": "cancelled; if it runs, the next tick stops it",
    "hold": "held; if its job waits in a queue, the next tick holds it there or takes it back",
    "release": "released",
    "retry": "will be tried again",
}
