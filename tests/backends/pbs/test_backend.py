"""The backend over answers from a script: what it asks, and what it makes of silence, outages and stale numbers."""

from __future__ import annotations

import pytest

from elisa.backends.pbs.options import PbsOptions
from elisa.backends.runner import Completed
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import Answered, CancelOutcome, Found, Gone, NativeState, Seen, Unreachable
from elisa.model.resources import Resources
from elisa.model.states import EndReason
from tests.backends.pbs.bench import ScriptedRunner, a_request, attempt, observed, recorded, scripted_backend

RUNNING = NativeId("2035.vm.t00000000f.1")
DONE = NativeId("2021.vm.t000000001.1")
UNKNOWN = NativeId("999999.vm.t00000000z.1")
OLD_QSTAT = Completed(exit_code=2, stderr="qstat: invalid option -- 'E'\nusage: qstat ...\n")
DOWN = recorded("serverdown_qstat")
CLUSTER = {"pbsnodes": recorded("pbsnodes-busy")}


def seen(poll: object, native_id: NativeId) -> Seen:
    assert isinstance(poll, Answered)
    observation = poll.observations[native_id]
    assert isinstance(observation, Seen)
    return observation


# submit


def test_a_job_that_is_to_follow_another_asks_whether_that_one_lives() -> None:
    runner = ScriptedRunner({"qstat": recorded("qstat-jobs"), "qsub": "2040.vm\n", **CLUSTER})
    backend = scripted_backend(runner, {"dialect": "openpbs"})

    assert backend.submit(a_request("2", after=(RUNNING,))) == NativeId("2040.vm.t000000002.1")
    assert [argv[0] for argv in runner.asked] == ["pbsnodes", "qstat", "qsub"]
    assert "depend=afterok:2035.vm" in runner.asked[-1]


@pytest.mark.parametrize("before", [DONE, UNKNOWN], ids=["ended", "unknown"])
def test_a_job_that_is_to_follow_what_is_over_is_not_handed_over(before: NativeId) -> None:
    runner = ScriptedRunner({"qstat": recorded("qstat-jobs"), "qsub": "2040.vm\n", **CLUSTER})

    with pytest.raises(Rejected, match="has ended already, or is not known"):
        scripted_backend(runner, {"dialect": "openpbs"}).submit(a_request("2", after=(RUNNING, before)))
    assert "qsub" not in [argv[0] for argv in runner.asked]


def test_a_job_that_is_to_follow_another_waits_while_nobody_can_tell() -> None:
    runner = ScriptedRunner({"qstat": DOWN, "qsub": "2040.vm\n", **CLUSTER})

    with pytest.raises(Unavailable):
        scripted_backend(runner, {"dialect": "openpbs"}).submit(a_request("2", after=(RUNNING,)))
    assert "qsub" not in [argv[0] for argv in runner.asked]


# poll


def test_poll_asks_one_question_for_all_jobs() -> None:
    runner = ScriptedRunner({"qstat": recorded("qstat-jobs")})

    poll = scripted_backend(runner, {"dialect": "openpbs"}).poll([RUNNING, DONE, UNKNOWN, NativeId("nonsense")])

    assert runner.asked == [("qstat", "-x", "-E", "-f", "2021.vm", "2035.vm", "999999.vm")]
    assert runner.environments == [{"TZ": "UTC"}]
    assert seen(poll, RUNNING).state is NativeState.RUNNING
    assert seen(poll, DONE).end_reason is EndReason.COMPLETED
    assert isinstance(poll, Answered)
    assert poll.observations[UNKNOWN] == Gone(native_id=UNKNOWN)
    assert poll.observations[NativeId("nonsense")] == Gone(native_id=NativeId("nonsense"))


def test_poll_about_nothing_asks_nothing() -> None:
    runner = ScriptedRunner({})

    assert scripted_backend(runner).poll([]) == Answered(observations={})
    assert runner.asked == []


def test_a_number_used_again_is_gone() -> None:
    runner = ScriptedRunner({"qstat": recorded("qstat-jobs")})
    stale = NativeId("2035.vm.t000000001.1")

    assert observed(scripted_backend(runner, {"dialect": "openpbs"}), stale) == Gone(native_id=stale)


def test_a_job_that_named_itself_is_known_without_its_attempt() -> None:
    runner = ScriptedRunner({"qstat": recorded("qstat-jobs")})

    assert isinstance(observed(scripted_backend(runner, {"dialect": "openpbs"}), NativeId("2035.vm")), Seen)


