"""Every reason has a sentence, and every sentence stands with facts missing."""

from __future__ import annotations

import pytest

from elisa.model.reasons import Reason, ReasonCode, because
from elisa.report.words import in_words


@pytest.mark.parametrize("code", list(ReasonCode))
def test_every_code_reads_as_a_sentence_even_without_its_facts(code: ReasonCode) -> None:
    words = in_words(because(code))

    assert words
    assert "{" not in words


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        pytest.param(
            because(ReasonCode.CANCELLED_OUTSIDE, native_id="77", words="CANCELLED by root"),
            "somebody cancelled its native job 77 outside of elisa (CANCELLED by root)",
            id="who cancelled it outside",
        ),
        pytest.param(
            because(ReasonCode.BUDGET_EXHAUSTED, project="vision", resource="gpu hours", asked=48, left=31.2, cap=500),
            "project vision has 31.2 gpu hours left of 500, this asks for 48",
            id="a budget",
        ),
        pytest.param(
            because(
                ReasonCode.NO_ROOM,
                backend="dream",
                resource="nodes",
                asked=4,
                free=2,
                starts_at="2001-01-01T02:00:00+00:00",
                nodes="n1,n2",
            ),
            "dream has no room now: it asks for 4 nodes, 2 are free; room is kept for it from 01-01 02:00:00 on",
            id="room that is kept",
        ),
        pytest.param(
            because(ReasonCode.RESERVED_FOR_HIGHER, task="t7k2m9qx4t", starts_at="2001-01-01T02:00:00+00:00"),
            "the room is kept for t7k2m9qx4t, which comes before it",
            id="room that is kept for another",
        ),
        pytest.param(
            because(ReasonCode.RESERVED_FOR_HIGHER, task="closure", starts_at="2001-01-01T02:00:00+00:00"),
            "what is free is closed from 01-01 02:00:00 on",
            id="room that closes",
        ),
        pytest.param(
            because(ReasonCode.RESUME, end="node_failure", resume_step=1200),
            "it goes on after node failure, which cost it no retry; it resumes from step 1200",
            id="resuming after a node failed",
        ),
        pytest.param(
            because(ReasonCode.NEED_TIMED_OUT, waited_s=7200),
            "what it needs did not come within 2h00m",
            id="seconds are told as a duration",
        ),
        pytest.param(
            because(ReasonCode.CHOSEN, rank=1, backend="local", partition="local"),
            "it was chosen, as number 1 of this tick, for local",
            id="a backend without partitions",
        ),
        pytest.param(
            because(ReasonCode.WINDOW_FULL, backend="cluster", partition="a100", queued=20, window=20),
            "20 jobs of elisa already wait in a100 of cluster, where at most 20 may",
            id="a partition of a cluster",
        ),
        pytest.param(
            because(ReasonCode.BUDGET_EXHAUSTED, project="x"), "budget exhausted (project x)", id="facts missing"
        ),
    ],
)
def test_a_reason_in_words(reason: Reason, words: str) -> None:
    assert in_words(reason) == words


@pytest.mark.parametrize(
    ("wants", "state", "nodes", "words"),
    [
        ("beside", "runs", "n1", "it must run beside db, which runs on n1, where there is no room for it"),
        ("beside", "runs", "", "it must run beside db, which runs on another cluster, where there is no room for it"),
        ("beside", "ran", "n1", "it must run beside db, which ran on n1, where there is no room for it"),
        ("beside", "ready", "", "it must run beside db, which has not begun"),
        ("apart", "runs", "n1", "it must run apart from db, which runs on n1, and there is no room elsewhere"),
        ("shunned", "runs", "n1", "on n1 runs what must be apart from db, and there is no room elsewhere"),
    ],
)
def test_who_is_tied_to_others_is_told_how_they_stand(wants: str, state: str, nodes: str, words: str) -> None:
    assert in_words(because(ReasonCode.AFFINITY, wants=wants, whom="db", state=state, nodes=nodes)) == words


@pytest.mark.parametrize(
    ("wants", "state", "nodes", "words"),
    [
        ("beside", "runs", "n1", "it must run on the switch of db, that of n1, where there is no room for it"),
        ("beside", "ran", "n1", "it must run on the switch where db ran, that of n1, where there is no room for it"),
        ("beside", "ready", "", "it must run on the switch of db, which has not begun"),
        (
            "apart",
            "runs",
            "n1",
            "it must run on another switch than db, not on that of n1, and there is no room elsewhere",
        ),
        (
            "shunned",
            "runs",
            "n1",
            "on the switch of n1 runs what must be on another than db, and there is no room elsewhere",
        ),
    ],
)
def test_of_a_tie_over_switches_they_are_named(wants: str, state: str, nodes: str, words: str) -> None:
    reason = because(ReasonCode.AFFINITY, wants=wants, whom="db", state=state, nodes=nodes, over="switch")

    assert in_words(reason) == words


