"""The Slurm backend on a real Slurm: what it asks for arrives, and every end is told as what it was."""

from __future__ import annotations

import json
import pwd
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from elisa.backends.conformance import CHECKS, BackendUnderTest
from elisa.backends.slurm.options import SlurmOptions
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.hostlist import expand_hosts
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import CancelOutcome, Found, Gone, NativeState, NodeState, PartitionView, Seen, Unreachable
from elisa.model.resources import Component, GpuRequest, Resources
from elisa.model.states import EndReason
from tests.real.slurm_cluster import SlurmCluster, has_memory_cgroup
from tests.real.slurm_world import SlurmWorld, a_world, wait_until

pytestmark = [pytest.mark.real, pytest.mark.slow]

WHOLE_NODE = Resources(cpus_per_task=8, walltime_s=600, memory_mib_per_node=100)


@pytest.fixture
def world(slurm: SlurmCluster, tmp_path: Path) -> SlurmWorld:
    return a_world(slurm, tmp_path)


@pytest.fixture
def accounted(slurm_with_accounting: SlurmCluster, tmp_path: Path) -> SlurmWorld:
    return a_world(slurm_with_accounting, tmp_path)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conforms(world: SlurmWorld, check: object) -> None:
    assert callable(check)
    bench: BackendUnderTest = world.on_the_bench()

    check(bench)


# What is asked for arrives