def test_the_dialect_is_asked_for_once() -> None:
    runner = ScriptedRunner({"qstat": [recorded("qstat-version"), recorded("qstat-jobs")]})
    backend = scripted_backend(runner)
    backend.poll([RUNNING])
    backend.poll([RUNNING])

    assert [argv[1:3] for argv in runner.asked] == [("--version",), ("-x", "-E"), ("-x", "-E")]


def test_a_server_without_history_is_asked_again_and_remembered() -> None:
    answers = [recorded("qstat-express-no-history"), recorded("qstat-express-mixed"), recorded("qstat-express-mixed")]
    runner = ScriptedRunner({"qstat": answers})
    backend = scripted_backend(runner, {"dialect": "openpbs"})
    poll = backend.poll([RUNNING, UNKNOWN])
    backend.poll([RUNNING])

    assert seen(poll, RUNNING).state is NativeState.RUNNING
    assert [argv[1:3] for argv in runner.asked] == [("-x", "-E"), ("-E", "-f"), ("-E", "-f")]


def test_history_may_be_known_to_be_off() -> None:
    runner = ScriptedRunner({"qstat": recorded("qstat-express-mixed")})
    backend = scripted_backend(runner, {"dialect": "openpbs", "history": "no"})
    backend.poll([RUNNING])

    assert runner.asked == [("qstat", "-E", "-f", "2035.vm")]
    assert not backend.capabilities.accounting


def test_an_old_qstat_is_asked_about_each_job() -> None:
    runner = ScriptedRunner({"qstat": [OLD_QSTAT, recorded("qstat-each-mixed")]})
    backend = scripted_backend(runner, {"dialect": "openpbs"})
    poll = backend.poll([RUNNING, UNKNOWN])

    assert seen(poll, RUNNING).state is NativeState.RUNNING
    assert runner.asked[1] == ("qstat", "-x", "-f", "2035.vm", "999999.vm")


def test_torque_is_asked_about_all_live_jobs_where_many_are_meant() -> None:
    text = "".join(f"Job Id: {n}.host\n    Job_Name = el.ab12.t000000001.1\n    job_state = R\n\n" for n in range(25))
    runner = ScriptedRunner({"qstat": text})
    ids = [NativeId(f"{number}.host.t000000001.1") for number in range(30)]
    poll = scripted_backend(runner, {"dialect": "torque"}).poll(ids)

    assert runner.asked == [("qstat", "-f")]
    assert isinstance(poll, Answered)
    assert [isinstance(poll.observations[native_id], Seen) for native_id in ids] == [True] * 25 + [False] * 5


def test_old_openpbs_is_asked_about_finished_ones_one_by_one() -> None:
    text = "".join(f"Job Id: {n}.vm\n    Job_Name = el.ab12.t000000001.1\n    job_state = R\n\n" for n in range(25))
    finished = "Job Id: 26.vm\n    Job_Name = el.ab12.t000000001.1\n    job_state = F\n    Exit_status = 3\n\n"
    gone = "".join(f"qstat: Unknown Job Id {n}.vm\n" for n in (25, 27))
    runner = ScriptedRunner({"qstat": [OLD_QSTAT, text, Completed(exit_code=153, stdout=finished, stderr=gone)]})
    ids = [NativeId(f"{number}.vm.t000000001.1") for number in range(28)]
    poll = scripted_backend(runner, {"dialect": "openpbs"}).poll(ids)

    assert [argv[1:] for argv in runner.asked[1:]] == [("-f",), ("-x", "-f", "25.vm", "26.vm", "27.vm")]
    assert seen(poll, ids[26]).exit_code == 3
    assert isinstance(poll, Answered)
    assert poll.observations[ids[27]] == Gone(native_id=ids[27])


@pytest.mark.parametrize(
    "answer",
    [
        DOWN,
        Completed(exit_code=None, timed_out=True, stderr="no answer within 60 s"),
        Completed(exit_code=0, stdout="the cluster is under maintenance until 18:00\n"),
        Completed(exit_code=0),
    ],
)
def test_an_outage_concludes_nothing(answer: Completed) -> None:
    backend = scripted_backend(ScriptedRunner({"qstat": answer}), {"dialect": "openpbs"})

    assert isinstance(backend.poll([RUNNING]), Unreachable)
    assert backend.cancel([RUNNING]) == {RUNNING: CancelOutcome.FAILED}


def test_no_pbs_at_all_is_an_outage() -> None:
    runner = ScriptedRunner({"qstat": Completed(exit_code=None, stderr="qstat: [Errno 2] No such file or directory")})

    got = scripted_backend(runner).poll([RUNNING])

    assert got == Unreachable(what="PBS is not here: qstat: [Errno 2] No such file or directory")


