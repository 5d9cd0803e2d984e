"""libslurm through pyslurm on a real Slurm: everything the backend does, and the same answers as Slurm's programs give."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.conformance import CHECKS, BackendUnderTest
from elisa.backends.runner import SubprocessRunner
from elisa.backends.slurm.library import SlurmLibrary
from elisa.backends.slurm.library_here import PyslurmHere
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import Answered, JobRequest, NativeState, Seen, Unreachable
from elisa.model.resources import Component, GpuRequest, Resources
from tests.real.slurm_cluster import SlurmCluster
from tests.real.slurm_world import SlurmWorld, a_world, wait_until
from tests.real_parts import require_real

pytestmark = [pytest.mark.real, pytest.mark.slow]

EVERYTHING = Resources(
    nodes=2,
    tasks_per_node=2,
    cpus_per_task=3,
    memory_mib_per_node=500,
    walltime_s=601,
    gpus=GpuRequest(per_node=2, types=("a100",)),
    licences=(("matlab", 1),),
    features=("ib",),
    exclusive=True,
)
# What tells one job from another, and what the way it was submitted leaves on it.
DIFFERENT = re.compile(
    r"\b(JobId|JobName|\w*Time|StdOut|StdErr|AllocNode:Sid|Command|LastSchedEval|Priority|Reason|Scheduler|SchedNodeList"
    r"|KillOI?nInvalidDependent|OOMKillStep|TresPerTask)=\S+ ?"
    # a line of words, which 25.11 shows of a job that a program submitted
    r"|\bSubmitLine=.*?(?= \w+=|$)"
)


@pytest.fixture(scope="module")
def here(_plain_cluster: SlurmCluster) -> PyslurmHere:
    """Give pyslurm, or skip with the reason: this process can use it for one cluster only."""
    require_real("pyslurm")
    found = PyslurmHere(
        runner=SubprocessRunner(environment=_plain_cluster.env()), environment=_plain_cluster.env(), memory=None
    )
    require_real(
        "pyslurm", found=found.library is not None, how=found.advice(".".join(map(str, _plain_cluster.version))).hint
    )
    return found


@pytest.fixture
def programs(slurm: SlurmCluster, tmp_path: Path) -> SlurmWorld:
    """Give a world that is asked with Slurm's programs."""
    return a_world(slurm, tmp_path / "jobs")


@pytest.fixture
def world(programs: SlurmWorld, here: PyslurmHere) -> SlurmWorld:
    """Give the same world, asked through libslurm."""
    return replace(programs, backend=replace(programs.backend, pyslurm=here))


@pytest.fixture
def library(here: PyslurmHere) -> SlurmLibrary:
    assert here.library is not None
    return here.library


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conforms(world: SlurmWorld, check: object) -> None:
    assert callable(check)
    bench: BackendUnderTest = world.on_the_bench()

    check(bench)


def test_jobs_of_every_kind_are_described_as_by_the_programs(world: SlurmWorld, programs: SlurmWorld) -> None:
    ids = [
        world.submit("sleep 600"),
        world.submit("exit 3"),
        world.submit("kill -9 $$"),
        world.submit("true", after=(world.submit("sleep 600"),)),
        world.submit("true", partition="high", resources=Resources(walltime_s=2 * 86400)),
        world.submit("sleep 600", resources=Resources(nodes=4)),
        world.submit("sleep 600", resources=Resources(walltime_s=600, components=(Component(nodes=2),))),
        *world.backend.submit_array([replace(world.job("sleep 600"), at_once=1) for _ in range(4)]).values(),
    ]
    cancelled = world.submit("sleep 600")
    world.wait_for(cancelled, NativeState.RUNNING)
    world.backend.cancel([cancelled])
    for native_id in (ids[1], ids[2], cancelled):
        world.end_of(native_id)
    ids.append(cancelled)

    # the scheduler writes down its reasons after a while
    wait_until(lambda: {"Dependency", "JobArrayTaskLimit"} <= {seen.detail for seen in described(programs, ids)})

    assert described(world, ids) == described(programs, ids)


def described(world: SlurmWorld, ids: list[NativeId]) -> list[Seen]:
    poll = world.backend.poll(ids)
    assert isinstance(poll, Answered), poll
    return [seen for native_id in ids if isinstance(seen := poll.observations[native_id], Seen)]


