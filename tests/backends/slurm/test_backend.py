"""The backend over answers from a script: what it asks, and what it makes of silence, outages and stale numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from elisa.backends.runner import Completed
from elisa.backends.slurm.options import Accounting, SlurmOptions
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import Answered, CancelOutcome, Found, Gone, NativeState, Seen, Unreachable
from elisa.model.states import EndReason
from tests.backends.slurm.jobs import INSTANCE, ScriptedRunner, a_request, attempt, backend_with, recording
from tests.builders import NOW

VERSION = "24.11.5"
LISTED = recording("squeue", VERSION)
DOWN = Completed(exit_code=1, stderr="slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")
NO_ACCOUNTS = Completed(exit_code=1, stderr="Slurm accounting storage is disabled\n")
ACCOUNTS_DOWN = Completed(exit_code=1, stderr="sacct: error: Problem talking to the database: Connection refused\n")

FAILED = NativeId("1.t000000001.1")
HELD = NativeId("5.t000000005.1")
CANCELLED = NativeId("4.t000000004.1")
FORGOTTEN = NativeId("99.t00000000z.1")


def seen(poll: object, native_id: NativeId) -> Seen:
    assert isinstance(poll, Answered)
    observation = poll.observations[native_id]
    assert isinstance(observation, Seen)
    return observation


def forgotten(state: str, name: str = "el.ab12.t00000000z.1") -> str:
    return f"99|{state}|0:0|2026-11-24T02:00:00|2026-11-24T02:00:01|2026-11-24T02:10:00|n1|{name}\n"


# poll


def test_poll_asks_one_question_for_all_jobs() -> None:
    runner = ScriptedRunner({"squeue": LISTED})

    poll = backend_with(runner).poll([FAILED, HELD])

    assert runner.programs() == ["squeue"]
    assert runner.environments == [{"TZ": "UTC"}]
    assert (seen(poll, FAILED).end_reason, seen(poll, FAILED).exit_code) == (EndReason.FAILED, 3)
    assert seen(poll, HELD).state is NativeState.HELD


def test_poll_about_nothing_asks_nothing() -> None:
    runner = ScriptedRunner({})

    assert backend_with(runner).poll([]) == Answered(observations={})
    assert runner.asked == []


def test_only_jobs_that_squeue_lacks_are_looked_up_in_accounting() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": forgotten("TIMEOUT")})

    poll = backend_with(runner).poll([FAILED, FORGOTTEN])

    assert runner.asked[1][-1] == "--jobs=99"
    assert seen(poll, FORGOTTEN).end_reason is EndReason.TIMEOUT


def test_job_that_neither_knows_is_gone() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": ""})

    assert backend_with(runner).poll([FORGOTTEN]) == Answered(observations={FORGOTTEN: Gone(native_id=FORGOTTEN)})


def test_job_that_accounting_believes_alive_is_gone_all_the_same() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": forgotten("RUNNING")})

    assert backend_with(runner).poll([FORGOTTEN]) == Answered(observations={FORGOTTEN: Gone(native_id=FORGOTTEN)})


def test_number_that_another_job_has_now_is_gone() -> None:
    reused = NativeId("1.t00000000z.1")
    runner = ScriptedRunner({"squeue": LISTED, "sacct": ""})

    assert backend_with(runner).poll([reused]) == Answered(observations={reused: Gone(native_id=reused)})


def test_account_of_another_job_with_the_same_number_is_not_believed() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": forgotten("COMPLETED", "el.ab12.t00000000z.2")})

    assert backend_with(runner).poll([FORGOTTEN]) == Answered(observations={FORGOTTEN: Gone(native_id=FORGOTTEN)})


def test_id_that_slurm_never_gave_out_is_gone() -> None:
    runner = ScriptedRunner({"squeue": LISTED})
    strange = NativeId("local-7")

    assert backend_with(runner).poll([strange]) == Answered(observations={strange: Gone(native_id=strange)})


def test_site_without_accounting_leaves_a_purged_job_gone() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": NO_ACCOUNTS})

    assert backend_with(runner).poll([FORGOTTEN]) == Answered(observations={FORGOTTEN: Gone(native_id=FORGOTTEN)})


def test_accounting_that_does_not_answer_leaves_a_purged_job_unknown() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": ACCOUNTS_DOWN})

    poll = backend_with(runner).poll([FAILED, FORGOTTEN])

    assert seen(poll, FORGOTTEN).state is NativeState.UNKNOWN
    assert seen(poll, FAILED).state is NativeState.ENDED


def cancelled_unbegun(ago_s: float, nodes: str = "n1", exit_code: str = "0") -> str:
    """Return squeue's row of FORGOTTEN, which was cancelled so long ago, when it had nodes and its script had not begun."""
    when = f"{NOW - timedelta(seconds=ago_s):%Y-%m-%dT%H:%M:%S}"
    cells = {
        "99": 24,
        "CANCELLED": 16,
        exit_code: 8,
        " 0": 6,
        when: 20,
        f" {when}": 20,
        f"  {when}": 20,
        "None": 64,
        f" {nodes}": 64,
    }
    return "".join(cell.strip().ljust(width) for cell, width in cells.items()) + "el.ab12.t00000000z.1\n"


