"""The commands of a user over a real Slurm: what is found at `init`, shown before it is submitted, and run from cron."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster
from tests.real.slurm_world import wait_until

pytestmark = [pytest.mark.real, pytest.mark.slow]


def elisa(home: Path, *words: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Type a command in a shell with this environment alone."""
    return subprocess.run(
        [sys.executable, "-m", "elisa.cli", *words, "--home", str(home)],
        env=dict(env),
        cwd=home.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def document(answer: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert answer.stdout, answer.stderr
    found = json.loads(answer.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def on_slurm(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ElisaOnSlurm:
    monkeypatch.setenv("SLURM_CONF", slurm.env()["SLURM_CONF"])
    return a_state_folder(slurm, tmp_path)


def test_init_finds_the_cluster_and_writes_down_its_partitions_and_limits(slurm: SlurmCluster, tmp_path: Path) -> None:
    home = tmp_path / "found"

    made = elisa(home, "init", "--json", env=slurm.env())
    text = (home / "site.yaml").read_text()
    doctor = elisa(home, "doctor", "--json", env={"PATH": "/usr/bin:/bin"})

    assert document(made)["backends"] == ["slurm"]
    assert "# partition low: no time limit, default, jobs may be preempted" in text
    assert "# partition high: up to 1440 min" in text
    assert "options: {path: /usr/bin, conf: " in text
    # doctor had no SLURM_CONF: site.yaml alone says where the cluster is
    found = {one["name"]: one["what"] for one in document(doctor)["findings"]}
    assert "4 of 4 nodes are up, 2 partitions" in [one["what"] for one in document(doctor)["findings"]]
    assert "agent" in found


def test_what_is_shown_is_what_sbatch_gets_to_the_byte(on_slurm: ElisaOnSlurm) -> None:
    on_slurm.submit("""
        name: shown
        project: demo
        tasks:
          one:
            command: [sh, -c, "true"]
            resources: {nodes: 2, cpus: 2, memory: 200MiB, walltime: 10m, gpus: {count: 1, types: [a100]}}
            placement: {extras: {comment: "a b|c"}}
    """)
    seen, got = on_slurm.folder / "argv", on_slurm.folder / "stdin"
    shown = document(elisa(on_slurm.home, "show-script", "shown/one", "--json", env=os.environ))

    on_slurm.before_sbatch(f"""cat >{got}; exec <{got}; printf '%s\\0' "$0" "$@" >{seen}""")
    on_slurm.tick()

    assert shown["is_next"] is True
    assert shown["argv"] == seen.read_text().split("\0")[:-1]
    assert shown["stdin"] == got.read_text()
    after = document(elisa(on_slurm.home, "show-script", "shown/one", "--json", env=os.environ))
    assert (after["argv"], after["stdin"]) == (shown["argv"], shown["stdin"])
    assert after["native_id"].endswith(f".{after['attempt']}")


def test_a_request_that_no_node_can_hold_is_told_when_it_is_submitted(on_slurm: ElisaOnSlurm) -> None:
    file = on_slurm.folder / "huge.yaml"
    file.write_text("""
name: huge
project: demo
tasks:
  gpus: {command: ["true"], resources: {gpus: 9}}
  days: {command: ["true"], resources: {walltime: 3d}, placement: {partition: high}}
  kind: {command: ["true"], resources: {constraint: "ib&gold"}}
  seat: {command: ["true"], resources: {licences: {matlab: 3}}}
  fine: {command: ["true"]}
""")

    warnings = document(elisa(on_slurm.home, "submit", str(file), "--json", env=os.environ))["warnings"]

    assert [words.partition(":")[0] for words in warnings] == ["gpus", "days", "kind", "seat"]
    assert all("can never start" in words for words in warnings[:2])
    assert warnings[2:] == [
        "kind: slurm would refuse it: Invalid feature specification",
        "seat: slurm would refuse it: Invalid license specification",
    ]


def test_what_no_option_of_sbatch_may_say_is_refused_when_it_is_submitted(on_slurm: ElisaOnSlurm) -> None:
    file = on_slurm.folder / "forbidden.yaml"
    file.write_text("""
name: forbidden
project: demo
tasks:
  again: {command: ["true"], placement: {extras: {requeue: ""}}}
  more: {command: ["true"], resources: {gpus: 1}, placement: {extras: {gpus-per-task: 2}}}
""")

    answer = elisa(on_slurm.home, "submit", str(file), env=os.environ)

    assert answer.returncode == 2
    assert [line for line in answer.stderr.split("\n") if line.startswith("error: ")] == [
        "error: again: `requeue` is no option that a task may pass to sbatch",
        "error: more: `gpus-per-task` contradicts what the task asks for",
    ]
    assert on_slurm.states() == {}


def test_native_view_shows_ids_and_what_the_queue_says(on_slurm: ElisaOnSlurm) -> None:
    on_slurm.cluster.sbatch("--nodes=4", "--exclusive", wrap="sleep 600")
    on_slurm.submit("name: waits\nproject: demo\ntasks:\n  one: {command: ['true'], resources: {cpus: 8}}\n")
    on_slurm.tick()
    on_slurm.tick_until(lambda: bool(on_slurm.attempts("one")[0].native_detail))

    (row,) = document(elisa(on_slurm.home, "status", "--native", "--json", env=os.environ))["tasks"]
    text = elisa(on_slurm.home, "status", "--native", env=os.environ).stdout
    words = elisa(on_slurm.home, "explain", "waits/one", env=os.environ).stdout

    (attempt,) = on_slurm.attempts("one")
    assert row["native_id"] == attempt.native_id
    assert attempt.native_detail in {"Resources", "Priority", "None"}
    assert str(attempt.native_id).partition(".")[0] in text
    assert attempt.native_detail in words


def test_logs_of_a_job_on_the_cluster_are_found(on_slurm: ElisaOnSlurm) -> None:
    on_slurm.submit("name: says\nproject: demo\ntasks:\n  one: {command: [echo, hello from afar]}\n")

    on_slurm.tick_to_the_end()

    assert elisa(on_slurm.home, "logs", "says/one", env=os.environ).stdout == "hello from afar\n"


def test_the_line_for_cron_works_in_an_environment_with_next_to_nothing(on_slurm: ElisaOnSlurm) -> None:
    on_slurm.submit("name: cron\nproject: demo\ntasks:\n  one: {command: [sh, -c, 'echo ran >>ran']}\n")
    lines = document(elisa(on_slurm.home, "cron", "show", "--json", env=os.environ))["lines"]
    (line,) = [line for line in lines if not line.startswith("#")]
    command = line.split(" ", 5)[5].replace("\\%", "%")

    def runs_and_is_done() -> bool:
        # as cron does: a shell of no terminal, four variables
        env = {"HOME": "/", "LOGNAME": "nobody", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
        subprocess.run(["/bin/sh", "-c", command], env=env, cwd="/", stdin=subprocess.DEVNULL, check=True, timeout=60)
        return on_slurm.states() == {"one": "succeeded"}

    wait_until(runs_and_is_done, within_s=60)

    assert (on_slurm.folder / "ran").read_text() == "ran\n"