def test_a_server_that_got_another_name_is_asked_by_number() -> None:
    # OpenPBS of 2026, which prints what it knows of the others before
    strange = Completed(exit_code=1, stderr="qstat: illegally formed job identifier: 2035.old\n")
    runner = ScriptedRunner({"qstat": [strange, recorded("qstat-jobs")], "qdel": ""})
    backend = scripted_backend(runner, {"dialect": "openpbs"})
    renamed = NativeId("2035.old.t00000000f.1")
    poll = backend.poll([renamed, DONE])
    backend.cancel([renamed])

    assert seen(poll, renamed).state is NativeState.RUNNING
    assert [argv[-2:] for argv in runner.asked[:2]] == [("2021.vm", "2035.old"), ("2021.vm", "2035")]
    assert runner.asked[-1] == ("qdel", "2035")


def test_a_job_that_qstat_skipped_is_unknown() -> None:
    runner = ScriptedRunner({"qstat": [OLD_QSTAT, recorded("qstat-each-mixed")]})
    skipped = NativeId("7.vm.t000000001.1")
    poll = scripted_backend(runner, {"dialect": "openpbs"}).poll([RUNNING, skipped])

    assert (seen(poll, skipped).state, seen(poll, skipped).raw) == (
        NativeState.UNKNOWN,
        "qstat said nothing about it",
    )


# cancel


def test_only_live_jobs_that_are_ours_are_deleted() -> None:
    runner = ScriptedRunner({"qstat": recorded("qstat-jobs"), "qdel": ""})
    stale = NativeId("2036.vm.t000000001.1")
    got = scripted_backend(runner, {"dialect": "openpbs"}).cancel([RUNNING, DONE, UNKNOWN, stale])

    assert runner.asked[-1] == ("qdel", "2035.vm")
    assert got == {
        RUNNING: CancelOutcome.ASKED,
        DONE: CancelOutcome.ALREADY_GONE,
        UNKNOWN: CancelOutcome.ALREADY_GONE,
        stale: CancelOutcome.ALREADY_GONE,
    }


def test_what_qdel_did_not_speak_of_is_asked_for_alone() -> None:
    mixed = Completed(exit_code=35, stderr="qdel: Job has finished 2035.vm\n")
    runner = ScriptedRunner({"qstat": recorded("qstat-jobs"), "qdel": [mixed, Completed(exit_code=0)]})
    waiting = NativeId("2036.vm.t00000000j.1")
    got = scripted_backend(runner, {"dialect": "openpbs"}).cancel([RUNNING, waiting])

    assert [argv for argv in runner.asked if argv[0] == "qdel"] == [
        ("qdel", "2035.vm", "2036.vm"),
        ("qdel", "2036.vm"),
    ]
    assert got == {RUNNING: CancelOutcome.ALREADY_GONE, waiting: CancelOutcome.ASKED}


# find


def test_find_asks_for_each_of_a_few_names() -> None:
    runner = ScriptedRunner({"qselect": [recorded("qselect-name"), recorded("qselect-none")]})
    got = scripted_backend(runner, {"dialect": "openpbs"}).find([attempt("1"), attempt("z")])

    ids = (NativeId("2009.vm.t000000001.1"), NativeId("2021.vm.t000000001.1"))
    assert got == Found(ids={attempt("1"): ids}, complete=True)
    assert runner.asked == [
        ("qselect", "-x", "-u", "ada", "-N", "el.ab12.t000000001.1"),
        ("qselect", "-x", "-u", "ada", "-N", "el.ab12.t00000000z.1"),
        ("qselect", "-x", "-u", "ada"),  # it might be in an array
    ]


def test_find_lists_all_jobs_of_the_user_for_many_names() -> None:
    all_jobs = "".join(f"{number}.vm\n" for number in range(2021, 2043)) + "3000[].vm\n"
    runner = ScriptedRunner({"qselect": all_jobs, "qstat": recorded("qstat-jobs")})
    tags = [attempt(character) for character in "123456789abcdz"]
    got = scripted_backend(runner, {"dialect": "openpbs"}).find(tags)

    assert [argv[0] for argv in runner.asked] == ["qselect", "qstat"]
    assert got.complete
    assert got.ids.keys() == set(tags) - {attempt("z")}
    assert got.ids[attempt("1")] == (DONE,)


def test_find_without_history_looks_among_the_living() -> None:
    runner = ScriptedRunner({"qselect": [recorded("qselect-no-history"), recorded("qselect-none")]})
    got = scripted_backend(runner, {"dialect": "openpbs"}).find([attempt("z")])

    assert got == Found(ids={}, complete=True)
    assert runner.asked[1:] == [
        ("qselect", "-u", "ada", "-N", "el.ab12.t00000000z.1"),
        ("qselect", "-u", "ada"),
    ]