def test_cluster_is_described_as_by_the_programs(world: SlurmWorld, programs: SlurmWorld) -> None:
    asked = Resources(cpus_per_task=3, memory_mib_per_node=1000, gpus=GpuRequest(per_node=3))
    world.wait_for(world.submit("sleep 600", resources=asked, partition="low"), NativeState.RUNNING)
    world.cluster.node_down("n4")
    world.cluster.run(["scontrol", "update", "nodename=n3", "state=drain", "reason=test"])

    one, other = world.backend.cluster(), programs.backend.cluster()

    assert replace(one, seen_at=None) == replace(other, seen_at=None)


@pytest.mark.parametrize("checkpoints", [False, True])
def test_job_is_submitted_as_by_sbatch(world: SlurmWorld, programs: SlurmWorld, *, checkpoints: bool) -> None:
    more: dict[str, object] = {
        "resources": EVERYTHING,
        "partition": "high",
        "priority": 3,
        "exclude_nodes": ("n4",),
        "signal_lead_s": 90 if checkpoints else 0,
    }

    world.wait_for(
        world.submit("sleep 600", resources=Resources(nodes=4, exclusive=True), partition="high"), NativeState.RUNNING
    )

    shown = [show(each, each.submit("true", **more)) for each in (world, programs)]

    assert shown[0] == shown[1]


def show(world: SlurmWorld, native_id: NativeId) -> str:
    number = native_id.partition(".")[0]
    return DIFFERENT.sub("", world.cluster.run(["scontrol", "-o", "show", "job", number]).stdout).strip()


def test_job_gets_the_environment_and_umask_that_sbatch_would_give(world: SlurmWorld, programs: SlurmWorld) -> None:
    own = r"^SLURM_\(JOB_\?ID\|JOB_NAME\|JOB_\(START\|END\)_TIME\|TASK_PID\|SUBMIT_DIR\)="
    script = f"umask; env | grep -v -e '{own}' -e ELISA_NATIVE_ID -e ^PWD -e ^TZ | sort; srun --ntasks=1 nproc"
    asked = Resources(tasks_per_node=2, cpus_per_task=3, memory_mib_per_node=500)
    requests: list[tuple[SlurmWorld, JobRequest]] = [
        (each, each.job(script, resources=asked)) for each in (world, programs)
    ]

    for each, request in requests:
        each.end_of(each.backend.submit(request))

    outputs = [each.output(request.attempt) for each, request in requests]
    assert outputs[0] == outputs[1]


def test_nothing_is_fetched_again_while_nothing_changes(
    world: SlurmWorld, library: SlurmLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    native_id = world.submit("sleep 600")
    world.wait_for(native_id, NativeState.RUNNING)
    fetched: list[object] = []
    load = SlurmLibrary._load

    def counted(self: SlurmLibrary, collection: object) -> object:
        fetched.append(collection)
        return load(self, collection)

    monkeypatch.setattr(SlurmLibrary, "_load", counted)

    def is_quiet() -> bool:
        before = len(fetched)
        world.see(native_id)
        return len(fetched) == before

    # within the second of a change nobody can tell whether there was another
    wait_until(is_quiet)
    world.backend.cancel([native_id])
    assert world.end_of(native_id).native_id == native_id
    assert library is world.backend.pyslurm.library


def test_what_slurm_refuses_is_told_with_its_words(world: SlurmWorld) -> None:
    with pytest.raises(Rejected, match="Requested node configuration is not available"):
        world.submit("true", resources=Resources(gpus=GpuRequest(per_node=5, types=("a100",))))


def test_controller_that_is_down_is_unreachable_and_takes_nothing(world: SlurmWorld) -> None:
    native_id = world.submit("sleep 600")
    world.wait_for(native_id, NativeState.RUNNING)
    world.cluster.wait_for_saved_state()

    world.cluster.kill_controller()
    assert isinstance(world.backend.poll([native_id]), Unreachable)
    with pytest.raises(Unavailable):
        world.submit("true")
    world.cluster.restart_controller()

    world.wait_for(native_id, NativeState.RUNNING)


def test_submission_to_a_paused_controller_is_uncertain_and_then_found(world: SlurmWorld) -> None:
    request = world.job("sleep 600")

    world.cluster.pause_controller()
    with pytest.raises(SubmitUncertain):
        world.backend.submit(request)
    world.cluster.resume_controller()

    wait_until(lambda: bool(world.backend.find([request.attempt]).ids))


def test_what_libslurm_needs_of_the_environment_is_not_left_behind(here: PyslurmHere) -> None:
    assert here.library is not None
    assert "SLURM_CONF" not in os.environ
