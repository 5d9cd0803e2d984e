"""The pretended Torque says what a real one was seen to say: the commands that docs/measurements.md has, word for word."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from elisa.backends.pbs.refusals import refusal
from elisa.backends.runner import Completed
from elisa.model.errors import Rejected, Unavailable
from tests.backends.pbs.bench import Bench
from tests.fakes.pbs.fake_pbs import FakePbs
from tests.fakes.pbs.world import server

SEEN = {
    ("qsub", "-q", "nosuch"): (172, "qsub: submit error (Unknown queue MSG=requested queue not found)"),
    ("qsub", "-l", "nosuch=1"): (189, "qsub: submit error (Unknown resource type  Resource_List.nosuch)"),
    ("qsub", "-l", "walltime=abc"): (
        168,
        "qsub: submit error (Illegal attribute or resource value for Resource_List.walltime)",
    ),
    ("qstat", "-f", "99999"): (153, "qstat: Unknown Job Id Error 99999.vm"),
    ("qdel", "99999"): (153, "qdel: nonexistent job id: 99999"),
    ("qsig", "-s", "SIGTERM", "99999"): (153, "qsig: Unknown Job Id Error MSG=cannot locate job 99999.vm"),
    ("qhold", "-h", "u", "99999"): (153, ""),
    ("qselect", "-x"): (2, "qselect: invalid option -- 'x'\nusage: qselect"),
}


@pytest.fixture
def pbs(a_bench: Callable[..., Bench]) -> FakePbs:
    return a_bench(dialect="torque", express=False).pbs


@pytest.mark.parametrize("command", SEEN, ids=" ".join)
def test_what_is_wrong_is_told_as_it_was_seen(pbs: FakePbs, command: tuple[str, ...]) -> None:
    program, *argv = command
    status, _, words = pbs.run(program, argv, "true\n")

    assert (status, words.strip()) == SEEN[command]


def test_a_job_that_is_to_follow_an_unknown_one_is_taken_and_gone_without_a_record(pbs: FakePbs) -> None:
    status, said, _ = pbs.run("qsub", ["-W", "depend=afterok:99999"], "true\n")

    assert (status, said) == (0, "1.vm\n")
    assert pbs.run("qstat", ["-f", "1"])[0] == 153


# read in Torque's source
@pytest.mark.parametrize(
    ("argv", "status", "kind"),
    [
        (["-q", "closed"], 175, Unavailable),
        (["-q", "full"], 228, Unavailable),
        (["-q", "private"], 159, Rejected),
        (["-q", "short", "-l", "walltime=11:00:00"], 190, Rejected),
    ],
)
def test_a_queue_that_does_not_take_a_job_says_so_in_words_that_are_understood(
    pbs: FakePbs, argv: list[str], status: int, kind: type[Exception]
) -> None:
    code, _, words = pbs.run("qsub", argv, "true\n")

    assert (code, type(refusal(Completed(exit_code=code, stderr=words)))) == (status, kind)


def test_root_is_refused_by_qsub_itself(pbs: FakePbs) -> None:
    with server(pbs.home) as state:
        state.update(user="root", roots=False)

    assert pbs.run("qsub", [], "true\n") == (1, "", "qsub can not be run as root\n")


@pytest.mark.parametrize("program", ["qdel", "qhold"])
def test_a_job_that_is_over_is_no_more_for_asking(pbs: FakePbs, program: str) -> None:
    pbs.pause()
    pbs.run("qsub", [], "true\n")
    pbs.set("1", state="F", substate=92)
    status, _, words = pbs.run(program, ["1"])

    assert (status, words) == (
        170,
        f"{program}: Request invalid for state of job MSG=invalid state for job - COMPLETE 1.vm\n",
    )
