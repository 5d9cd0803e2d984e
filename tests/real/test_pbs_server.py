"""The PBS backend on a real PBS, wherever one answers: what it asks for arrives, and every end is told as what it was.

docs/pbs.md says what they need, and how they are run.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from elisa.backends.conformance import CHECKS
from elisa.backends.under_test import BackendUnderTest
from elisa.model.errors import Rejected, SubmitUncertain
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import CancelOutcome, NativeState, Seen
from elisa.model.resources import Resources
from elisa.model.states import EndReason
from tests.backends.pbs.elisa_on_pbs import COUNTING
from tests.real.pbs_site import KILLS, PbsSite

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conforms(check: Callable[[BackendUnderTest], None], site: PbsSite) -> None:
    check(site.bench())


def test_job_gets_what_it_asks_for(site: PbsSite) -> None:
    resources = Resources(tasks_per_node=2, memory_mib_per_node=64, walltime_s=120)
    script = "wc -l < $PBS_NODEFILE; echo $OMP_NUM_THREADS; umask; echo $ELISA_NATIVE_ID"
    native_id = site.backend(umask="0027").submit(replace(site.job(1, script), resources=resources))

    assert site.end_of(native_id).end_reason is EndReason.COMPLETED
    assert site.output(1) == f"2\n1\n0027\n{native_id}\n"


def test_output_can_be_read_while_the_job_runs(site: PbsSite) -> None:
    native_id = site.backend().submit(site.job(1, "echo here; sleep 300"))
    site.bench().wait_for(native_id, NativeState.RUNNING)
    site.wait_for_output(1, "here\n")

    assert site.backend().cancel([native_id]) == {native_id: CancelOutcome.ASKED}


def test_running_job_gets_more_time_to_save_than_a_deletion_would_leave_it(site: PbsSite) -> None:
    backend = site.backend()
    if backend.user == "root":
        pytest.skip("a signal to a job of root's makes PBS forget it: run these tests as an ordinary user")
    script = "trap 'sleep 15; echo saved; exit 85' TERM; echo ready; while :; do sleep 0.2; done"
    native_id = backend.submit(site.job(1, script))
    site.wait_for_output(1, "ready\n")
    outcome = backend.ask_to_leave([native_id])
    end = site.end_of(native_id)

    assert outcome == {native_id: CancelOutcome.ASKED}
    assert (end.end_reason, end.exit_code) == (EndReason.FAILED, 85)
    assert site.output(1) == "ready\nsaved\n"


def test_successor_runs_after_success_and_never_after_failure(site: PbsSite) -> None:
    backend = site.backend()
    good, bad = backend.submit(site.job(1, "sleep 2")), backend.submit(site.job(2, "sleep 2; exit 3"))
    after_good = backend.submit(site.job(3, "exit 0", after=(good,)))
    after_bad = backend.submit(site.job(4, "exit 0", after=(bad,)))

    assert site.end_of(after_good).end_reason is EndReason.COMPLETED
    never = site.end_of(after_bad)
    assert (never.end_reason, never.started_at) == (EndReason.LOST, None)


def test_folder_that_is_missing_is_a_launch_failure(site: PbsSite) -> None:
    native_id = site.backend().submit(site.job(1, "exit 0", workdir=str(site.folder / "none")))

    assert site.end_of(native_id).end_reason is EndReason.BOOT_FAILURE


def test_held_job_waits_until_it_is_released(site: PbsSite) -> None:
    backend = site.backend()
    first = backend.submit(site.job(1, "sleep 5"))
    second = backend.submit(site.job(2, "exit 0", extras=(("begin", time.strftime("%y%m%d2359.59")[2:]),)))
    backend.reorder({second: 2})

    assert backend.hold([second]) == {second}
    assert backend.release([second]) == {second}
    assert site.end_of(first).end_reason is EndReason.COMPLETED


def test_job_runs_on_the_host_that_it_names(site: PbsSite) -> None:
    node = next(node.name for node in site.backend().cluster().nodes if node.cpus)
    native_id = site.backend().submit(
        replace(site.job(1, "exit 0"), resources=Resources(walltime_s=60, nodelist=(node,)))
    )

    assert site.end_of(native_id).end_reason is EndReason.COMPLETED


def test_place_that_groups_by_a_resource_is_taken(site: PbsSite) -> None:
    native_id = site.backend().submit(site.job(1, "exit 0", extras=(("place", "free:group=host"),)))

    assert site.end_of(native_id).end_reason is EndReason.COMPLETED


def test_job_runs_in_the_reservation_that_it_names_and_no_other_is_sent_there(site: PbsSite) -> None:
    begin = time.strftime("%H%M", time.localtime(time.time() + 60))
    made = subprocess.run(
        ["pbs_rsub", "-R", begin, "-D", "00:03:00", "-l", "select=1:ncpus=1", "-I", "30"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"this site lets its users make no reservations: {made.stderr.strip()}")
    reservation = made.stdout.partition(".")[0]
    native_id = site.backend().submit(site.job(1, "echo $PBS_QUEUE", reservation=reservation))
    end = site.end_of(native_id)
    names = {partition.name for partition in site.backend().cluster().partitions}
    known = site.backend().reservations()
    subprocess.run(["pbs_rdel", reservation], capture_output=True, check=False)

    assert end.end_reason is EndReason.COMPLETED
    assert site.output(1) == f"{reservation}\n"
    assert reservation not in names
    assert known[reservation]


def test_queue_that_is_missing_rejects(site: PbsSite) -> None:
    with pytest.raises(Rejected):
        site.backend().submit(site.job(1, "exit 0", partition="nosuchqueue"))


def test_job_is_found_by_a_short_name(site: PbsSite) -> None:
    backend = site.backend(name_limit=15)
    native_id = backend.submit(site.job(int(time.time()) % 10**8, "exit 0"))
    tag = AttemptId(".".join(native_id.split(".")[-2:]))

    assert backend.find([tag]).ids == {tag: (native_id,)}


def test_matrix_is_one_array_whose_elements_are_told_apart(site: PbsSite) -> None:
    backend, bench = site.backend(), site.bench()
    requests = [site.job(number, f"echo {number}; exit $PBS_ARRAY_INDEX", at_once=2) for number in range(1, 6)]
    ids = backend.submit_array(requests)
    found = site.backend().find([request.attempt for request in requests]).ids

    assert {tag: (native_id,) for tag, native_id in ids.items()} == found
    assert [bench.end_of(native_id).exit_code for native_id in ids.values()] == [0, 1, 2, 3, 4]
    assert [site.output(number) for number in range(1, 6)] == [f"{number}\n" for number in range(1, 6)]


def test_one_element_is_cancelled_and_the_others_run_on(site: PbsSite) -> None:
    backend, bench = site.backend(), site.bench()
    script = f"while [ ! -e {site.folder}/go ]; do sleep 0.2; done"
    ids = list(backend.submit_array([site.job(number, script) for number in range(1, 4)]).values())
    bench.wait_for(ids[1], NativeState.RUNNING)
    outcome = backend.cancel([ids[1]])
    (site.folder / "go").touch()

    assert outcome == {ids[1]: CancelOutcome.ASKED}
    assert [bench.end_of(native_id).end_reason for native_id in ids] == [
        EndReason.COMPLETED,
        EndReason.CANCELLED,
        EndReason.COMPLETED,
    ]


def test_what_follows_a_whole_array_runs_after_it(site: PbsSite) -> None:
    backend = site.backend()
    ids = list(backend.submit_array([site.job(number, "sleep 2") for number in (1, 2)]).values())
    after = backend.submit(site.job(3, "exit 0", after=tuple(ids)))

    assert site.end_of(after).end_reason is EndReason.COMPLETED
    assert [site.end_of(native_id).end_reason for native_id in ids] == [EndReason.COMPLETED] * 2


def test_successor_of_what_is_over_is_not_handed_over(site: PbsSite) -> None:
    over = site.backend().submit(site.job(1, "exit 3"))
    site.end_of(over)

    for before in (over, NativeId("999999.none.t00000000z.1")):
        with pytest.raises(Rejected):
            site.backend().submit(site.job(2, "exit 0", after=(before,)))


def test_many_jobs_are_one_question(site: PbsSite) -> None:
    backend, bench = site.backend(), site.bench()
    ids = [backend.submit(site.job(number, "exit 0")) for number in range(60)]
    began = time.monotonic()
    poll = backend.poll(ids)
    took_s = time.monotonic() - began

    assert all(isinstance(bench.observe(native_id), Seen) for native_id in ids[:2])
    assert took_s < 2.0, poll
    tags = [site.attempt(number) for number in range(60)]
    assert backend.find(tags).ids == {tag: (native_id,) for tag, native_id in zip(tags, ids, strict=True)}


def test_qsub_killed_at_any_moment_leaves_at_most_one_job_that_is_found(site: PbsSite) -> None:
    backend, known = site.backend(), dict[AttemptId, NativeId]()
    backend.cluster()  # so that only qsub is in a hurry
    for number in range(KILLS):
        backend.options = replace(backend.options, submit_timeout_s=0.001 + 0.029 * number / KILLS)
        with suppress(SubmitUncertain):
            known[site.attempt(number)] = backend.submit(site.job(number, "exit 0"))
    # of those that were killed the server has taken what it will once it has run one that came after them
    site.end_of(site.backend().submit(site.job(KILLS, "exit 0")))
    found = site.backend().find([site.attempt(number) for number in range(KILLS)]).ids

    print(f"{KILLS} kills: {len(known)} ids printed, {len(found)} jobs there")  # noqa: T201 - for docs/measurements.md
    assert {len(ids) for ids in found.values()} == {1}
    assert {tag: found[tag][0] for tag in known} == known


def test_pipeline_runs_to_its_end_once(site: PbsSite) -> None:
    elisa = site.elisa()
    pipeline = elisa.submit(COUNTING)
    elisa.tick_to_the_end(within_s=300.0)

    assert set(elisa.states().values()) == {"succeeded"}
    assert elisa.lines(pipeline, "count", "steps") == [str(step) for step in range(1, 21)]
    assert [len(elisa.handed_over(task)) for task in ("before", "count", "after")] == [1, 1, 1]