@pytest.mark.parametrize(
    ("account", "is_managers_doing", "is_unexplained"),
    [
        (forgotten("CANCELLED by 0"), True, False),
        (forgotten("CANCELLED by 1000"), False, False),
        (NO_ACCOUNTS, False, True),
        ("", False, True),
    ],
    ids=["by Slurm or root", "by its owner", "no accounts are kept", "without a record"],
)
def test_who_cancelled_a_job_before_its_script_began_is_looked_up(
    account: str | Completed, *, is_managers_doing: bool, is_unexplained: bool
) -> None:
    runner = ScriptedRunner({"squeue": cancelled_unbegun(ago_s=60), "sacct": account})

    found = seen(backend_with(runner).poll([FORGOTTEN]), FORGOTTEN)

    told = (found.end_reason, found.is_managers_doing, found.is_unexplained)
    assert told == (EndReason.CANCELLED, is_managers_doing, is_unexplained)


def test_roots_own_job_that_was_cancelled_before_its_script_began_may_have_been_slurms_doing() -> None:
    runner = ScriptedRunner({"squeue": cancelled_unbegun(ago_s=60), "sacct": forgotten("CANCELLED by 0")})

    found = seen(replace(backend_with(runner), uid=0).poll([FORGOTTEN]), FORGOTTEN)

    assert (found.is_managers_doing, found.is_unexplained) == (False, True)


@pytest.mark.parametrize(("nodes", "exit_code"), [("", "0"), ("n1", "15")], ids=["while it waited", "once it ran"])
def test_job_that_was_cancelled_while_it_waited_or_ran_was_somebodys_wish(nodes: str, exit_code: str) -> None:
    runner = ScriptedRunner({"squeue": cancelled_unbegun(60, nodes, exit_code)})

    found = seen(backend_with(runner, SlurmOptions(accounting=Accounting.NO)).poll([FORGOTTEN]), FORGOTTEN)

    assert (found.end_reason, found.is_unexplained) == (EndReason.CANCELLED, False)


@pytest.mark.parametrize(
    ("account", "raw"),
    [
        (forgotten("RUNNING"), "CANCELLED; sacct does not know of it yet"),
        ("", "CANCELLED; sacct does not know of it yet"),
        (ACCOUNTS_DOWN, "CANCELLED; sacct can't be asked"),
    ],
    ids=["an old record", "no record yet", "nobody to ask"],
)
def test_until_accounts_say_who_cancelled_it_such_a_job_is_unknown(account: str | Completed, raw: str) -> None:
    runner = ScriptedRunner({"squeue": cancelled_unbegun(ago_s=5), "sacct": account})

    found = seen(backend_with(runner).poll([FORGOTTEN]), FORGOTTEN)

    assert (found.state, found.raw) == (NativeState.UNKNOWN, raw)


