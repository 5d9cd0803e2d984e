"""Trouble in the middle of submitting to a real Slurm, again and again: how much work is lost, how much is done twice."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.real.elisa_on_slurm import ElisaOnSlurm

__all__ = [
    "Tally",
    "controller_in_trouble",
    "counted",
    "elisa_killed",
    "elisa_killed_in_bulk",
    "sbatch_killed",
    "wait_for_lines",
]

# What never reached Slurm waits a moment before it is submitted again, not half a minute.
SOON = "retry: {backoff: {initial: 1s, maximum: 2s}}"
Trouble = Callable[[ElisaOnSlurm, random.Random], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Tasks of one pipeline, and how many of them a tick may submit: a round has some, and leaves some to the next.

    Every other task, or `all_differ`, asks for something of its own: these go one by one, the rest as arrays.
    """

    batch: int
    per_tick: int
    all_differ: bool = False


_FEW = Load(batch=16, per_tick=4)
# More than are written down together: the next are written down while the first are submitted.
_MANY = Load(batch=60, per_tick=30, all_differ=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """`troubles` hit a submission; of `tasks` so many never ran, and so many runs were too many."""

    troubles: int
    tasks: int
    lost: int
    double: int


def elisa_killed(elisa: ElisaOnSlurm, times: int, seed: int = 7) -> Tally:
    """Kill `elisa tick` so often with SIGKILL, each time at another moment around a submission."""
    return _campaign(elisa, times, seed, _kill_elisa)


def elisa_killed_in_bulk(elisa: ElisaOnSlurm, times: int, seed: int = 7) -> Tally:
    """Kill `elisa tick` so often while it submits some jobs and writes down the next."""
    return _campaign(elisa, times, seed, lambda elisa, chance: _kill_elisa(elisa, chance, within=24), _MANY)


def sbatch_killed(elisa: ElisaOnSlurm, times: int, seed: int = 7) -> Tally:
    """Have sbatch killed so often at one of its own system calls. Needs strace."""
    return _campaign(elisa, times, seed, _kill_sbatch)


def controller_in_trouble(elisa: ElisaOnSlurm, times: int, seed: int = 7) -> Tally:
    """Stop slurmctld in its tracks, or kill and restart it, so often while elisa submits."""
    return _campaign(elisa, times, seed, _trouble_controller)


def _campaign(elisa: ElisaOnSlurm, times: int, seed: int, trouble: Trouble, load: Load = _FEW) -> Tally:
    chance = random.Random(seed)
    site = elisa.home / "site.yaml"
    rules = site.read_text()
    site.write_text(f"{rules}submits_per_tick: {load.per_tick}\n")
    tasks = troubles = 0
    while troubles < times:
        if "ready" not in elisa.states().values():
            _submit(elisa, tasks, load)
            tasks += load.batch
        troubles += trouble(elisa, chance)
    elisa.before_sbatch("")
    site.write_text(rules)
    elisa.tick_to_the_end(within_s=600)
    ran = Counter(elisa.runs())
    return Tally(
        troubles=troubles,
        tasks=tasks,
        lost=sum(number not in ran for number in range(tasks)),
        double=sum(count - 1 for count in ran.values()),
    )


def _submit(elisa: ElisaOnSlurm, first: int, load: Load) -> None:
    tasks = "\n".join(
        f"  t{n}: {{command: [sh, -c, 'echo {n} >>ran'], resources: {{memory: {_memory(n - first, load)}MiB}}, {SOON}}}"
        for n in range(first, first + load.batch)
    )
    elisa.submit(f"name: many-{first}\nproject: demo\ntasks:\n{tasks}\n")


def _memory(number: int, load: Load) -> int:
    return 100 + (number if load.all_differ or number % 2 else 0)


def _kill_elisa(elisa: ElisaOnSlurm, chance: random.Random, within: int = 2) -> bool:
    """Kill a tick within 40 ms of the beginning of one of its first submissions; tell whether it still lived then."""
    asked = counted(elisa)
    ticking = elisa.cli("tick")
    wait_for_lines(asked, chance.randint(1, within), ticking)
    time.sleep(chance.uniform(0, 0.04))
    if ticking.poll() is not None:
        return False
    os.killpg(ticking.pid, signal.SIGKILL)
    ticking.wait()
    return True


def _kill_sbatch(elisa: ElisaOnSlurm, chance: random.Random) -> bool:
    """Have the first sbatch of a tick killed at a random one of its system calls; tell whether it was."""
    killed = elisa.folder / "killed"
    killed.unlink(missing_ok=True)
    call, number = chance.choice(_calls_of_sbatch(elisa))
    inject = f"strace -f -qq -o /dev/null -e inject={call}:signal=KILL:when={number}"
    elisa.before_sbatch(
        f'[ -e {killed} ] || {{ : >{killed}; {inject} /usr/bin/sbatch "$@"; status=$?; '
        f"[ $status -lt 128 ] || echo $status >{killed}; exit $status; }}"
    )
    elisa.tick()
    # one that goes well, or elisa would leave a cluster alone for longer and longer that seems to take nothing
    elisa.before_sbatch("")
    elisa.tick()
    return bool(killed.exists() and killed.read_text())


def _calls_of_sbatch(elisa: ElisaOnSlurm) -> list[tuple[str, int]]:
    """Return sbatch's system calls from where it first sends: each call's name, and which one of that name it is."""
    trace = elisa.folder / "trace"
    if not trace.exists():
        traced = ["strace", "-f", "-qq", "-o", str(trace), "sbatch", "--parsable", "--hold", "--wrap", "true"]
        elisa.cluster.run(["scancel", elisa.cluster.run(traced).stdout.strip()])
    names = re.findall(r"^\d+ +([a-z0-9_]+)\(", trace.read_text(errors="replace"), re.MULTILINE)
    calls = [(name, names[: place + 1].count(name)) for place, name in enumerate(names)]
    return calls[names.index("sendto") :]


def _trouble_controller(elisa: ElisaOnSlurm, chance: random.Random) -> bool:
    """Stop or kill slurmctld within 30 ms of the beginning of a submission, and bring it back."""
    asked = counted(elisa)
    ticking = elisa.cli("tick")
    wait_for_lines(asked, chance.randint(1, 2), ticking)
    time.sleep(chance.uniform(0, 0.03))
    is_alive = ticking.poll() is None
    if chance.random() < 0.5:
        elisa.cluster.pause_controller()
        # longer than MessageTimeout: sbatch gives up, and its job may be accepted all the same
        time.sleep(2.5)
        elisa.cluster.resume_controller()
    else:
        elisa.cluster.kill_controller()
        elisa.cluster.restart_controller()
    ticking.wait()
    return is_alive


def counted(elisa: ElisaOnSlurm) -> Path:
    """Have every sbatch leave a line in a new file before it begins."""
    asked = elisa.folder / "asked"
    asked.write_text("")
    elisa.before_sbatch(f"echo x >>{asked}")
    return asked


def wait_for_lines(file: Path, count: int, while_alive: subprocess.Popen[bytes]) -> None:
    """Wait until a file has so many lines, or the process that writes them has ended."""
    while while_alive.poll() is None and file.read_text().count("\n") < count:
        time.sleep(0.002)
