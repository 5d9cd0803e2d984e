from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from elisa.backends.pbs.arrays import array_argv, array_ids, parse_array, parse_table, render_table, table_in, table_of
from elisa.backends.pbs.identity import Names
from elisa.backends.pbs.options import PbsOptions
from elisa.backends.runner import Completed
from elisa.model.errors import AtLimit, Rejected, SubmitUncertain
from elisa.model.ids import NativeId
from elisa.model.native import Answered, CancelOutcome, Found, Gone, JobRequest, NativeState, Seen
from elisa.model.resources import Resources
from elisa.model.states import EndReason
from tests.backends.pbs.bench import Bench, ScriptedRunner, a_request, attempt, observed, scripted_backend, wait_until
from tests.fakes.pbs.recorded import RECORDINGS

NAMES = Names(instance="ab12", limit=230)


def three(**more: object) -> tuple[JobRequest, ...]:
    return tuple(a_request(name, **more) for name in "mpq")  # type: ignore[arg-type]  # a builder


def test_array_is_one_request_with_a_name_a_span_and_leave_to_be_run_again() -> None:
    argv = array_argv("qsub", three(), NAMES, PbsOptions())

    assert argv[:7] == ("qsub", "-N", "el.ab12.t00000000m.1+3", "-J", "0-2", "-r", "y")
    assert argv[-4:-1] == ("--", "/bin/sh", "-c")
    assert "/home/ada/run/array-3.sh" in argv[-1]


def test_as_many_run_at_once_as_the_author_allows() -> None:
    argv = array_argv("qsub", three(at_once=2), NAMES, PbsOptions())

    assert argv[argv.index("-J") + 1] == "0-2%2"


def test_what_asks_for_different_things_is_no_array() -> None:
    requests = (*three(), a_request("x", resources=Resources(cpus_per_task=2)))

    with pytest.raises(Rejected, match="different things"):
        array_argv("qsub", requests, NAMES, PbsOptions())


@pytest.mark.parametrize("folder", ["/home/ada", '/home/a\'; echo $(id) "x"/ü,,b\\c\nd', "/a<b>&c/%s"])
def test_table_is_found_again_in_the_command(folder: str) -> None:
    requests = [replace(request, stdout=f"{folder}/log") for request in three()]
    command = array_argv("qsub", requests, NAMES, PbsOptions())[-1]

    assert command.isascii()
    assert "\n" not in command
    assert table_in(command) == table_of(requests) == f"{folder}/array-3.sh"


def test_table_is_found_in_what_a_real_pbs_showed() -> None:
    # OpenPBS of 2026: qstat -f of an array whose command was: t="$(printf %b '/home/ada/x\\0040y')"; sleep 3
    shown = (
        "<jsdl-hpcpa:Argument>-c</jsdl-hpcpa:Argument><jsdl-hpcpa:Argument>"
        "t=&quot;$(printf %b &apos;/home/ada/x\\0040y&apos;)&quot;; sleep 3</jsdl-hpcpa:Argument>"
    )

    assert table_in(shown) == "/home/ada/x y"


def test_another_job_names_no_table() -> None:
    assert table_in("cd -- /home/ada && exec env python -m elisa.runtime") == ""


def test_table_tells_the_attempts_in_their_order() -> None:
    assert parse_table(render_table(three())) == (attempt("m"), attempt("p"), attempt("q"))


def test_elements_have_the_ids_of_their_array_and_of_its_first_attempt() -> None:
    assert array_ids("7[].vm", [attempt("m"), attempt("p")]) == {
        attempt("m"): NativeId("7[0].vm.t00000000m.1"),
        attempt("p"): NativeId("7[1].vm.t00000000p.1+t00000000m.1"),
    }


def test_answer_names_the_array() -> None:
    recording = RECORDINGS["qsub_arr_ops"]

    assert parse_array(Completed(exit_code=0, stdout=recording.stdout)) == "215[].vm"
    with pytest.raises(SubmitUncertain):
        parse_array(Completed(exit_code=0))


@pytest.mark.parametrize("name", ["qsuberr_array_big", "qsuberr_array_bad"])
def test_array_that_pbs_does_not_take_may_be_taken_in_parts(name: str) -> None:
    recording = RECORDINGS[name]

    with pytest.raises(AtLimit):
        parse_array(Completed(exit_code=recording.status, stderr=recording.stderr))


def test_torque_and_short_names_have_no_arrays() -> None:
    torque = scripted_backend(ScriptedRunner({}), {"dialect": "torque"})

    assert torque.capabilities.arrays == 0
    assert scripted_backend(ScriptedRunner({}), {"name_limit": 15}).capabilities.arrays == 0
    assert scripted_backend(ScriptedRunner({})).capabilities.arrays == 1000
    with pytest.raises(AtLimit):
        torque.submit_array(three())


def test_what_follows_an_element_waits_for_the_whole_array() -> None:
    before = (NativeId("7[1].vm.t00000000p.1+t00000000m.1"), NativeId("7[2].vm.t00000000q.1+t00000000m.1"))
    argv, _ = scripted_backend(ScriptedRunner({}), {"dialect": "openpbs"}).preview(a_request(after=before))

    assert argv[argv.index("-W") + 1] == "depend=afterok:7[].vm"