def test_where_no_accounts_are_kept_nobody_is_waited_for_to_say_who_cancelled_it() -> None:
    runner = ScriptedRunner({"squeue": cancelled_unbegun(ago_s=0)})

    found = seen(backend_with(runner, SlurmOptions(accounting=Accounting.NO)).poll([FORGOTTEN]), FORGOTTEN)

    assert (found.end_reason, found.is_unexplained) == (EndReason.CANCELLED, True)


def test_site_that_says_it_has_accounting_is_believed_over_slurms_words() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": NO_ACCOUNTS})

    poll = backend_with(runner, SlurmOptions(accounting=Accounting.YES)).poll([FORGOTTEN])

    assert seen(poll, FORGOTTEN).state is NativeState.UNKNOWN


def test_accounting_can_be_switched_off() -> None:
    runner = ScriptedRunner({"squeue": LISTED})
    backend = backend_with(runner, SlurmOptions(accounting=Accounting.NO))

    assert backend.poll([FORGOTTEN]) == Answered(observations={FORGOTTEN: Gone(native_id=FORGOTTEN)})
    assert backend.find([attempt("z")]) == Found(ids={}, complete=True)
    assert not backend.capabilities.accounting


@pytest.mark.parametrize(
    "answer",
    [
        DOWN,
        Completed(exit_code=None, stderr="no answer within 60 s", timed_out=True),
        Completed(exit_code=None, stderr="squeue: No such file or directory"),
        Completed(exit_code=0, stdout="Welcome!\n"),
        Completed(exit_code=0, stdout=LISTED[:-5]),
    ],
)
def test_silence_and_garbage_conclude_nothing(answer: Completed) -> None:
    poll = backend_with(ScriptedRunner({"squeue": answer})).poll([FAILED])

    assert isinstance(poll, Unreachable)
    assert poll.what


def test_thousands_of_purged_jobs_are_asked_about_in_lines_that_fit() -> None:
    runner = ScriptedRunner({"squeue": "", "sacct": ""})

    backend_with(runner).poll([NativeId(f"{number}.t000000001.1") for number in range(1, 2501)])

    assert runner.programs() == ["squeue", "sacct", "sacct", "sacct"]
    assert max(len(word) for argv in runner.asked for word in argv) < 128 * 1024


# find


def test_job_is_found_by_its_tag_alive_or_ended() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": forgotten("COMPLETED")})

    found = backend_with(runner).find([attempt("1"), attempt("5"), attempt("z"), attempt("y")])

    assert found == Found(
        ids={attempt("1"): (FAILED,), attempt("5"): (HELD,), attempt("z"): (FORGOTTEN,)}, complete=True
    )


def test_note_of_a_refused_job_is_not_found() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": ""})

    assert "BadConstraints" in LISTED
    assert backend_with(runner).find([attempt("b")]) == Found(ids={}, complete=True)


def test_every_job_with_the_tag_is_named() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": forgotten("RUNNING", f"el.{INSTANCE}.t000000001.1")})

    assert backend_with(runner).find([attempt("1")]).ids == {attempt("1"): (FAILED, NativeId("99.t000000001.1"))}


def test_search_without_an_answer_from_accounting_is_not_complete() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": ACCOUNTS_DOWN})

    assert backend_with(runner).find([attempt("z")]) == Found(ids={}, complete=False)


def test_search_on_a_site_without_accounting_is_complete() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": NO_ACCOUNTS})

    assert backend_with(runner).find([attempt("z")]) == Found(ids={}, complete=True)


def test_search_of_a_controller_that_is_down_says_so() -> None:
    with pytest.raises(Unavailable, match="connect failure"):
        backend_with(ScriptedRunner({"squeue": DOWN})).find([attempt("1")])


