from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.backends.runner import Completed
from elisa.backends.slurm.options import GpuStyle, MemoryStyle, SlurmOptions
from elisa.backends.slurm.submission import parse_submit, render_script, submit_argv
from elisa.model.errors import Rejected, SubmitUncertain
from elisa.model.ids import NativeId
from elisa.model.native import JobRequest
from elisa.model.resources import MPS, SHARD, GpuRequest, Resources
from tests.backends.slurm.jobs import INSTANCE, PLAIN, a_request, attempt


def options_of(request: JobRequest, options: SlurmOptions = PLAIN) -> set[str]:
    return set(submit_argv("sbatch", request, INSTANCE, options))


def test_script_is_two_lines_and_becomes_the_agent() -> None:
    request = a_request(argv=("/usr/bin/python3", "-m", "elisa.runtime", "run", "--job", "/home/ada/my job.json"))

    assert render_script(request) == (
        "#!/bin/sh\n"
        'export ELISA_NATIVE_ID="$SLURM_JOB_ID".t000000001.1; exec '
        "/usr/bin/python3 -m elisa.runtime run --job '/home/ada/my job.json'\n"
    )


@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)))
def test_every_word_reaches_the_program_as_it_is(words: list[str]) -> None:
    request = a_request(argv=("printf", "%s\\0", *words, "end"))

    done = subprocess.run(
        ["/bin/sh"],
        input=render_script(request).encode(),
        env={"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7"},
        capture_output=True,
        check=True,
    )

    assert done.stdout == b"".join(word.encode() + b"\0" for word in [*words, "end"])