@pytest.mark.parametrize(
    ("resource", "largest", "words"),
    [
        ("thing", "none", "and there is none"),
        ("gpus a node (h100)", 0, "and there is none"),
        ("cpus a node", 4, "the most there is on a node is 4"),
        ("nodes", 4, "and there are 4"),
        ("walltime", "1d00h", "the most that a job may have is 1d00h"),
    ],
)
def test_what_never_fits_is_told_how_much_there_is(resource: str, largest: str | int, words: str) -> None:
    reason = because(ReasonCode.NEVER_FITS, resource=resource, asked=9, largest=largest)

    assert in_words(reason) == f"it can never start: it asks for 9 {resource}, {words}"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("moon/any", "there is no backend moon"),
        ("any/gold", "no backend has a partition gold"),
        ("moon/gold", "moon has no partition gold"),
    ],
)
def test_a_place_that_is_not_there_is_named(wanted: str, words: str) -> None:
    assert in_words(because(ReasonCode.NO_BACKEND, wanted=wanted)) == words


@pytest.mark.parametrize("over", [{}, {"over": "switch"}])
@pytest.mark.parametrize("wants", ["beside", "apart", "shunned"])
def test_of_one_that_is_queued_nobody_knows_the_node(wants: str, over: dict[str, str]) -> None:
    reason = because(ReasonCode.AFFINITY, wants=wants, whom="db", state="queued", nodes="", **over)

    assert in_words(reason).endswith("waits in a queue for a node that nobody knows yet")


_NOBODY = 4_000_000_007  # beyond the users of any machine


def test_whose_limit_it_is_and_how_often_it_begins_anew_are_told() -> None:
    facts = {"project": "x", "resource": "gpu_s", "asked": 7200, "left": 3600, "cap": 36000}

    assert in_words(because(ReasonCode.BUDGET_EXHAUSTED, user=_NOBODY, every="week", **facts)) == (
        f"user {_NOBODY} of project x has 1 gpu-h left of 10 a week, this asks for 2"
    )
    assert in_words(because(ReasonCode.BUDGET_EXHAUSTED, user=0, **facts)).startswith("user root of project x has")
    assert in_words(because(ReasonCode.BUDGET_EXHAUSTED, every="30d", **facts)) == (
        "project x has 1 gpu-h left of 10 in 30 days, this asks for 2"
    )


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (
            because(ReasonCode.RETRY, end="out_of_memory", failures=1, limit=5, was_mib=200, grown_mib=400),
            (
                "it is tried again after out of memory: failure 1 of the 5 that are allowed;"
                " it may use 400MiB of memory in place of 200MiB"
            ),
        ),
        (
            because(ReasonCode.RETRY, end="failed", failures=2, limit=9, before_step=20),
            (
                "it is tried again after a failure: failure 2 of the 9 that are allowed;"
                " it goes back before step 20, for twice it died on loading that"
            ),
        ),
        (
            because(ReasonCode.RETRY, end="timeout", failures=1, limit=5, was_s=3600, grown_s=7200, resume_step=3),
            (
                "it is tried again after timeout: failure 1 of the 5 that are allowed;"
                " it may run for 2h00m in place of 1h00m; it resumes from step 3"
            ),
        ),
        (because(ReasonCode.RESUME, end="cancelled"), "it goes on after being stopped, which cost it no retry"),
        (
            because(ReasonCode.SAME_FAILURE, end="failed", step=6, times=2, exit_code=1),
            "it failed for good: the same failure (failed, exit code 1) came 2 times at step 6",
        ),
    ],
)
def test_an_end_is_told_with_what_came_of_it(reason: Reason, words: str) -> None:
    assert in_words(reason) == words


def test_who_leaves_for_want_of_memory_is_told_where_and_why() -> None:
    reason = because(ReasonCode.PRESSED, backend="here", node="n1", short_mib=300, service="best_effort")

    assert in_words(reason) == "it saves and leaves: n1 is short of 300MiB of memory, and best effort work leaves first"