def test_search_for_nothing_asks_nothing() -> None:
    assert backend_with(ScriptedRunner({})).find([]) == Found(ids={}, complete=True)


# cancel


def test_only_living_jobs_that_still_carry_their_tag_are_cancelled() -> None:
    reused = NativeId("3.t00000000z.1")
    runner = ScriptedRunner({"squeue": LISTED, "scancel 5": ""})

    outcomes = backend_with(runner).cancel([HELD, CANCELLED, FORGOTTEN, reused])

    assert runner.asked[1] == ("scancel", "5")
    assert outcomes == {
        HELD: CancelOutcome.ASKED,
        CANCELLED: CancelOutcome.ALREADY_GONE,
        FORGOTTEN: CancelOutcome.ALREADY_GONE,
        reused: CancelOutcome.ALREADY_GONE,
    }


def test_cancelling_fails_while_the_controller_is_down() -> None:
    assert backend_with(ScriptedRunner({"squeue": DOWN})).cancel([HELD]) == {HELD: CancelOutcome.FAILED}


def test_refused_cancellation_is_a_failure() -> None:
    refused = Completed(exit_code=1, stderr="scancel: error: Kill job error on job id 5: Access/permission denied\n")
    runner = ScriptedRunner({"squeue": LISTED, "scancel 5": refused})

    assert backend_with(runner).cancel([HELD]) == {HELD: CancelOutcome.FAILED}


# hold, release


def test_only_living_jobs_that_still_carry_their_tag_are_held() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "scontrol uhold 5": ""})
    got = backend_with(runner).hold([HELD, CANCELLED, FORGOTTEN, NativeId("3.t00000000z.1")])

    assert [argv for argv in runner.asked if argv[0] == "scontrol"] == [("scontrol", "uhold", "5")]
    assert got == {HELD}


def test_hold_of_an_operator_is_not_released() -> None:
    runner = ScriptedRunner({"squeue": LISTED.replace("JobHeldUser", "JobHeldAdmin")})

    assert backend_with(runner).release([HELD]) == {HELD}
    assert runner.programs() == ["squeue"]


def test_job_that_slurm_would_not_release_is_still_held() -> None:
    refused = Completed(exit_code=1, stderr="Access/permission denied for job 5\n")
    runner = ScriptedRunner({"squeue": LISTED, "scontrol release 5": refused})

    assert backend_with(runner).release([HELD]) == frozenset()


def test_nothing_is_held_while_the_controller_is_down() -> None:
    with pytest.raises(Unavailable):
        backend_with(ScriptedRunner({"squeue": DOWN})).hold([HELD])
    with pytest.raises(Unavailable):
        backend_with(ScriptedRunner({"squeue": LISTED, "scontrol uhold 5": DOWN})).hold([HELD])


# submit, cluster


def test_submission_hands_over_script_and_environment_and_returns_the_id() -> None:
    runner = ScriptedRunner({"sbatch": "4711\n"})

    native_id = backend_with(runner).submit(a_request(environment=(("PATH", "/usr/bin"), ("A", "1,2"))))

    assert native_id == NativeId("4711.t000000001.1")
    assert runner.inputs[0] is not None
    assert runner.inputs[0].startswith("#!/bin/sh\nexport ELISA_NATIVE_ID=")
    assert runner.environments == [{"LC_ALL": "C.UTF-8", "PATH": "/usr/bin", "A": "1,2"}]