def test_agent_learns_its_native_id_from_the_script() -> None:
    request = a_request(argv=("sh", "-c", "echo $ELISA_NATIVE_ID"))

    environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "4711"}
    done = subprocess.run(
        ["/bin/sh"], input=render_script(request), env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "4711.t000000001.1\n"


def test_plain_job_is_asked_for_with_everything_said() -> None:
    assert submit_argv("/opt/slurm/bin/sbatch", a_request(priority=4), INSTANCE, SlurmOptions()) == (
        "/opt/slurm/bin/sbatch",
        "--job-name=el.ab12.t000000001.1",
        "--chdir=/home/ada/run",
        "--output=/home/ada/run/agent.log",
        "--error=/home/ada/run/agent.log",
        "--open-mode=append",
        "--parsable",
        "--input=/dev/null",
        "--export=ALL",
        "--propagate=NONE",
        "--no-requeue",
        "--kill-on-invalid-dep=no",
        "--nodes=1",
        "--ntasks-per-node=1",
        "--cpus-per-task=1",
        "--time=60",
    )


def test_every_wish_has_its_option() -> None:
    request = a_request(
        resources=Resources(
            nodes=2,
            tasks_per_node=4,
            cpus_per_task=2,
            memory_mib_per_node=16000,
            walltime_s=3601,
            gpus=GpuRequest(per_node=4, types=("a100", "v100")),
            licences=(("matlab", 2), ("abaqus", 1)),
            features=("ib", "nvme"),
            constraint="rack1|rack2",
            exclusive=True,
        ),
        partition="gpu",
        account="climate",
        qos="high",
        reservation="school",
        exclude_nodes=("n7", "n9"),
        after=(NativeId("12.t000000002.1"), NativeId("13.t000000003.2")),
        signal_lead_s=90,
        priority=1,
        extras=(("switches", "1@10:00"), ("contiguous", "")),
    )

    assert options_of(request) - options_of(a_request(priority=4)) == {
        "--nodes=2",
        "--ntasks-per-node=4",
        "--cpus-per-task=2",
        "--mem=16000M",
        "--time=61",
        "--gres=gpu:a100:4",
        "--licenses=matlab:2,abaqus:1",
        "--constraint=ib&nvme&(rack1|rack2)",
        "--exclusive",
        "--partition=gpu",
        "--account=climate",
        "--qos=high",
        "--reservation=school",
        "--exclude=n7,n9",
        "--dependency=afterok:12:13",
        "--signal=B:USR2@90",
        "--nice=30",
        "--switches=1@10:00",
        "--contiguous",
    }


def test_gpus_of_any_type_name_none() -> None:
    assert "--gres=gpu:2" in options_of(a_request(resources=Resources(gpus=GpuRequest(per_node=2))))


@pytest.mark.parametrize(("kind", "count"), [(SHARD, 2), (MPS, 40)])
def test_shares_are_asked_for_as_a_resource_of_their_own(kind: str, count: int) -> None:
    asked = Resources(gpus=GpuRequest(per_node=count, types=(kind,)))

    assert f"--gres={kind}:{count}" in options_of(
        a_request(resources=asked), SlurmOptions(gpu_style=GpuStyle.GPUS_PER_TASK)
    )


def test_site_may_prefer_the_newer_gpu_option() -> None:
    request = a_request(resources=Resources(gpus=GpuRequest(per_node=2, types=("h100",))))

    assert "--gpus-per-node=h100:2" in options_of(request, SlurmOptions(gpu_style=GpuStyle.GPUS_PER_NODE))


def test_switches_are_limited_in_slurms_own_words() -> None:
    asked = Resources(nodes=4, switches=2, switches_wait_s=90)

    assert "--switches=2@1:30" in options_of(a_request(resources=asked))
    assert "--switches=1" in options_of(a_request(resources=Resources(nodes=4, switches=1)))
    assert "--switches=3" in options_of(a_request(resources=asked, extras=(("switches", "3"),)))


def test_a_hint_at_numa_is_said_in_slurms_own_words() -> None:
    asked = Resources(cpus_per_task=4, numa=True)
    on_gpus = Resources(gpus=GpuRequest(per_node=1), numa=True)

    assert {"--distribution=block:block", "--mem-bind=local"} <= options_of(a_request(resources=asked))
    assert "--gpu-bind=closest" in options_of(a_request(resources=on_gpus))
    assert "--gpu-bind=closest" not in options_of(a_request(resources=asked))
    own = options_of(a_request(resources=asked, extras=(("distribution", "cyclic"),)))
    assert ("--distribution=cyclic" in own, "--distribution=block:block" in own) == (True, False)


def test_nodes_that_a_plan_chose_are_named_unless_the_author_named_others() -> None:
    chosen = Resources(nodes=2, nodelist=("n1", "n2"))

    assert "--nodelist=n1,n2" in options_of(a_request(resources=chosen))
    assert "--nodelist=n7" in options_of(a_request(resources=chosen, extras=(("nodelist", "n7"),)))
    assert not any("n1" in word for word in options_of(a_request(resources=chosen, extras=(("nodelist", "n7"),))))


def test_nodes_that_the_author_names_are_not_excluded_as_well() -> None:
    request = a_request(exclude_nodes=("n1", "n7"), extras=(("nodelist", "n[6-8]"),))

    assert {"--exclude=n1", "--nodelist=n[6-8]"} <= options_of(request)


@pytest.mark.parametrize(
    ("tasks", "gpus", "option"),
    [(4, 4, "--gpus-per-task=a100:1"), (2, 4, "--gpus-per-task=a100:2"), (4, 2, "--gpus-per-node=a100:2")],
)
def test_gpus_are_asked_for_by_task_where_they_can_be_shared_out(tasks: int, gpus: int, option: str) -> None:
    asked = Resources(tasks_per_node=tasks, gpus=GpuRequest(per_node=gpus, types=("a100",)))

    assert option in options_of(a_request(resources=asked), SlurmOptions(gpu_style=GpuStyle.GPUS_PER_TASK))


def test_memory_is_asked_for_by_core_where_the_site_wants_it_and_never_less_than_was_asked() -> None:
    asked = Resources(tasks_per_node=2, cpus_per_task=3, memory_mib_per_node=1000)

    options = options_of(a_request(resources=asked), SlurmOptions(memory_style=MemoryStyle.CPU))

    assert "--mem-per-cpu=167M" in options
    assert not any(option.startswith("--mem=") for option in options)


def test_extra_that_says_the_same_takes_the_place_of_what_elisa_would_say() -> None:
    resources = Resources(cpus_per_task=2, memory_mib_per_node=1000, gpus=GpuRequest(per_node=2), tasks_per_node=2)
    request = a_request(resources=resources, extras=(("mem-per-cpu", "250M"), ("gpus-per-task", "a100:1")))

    asked = options_of(request)

    assert {"--mem-per-cpu=250M", "--gpus-per-task=a100:1"} <= asked
    assert not {word for word in asked if word.startswith(("--mem=", "--gres="))}


@pytest.mark.parametrize(
    ("name", "value", "resources"),
    [
        ("gpus-per-task", "4", Resources()),
        ("gpus-per-task", "a100:2", Resources(gpus=GpuRequest(per_node=2), tasks_per_node=2)),
        ("gpus-per-task", "many", Resources(gpus=GpuRequest(per_node=2))),
        ("mem-per-cpu", "2G", Resources(cpus_per_task=2, memory_mib_per_node=2048)),
        ("mem-per-cpu", "much", Resources(memory_mib_per_node=2048)),
        ("mem-per-gpu", "1000", Resources(gpus=GpuRequest(per_node=2), memory_mib_per_node=1000)),
        ("oversubscribe", "", Resources(exclusive=True)),
    ],
)
def test_extra_that_asks_for_another_amount_than_the_books_say_is_refused(
    name: str, value: str, resources: Resources
) -> None:
    with pytest.raises(Rejected, match=f"`{name}` contradicts what the task asks for"):
        options_of(a_request(resources=resources, extras=((name, value),)))


@pytest.mark.parametrize("name", ["tres-per-task", "gpus-per-socket", "cpus-per-gpu"])
def test_extra_that_asks_for_what_no_budget_would_see_is_refused(name: str) -> None:
    with pytest.raises(Rejected, match="no option that a task may pass"):
        options_of(a_request(extras=((name, "9"),)))


@pytest.mark.parametrize(
    "name", ["requeue", "job-name", "export", "wrap", "array", "uid", "output", "dependency", "--mem"]
)
def test_extra_that_could_undo_a_guarantee_is_refused(name: str) -> None:
    with pytest.raises(Rejected, match="no option that a task may pass"):
        submit_argv("sbatch", a_request(extras=((name, "x"),)), INSTANCE, SlurmOptions())


def test_site_may_allow_an_option_of_its_own() -> None:
    assert "--lustre=on" in options_of(a_request(extras=(("lustre", "on"),)), SlurmOptions(extras=("lustre",)))


def test_control_character_never_reaches_sbatch() -> None:
    with pytest.raises(Rejected, match="control character"):
        submit_argv("sbatch", a_request(extras=(("comment", "a\nb"),)), INSTANCE, SlurmOptions())


@pytest.mark.parametrize(
    "resources",
    [Resources(cpus_per_task=65537), Resources(tasks_per_node=65536), Resources(walltime_s=60 * 2**32)],
)
def test_number_that_slurm_would_wrap_around_is_refused(resources: Resources) -> None:
    with pytest.raises(Rejected, match="more than Slurm can count"):
        submit_argv("sbatch", a_request(resources=resources), INSTANCE, SlurmOptions())


def test_job_that_goes_on_where_another_ends_waits_for_any_end() -> None:
    first = NativeId("12.t000000002.1")

    assert "--dependency=afterany:12" in options_of(a_request(after_any=(first,)))
    assert "--dependency=afterok:13,afterany:12" in options_of(
        a_request(after=(NativeId("13.t000000003.1"),), after_any=(first,))
    )


def test_dependency_on_another_backends_job_is_refused() -> None:
    with pytest.raises(Rejected, match="not Slurm's"):
        submit_argv("sbatch", a_request(after=(NativeId("local-7"),)), INSTANCE, SlurmOptions())


def test_percent_in_a_path_is_no_pattern() -> None:
    request = replace(a_request(), stdout="/home/ada/100%j/log")

    assert "--output=/home/ada/100%%j/log" in options_of(request)


def test_no_environment_value_stands_on_the_command_line() -> None:
    request = a_request(environment=(("TOKEN", "hush"),))

    assert not any("hush" in word for word in options_of(request))
    assert "hush" not in render_script(request)


def test_cluster_is_named_where_there_are_several() -> None:
    assert "--clusters=big" in options_of(a_request(), SlurmOptions(cluster="big"))


@pytest.mark.parametrize("stdout", ["4711\n", "4711;big\n", "Welcome to Big!\n4711\nHave a nice day\n"])
def test_number_is_found_in_the_answer(stdout: str) -> None:
    assert parse_submit(Completed(exit_code=0, stdout=stdout), attempt("1")) == NativeId("4711.t000000001.1")


@pytest.mark.parametrize("stdout", ["", "Submitted\n", "12\n13\n", "0\n"])
def test_success_without_one_number_is_uncertain(stdout: str) -> None:
    with pytest.raises(SubmitUncertain, match="no job number"):
        parse_submit(Completed(exit_code=0, stdout=stdout), attempt("1"))


def test_failure_is_raised_as_what_it_means() -> None:
    answer = Completed(
        exit_code=1, stderr="sbatch: error: Batch job submission failed: Invalid partition name specified\n"
    )

    with pytest.raises(Rejected, match="Invalid partition name"):
        parse_submit(answer, attempt("1"))
