"""What the tests of crashes and hostile surroundings run in a process of its own; prints what came of it.

python using_store.py HOME VERB [ARGUMENT]
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from elisa.model.errors import StaleChange, StoreError
from elisa.model.states import TaskState
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.builders import FakeClock, a_pipeline, a_task, an_attempt, intended


def say(words: object) -> None:
    sys.stdout.write(f"{words}\n")


def read(home: Path, _: str) -> None:
    """Count the tasks."""
    with Reader.open(home) as reader:
        say(len(reader.task_rows()))


def write(home: Path, count: str) -> None:
    """Submit a pipeline of `count` tasks with large commands."""
    with Writer.open(home, clock=FakeClock(), actor="child") as writer:
        tasks = (a_task(f"t{n}", "x" * 1000).in_pipeline("large") for n in range(int(count)))
        writer.apply((a_pipeline(*tasks, name="large").added(),))
    say("written")


def write_into_little_room(home: Path, count: str) -> None:
    """Write where no file may grow beyond 200 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    write(home, count)


def claim(home: Path, name: str) -> None:
    """Make every ready task active that nobody else was faster with; print those."""
    with Writer.open(home, clock=FakeClock(), actor=name) as writer:
        for row in writer.task_rows(states=[TaskState.READY]):
            try:
                writer.apply((intended(an_attempt(row.id).on(name)),))
                say(row.id)
            except StaleChange:
                pass


_VERBS: Mapping[str, Callable[[Path, str], None]] = {
    "read": read,
    "write": write,
    "write-into-little-room": write_into_little_room,
    "claim": claim,
}


def main(home: str, verb: str, argument: str = "") -> None:
    as_user = os.environ.get("AS_USER")
    if as_user:
        # That user may not be allowed to read this Python's library.
        import_module("ctypes")
        os.setgid(int(as_user))
        os.setuid(int(as_user))
    try:
        _VERBS[verb](Path(home), argument)
    except StoreError as err:
        say(err)
        sys.exit(err.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
