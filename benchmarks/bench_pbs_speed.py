"""What it takes to hand work to the PBS that answers here, beside a loop of qsub: nothing begins, and all is deleted after.

`PBS_EXEC` and `ELISA_PBS_FOLDER` as in docs/pbs.md; nothing where no PBS is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from unittest.mock import patch

from benchmarks.figure import Figure
from elisa.backends.pbs.identity import array_of, split_native_id
from elisa.engine.plan import preview
from elisa.engine.workspace import open_workspace
from elisa.store.reader import Reader
from tests.backends.pbs.elisa_on_pbs import ElisaOnPbs
from tests.real.pbs_programs import PROGRAMS, before, through_programs
from tests.real_parts import PBS_VARIABLES, pbs_answers, pbs_path

FIGURES = ("pbs_accept_100_s", "pbs_accept_100_calls", "pbs_accept_array_1000_s", "pbs_tick_calls", "pbs_tick_100_s")

_RUNS = 5
_LATER = "12312359"


def measure() -> Iterator[Figure]:
    """Yield what a tick takes that hands over, and what one takes while all wait. It is not the first tick of a day."""
    if not pbs_answers():
        print("  no PBS answers here", file=sys.stderr)
        return
    with patch.dict(os.environ, {**PBS_VARIABLES, "PATH": pbs_path()}):
        yield from _figures()


def _figures() -> Iterator[Figure]:
    distinct = _median_of(lambda: _accepted(_distinct(100), 100))
    yield Figure(figure="pbs_accept_100_s", value=distinct["seconds"], unit="s", runs=_RUNS)
    yield Figure(figure="pbs_accept_100_s/loop", value=_loop_s(100), unit="s", runs=_RUNS)
    yield Figure(figure="pbs_accept_100_calls", value=distinct["calls"], unit="calls", runs=_RUNS)
    yield Figure(figure="pbs_tick_calls", value=distinct["later_calls"], unit="calls", goal="<=1", runs=_RUNS)
    yield Figure(figure="pbs_tick_100_s", value=distinct["later_s"], unit="s", runs=_RUNS)
    array = _median_of(lambda: _accepted(_matrix(1000), 1000))
    yield Figure(figure="pbs_accept_array_1000_s", value=array["seconds"], unit="s", runs=_RUNS)
    yield Figure(figure="pbs_accept_array_1000_s/loop", value=_loop_s(1, "-J", "0-999"), unit="s", runs=_RUNS)


def _median_of(measured: Callable[[], dict[str, float]]) -> dict[str, float]:
    runs = [measured() for _ in range(_RUNS)]
    return {name: median(run[name] for run in runs) for name in runs[0]}


def _distinct(count: int) -> str:
    """Return tasks of which each asks for memory of its own: nothing to share a job or an array."""
    task = "{{command: ['true'], fuse: false, resources: {{memory: {memory}MiB, walltime: 1m}}, {wait}}}"
    lines = (f"  t{n}: {task.format(memory=10 + n, wait=_WAIT)}" for n in range(count))
    return "\n".join(("name: many", "project: demo", "tasks:", *lines))


_WAIT = f"placement: {{extras: {{begin: '{_LATER}'}}}}"


def _matrix(count: int) -> str:
    numbers = ", ".join(map(str, range(count)))
    task = f"{{command: ['true'], fuse: false, {_WAIT}, matrix: {{n: [{numbers}]}}}}"
    return f"name: matrix\nproject: demo\ntasks:\n  t: {task}\n"


def _accepted(pipeline: str, count: int) -> dict[str, float]:
    """Return the seconds and calls of the tick that hands all over, and of the next one, which finds them waiting."""
    with _a_folder() as folder:
        elisa = through_programs(folder)
        for name in PROGRAMS:
            before(elisa, name, f'[ "$1" = --version ] || echo {name} >>{folder}/asked')
        site = elisa.home / "site.yaml"
        site.write_text(site.read_text().replace("window: 100", "window: 2000"))
        elisa.tick()
        elisa.submit(pipeline)
        with open_workspace(elisa.home) as ws:
            preview(ws)
        try:
            seconds, calls = _tick(elisa)
            elisa.tick()
            later_s, later_calls = _tick(elisa)
            with Reader.open(elisa.home) as reader:
                accepted = sum(one.native_id is not None for one in reader.live_attempts())
        finally:
            _delete_all(elisa)
        if accepted != count:
            raise RuntimeError(f"{accepted} of {count} were accepted")
        return {"seconds": seconds, "calls": calls, "later_s": later_s, "later_calls": later_calls}


def _tick(elisa: ElisaOnPbs) -> tuple[float, int]:
    asked = elisa.folder / "asked"
    asked.write_text("")
    began = time.monotonic()
    elisa.tick()
    took_s = time.monotonic() - began
    calls = asked.read_text().split()
    print(f"  {took_s:.2f} s: {dict(Counter(calls))}", file=sys.stderr, flush=True)
    return took_s, len(calls)


def _delete_all(elisa: ElisaOnPbs) -> None:
    with Reader.open(elisa.home) as reader:
        refs = [split_native_id(one.native_id) for one in reader.live_attempts() if one.native_id]
    subprocess.run(["qdel", *sorted({array_of(ref.pbs_id) for ref in refs if ref})], check=True)


def _loop_s(count: int, *more: str) -> float:
    """Return what a shell takes that runs so many qsubs, one after the other."""
    options = " ".join(("-a", _LATER, "-o /dev/null -e /dev/null", *more))
    loop = f"for n in $(seq {count}); do qsub {options} -l select=1:ncpus=1:mem=$((10 + n))mb -- /bin/true; done"
    taken = []
    for _ in range(_RUNS):
        began = time.monotonic()
        answer = subprocess.run(["sh", "-c", loop], capture_output=True, text=True, check=True)
        taken.append(time.monotonic() - began)
        subprocess.run(["qdel", *answer.stdout.split()], check=True)
    return median(taken)


@contextmanager
def _a_folder() -> Iterator[Path]:
    where = os.environ.get("ELISA_PBS_FOLDER") or None
    with tempfile.TemporaryDirectory(dir=where, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