def test_submission_is_never_tried_twice() -> None:
    lost = Completed(
        exit_code=1, stderr="sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    )
    runner = ScriptedRunner({"sbatch": lost})

    with pytest.raises(SubmitUncertain):
        backend_with(runner).submit(a_request())

    assert runner.programs() == ["sbatch"]


def test_preview_is_exactly_what_is_submitted() -> None:
    runner = ScriptedRunner({"sbatch": "4711\n"})
    backend = backend_with(runner)

    argv, script = backend.preview(a_request())
    backend.submit(a_request())

    assert (runner.asked, runner.inputs) == ([argv], [script])


# rehearsal


def rehearsed(words: str, **answer: object) -> None:
    said = Completed(exit_code=1, stderr=f"{words}\n", **answer)  # type: ignore[arg-type]  # a builder passes on
    backend_with(ScriptedRunner({"sbatch": said})).rehearse(a_request())


def test_a_rehearsal_asks_what_a_submission_would_and_submits_nothing() -> None:
    runner = ScriptedRunner({"sbatch": Completed(exit_code=0, stderr="sbatch: Job 5 to start at ...\n")})
    backend = backend_with(runner)
    argv, script = backend.preview(a_request())

    backend.rehearse(a_request())

    assert runner.asked == [(argv[0], "--test-only", *argv[1:])]
    assert runner.inputs == [script]


@pytest.mark.parametrize(
    "words",
    [
        "allocation failure: Invalid qos specification",
        "sbatch: error: Invalid --begin specification",
        "allocation failure: Invalid feature specification",
    ],
)
def test_what_slurm_would_refuse_in_a_rehearsal_is_told_in_its_words(words: str) -> None:
    with pytest.raises(Rejected) as caught:
        rehearsed(words)

    assert caught.value.why == words.partition(": ")[2].removeprefix("error: ")


@pytest.mark.parametrize(
    "words",
    [
        # so it says while all nodes are down, too
        "allocation failure: Requested node configuration is not available",
        "allocation failure: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
    ],
)
def test_what_may_change_by_waiting_is_no_refusal_in_a_rehearsal(words: str) -> None:
    rehearsed(words)


@pytest.mark.parametrize("words", ["allocation failure: Socket timed out on send/recv operation", "Segmentation fault"])
def test_a_rehearsal_without_an_answer_says_nothing_of_the_job(words: str) -> None:
    with pytest.raises(Unavailable):
        rehearsed(words)


def test_what_no_option_can_say_is_told_without_asking_anybody() -> None:
    runner = ScriptedRunner({})

    with pytest.raises(Rejected):
        backend_with(runner).check(a_request(extras=(("requeue", ""),)))

    assert runner.asked == []


def test_capabilities_name_arrays_and_dependencies() -> None:
    capabilities = backend_with(ScriptedRunner({})).capabilities

    assert (capabilities.queues, capabilities.arrays, capabilities.dependencies) == (True, 1000, True)


def test_programs_are_taken_from_the_folder_of_the_site() -> None:
    runner = ScriptedRunner({"/opt/slurm/bin/squeue": ""})

    backend_with(runner, SlurmOptions(path="/opt/slurm/bin", accounting=Accounting.NO)).poll([HELD])

    assert runner.programs() == ["/opt/slurm/bin/squeue"]


def test_cluster_is_described_from_two_questions() -> None:
    runner = ScriptedRunner(
        {f"scontrol show {what}": recording(f"scontrol-{what}", VERSION) for what in ("node", "partition")}
    )

    view = backend_with(runner).cluster()

    assert ([node.name for node in view.nodes], [part.name for part in view.partitions]) == (
        ["n1", "n2", "n3", "n4"],
        ["low", "high"],
    )
    assert (view.backend, view.licences, view.seen_at) == ("slurm", {}, backend_with(runner).clock.now())


def test_licences_are_counted_by_a_question_of_their_own() -> None:
    runner = ScriptedRunner({"scontrol show licenses": recording("scontrol-licenses", VERSION)})

    assert backend_with(runner).licences() == {"matlab": 2}


@pytest.mark.parametrize("nodes", [DOWN, Completed(exit_code=0, stdout="Welcome!\n")])
def test_cluster_that_does_not_answer_is_unavailable(nodes: Completed) -> None:
    runner = ScriptedRunner({"scontrol show node": nodes, "scontrol show partition": ""})

    with pytest.raises(Unavailable):
        backend_with(runner).cluster()
