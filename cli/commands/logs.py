"""`elisa logs`."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from elisa.cli.home import existing_home
from elisa.cli.output import note, print_json
from elisa.model import layout
from elisa.model.errors import UsageError
from elisa.model.task import Attempt, own_attempts
from elisa.model.text import clean
from elisa.report.names import resolve_task
from elisa.store.reader import Reader

__all__ = ["logs"]

_OUTPUTS = {"stdout": layout.stdout_log, "stderr": layout.stderr_log}
_AGENT = "agent"
_FOLLOW_S = 0.5


def logs(*, task: str, attempt: int | None, stream: str, lines: int, follow: bool, home: str | None, json: bool) -> int:
    """Print one log of one attempt, control characters made visible."""
    folder = existing_home(home)
    with Reader.open(folder) as reader:
        path, chosen = _find(reader, folder, task, attempt, stream)
    if json:
        print_json(
            "logs", 1, {"attempt": chosen.id, "stream": stream, "path": str(path), "lines": list(_read(path, lines))}
        )
        return 0
    for line in _read(path, lines):
        sys.stdout.write(line + "\n")
    if follow:
        _follow(folder, path, chosen)
    return 0


def _find(reader: Reader, home: Path, name: str, number: int | None, stream: str) -> tuple[Path, Attempt]:
    if stream not in {*_OUTPUTS, _AGENT}:
        has = ", ".join((*_OUTPUTS, _AGENT))
        raise UsageError(f"there is no stream `{stream}`", f"an attempt has {has}", "use --stream stderr")
    task = reader.task(resolve_task(reader, name))
    attempts = reader.attempts_of(task.id)
    chosen = own_attempts(attempts) if number is None else [one for one in attempts if one.number == number]
    if not chosen:
        why = f"it has {len(attempts)} attempts" if attempts else "it has not been started yet"
        raise UsageError(f"there is no such attempt at `{name}`", why, f"see `elisa explain {task.id}`")
    newest = max(chosen, key=lambda one: one.number)
    if stream == _AGENT:
        return layout.agent_log(home, newest.id), newest
    return _OUTPUTS[stream](home, task.pipeline, task.spec.name, newest.id), newest


def _read(path: Path, lines: int) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in deque(file, maxlen=lines) if lines else file:
                yield clean(line.rstrip("\n"))
    except FileNotFoundError:
        note(f"nothing was written to {path} yet")


def _follow(home: Path, path: Path, attempt: Attempt) -> None:
    """Print what is appended until the attempt has ended."""
    position = path.stat().st_size if path.exists() else 0
    live = True
    while live:
        with Reader.open(home) as reader:
            live = reader.attempts([attempt.id])[attempt.id].end is None
        if path.exists() and path.stat().st_size > position:
            with path.open("rb") as file:
                file.seek(position)
                data = file.read()
            position += len(data)
            sys.stdout.write("\n".join(clean(line) for line in data.decode("utf-8", "replace").split("\n")))
            sys.stdout.flush()
        elif live:
            time.sleep(_FOLLOW_S)
