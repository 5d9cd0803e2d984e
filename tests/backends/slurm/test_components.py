"""Heterogeneous jobs: several requests in one command line, one job in every listing."""

from __future__ import annotations

import pytest

from elisa.backends.protocol import array_key, refuse_components
from elisa.backends.slurm.accounting import parse_accounts
from elisa.backends.slurm.identity import JobKey, component_of
from elisa.backends.slurm.listing import parse_listing
from elisa.backends.slurm.options import SlurmOptions
from elisa.backends.slurm.states import Record, describe, whole
from elisa.backends.slurm.submission import submit_argv
from elisa.model.errors import Rejected
from elisa.model.ids import NativeId
from elisa.model.resources import Component, GpuRequest, Resources
from elisa.model.states import EndReason
from tests.backends.slurm.jobs import FIRST, INSTANCE, a_request

MIXED = Resources(
    cpus_per_task=2,
    walltime_s=600,
    components=(Component(nodes=2, tasks_per_node=4, gpus=GpuRequest(per_node=4, types=("a100",)), features=("ib",)),),
)


def test_components_are_separated_by_a_colon_and_each_says_what_holds_for_all() -> None:
    argv = submit_argv("sbatch", a_request(resources=MIXED, account="climate"), INSTANCE, SlurmOptions())

    at = argv.index(":")
    first, second = set(argv[1:at]), set(argv[at + 1 :])
    assert {"--nodes=1", "--cpus-per-task=2", "--time=10"} <= first
    assert second - first == {
        "--nodes=2",
        "--ntasks-per-node=4",
        "--cpus-per-task=1",
        "--gres=gpu:a100:4",
        "--constraint=ib",
    }
    assert {f"--job-name=el.{INSTANCE}.{FIRST}", "--no-requeue", "--account=climate"} <= first & second


def test_heterogeneous_jobs_are_never_elements_of_an_array() -> None:
    request = a_request(resources=MIXED)

    assert array_key(request) == request


def test_backends_that_can_not_run_one_refuse_it() -> None:
    with pytest.raises(Rejected, match="no heterogeneous jobs here"):
        refuse_components(a_request(resources=MIXED))


@pytest.mark.parametrize(
    ("text", "job"), [("12+3", ("12", 3)), ("12", ("12", 0)), ("12_3", ("12_3", 0)), ("+1", ("+1", 0))]
)
def test_the_number_of_a_component_is_read(text: str, job: tuple[str, int]) -> None:
    assert component_of(text) == job


def a_row(job: str, state: str) -> str:
    cells = (f"{job:24}", f"{state:16}", f"{0:<8}", f"{0:<6}", *(f"{'N/A':20}" for _ in range(3)), f"{'None':64}")
    return "".join((*cells, f"{'n' + job[-1]:64}", f"{f'el.{INSTANCE}.{FIRST}':48}"))


def test_a_listing_shows_one_job_on_all_its_nodes() -> None:
    rows = "\n".join((a_row("12+1", "RUNNING"), a_row("12+0", "RUNNING"), ""))

    (record,) = parse_listing(rows, INSTANCE).values()

    assert (record.job, record.state, record.nodes) == ("12", "RUNNING", "n0,n1")


def test_accounts_show_one_job() -> None:
    rows = "".join(
        f"12+{part}|{state}|0:0|2026-11-28T12:00:00|Unknown|Unknown|n{part}|el.{INSTANCE}.{FIRST}\n"
        for part, state in enumerate(("CANCELLED by 0", "NODE_FAIL"))
    )

    assert [(key, record.state) for key, record in parse_accounts(rows, INSTANCE, uid=0).items()] == [
        (JobKey("12", FIRST), "NODE_FAIL")
    ]


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        (("COMPLETED", "COMPLETED"), EndReason.COMPLETED),
        # the program runs on the first component: its end counts
        (("COMPLETED", "CANCELLED"), EndReason.COMPLETED),
        (("FAILED", "CANCELLED"), EndReason.FAILED),
        (("CANCELLED", "NODE_FAIL"), EndReason.NODE_FAILURE),
        (("FAILED", "PREEMPTED"), EndReason.PREEMPTED),
        (("TIMEOUT", "TIMEOUT"), EndReason.TIMEOUT),
        (("CANCELLED", "CANCELLED"), EndReason.CANCELLED),
    ],
)
def test_the_end_is_that_of_the_component_that_ended_the_others(states: tuple[str, str], reason: EndReason) -> None:
    records = [Record(job=f"12+{n}", name="", state=state, nodes=f"n{n}") for n, state in enumerate(states)]

    assert describe(whole(records), NativeId("12.x")).end_reason is reason
