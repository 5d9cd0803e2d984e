"""`elisa show-script`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from elisa.cli.home import existing_home
from elisa.cli.output import note, print_json, print_plain
from elisa.engine.script import Script, script_of
from elisa.engine.workspace import open_workspace
from elisa.report.names import resolve_task
from elisa.report.words import in_words
from elisa.store.reader import Reader

__all__ = ["show_script"]


def show_script(*, task: str, home: str | None, json: bool) -> int:
    """Print what the task's resource manager gets, and submit nothing."""
    with open_workspace(existing_home(home)) as workspace, Reader.open(workspace.home) as reader:
        script = script_of(workspace, reader, resolve_task(reader, task))
    if json:
        print_json("show-script", 1, _data(script))
        return 0
    note(_when(script))
    print_plain("\n".join(_lines(script)))
    return 0


def _lines(script: Script) -> Iterator[str]:
    yield from (f"{name}={shlex.quote(value)} \\" for name, value in script.environment)
    if not script.stdin:
        yield shlex.join(script.argv)
        return
    end = _delimiter(script.stdin)
    yield f"{shlex.join(script.argv)} <<'{end}'"
    yield script.stdin.removesuffix("\n")
    yield end


def _delimiter(text: str) -> str:
    """Return a word that is no line of the text."""
    word = "END"
    while word in text.split("\n"):
        word += "_"
    return word


def _when(script: Script) -> str:
    where = f"{script.backend}/{script.partition}" if script.partition else script.backend
    if script.native_id:
        return f"# {script.attempt}, handed to {where} as {script.native_id}"
    if script.is_next:
        return f"# {script.attempt}: the next tick hands it to {where}"
    why = in_words(script.reason) if script.reason is not None else f"the task is {script.state}"
    return f"# {script.attempt}, if it were handed to {where} now. It is not: {why}"


def _data(script: Script) -> dict[str, object]:
    return {
        "attempt": script.attempt,
        "backend": script.backend,
        "partition": script.partition,
        "argv": list(script.argv),
        "stdin": script.stdin,
        "environment": dict(script.environment),
        "state": script.state,
        "native_id": script.native_id,
        "is_next": script.is_next,
        "because": in_words(script.reason) if script.reason is not None else None,
    }
