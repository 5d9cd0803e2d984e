from __future__ import annotations

import pytest

from elisa.backends.pbs.listing import Way, has_no_express, has_no_history, parse_listing, poll_argv
from elisa.backends.runner import Completed
from elisa.model.errors import Unavailable
from tests.backends.pbs.bench import recorded
from tests.reliability.tier import SOAK

# Of the places where an answer can be cut off every so many are tried in the short search.
STRIDE = 1 if SOAK else 5


@pytest.mark.parametrize(
    ("way", "with_history", "argv"),
    [
        (Way.EXPRESS, True, ("qstat", "-x", "-E", "-f", "1.vm", "2.vm")),
        (Way.EXPRESS, False, ("qstat", "-E", "-f", "1.vm", "2.vm")),
        (Way.EACH, True, ("qstat", "-x", "-f", "1.vm", "2.vm")),
        (Way.ALL, True, ("qstat", "-f")),
    ],
)
def test_questions(way: Way, with_history: bool, argv: tuple[str, ...]) -> None:  # noqa: FBT001 - of a table
    assert poll_argv("qstat", ["1.vm", "2.vm"], way, with_history=with_history) == argv


def test_one_request_that_names_many_leaves_out_the_unknown() -> None:
    got = parse_listing(recorded("qstat-express-mixed"), ["999999", "2035", "888888"], Way.EXPRESS)

    assert (set(got.records), got.absent, got.silent) == ({"2035"}, {"999999", "888888"}, frozenset())


def test_one_request_that_names_only_unknown_ones_fails_about_the_first() -> None:
    got = parse_listing(recorded("qstat-express-unknown"), ["999999", "888888"], Way.EXPRESS)

    assert (got.records, got.absent, got.silent) == ({}, {"999999", "888888"}, frozenset())


def test_a_request_for_each_speaks_of_each() -> None:
    got = parse_listing(recorded("qstat-each-mixed"), ["999999", "2035", "2021", "888888"], Way.EACH)

    assert (set(got.records), got.absent, got.silent) == ({"2035"}, {"999999", "2021", "888888"}, frozenset())


def test_what_a_request_for_each_did_not_speak_of_is_silent() -> None:
    got = parse_listing(recorded("qstat-each-mixed"), ["2035", "7"], Way.EACH)

    assert (set(got.records), got.absent, got.silent) == ({"2035"}, frozenset(), {"7"})


def test_torque_calls_the_unknown_an_error() -> None:
    answer = Completed(exit_code=153, stderr="qstat: Unknown Job Id Error 7.host\n")

    assert parse_listing(answer, ["7"], Way.EACH).absent == {"7"}


def test_another_users_job_is_absent() -> None:
    answer = Completed(exit_code=159, stderr="qstat: Unauthorized Request 7.host\n")

    assert parse_listing(answer, ["7"], Way.EACH).absent == {"7"}


def test_live_jobs_of_everybody_leave_out_the_rest() -> None:
    got = parse_listing(recorded("qstat_f_text_active"), ["13", "999"], Way.ALL)

    assert (set(got.records), got.absent) == ({"13"}, {"999"})


def test_an_empty_cluster_is_an_answer() -> None:
    assert parse_listing(Completed(exit_code=0), ["7"], Way.ALL).absent == {"7"}


@pytest.mark.parametrize(
    ("answer", "way"),
    [
        (recorded("serverdown_qstat"), Way.EXPRESS),
        (recorded("serverdown_qstat"), Way.EACH),
        (recorded("serverdown_qstat"), Way.ALL),
        # no history: status 0, not a word on standard output
        (recorded("qstat-express-no-history"), Way.EXPRESS),
        (recorded("qstat-each-no-history"), Way.EACH),
        (Completed(exit_code=None, timed_out=True, stderr="no answer within 60 s"), Way.EXPRESS),
        (Completed(exit_code=0, stdout="<html>maintenance</html>\n"), Way.EXPRESS),
        (Completed(exit_code=0, stdout="<html>maintenance</html>\n"), Way.ALL),
        (Completed(exit_code=0), Way.EXPRESS),
        (Completed(exit_code=0), Way.EACH),
        (Completed(exit_code=153, stderr="gateway: no route\n"), Way.EXPRESS),
    ],
)
def test_what_is_no_answer_concludes_nothing(answer: Completed, way: Way) -> None:
    with pytest.raises(Unavailable):
        parse_listing(answer, ["2035", "999999"], way)


@pytest.mark.parametrize("way", Way)
def test_an_answer_cut_off_anywhere_concludes_nothing(way: Way) -> None:
    whole = recorded("qstat-jobs").stdout
    text = whole[: whole.index("Job Id: 2023.vm")]

    for at in range(1, len(text) - 1, STRIDE):
        if not text[:at].endswith("\n\n"):
            with pytest.raises(Unavailable):
                parse_listing(Completed(exit_code=0, stdout=text[:at]), ["2021", "2022"], way)


def test_a_record_without_a_state_is_none() -> None:
    text = "Job Id: 2035.vm\n    Job_Name = el.ab12.t000000001.1\n\n"

    with pytest.raises(Unavailable):
        parse_listing(Completed(exit_code=0, stdout=text), ["2035"], Way.EACH)


def test_a_server_without_history_is_recognised() -> None:
    names = ["qstat-express-no-history", "qstat-each-no-history", "qselect-no-history", "qstat-each-mixed"]

    assert [has_no_history(recorded(name)) for name in names] == [True, True, True, False]


def test_an_old_qstat_is_recognised() -> None:
    old = Completed(exit_code=2, stderr="qstat: invalid option -- 'E'\nusage: qstat ...\n")

    assert (has_no_express(old), has_no_express(recorded("qstat-express-unknown"))) == (True, False)
