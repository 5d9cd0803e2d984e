"""A pipeline on a real Slurm whose jobs are preempted, lose their nodes and run into their time limits, to its end."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from elisa.model.states import EndReason
from elisa.store.reader import Reader
from tests.real.elisa_on_slurm import ElisaOnSlurm
from tests.real.slurm_config import NODES

__all__ = ["Weather", "weather"]

# Counts to its first argument, three a second, saves each number, goes on from the newest one, and says once that it is done.
COUNTER = """\
set -eu
trap 'echo warned >>"$ELISA_TASK_DIR/warned"' USR2
step=0
for marker in "$ELISA_CHECKPOINT_DIR"/restart.*.dat.done; do
  [ -e "$marker" ] || continue
  number=${marker##*/restart.}
  number=${number%.dat.done}
  [ "$number" -gt "$step" ] && step=$number
done
echo "$step" >>"$ELISA_TASK_DIR/began"
while [ "$step" -lt "$1" ]; do
  sleep 0.3
  step=$((step + 1))
  echo "$step" >>"$ELISA_TASK_DIR/steps"
  echo "$step" >"$ELISA_CHECKPOINT_DIR/restart.$step.dat"
  : >"$ELISA_CHECKPOINT_DIR/restart.$step.dat.done"
done
echo "$2" >>ran
"""
CHECKPOINT = 'checkpoint: {pattern: "restart.*.dat", complete_when: "{}.done", keep: 400, lead: 5s}'
RETRY = "retry: {limit: 9, backoff: {initial: 1s, maximum: 2s}}"
LINKS = 5
STEPS = 8
# Slurm's shortest time limit is a minute: so many steps need two, and two attempts.
LONG = 205
# As many as outlast, with a quarter of a minute until the limit is cut short, the half minute in which Slurm looks at it once.
CUT_SHORT = 150
# Every other long task is sure to see its time limit: no storm comes here.
CALM = NODES[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What hit a pipeline of `tasks`, counted by ends of attempts, and what came of it.

    `warned` programs were told before their time was over. `not_once` tasks did not finish exactly once, `redone` steps were
    done again although they had been saved.
    """

    tasks: int
    seconds: float
    ends: Counter[EndReason]
    warned: int
    not_once: int
    redone: int


def weather(
    elisa: ElisaOnSlurm, tasks: int, *, long: int, cut: bool = False, seed: int = 7, within_s: float = 1800.0
) -> Weather:
    """Run chains of `tasks` tasks in all, and `long` more that outlive their time limit, through bad weather.

    With `cut` the limit of the first long task is over as soon as it runs, and the long ones are shorter.
    """
    chance, began = random.Random(seed), time.monotonic()
    pipeline = elisa.submit(_pipeline(tasks, long, CUT_SHORT if cut else LONG), files={"counter.sh": COUNTER})
    everything = tasks + long
    next_storm = 0.0
    while ((states := elisa.states()) and len(states) < everything) or set(states.values()) != {"succeeded"}:
        assert time.monotonic() - began < within_s, Counter(states.values())
        if time.monotonic() > next_storm and _is_alive(states) and _storm(elisa, chance):
            next_storm = time.monotonic() + chance.uniform(2, 6)
        cut = cut and not _cut_short(elisa)
        elisa.tick()
    ran = Counter(elisa.runs())
    folders = [elisa.task_dir(pipeline, f"t{number}") for number in range(everything)]
    return Weather(
        tasks=everything,
        seconds=time.monotonic() - began,
        ends=_ends(elisa),
        warned=sum((folder / "warned").exists() for folder in folders),
        not_once=sum(ran[number] != 1 for number in range(everything)),
        redone=sum(_redone(folder) for folder in folders),
    )


def _pipeline(tasks: int, long: int, steps_of_long: int) -> str:
    lines = ["name: storm", "project: demo", "tasks:"]
    for number in range(tasks + long):
        is_long = number >= tasks
        needs = f"needs: [t{number - 1}]," if number % LINKS and not is_long else ""
        steps = steps_of_long if is_long else STEPS
        place = (
            f"{{partition: high, extras: {{nodelist: {CALM}}}}}"
            if is_long and (number - tasks) % 2 == 0
            else "{partition: low}"
        )
        lines.append(
            f'  t{number}: {{command: [sh, counter.sh, "{steps}", "{number}"], {needs} {CHECKPOINT}, {RETRY}, '
            f"resources: {{cpus: 2, walltime: 1m}}, placement: {place}}}"
        )
    return "\n".join(lines) + "\n"


def _is_alive(states: dict[str, str]) -> bool:
    """Tell whether enough is left for a storm to hit."""
    return Counter(states.values())["succeeded"] < 0.9 * len(states)


def _storm(elisa: ElisaOnSlurm, chance: random.Random) -> bool:
    """Take a node on which work runs away for a while, or give it to a job that comes first; tell whether there was one."""
    running = elisa.cluster.run(["squeue", "-h", "-t", "R", "-p", "low", "-o", "%N"]).stdout.split()
    busy = sorted({node for node in running if node in NODES and node != CALM})
    if not busy:
        return False
    node = chance.choice(busy)
    if chance.random() < 0.5:
        elisa.cluster.node_down(node)
        elisa.cluster.node_up(node)
    else:
        elisa.cluster.sbatch("--partition=high", f"--nodelist={node}", "--exclusive", wrap="sleep 2")
    return True


def _cut_short(elisa: ElisaOnSlurm) -> bool:
    """Have the time of the long task that no storm hits be over; tell whether it ran."""
    found = elisa.cluster.run(["squeue", "-h", "-t", "R", "-p", "high", "-w", CALM, "-o", "%i"]).stdout.split()
    for number in found[:1]:
        elisa.cluster.end_soon(int(number))
    return bool(found)


def _ends(elisa: ElisaOnSlurm) -> Counter[EndReason]:
    with Reader.open(elisa.home) as reader:
        attempts = [attempt for row in reader.task_rows() for attempt in reader.attempts_of(row.id)]
    return Counter(attempt.end.reason for attempt in attempts if attempt.end is not None)


def _redone(folder: Path) -> int:
    """Return how many steps were done again beyond the one that a kill may have caught before it was saved."""
    steps = [int(line) for line in (folder / "steps").read_text().split()]
    starts = len((folder / "began").read_text().split())
    again = len(steps) - len(set(steps))
    return max(0, again - (starts - 1)) + (sorted(set(steps)) != list(range(1, max(steps) + 1)))
