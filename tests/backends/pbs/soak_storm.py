"""A pipeline of every kind of task above a pretended PBS that loses answers, jobs and nodes all the time, to its end.

`make soak` runs it, with a weather of its own each time; it takes minutes, so no other run does.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from elisa.model.states import EndReason
from tests.backends.pbs.bench import Bench
from tests.backends.pbs.elisa_on_pbs import FINAL, ElisaOnPbs, a_state_folder

pytestmark = pytest.mark.slow

TASKS = 60
STEPS = 8
RETRY = "retry: {limit: 9, backoff: {initial: 1s, maximum: 1s}}"
SAVES = 'checkpoint: {pattern: "restart.*.dat", complete_when: "{}.done", keep: 50}'
# Goes on from the newest step that it saved, and fails once in the middle where it is told to.
PROGRAM = """\
set -eu
step=$(ls "$ELISA_CHECKPOINT_DIR" | sed -n 's/^restart.\\([0-9]*\\).dat.done$/\\1/p' | sort -n | tail -n 1)
step=${step:-0}
while [ "$step" -lt %d ]; do
  sleep 0.1
  step=$((step + 1))
  echo "$step" >"$ELISA_CHECKPOINT_DIR/restart.$step.dat"
  : >"$ELISA_CHECKPOINT_DIR/restart.$step.dat.done"
  echo "$step" >>"$ELISA_TASK_DIR/steps"
  [ "$step $1" != "4 fails" ] || [ -e "$ELISA_TASK_DIR/failed" ] || { : >"$ELISA_TASK_DIR/failed"; exit 3; }
done
echo ran >>"$ELISA_TASK_DIR/runs"
"""


def tasks() -> Iterator[str]:
    """Yield plain tasks, some that fail once, and chains of three."""
    for number in range(TASKS):
        before = f"t{number - 1}" if number % 6 in {4, 5} else ""
        command = f"command: [sh, program.sh, {'fails' if number % 6 == 1 else 'works'}]"
        yield f"  t{number}: {{{command}, needs: [{before}], {SAVES}, {RETRY}}}"


def strike(bench: Bench, chance: random.Random) -> str:
    """Do something to the cluster, and return what."""
    what = chance.choice(("lose_answer", "lose_number", "die", "outage", "node", "nothing", "nothing"))
    running = [number for number, job in bench.pbs.jobs().items() if job["state"] == "R"]
    if what in {"lose_answer", "lose_number", "die"}:
        bench.pbs.fault("qsub", what, times=1)
    elif what == "node" and running:
        bench.pbs.end(chance.choice(running), -20)
    elif what == "outage":
        bench.pbs.down()
    return what


def live_through(elisa: ElisaOnPbs, bench: Bench, chance: random.Random) -> Counter[str]:
    """Tick until every task is over, with something befalling the cluster before every other tick."""
    struck, is_storm = Counter[str](), itertools.cycle((True, False))

    def is_over() -> bool:
        if set(elisa.states().values()) <= FINAL:
            return True
        if next(is_storm):
            struck[strike(bench, chance)] += 1
        else:
            bench.pbs.up()
        return False

    elisa.tick_until(is_over, within_s=30 + 4 * TASKS)
    return struck


def test_every_task_is_done_once_whatever_befalls_the_cluster(bench: Bench) -> None:
    seed = random.SystemRandom().randrange(10**6)
    elisa = a_state_folder(bench.folder, path=bench.pbs.bin, query_timeout_s=5, submit_timeout_s=1)
    pipeline = elisa.submit(
        "\n".join(["name: storm", "project: demo", "tasks:", *tasks()]), {"program.sh": PROGRAM % STEPS}
    )
    struck = live_through(elisa, bench, random.Random(seed))
    names = [f"t{number}" for number in range(TASKS)]
    ends = Counter(one.end.reason for name in names for one in elisa.attempts(name) if one.end)

    assert elisa.states() == dict.fromkeys(names, "succeeded"), (seed, struck, ends)
    assert {name: elisa.lines(pipeline, name, "runs") for name in names} == {name: ["ran"] for name in names}, seed
    steps = [str(step) for step in range(1, STEPS + 1)]
    assert {name: elisa.lines(pipeline, name, "steps") for name in names} == dict.fromkeys(names, steps), seed
    assert ends[EndReason.FAILED] == sum(number % 6 == 1 for number in range(TASKS)), seed