def test_resources_arrive(world: SlurmWorld) -> None:
    resources = Resources(
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
    native_id = world.submit(
        "sleep 60", resources=resources, partition="high", signal_lead_s=90, priority=3, extras=(("comment", "a b|c"),)
    )
    number = native_id.partition(".")[0]
    world.wait_for(native_id, NativeState.RUNNING)

    shown = world.cluster.run(["scontrol", "-o", "show", "job", number]).stdout

    for words in (
        "Partition=high ",
        "NumNodes=2 ",
        "NumTasks=4 CPUs/Task=3 ",
        "MinMemoryNode=500M ",
        "TimeLimit=00:11:00 ",
        "Features=ib ",
        "Licenses=matlab:1 ",
        "OverSubscribe=NO ",
        "gpu:a100:2",
        "Nice=10 ",
        "Requeue=0 ",
        "Comment=a b|c ",
    ):
        assert words in shown


def test_job_gets_its_environment_and_nothing_else(world: SlurmWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    program = f'{sys.executable} -c "import json, os; print(json.dumps(dict(os.environ)))"'
    request = world.job(program, environment=(*world.job("").environment, ("V", "a,b=c; $(id)")))

    world.end_of(world.backend.submit(request))

    environment = json.loads(world.output(request.attempt))
    mine = {name for name in environment if not name.startswith("SLURM")}
    assert environment["V"] == "a,b=c; $(id)"
    assert "SECRET_TOKEN" not in mine
    # a login shell was not run
    assert "SHLVL" not in mine
    assert "SLURM_EXPORT_ENV" not in environment


def test_signal_comes_before_the_time_limit_and_the_end_is_a_timeout(world: SlurmWorld) -> None:
    """Slurm's limits are minutes, it looks at them twice a minute, and its warning may come a minute early."""
    told = world.job(
        "trap 'echo warned' USR2; echo ready; while :; do sleep 0.2; done",
        resources=Resources(walltime_s=60, memory_mib_per_node=100),
        signal_lead_s=30,
    )
    warned = world.backend.submit(told)
    late = world.submit("sleep 600", resources=Resources(walltime_s=60, memory_mib_per_node=100))
    world.wait_for(warned, NativeState.RUNNING)
    world.wait_for(late, NativeState.RUNNING)
    world.cluster.end_soon(int(late.partition(".")[0]))

    seen = world.end_of(late)
    wait_until(lambda: world.output(told.attempt) == "ready\nwarned\n")

    assert (seen.end_reason, seen.exit_code) == (EndReason.TIMEOUT, None)
    assert isinstance(still := world.see(warned), Seen)
    assert still.state is NativeState.RUNNING


# Every end is told as what it was


def test_preempted_job_is_told_from_a_cancelled_one(world: SlurmWorld) -> None:
    low = world.submit("sleep 600", resources=Resources(nodes=4, exclusive=True), partition="low")
    world.wait_for(low, NativeState.RUNNING)

    world.submit("sleep 1", resources=Resources(nodes=4, exclusive=True), partition="high")

    assert world.end_of(low).end_reason is EndReason.PREEMPTED


def test_node_failure_is_told(world: SlurmWorld) -> None:
    native_id = world.submit("sleep 600", extras=(("nodelist", "n2"),))
    world.wait_for(native_id, NativeState.RUNNING)

    world.cluster.node_down("n2")

    seen = world.end_of(native_id)
    assert (seen.end_reason, seen.nodes) == (EndReason.NODE_FAILURE, "n2")


def test_job_that_somebody_cancelled_is_told(accounted: SlurmWorld) -> None:
    native_id = accounted.submit("sleep 600")
    accounted.wait_for(native_id, NativeState.RUNNING)

    accounted.cluster.run(["scancel", native_id.partition(".")[0]])

    assert accounted.end_of(native_id).end_reason is EndReason.CANCELLED


def test_deadline_is_told(world: SlurmWorld) -> None:
    world.submit("sleep 600", resources=Resources(nodes=4, exclusive=True))
    resources = Resources(nodes=4, exclusive=True, walltime_s=60)
    native_id = world.submit("true", resources=resources, extras=(("deadline", "now+61seconds"),))

    seen = world.end_of(native_id, within_s=150)

    assert (seen.end_reason, "deadline" in seen.detail) == (EndReason.TIMEOUT, True)


def test_job_that_grew_over_its_memory_is_told(tmp_path: Path, slurm_installed: None) -> None:
    """Without cgroups Slurm polls, kills and calls it FAILED: only the agent's own word then tells why."""
    kernel_limits = has_memory_cgroup()
    with SlurmCluster(memory_limits=kernel_limits) as cluster:
        world = a_world(cluster, tmp_path)
        hungry = f"{sys.executable} -c 'import time; held = bytearray(300 * 2**20); time.sleep(60)'"

        seen = world.end_of(world.submit(hungry, resources=Resources(memory_mib_per_node=50)))

    expected = (EndReason.OUT_OF_MEMORY, None) if kernel_limits else (EndReason.FAILED, 9)
    assert (seen.end_reason, seen.signal) == expected


def test_job_that_could_not_be_launched_is_told(world: SlurmWorld) -> None:
    native_id = world.submit("true", stdout="/proc/no/such/folder/log")

    assert world.end_of(native_id).end_reason is EndReason.BOOT_FAILURE


def test_nodes_that_could_not_be_made_ready_for_a_job_are_told_as_a_failed_boot(world: SlurmWorld) -> None:
    native_id = world.submit("sleep 600")
    world.wait_for(native_id, NativeState.RUNNING)

    world.cluster.fail_to_make_ready(int(native_id.partition(".")[0]))

    seen = world.end_of(native_id)
    assert (seen.end_reason, seen.raw) == (EndReason.BOOT_FAILURE, "BOOT_FAIL")


def test_job_whose_prolog_failed_at_the_controller_was_not_cancelled_by_its_owner(
    tmp_path: Path, slurm_installed: None
) -> None:
    """On a cluster of its own: a controller that is killed while any prolog runs takes that for a failure, too."""
    nobody = pwd.getpwnam("nobody").pw_uid
    options = SlurmOptions(extras=("uid",))
    with SlurmCluster(accounting=True, extra=("PrologSlurmctld=/bin/false",)) as cluster:
        any_world = a_world(cluster, tmp_path)
        world = replace(any_world, backend=replace(any_world.backend, uid=nobody, options=options))
        native_id = world.submit("true", extras=(("uid", str(nobody)),), workdir="/tmp")
        seen = world.end_of(native_id)

    assert (seen.end_reason, seen.is_managers_doing, seen.nodes) == (EndReason.CANCELLED, True, "n1")


def test_node_that_never_comes_up_is_told_as_a_node_that_failed(tmp_path: Path, slurm_installed: None) -> None:
    """Slurm calls it NODE_FAIL (22.05 and 24.11): BOOT_FAIL is what a ResumeProgram says of a job."""
    often = "SlurmctldParameters=power_save_interval=1"  # else it looks every ten seconds
    saving = ("SuspendProgram=/bin/true", "ResumeProgram=/bin/true", "SuspendTimeout=1", "ResumeTimeout=2", often)
    with SlurmCluster(extra=(*saving, "SuspendTime=100000")) as cluster:
        world = a_world(cluster, tmp_path)
        cluster.run(["scontrol", "update", "nodename=n4", "state=power_down_force"])
        cluster.kill_node("n4")

        seen = world.end_of(world.submit("true", extras=(("nodelist", "n4"),)), within_s=60)

    assert (seen.end_reason, seen.detail) == (EndReason.NODE_FAILURE, "NODE_FAIL NodeDown")


def test_requeue_by_an_administrator_is_refused_or_seen(world: SlurmWorld) -> None:
    native_id = world.submit("sleep 600")
    world.wait_for(native_id, NativeState.RUNNING)

    answer = world.cluster.run(["scontrol", "requeue", native_id.partition(".")[0]], check=False)

    assert "disabled for job" in answer.stderr
    assert world.wait_for(native_id, NativeState.RUNNING).restarts == 0


def test_administrator_who_insists_on_a_requeue_shows_as_a_restart(world: SlurmWorld) -> None:
    native_id = world.submit("sleep 600")
    number = native_id.partition(".")[0]
    world.wait_for(native_id, NativeState.RUNNING)

    world.cluster.run(["scontrol", "update", f"jobid={number}", "requeue=1"])
    world.cluster.run(["scontrol", "requeue", number])

    seen = world.wait_for(native_id, NativeState.QUEUED)
    assert (seen.restarts, seen.detail) == (1, "BeginTime")


def test_held_job_is_held(world: SlurmWorld) -> None:
    world.submit("sleep 600", resources=Resources(nodes=4, exclusive=True))
    native_id = world.submit("true", resources=WHOLE_NODE)

    world.cluster.run(["scontrol", "hold", native_id.partition(".")[0]])

    assert world.see(native_id) == world.wait_for(native_id, NativeState.HELD)


# What the controller forgot


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """Jobs that have ended, and that the controller knows no more: one by itself and two of an array."""

    world: SlurmWorld
    alone: NativeId
    array: tuple[NativeId, NativeId]


@pytest.fixture(scope="module")
def forgotten(_accounting_cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Forgotten:
    """Wait once for what takes slurmctld ten seconds."""
    world = a_world(_accounting_cluster, tmp_path_factory.mktemp("forgotten"))
    alone = world.submit("exit 3")
    requests = [world.job("exit 4"), world.job("true")]
    ids = world.backend.submit_array(requests)
    array = ids[requests[0].attempt], ids[requests[1].attempt]
    numbers = [alone.partition(".")[0], array[0].partition("_")[0]]
    wait_until(lambda: not any(map(world.cluster.job_state, numbers)), within_s=90)
    return Forgotten(world=world, alone=alone, array=array)


def test_purged_job_is_recalled_from_accounting(forgotten: Forgotten) -> None:
    seen = forgotten.world.see(forgotten.alone)

    assert isinstance(seen, Seen)
    assert (seen.end_reason, seen.exit_code) == (EndReason.FAILED, 3)
    assert forgotten.world.backend.find([AttemptId(forgotten.alone.partition(".")[2])]).complete


def test_purged_elements_are_recalled_from_accounting(forgotten: Forgotten) -> None:
    ends = [forgotten.world.see(element) for element in forgotten.array]

    assert [isinstance(seen, Seen) and seen.exit_code for seen in ends] == [4, 0]


def test_purged_job_is_unknown_while_slurmdbd_is_down_and_known_again_after(forgotten: Forgotten) -> None:
    forgotten.world.cluster.kill_accounting()
    during = forgotten.world.see(forgotten.alone)
    forgotten.world.cluster.start_accounting()
    after = forgotten.world.see(forgotten.alone)

    assert isinstance(during, Seen)
    assert isinstance(after, Seen)
    assert (during.state, after.end_reason) == (NativeState.UNKNOWN, EndReason.FAILED)


def test_purged_job_is_gone_where_no_accounts_are_kept(tmp_path: Path, slurm_installed: None) -> None:
    with SlurmCluster(min_job_age_s=2) as cluster:
        world = a_world(cluster, tmp_path)
        native_id = world.submit("true")
        wait_until(lambda: cluster.job_state(native_id.partition(".")[0]) == "", within_s=90)

        assert world.see(native_id) == Gone(native_id=native_id)


def test_number_that_begins_anew_is_another_job(tmp_path: Path, slurm_installed: None) -> None:
    with SlurmCluster() as cluster:
        before = a_world(cluster, tmp_path / "before")
        native_id = before.submit("sleep 600")
        cluster.forget_everything()
        again = before.submit("sleep 600")

        assert native_id.partition(".")[0] == again.partition(".")[0]
        assert before.see(native_id) == Gone(native_id=native_id)
        assert before.backend.cancel([native_id]) == {native_id: CancelOutcome.ALREADY_GONE}
        assert isinstance(before.see(again), Seen)


# Outages


def test_submission_to_a_paused_controller_is_uncertain_and_then_found(world: SlurmWorld) -> None:
    request = world.job("sleep 600")

    world.cluster.pause_controller()
    with pytest.raises(SubmitUncertain, match="Socket timed out"):
        world.backend.submit(request)
    world.cluster.resume_controller()

    wait_until(lambda: bool(world.backend.find([request.attempt]).ids))
    (native_id,) = world.backend.find([request.attempt]).ids[request.attempt]
    world.wait_for(native_id, NativeState.RUNNING)


def test_controller_that_is_down_changes_nothing_and_takes_nothing(world: SlurmWorld) -> None:
    native_id = world.submit("sleep 600")
    world.wait_for(native_id, NativeState.RUNNING)
    world.cluster.wait_for_saved_state()

    world.cluster.kill_controller()
    assert isinstance(world.backend.poll([native_id]), Unreachable)
    assert world.backend.cancel([native_id]) == {native_id: CancelOutcome.FAILED}
    for ask in (
        world.backend.cluster,
        lambda: world.submit("true"),
        lambda: world.backend.find([world.job("").attempt]),
    ):
        with pytest.raises(Unavailable):
            ask()
    world.cluster.restart_controller()

    world.wait_for(native_id, NativeState.RUNNING)


# Limits


def test_limit_on_submissions_is_back_pressure(tmp_path: Path, slurm_installed: None) -> None:
    enforce = "AccountingStorageEnforce=associations,limits,qos"
    with SlurmCluster(accounting=True, extra=[enforce]) as cluster:
        cluster.sacctmgr("modify", "account", "science", "set", "MaxSubmitJobs=1", "MaxWall=60")
        world = a_world(cluster, tmp_path)
        world.submit("sleep 600")

        with pytest.raises(Unavailable, match="AssocMaxSubmitJobLimit"):
            world.submit("true")


def test_controller_that_is_full_is_back_pressure(tmp_path: Path, slurm_installed: None) -> None:
    """sbatch tries again for minutes by itself; it is stopped, and so the job stays uncertain until it was searched for."""
    with SlurmCluster(extra=["MaxJobCount=2"]) as cluster:
        world = a_world(cluster, tmp_path, SlurmOptions(submit_timeout_s=3))
        world.submit("sleep 600")
        request = world.job("true")

        with pytest.raises(SubmitUncertain, match="temporarily unable to accept"):
            world.backend.submit(request)

        assert world.backend.find([request.attempt]) == Found(ids={}, complete=True)


def test_pending_reason_is_carried(world: SlurmWorld) -> None:
    too_long = world.submit("true", partition="high", resources=Resources(walltime_s=2 * 86400))

    wait_until(lambda: "never" in getattr(world.see(too_long), "detail", ""))
    # PartitionTimeLimit, or PartitionConfig before the scheduler has looked closer
    assert world.wait_for(too_long, NativeState.QUEUED).detail.startswith("Partition")


def test_impossible_request_is_rejected_with_slurms_words(world: SlurmWorld) -> None:
    with pytest.raises(Rejected, match="Requested node configuration is not available"):
        world.submit("true", resources=Resources(gpus=GpuRequest(per_node=5, types=("a100",))))


# Heterogeneous jobs

MIXED = Resources(
    cpus_per_task=2, walltime_s=600, components=(Component(nodes=2, gpus=GpuRequest(per_node=1, types=("a100",))),)
)


def test_heterogeneous_job_is_one_job_on_the_nodes_of_all_its_components(accounted: SlurmWorld) -> None:
    request = accounted.job("echo $SLURM_HET_SIZE; sleep 2", resources=MIXED)

    native_id = accounted.backend.submit(request)
    running = accounted.wait_for(native_id, NativeState.RUNNING)
    ended = accounted.end_of(native_id)

    assert accounted.backend.find([request.attempt]).ids == {request.attempt: (native_id,)}
    assert len(expand_hosts(running.nodes)) == 3
    assert (ended.end_reason, accounted.output(request.attempt)) == (EndReason.COMPLETED, "2\n")


def test_node_that_fails_under_any_component_is_told_as_what_it_is(world: SlurmWorld) -> None:
    native_id = world.submit("sleep 600", resources=MIXED)
    seen = world.wait_for(native_id, NativeState.RUNNING)

    world.cluster.node_down(expand_hosts(seen.nodes)[-1])

    assert world.end_of(native_id).end_reason is EndReason.NODE_FAILURE


def test_heterogeneous_job_is_cancelled_as_a_whole(world: SlurmWorld) -> None:
    native_id = world.submit("sleep 600", resources=MIXED)
    world.wait_for(native_id, NativeState.RUNNING)

    assert world.backend.cancel([native_id]) == {native_id: CancelOutcome.ASKED}
    assert world.end_of(native_id).end_reason is EndReason.CANCELLED
    wait_until(lambda: world.cluster.run(["squeue", "-h"]).stdout == "")


# Chains, cluster


def test_chain_runs_on_without_anybody_and_breaks_cleanly(world: SlurmWorld) -> None:
    first = world.submit("sleep 1")
    second = world.submit("exit 5", after=(first,))
    third = world.submit("true", after=(second,))

    assert world.end_of(second).exit_code == 5
    wait_until(lambda: "never" in getattr(world.see(third), "detail", ""))
    assert world.backend.cancel([third]) == {third: CancelOutcome.ASKED}
    assert world.end_of(third).end_reason is EndReason.CANCELLED


def test_array_is_one_submission_and_many_jobs(world: SlurmWorld) -> None:
    requests = [world.job(f'echo "$ELISA_NATIVE_ID"; exit {number}') for number in range(3)]

    ids = world.backend.submit_array(requests)

    for number, request in enumerate(requests):
        seen = world.end_of(ids[request.attempt])
        assert (seen.end_reason is EndReason.COMPLETED, seen.exit_code) == (number == 0, number)
        assert world.output(request.attempt) == f"{ids[request.attempt]}\n"


def test_elements_of_an_array_wait_are_found_and_cancelled_one_by_one(world: SlurmWorld) -> None:
    requests = [replace(world.job("sleep 600"), at_once=1) for _ in range(3)]
    attempts = [request.attempt for request in requests]

    ids = world.backend.submit_array(requests)

    world.wait_for(ids[attempts[0]], NativeState.RUNNING)
    assert world.wait_for(ids[attempts[2]], NativeState.QUEUED).detail == "JobArrayTaskLimit"
    assert world.backend.find(attempts) == Found(ids={tag: (ids[tag],) for tag in attempts}, complete=True)
    assert world.backend.cancel([ids[attempts[2]]]) == {ids[attempts[2]]: CancelOutcome.ASKED}
    # an element that never started leaves no record of its own
    wait_until(lambda: isinstance(world.see(ids[attempts[2]]), Gone))
    world.wait_for(ids[attempts[0]], NativeState.RUNNING)


def test_a_thousand_jobs_are_accepted_as_one_array_within_a_second(world: SlurmWorld) -> None:
    requests = [replace(world.job("true"), at_once=1) for _ in range(1000)]

    began = time.monotonic()
    ids = world.backend.submit_array(requests)
    took_s = time.monotonic() - began

    assert len(set(ids.values())) == 1000
    assert took_s < 1.0


def test_cluster_is_seen_with_what_is_used_and_what_is_down(world: SlurmWorld) -> None:
    resources = Resources(
        cpus_per_task=3, memory_mib_per_node=1000, gpus=GpuRequest(per_node=3), licences=(("matlab", 1),)
    )
    native_id = world.submit("sleep 600", resources=resources, extras=(("nodelist", "n1"),))
    world.wait_for(native_id, NativeState.RUNNING)
    world.cluster.node_down("n4")
    world.cluster.run(["scontrol", "update", "nodename=n3", "state=drain", "reason=test"])

    view = world.backend.cluster()

    nodes = {node.name: node for node in view.nodes}
    assert {name: node.state for name, node in nodes.items()} == {
        "n1": NodeState.UP,
        "n2": NodeState.UP,
        "n3": NodeState.DRAINED,
        "n4": NodeState.DOWN,
    }
    assert (nodes["n1"].free_cpus, nodes["n1"].free_memory_mib, nodes["n1"].free_gpus) == (
        5,
        15000,
        (("a100", 1), ("mps", 100)),
    )
    assert world.backend.licences() == {"matlab": 1}
    assert view.partitions == (
        PartitionView(name="low", is_default=True, priority=1, preemptible=True),
        PartitionView(name="high", max_walltime_s=86400, priority=10),
    )
