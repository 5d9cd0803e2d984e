from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.protocol import array_key
from elisa.backends.runner import Completed
from elisa.backends.slurm.arrays import array_argv, parse_array_script, render_array_script
from elisa.backends.slurm.options import SlurmOptions
from elisa.model.errors import Rejected, SubmitUncertain
from elisa.model.ids import NativeId
from elisa.model.native import Answered, Found, JobRequest
from elisa.model.resources import Resources
from tests.backends.slurm.jobs import INSTANCE, ScriptedRunner, a_request, attempt, backend_with, recording

LISTED = recording("squeue", "24.11.5")


def three(**more: object) -> tuple[JobRequest, ...]:
    return tuple(a_request(name=attempt(character), **more) for character in "mpq")  # type: ignore[arg-type]  # a builder


def array_number() -> str:
    """Return the number that the recorded array of attempt `m` has."""
    return next(line.split("_")[0] for line in LISTED.split("\n") if "t00000000m.1+3" in line)


def test_array_is_asked_for_once_with_a_name_a_range_and_a_throttle() -> None:
    argv = array_argv("sbatch", three(at_once=2), INSTANCE, SlurmOptions())

    assert argv[:6] == (
        "sbatch",
        "--job-name=el.ab12.t00000000m.1+3",
        "--array=0-2%2",
        "--chdir=/",
        "--output=/dev/null",
        "--parsable",
    )
    assert {"--export=ALL", "--no-requeue", "--nodes=1"} <= set(argv)


def test_array_without_a_throttle_has_none() -> None:
    assert "--array=0-2" in array_argv("sbatch", three(), INSTANCE, SlurmOptions())


def test_jobs_that_ask_for_different_things_are_no_array() -> None:
    requests = (*three(), a_request(name=attempt("3"), resources=Resources(nodes=2)))

    with pytest.raises(Rejected, match="different things"):
        array_argv("sbatch", requests, INSTANCE, SlurmOptions())


def test_only_what_tells_attempts_apart_may_differ() -> None:
    one, other = a_request(), a_request(name=attempt("2"), argv=("true",))

    assert array_key(one) == array_key(replace(other, workdir="/x", stdout="/y", stderr="/z", predicted_s=5.0))
    assert array_key(one) != array_key(a_request(partition="gpu"))


def test_each_element_runs_its_own_program_in_its_own_folder_with_its_own_log(tmp_path: Path) -> None:
    requests = []
    for character in "mpq":
        folder = tmp_path / f"it's {character}"
        folder.mkdir()
        program = ("sh", "-c", 'echo "$ELISA_NATIVE_ID" "$PWD" "$1"', "sh", f"a; {character} $(id)")
        log = str(folder / "log")
        requests.append(
            replace(a_request(name=attempt(character), argv=program), workdir=str(folder), stdout=log, stderr=log)
        )

    environment = {"PATH": os.environ["PATH"], "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "1"}
    subprocess.run(["/bin/sh"], input=render_array_script(requests), env=environment, text=True, check=True)

    folder = tmp_path / "it's p"
    assert (folder / "log").read_text() == f"77_1.t00000000p.1+t00000000m.1 {folder} a; p $(id)\n"
    assert not (tmp_path / "it's q" / "log").exists()


def test_element_that_the_script_does_not_know_fails() -> None:
    environment = {"PATH": os.environ["PATH"], "SLURM_ARRAY_TASK_ID": "9"}

    done = subprocess.run(["/bin/sh"], input=render_array_script(three()), env=environment, text=True, check=False)

    assert done.returncode == 73


def test_script_tells_which_element_runs_which_attempt() -> None:
    script = render_array_script(three())

    assert parse_array_script(script) == {0: attempt("m"), 1: attempt("p"), 2: attempt("q")}


# Through the backend


def test_array_is_submitted_by_one_call_and_each_attempt_has_its_id() -> None:
    runner = ScriptedRunner({"sbatch": "77\n"})

    ids = backend_with(runner).submit_array(three())

    assert runner.programs() == ["sbatch"]
    assert ids == {
        attempt("m"): NativeId("77_0.t00000000m.1"),
        attempt("p"): NativeId("77_1.t00000000p.1+t00000000m.1"),
        attempt("q"): NativeId("77_2.t00000000q.1+t00000000m.1"),
    }


def test_array_whose_answer_was_lost_is_uncertain_as_a_whole() -> None:
    lost = Completed(
        exit_code=1, stderr="sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    )

    with pytest.raises(SubmitUncertain):
        backend_with(ScriptedRunner({"sbatch": lost})).submit_array(three())


def test_elements_are_polled_by_their_ids() -> None:
    number = array_number()
    ids = [NativeId(f"{number}_0.t00000000m.1"), NativeId(f"{number}_2.t00000000q.1+t00000000m.1")]

    poll = backend_with(ScriptedRunner({"squeue": LISTED})).poll(ids)

    assert isinstance(poll, Answered)
    assert [getattr(poll.observations[native_id], "raw", "gone") for native_id in ids] == ["RUNNING", "PENDING"]


def test_elements_are_found_by_their_tags_through_the_arrays_script() -> None:
    number = array_number()
    answers = {
        "squeue": LISTED,
        "sacct": "",
        f"scontrol write batch_script {number}": render_array_script(three(argv=("x",))),
    }

    found = backend_with(ScriptedRunner(answers)).find([attempt("m"), attempt("q"), attempt("z")])

    assert found == Found(
        ids={
            attempt("m"): (NativeId(f"{number}_0.t00000000m.1"),),
            attempt("q"): (NativeId(f"{number}_2.t00000000q.1+t00000000m.1"),),
        },
        complete=True,
    )


def test_search_is_not_complete_while_an_arrays_script_can_not_be_read() -> None:
    silent = Completed(exit_code=1, stderr="scontrol: error: Socket timed out on send/recv operation\n")
    numbers = {line.split("_")[0] for line in LISTED.split("\n") if "+" in line}
    answers: dict[str, Completed | str] = {f"scontrol write batch_script {number}": silent for number in numbers}

    found = backend_with(ScriptedRunner({**answers, "squeue": LISTED, "sacct": ""})).find([attempt("z")])

    assert found == Found(ids={}, complete=False)


def test_scripts_are_not_read_when_all_was_found_without() -> None:
    runner = ScriptedRunner({"squeue": LISTED, "sacct": ""})

    assert backend_with(runner).find([attempt("1")]).complete
    assert runner.programs() == ["squeue", "sacct"]