@pytest.mark.parametrize(
    "answer", [Completed(exit_code=162, stderr="cannot connect\n"), Completed(exit_code=0, stdout="try later\n")]
)
def test_find_without_an_answer_is_unavailable(answer: Completed) -> None:
    with pytest.raises(Unavailable):
        scripted_backend(ScriptedRunner({"qselect": answer}), {"dialect": "openpbs"}).find([attempt("1")])


def test_find_of_nothing_asks_nothing() -> None:
    assert scripted_backend(ScriptedRunner({})).find([]) == Found(ids={}, complete=True)


# submit


def test_submit_looks_once_at_the_nodes_and_once_submits() -> None:
    runner = ScriptedRunner({**CLUSTER, "qsub": recorded("qsub_ok")})
    backend = scripted_backend(runner, {"dialect": "openpbs"})

    assert [backend.submit(a_request(name)) for name in "12"] == ["2.vm.t000000001.1", "2.vm.t000000002.1"]
    assert [argv[0] for argv in runner.asked] == ["pbsnodes", "qsub", "qsub"]
    assert runner.inputs == [None, None, None]


def test_torque_gets_the_job_as_a_script() -> None:
    runner = ScriptedRunner({**CLUSTER, "qsub": "7.host\n"})

    assert scripted_backend(runner, {"dialect": "torque"}).submit(a_request()) == "7.host.t000000001.1"
    script = runner.inputs[-1]
    assert script is not None
    assert script.startswith("#!/bin/sh\ncd -- ")


def test_what_no_node_has_is_rejected_before_it_waits_for_ever() -> None:
    runner = ScriptedRunner({**CLUSTER, "qsub": recorded("qsub_ok")})

    with pytest.raises(Rejected, match="can ever run"):
        scripted_backend(runner, {"dialect": "openpbs"}).submit(a_request(resources=Resources(cpus_per_task=9)))
    assert [argv[0] for argv in runner.asked] == ["pbsnodes"]


def test_a_lost_answer_is_uncertain() -> None:
    runner = ScriptedRunner({**CLUSTER, "qsub": Completed(exit_code=None, timed_out=True)})

    with pytest.raises(SubmitUncertain):
        scripted_backend(runner, {"dialect": "openpbs"}).submit(a_request())


# cluster and capabilities


def test_cluster_is_read_in_three_questions() -> None:
    answers = [recorded("qstat-queues"), recorded("qstat-server")]
    runner = ScriptedRunner({"qstat": answers, "pbsnodes": recorded("pbsnodes-busy")})
    view = scripted_backend(runner, {"dialect": "openpbs"}).cluster()

    assert runner.asked == [("qstat", "-Q", "-f"), ("qstat", "-B", "-f"), ("pbsnodes", "-a")]
    assert [partition.name for partition in view.partitions if partition.is_default] == ["workq"]
    assert [node.name for node in view.nodes] == ["vm"]
    assert dict(view.licences) == {"matlab": 3}


@pytest.mark.parametrize(
    "answers",
    [
        {"qstat": DOWN},
        {"qstat": recorded("qstat-queues"), "pbsnodes": recorded("serverdown_pbsnodes")},
        {"qstat": "", "pbsnodes": recorded("pbsnodes-busy")},
        {"qstat": recorded("qstat-queues"), "pbsnodes": ""},
    ],
)
def test_a_cluster_that_does_not_say_what_it_has_is_unavailable(answers: dict[str, Completed | str]) -> None:
    with pytest.raises(Unavailable):
        scripted_backend(ScriptedRunner(answers)).cluster()


def test_stand_ins_of_slurm_are_no_pbs() -> None:
    # qstat of slurm-wlm-torque 22.05.8
    answer = Completed(exit_code=2, stderr="Unknown option: version\nUsage:\n    qstat [-f] [-a|-i|-r] [-n [-1]]\n")
    backend = scripted_backend(ScriptedRunner({"qstat": answer}))

    with pytest.raises(Unavailable, match="Slurm's stand-ins"):
        backend.cluster()
    assert isinstance(backend.poll([RUNNING]), Unreachable)


def test_capabilities() -> None:
    got = scripted_backend(ScriptedRunner({}), {"name_limit": 15}).capabilities

    assert (got.queues, got.dependencies, got.hold, got.accounting, got.max_name_length) == (True, True, True, True, 15)
    assert PbsOptions().name_limit == 230
