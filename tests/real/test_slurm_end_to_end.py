"""Whole pipelines on a real Slurm: through preemption, node failure, outages and crashes to one end each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from elisa.model.states import EndReason
from elisa.model.task import End
from elisa.report.status import read_status
from elisa.store.reader import Reader
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.kills import Tally, controller_in_trouble, elisa_killed, sbatch_killed
from tests.real.slurm_cluster import SlurmCluster
from tests.real.storm import weather
from tests.real_parts import require_real

pytestmark = [pytest.mark.real, pytest.mark.slow]

STORM = int(os.environ.get("ELISA_STORM_TASKS", "20"))
KILLS = int(os.environ.get("ELISA_TICK_KILLS", "4"))

# Counts to 20, or to $LAST, three a second, saves each number, and goes on from the newest one it finds.
COUNTER = """\
set -eu
step=0
for marker in "$ELISA_CHECKPOINT_DIR"/restart.*.dat.done; do
  [ -e "$marker" ] || continue
  number=${marker##*/restart.}
  number=${number%.dat.done}
  [ "$number" -gt "$step" ] && step=$number
done
echo "$step" >>"$ELISA_TASK_DIR/began"
while [ "$step" -lt "${LAST:-20}" ]; do
  sleep 0.3
  step=$((step + 1))
  echo "$step" >"$ELISA_CHECKPOINT_DIR/restart.$step.dat"
  : >"$ELISA_CHECKPOINT_DIR/restart.$step.dat.done"
  echo "$step" >>"$ELISA_TASK_DIR/steps"
done
"""
LONG = """
name: long
project: demo
tasks:
  count:
    command: [sh, counter.sh]
    checkpoint: {pattern: "restart.*.dat", complete_when: "{}.done", keep: 50}
    retry: 0
    resources: {nodes: %d, cpus: 8}
"""


# Would save by itself once an hour.
SAVES_WHEN_ASKED = """\
import time
from elisa import checkpoint

with checkpoint.run(interval_s=3600) as ckpt:
    state = ckpt.load() or {"sum": 0}
    for step in ckpt.steps(12):
        time.sleep(0.25)
        state["sum"] += step
        with open("steps", "a") as steps:
            print(step, file=steps)
        ckpt.save(step, state)
"""


@pytest.fixture
def elisa(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ElisaOnSlurm:
    monkeypatch.setenv("SLURM_CONF", slurm.env()["SLURM_CONF"])
    (tmp_path / "counter.sh").write_text(COUNTER)
    return a_state_folder(slurm, tmp_path)


def numbers(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def test_pipeline_runs_in_order(elisa: ElisaOnSlurm) -> None:
    elisa.submit("""
        name: order
        project: demo
        tasks:
          first: {command: [sh, -c, "sleep 0.5; echo first >>log"]}
          second: {command: [sh, -c, "echo second >>log"], needs: [first]}
          third: {command: [sh, -c, "echo third >>log; exit 3"], needs: [second], retry: 0}
          fourth: {command: [sh, -c, "echo fourth >>log"], needs: [third]}
    """)

    elisa.tick_to_the_end()

    assert elisa.states() == {"first": "succeeded", "second": "succeeded", "third": "failed", "fourth": "skipped"}
    assert (elisa.folder / "log").read_text() == "first\nsecond\nthird\n"
    (attempt,) = elisa.attempts("third")
    assert attempt.end is not None
    assert (attempt.end.reason, attempt.end.exit_code) == (EndReason.FAILED, 3)


def test_heterogeneous_task_runs_once_on_nodes_of_two_kinds(elisa: ElisaOnSlurm) -> None:
    elisa.submit("""
        name: mixed
        project: demo
        tasks:
          one:
            command: [sh, -c, 'echo "$SLURM_HET_SIZE" >>ran']
            resources: {cpus: 2, components: [{nodes: 2, cpus: 4, gpus: {count: 1, types: a100}}]}
    """)

    elisa.tick_to_the_end()

    assert (elisa.states(), elisa.runs()) == ({"one": "succeeded"}, [2])


def test_program_knows_how_much_time_is_left(elisa: ElisaOnSlurm) -> None:
    ask = "from elisa.runtime import time_left; import time; print(time.time() + time_left())"
    elisa.submit(f"""
        name: clock
        project: demo
        tasks:
          look:
            command: [sh, -c, "{sys.executable} -c '{ask}' >ends_at; sleep 600"]
            resources: {{walltime: 5m}}
    """)
    told = elisa.folder / "ends_at"

    elisa.tick_until(lambda: told.exists() and told.read_text() != "")

    (number,) = elisa.cluster.run(["squeue", "-h", "-o", "%i"]).stdout.split()
    shown = elisa.cluster.run(["squeue", "-h", "-j", number, "-O", "EndTime:30"]).stdout.strip()
    ends_at = datetime.fromisoformat(shown).timestamp()
    assert abs(float(told.read_text()) - ends_at) < 10


def test_preempted_task_goes_on_from_its_checkpoint(elisa: ElisaOnSlurm) -> None:
    pipeline = elisa.submit(f'{LONG % 4}    environment: {{LAST: "40"}}')
    steps = elisa.task_dir(pipeline, "count") / "steps"
    elisa.tick_until(lambda: len(numbers(steps)) >= 2)

    elisa.cluster.sbatch("--partition=high", "--nodes=4", "--exclusive", wrap="sleep 2")
    elisa.tick_to_the_end()

    assert elisa.states() == {"count": "succeeded"}
    assert [attempt.end and attempt.end.reason for attempt in elisa.attempts("count")] == [
        EndReason.PREEMPTED,
        EndReason.COMPLETED,
    ]
    assert numbers(steps) == list(range(1, 41))


def test_program_leaves_at_the_beginning_of_its_grace_where_slurm_tells_its_script_and_loses_no_step_and_no_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_real("slurm")
    with SlurmCluster(message_timeout_s=2, extra=["SlurmctldParameters=preempt_send_user_signal"]) as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.env()["SLURM_CONF"])
        cluster.run(["scontrol", "update", "partitionname=low", "gracetime=120"])
        elisa = a_state_folder(cluster, tmp_path)
        python = f'command: ["{sys.executable}", rare.py], checkpoint: true, retry: 0'
        everything = "resources: {nodes: 4, cpus: 8, walltime: 30m}"
        elisa.submit(
            f"name: rare\nproject: demo\ntasks:\n  one: {{{python}, {everything}}}\n",
            files={"rare.py": SAVES_WHEN_ASKED},
        )
        elisa.tick_until(lambda: len(numbers(elisa.folder / "steps")) >= 3)

        other = cluster.sbatch("--partition=high", "--nodes=4", "--exclusive", wrap="true")
        cluster.wait_for(other, "COMPLETED")
        elisa.tick_to_the_end()

        ends = [attempt.end and attempt.end.reason for attempt in elisa.attempts("one")]
        assert (ends, numbers(elisa.folder / "steps")) == ([EndReason.PREEMPTED, EndReason.COMPLETED], list(range(12)))


def test_task_on_a_failed_node_goes_on_elsewhere_from_its_checkpoint(elisa: ElisaOnSlurm) -> None:
    pipeline = elisa.submit(LONG % 1)
    steps = elisa.task_dir(pipeline, "count") / "steps"
    elisa.tick_until(lambda: len(numbers(steps)) >= 2)
    where = elisa.cluster.run(["squeue", "-h", "-o", "%N"]).stdout.strip()

    elisa.cluster.node_down(where)
    elisa.tick_to_the_end()

    first, second = elisa.attempts("count")
    assert first.end is not None
    assert (first.end.reason, first.nodes, elisa.states()) == (EndReason.NODE_FAILURE, where, {"count": "succeeded"})
    assert second.nodes != where
    assert sorted(set(numbers(steps))) == list(range(1, 21))


def test_program_that_ends_in_order_on_a_node_that_slurm_calls_dead_is_not_run_again(elisa: ElisaOnSlurm) -> None:
    elisa.submit("name: late\nproject: demo\ntasks:\n  one: {command: [sh, -c, 'echo 0 >up; sleep 1; echo 1 >>ran']}\n")
    elisa.tick_until((elisa.folder / "up").exists, every_s=0.1)
    where = elisa.cluster.run(["squeue", "-h", "-o", "%N"]).stdout.strip()

    elisa.cluster.pause_node(where)
    elisa.cluster.node_down(where)
    elisa.tick()
    in_between = elisa.states()
    elisa.tick_until(lambda: elisa.runs() != [], every_s=0.1)
    elisa.cluster.resume_node(where)
    elisa.tick_to_the_end()

    assert (in_between, elisa.states(), elisa.runs()) == ({"one": "waiting"}, {"one": "succeeded"}, [1])
    assert elisa.attempts("one")[0].end == End(reason=EndReason.NODE_FAILURE, detail="NODE_FAIL NodeDown")


def test_work_of_a_dead_node_goes_on_as_soon_as_the_node_has_booted_long_before_the_fence_is_over(
    elisa: ElisaOnSlurm,
) -> None:
    site = elisa.home / "site.yaml"
    site.write_text(site.read_text().replace("self_fence: 5s", "self_fence: 15m"))
    pipeline = elisa.submit(f'{LONG % 1}    environment: {{LAST: "40"}}')
    steps = elisa.task_dir(pipeline, "count") / "steps"
    elisa.tick_until(lambda: len(numbers(steps)) >= 18)  # a boot less than five seconds after a start proves nothing
    where = elisa.cluster.run(["squeue", "-h", "-o", "%N"]).stdout.strip()

    elisa.cluster.lose_node(where)
    elisa.cluster.node_down(where)
    elisa.tick_until(lambda: elisa.states() == {"count": "waiting"})
    elisa.tick()
    assert elisa.states() == {"count": "waiting"}
    elisa.cluster.start_node(where, has_booted=True)
    elisa.cluster.node_up(where)
    elisa.tick_to_the_end()

    first, _ = elisa.attempts("count")
    assert first.end is not None
    assert (first.end.reason, elisa.states()) == (EndReason.NODE_FAILURE, {"count": "succeeded"})
    assert sorted(set(numbers(steps))) == list(range(1, 41))


def test_job_whose_answer_was_lost_is_adopted_and_runs_once(elisa: ElisaOnSlurm) -> None:
    pipeline = elisa.submit(LONG % 1)

    elisa.before_sbatch(f"kill -STOP {elisa.cluster.controller_pid}")
    report = elisa.tick()
    elisa.before_sbatch("")
    elisa.cluster.resume_controller()
    elisa.tick_to_the_end()

    assert len(report.unsettled) == 1
    assert elisa.states() == {"count": "succeeded"}
    assert len(elisa.attempts("count")) == 1
    assert numbers(elisa.task_dir(pipeline, "count") / "began") == [0]


def test_outage_of_the_controller_changes_nothing_and_heals(elisa: ElisaOnSlurm) -> None:
    pipeline = elisa.submit(f'{LONG % 1}    environment: {{LAST: "40"}}')
    elisa.tick_until(lambda: bool(numbers(elisa.task_dir(pipeline, "count") / "steps")))
    elisa.cluster.wait_for_saved_state()

    elisa.cluster.kill_controller()
    reports = [elisa.tick() for _ in range(3)]
    with Reader.open(elisa.home) as reader:
        during = read_status(reader, datetime.now(UTC)).warning
    elisa.cluster.restart_controller()
    elisa.tick_to_the_end()

    assert all("slurm" in report.unreachable for report in reports)
    assert during.startswith("no answer at the last tick from slurm: ")
    assert len(elisa.attempts("count")) == 1
    assert elisa.states() == {"count": "succeeded"}


@pytest.mark.parametrize(
    ("campaign", "times"), [(elisa_killed, KILLS), (sbatch_killed, KILLS), (controller_in_trouble, max(1, KILLS // 10))]
)
def test_trouble_in_mid_submission_loses_and_doubles_nothing(
    elisa: ElisaOnSlurm, campaign: Callable[[ElisaOnSlurm, int], Tally], times: int
) -> None:
    require_real("strace")

    tally = campaign(elisa, times)

    assert (tally.troubles, tally.lost, tally.double) == (times, 0, 0)


def test_pipeline_finishes_exactly_once_through_preemptions_node_failures_and_time_limits(elisa: ElisaOnSlurm) -> None:
    seen = weather(elisa, STORM, long=1, cut=True)

    assert (seen.not_once, seen.redone) == (0, 0)
    assert seen.ends[EndReason.COMPLETED] == seen.tasks
    assert seen.ends[EndReason.TIMEOUT] >= 1
    assert seen.ends[EndReason.PREEMPTED] + seen.ends[EndReason.NODE_FAILURE] >= 1


def test_jobs_in_the_queue_follow_the_rules_when_these_change(elisa: ElisaOnSlurm) -> None:
    site = elisa.home / "site.yaml"
    rules = site.read_text()
    site.write_text(f"{rules}order: [fifo]\n")
    whole = "resources: {nodes: 4, cpus: 8}"
    elisa.submit(f"name: busy\nproject: demo\ntasks:\n  busy: {{command: [sleep, '6'], {whole}}}\n")
    elisa.tick_until(lambda: elisa.cluster.run(["squeue", "-h", "-t", "R", "-o", "%i"]).stdout.strip() != "")
    for name, importance in (("a", 0), ("b", 0), ("c", 9)):
        what = f"command: [sh, -c, 'echo {name} >>ran'], importance: {importance}, {whole}"
        elisa.submit(f"name: {name}\nproject: demo\ntasks:\n  {name}: {{{what}}}\n")
        elisa.tick()
    before = elisa.cluster.run(["squeue", "-h", "-t", "PD", "-o", "%y", "-S", "i"]).stdout.split()

    site.write_text(f"{rules}order: [importance, fifo]\n")
    elisa.tick()
    after = elisa.cluster.run(["squeue", "-h", "-t", "PD", "-o", "%y", "-S", "i"]).stdout.split()
    elisa.tick_to_the_end()

    assert before == ["20", "20", "20"]
    assert after == ["20", "20", "0"]
    assert (elisa.folder / "ran").read_text() == "c\na\nb\n"


def test_one_pipeline_uses_two_clusters_and_this_machine(elisa: ElisaOnSlurm) -> None:
    site = elisa.home / "site.yaml"
    with SlurmCluster(message_timeout_s=2) as other:
        conf = other.env()["SLURM_CONF"]
        more = f"""
  other: {{kind: slurm, options: {{path: {elisa.folder / "bin"}, conf: {conf}}}}}
  local: {{kind: local}}"""
        site.write_text(site.read_text().replace("\nrecovery:", f"{more}\nrecovery:"))
        elisa.submit("""
            name: everywhere
            project: demo
            tasks:
              near: {command: [sh, -c, 'echo $${SLURM_CLUSTER_NAME:-here} >>ran'], placement: {backend: local}}
              far: {command: [sh, -c, 'echo $SLURM_CLUSTER_NAME >>ran'], placement: {backend: slurm}, needs: [near]}
              farther: {command: [sh, -c, 'echo $SLURM_CLUSTER_NAME >>ran'], placement: {backend: other}, needs: [far]}
        """)

        elisa.tick_to_the_end()

        assert set(elisa.states().values()) == {"succeeded"}
        assert (elisa.folder / "ran").read_text().split() == ["here", elisa.cluster.name, other.name]
        kinds = {name: elisa.attempts(name)[0].backend for name in ("near", "far", "farther")}
        assert kinds == {"near": "local", "far": "slurm", "farther": "other"}