# Over pretended programs


def jobs(bench: Bench, script: str, names: str = "123", **more: object) -> list[JobRequest]:
    return [bench.job(f"echo {name} >>ran; {script}", name, **more) for name in names]


def ran(bench: Bench) -> list[str]:
    return sorted((bench.folder / "ran").read_text().split())


@pytest.mark.slow
def test_a_job_follows_a_whole_array_and_no_part_of_one(bench: Bench) -> None:
    bench.pbs.pause()
    ids = tuple(bench.backend().submit_array(jobs(bench, "exit 0")).values())
    bench.backend().submit(bench.job("exit 0", "4", after=ids))

    assert bench.pbs.jobs()["2"]["depend"] == "afterok:1[].vm"
    with pytest.raises(Rejected, match="not a part of it"):
        bench.backend().submit(bench.job("exit 0", "5", after=ids[1:]))


@pytest.mark.slow
def test_each_element_runs_its_own_attempt_and_ends_in_its_own_way(bench: Bench) -> None:
    requests = jobs(bench, "exit $PBS_ARRAY_INDEX")
    ids = bench.backend().submit_array(requests)
    ends = [bench.end_of(native_id) for native_id in ids.values()]

    assert list(ids) == [request.attempt for request in requests]
    assert [end.exit_code for end in ends] == [0, 1, 2]
    assert ran(bench) == ["1", "2", "3"]


@pytest.mark.slow
def test_elements_are_found_by_their_attempts_after_a_lost_answer(bench: Bench) -> None:
    bench.pbs.pause()
    bench.pbs.fault("qsub", "lose_answer")
    with pytest.raises(SubmitUncertain):
        bench.backend(submit_timeout_s=2.0).submit_array(jobs(bench, "exit 0"))
    alone = bench.backend().submit(bench.job("exit 0", "4"))
    tags = [attempt(name) for name in "1234z"]
    many = [*tags, *(attempt(name) for name in "abcdef")]
    expected = Found(
        ids={
            attempt("1"): (NativeId("1[0].vm.t000000001.1"),),
            attempt("2"): (NativeId("1[1].vm.t000000002.1+t000000001.1"),),
            attempt("3"): (NativeId("1[2].vm.t000000003.1+t000000001.1"),),
            attempt("4"): (alone,),
        },
        complete=True,
    )

    assert bench.backend().find(tags) == expected
    assert bench.backend().find(many) == expected


@pytest.mark.slow
def test_a_table_that_is_lost_leaves_the_search_incomplete(bench: Bench) -> None:
    bench.pbs.pause()
    bench.backend().submit_array(jobs(bench, "exit 0"))
    (bench.folder / "array-3.sh").unlink()

    assert bench.backend().find([attempt("2")]) == Found(ids={}, complete=False)


@pytest.mark.slow
def test_one_element_is_cancelled_and_the_others_run(bench: Bench) -> None:
    ids = list(bench.backend().submit_array(jobs(bench, "while [ ! -e go ]; do sleep 0.05; done")).values())
    bench.world().wait_for(ids[1], NativeState.RUNNING)
    outcome = bench.backend().cancel([ids[1]])
    (bench.folder / "go").touch()

    assert outcome == {ids[1]: CancelOutcome.ASKED}
    assert [bench.end_of(native_id).end_reason for native_id in ids] == [
        EndReason.COMPLETED,
        EndReason.CANCELLED,
        EndReason.COMPLETED,
    ]


@pytest.mark.slow
def test_an_array_has_one_place_in_the_queue_and_is_not_held_in_parts(bench: Bench) -> None:
    bench.pbs.pause()
    ids = list(bench.backend().submit_array(jobs(bench, "exit 0")).values())
    bench.backend().reorder(dict.fromkeys(ids, 1))

    assert bench.pbs.jobs()["1[]"]["options"]["p"] == "-30"
    assert bench.backend().hold(ids) == frozenset()


@pytest.mark.slow
def test_without_history_elements_are_gone_with_their_array(a_bench: Callable[..., Bench]) -> None:
    bench = a_bench(history=False)
    requests = [bench.job("exit 0", "1"), bench.job("while [ ! -e go ]; do sleep 0.05; done", "2")]
    ids = list(bench.backend().submit_array(requests).values())
    ended = bench.end_of(ids[0])
    (bench.folder / "go").touch()
    wait_until(lambda: not bench.pbs.jobs())

    assert ended.end_reason is EndReason.COMPLETED
    assert observed(bench.backend(), ids[0]) == Gone(native_id=ids[0])


@pytest.mark.slow
def test_a_missing_table_is_a_failure_to_start(bench: Bench) -> None:
    bench.pbs.pause()
    ids = list(bench.backend().submit_array(jobs(bench, "exit 0")).values())
    (bench.folder / "array-3.sh").unlink()
    bench.pbs.resume()
    poll = bench.backend().poll(ids)

    assert isinstance(poll, Answered)
    assert all(isinstance(seen, Seen) for seen in poll.observations.values())
    assert {bench.end_of(native_id).end_reason for native_id in ids} == {EndReason.BOOT_FAILURE}
