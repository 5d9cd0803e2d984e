"""Which resource managers this machine has and what they say of themselves, as lines for a new site.yaml."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from elisa.backends.protocol import Describes, Description, render_partition
from elisa.backends.registry import open_backend
from elisa.engine.ports import SystemClock, SystemRandom
from elisa.model.errors import BackendError
from elisa.model.ports import no_crash

__all__ = ["found_backends", "what_it_says"]

Which = Callable[[str], str | None]
Ask = Callable[[str, Mapping[str, str]], Description]

# Each kind by the program that hands jobs over (where that is, the others are), and by the variable that names its settings.
_MANAGERS: Mapping[str, tuple[str, str]] = {"slurm": ("sbatch", "SLURM_CONF"), "pbs": ("qsub", "PBS_CONF_FILE")}
# Somebody waits at a terminal.
_PATIENCE_S = 10.0
_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_./-]+")


def what_it_says(kind: str, options: Mapping[str, str]) -> Description:
    """Return what a resource manager says of itself. Raises Unavailable if it does not, within ten seconds a question."""
    backend = open_backend(
        kind,
        kind,
        {**options, "query_timeout_s": _PATIENCE_S},
        home=Path("/"),
        instance="",
        clock=SystemClock(),
        random=SystemRandom(),
        crash=no_crash,
    )
    if isinstance(backend, Describes):
        return backend.describe()
    return Description(tuple(f"queue {render_partition(queue)}" for queue in backend.cluster().partitions))


def found_backends(which: Which = shutil.which, ask: Ask = what_it_says) -> str:
    """Return the backends of a new site.yaml: every manager that answers, or else this machine; the rest as comments."""
    found = {kind: _lines(kind, which(program), ask) for kind, (program, _) in _MANAGERS.items()}
    used = [lines for lines, is_used in found.values() if is_used]
    local = "  local: {kind: local}"
    if used:
        # a login node is no place for work
        local = "  # local: {kind: local}  # this machine: take away the first # if it may work, too"
    return "\n".join((local, *(lines for lines, _ in found.values())))


def _lines(kind: str, program: str | None, ask: Ask) -> tuple[str, bool]:
    """Return the lines of a kind, and whether they are more than a comment."""
    comment = f"  # {kind}: {{kind: {kind}, window: 20}}"
    if program is None:
        return comment, False
    options = dict(_options(kind, program))
    try:
        return "\n".join(_entry(kind, ask(kind, options), options)), True
    except BackendError as err:
        words = " ".join(f"{err.what}: {err.why}".split())
        return (
            f"  # {program} is here, but does not answer: {words}\n{comment}  # take away the first # to use it",
            False,
        )


def _options(kind: str, program: str) -> Iterator[tuple[str, str]]:
    """Yield what cron would not find by itself."""
    yield "path", str(Path(program).parent)
    conf = os.environ.get(_MANAGERS[kind][1])
    if conf:
        yield "conf", conf


def _entry(kind: str, said: Description, options: Mapping[str, str]) -> Iterator[str]:
    yield from (f"  # {line}" for line in said.comments)
    yield f"  {kind}:"
    yield f"    kind: {kind}"
    yield "    window: 20  # how many of elisa's jobs may wait in each queue"
    if said.accounts:
        others = f"  # or {', '.join(said.accounts[1:])}" if said.accounts[1:] else ""
        yield f"    account: {said.accounts[0]}{others}"
    told = ", ".join(f"{name}: {_plain(value)}" for name, value in {**options, **said.options}.items())
    yield f"    options: {{{told}}}"


def _plain(value: str) -> str:
    """Return a text as YAML takes it."""
    return value if _NEEDS_NO_QUOTES.fullmatch(value) else json.dumps(value)
