"""elisa killed again and again while attempts at long work are queued ahead on a real Slurm: what that loses and doubles."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from elisa.store.reader import Reader
from tests.real.elisa_on_slurm import ElisaOnSlurm
from tests.real.kills import Tally
from tests.real.slurm_config import NODES

__all__ = ["killed_while_queued_ahead"]

# Adds up its steps, saves each, goes on from the newest, and says if another of its kind runs beside it.
_PROGRAM = """\
import fcntl, os, sys, time
from elisa import checkpoint

number, count = int(sys.argv[1]), int(sys.argv[2])
alone = open(os.path.join(os.environ["ELISA_TASK_DIR"], "alone"), "w")
try:
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print(number, file=open("beside", "a"))
with checkpoint.run(interval_s=0) as ckpt:
    state = ckpt.load() or {"sum": 0}
    for step in ckpt.steps(count):
        time.sleep(0.25)
        state["sum"] += step
        ckpt.save(step, state)
print(number, file=open("ran" if state["sum"] == sum(range(count)) else "wrong", "a"))
"""
WALLTIME_S = 3
STEPS = 24
AT_ONCE = 4


def killed_while_queued_ahead(elisa: ElisaOnSlurm, times: int, seed: int = 7) -> Tally:
    """Kill `elisa tick` so often with SIGKILL at any of its moments, while nodes fail under some of the work.

    What ends at its time limit is gone on with by the attempt that was queued ahead; what ends with its node is not, and
    that attempt is taken back. A tick is let through now and then, or nothing would be queued. Work that ran beside itself
    or came to a wrong sum counts as doubled.
    """
    chance = random.Random(seed)
    tasks = troubles = 0
    while troubles < times:
        if not _has_ahead(elisa):
            if set(elisa.states().values()) <= {"succeeded"}:
                _submit(elisa, tasks)
                tasks += AT_ONCE
            elisa.tick()
            continue
        if chance.random() < 0.05:
            _fail_a_node(elisa, chance)
        troubles += _kill_a_tick(elisa, chance)
        if chance.random() < 0.2:
            elisa.tick()
    elisa.tick_to_the_end(within_s=600)
    ran = Counter(elisa.runs())
    bad = [_lines(elisa.folder / name) for name in ("beside", "wrong")]
    return Tally(
        troubles=troubles,
        tasks=tasks,
        lost=sum(number not in ran for number in range(tasks)),
        double=sum(count - 1 for count in ran.values()) + sum(bad),
    )


def _submit(elisa: ElisaOnSlurm, first: int) -> None:
    tasks = "\n".join(
        f"  t{n}: {{command: [{sys.executable}, long.py, '{n}', '{STEPS}'], expected: {STEPS // 4}s, "
        f"checkpoint: {{lead: 1s}}, retry: 9, resources: {{cpus: 8, walltime: {WALLTIME_S}s}}}}"
        for n in range(first, first + AT_ONCE)
    )
    elisa.submit(f"name: long-{first}\nproject: demo\ntasks:\n{tasks}\n", files={"long.py": _PROGRAM})


def _has_ahead(elisa: ElisaOnSlurm) -> bool:
    with Reader.open(elisa.home) as reader:
        return any(attempt.continues is not None for attempt in reader.live_attempts())


def _fail_a_node(elisa: ElisaOnSlurm, chance: random.Random) -> None:
    node = chance.choice(NODES)
    elisa.cluster.node_down(node)
    elisa.cluster.node_up(node)


def _kill_a_tick(elisa: ElisaOnSlurm, chance: random.Random) -> bool:
    """Kill a tick at some moment of its life; tell whether it still lived then."""
    ticking = elisa.cli("tick")
    try:
        ticking.wait(timeout=chance.uniform(0.15, 0.9))
    except subprocess.TimeoutExpired:
        os.killpg(ticking.pid, signal.SIGKILL)
        ticking.wait()
        return True
    return False


def _lines(file: Path) -> int:
    return len(file.read_text().split()) if file.exists() else 0
