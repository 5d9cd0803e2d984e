"""The state of a pretended PBS server, in a file, and how its programs speak."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

CPUS, GPUS, MEMORY_KB = 32, 8, 64 * 1024 * 1024
HOST = "vm"
VERSION = "23.06.06"

Job = dict[str, Any]
State = dict[str, Any]
Fault = dict[str, Any]


@contextlib.contextmanager
def server(home: Path) -> Iterator[State]:
    """Give the server's state, alone; what was changed in it is kept."""
    with (home / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = (home / "state.json").read_text()
        state: State = json.loads(before)
        yield state
        after = json.dumps(state)
        if after == before:
            return
        text = home / f"state.{os.getpid()}"
        text.write_text(after)
        text.replace(home / "state.json")


def look(home: Path) -> State:
    """Return the server's state as it is now."""
    with server(home) as state:
        return state


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")


def complain(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def fail(words: str, status: int) -> NoReturn:
    complain(words)
    sys.exit(status)


def now() -> int:
    return int(time.time())


def seconds(text: str) -> int:
    parts = [int(part) for part in text.split(":")] if text else [0]
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def user_of(state: State) -> str:
    """Return as whom the programs run."""
    return str(state.get("user") or getpass.getuser())


def options(argv: Sequence[str], letters: str, program: str, usage: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Split a command line as getopt does; a letter followed by a colon in `letters` takes a value."""
    named, rest = list[tuple[str, str]](), list(argv)
    while rest and rest[0].startswith("-") and rest[0] not in {"-", "--"}:
        cluster = rest.pop(0)[1:]
        while cluster:
            letter, cluster = cluster[0], cluster[1:]
            if letter not in letters or letter == ":":
                fail(f"{program}: invalid option -- '{letter}'\n{usage}", 2)
            value = ""
            if f"{letter}:" in letters:
                value, cluster = cluster or rest.pop(0), ""
            named.append((letter, value))
    return named, rest


def number_in(operand: str) -> str:
    """Return the key of a job: its number, and what stands in brackets behind it."""
    return operand.partition(".")[0]


def full_id(operand: str) -> str:
    return operand if "." in operand or not operand else f"{operand}.{HOST}"


def connect(state: State, program: str, status: int = 162) -> None:
    """Fail as a program does that reaches no server."""
    host = os.environ.get("PBS_SERVER", HOST)
    name = f"{program}: cannot connect to server {host}"
    if host == "nosuchhost":
        fail(f"Unknown Host.\n{name} (errno=15008)", status)
    if state["down"] or os.environ.get("PBS_BATCH_SERVICE_PORT"):
        words = {"qdel": f"Couldn't connect to cluster: {HOST}", "pbsnodes": f"{name}, error=15010"}
        fail(f"Connection refused\n{words.get(program, f'{name} (errno=15010)')}", status)
