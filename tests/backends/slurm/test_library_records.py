"""What pyslurm says and is told, in the words of Slurm's programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from elisa.backends.slurm import library_submit
from elisa.backends.slurm.library_records import records_of
from elisa.backends.slurm.library_submit import description_of_job
from elisa.backends.slurm.options import GpuStyle, MemoryStyle, SlurmOptions
from elisa.backends.slurm.states import Record
from elisa.model.ids import NativeId
from elisa.model.resources import GpuRequest, Resources
from tests.backends.slurm.jobs import FIRST, INSTANCE, PLAIN, a_request
from tests.backends.slurm.pyslurm_objects import AT, a_job


def test_a_job_is_told_in_the_words_of_squeue() -> None:
    job = a_job(state="PENDING", state_reason="launch failed requeued held", requeue_count=1)

    assert list(records_of(job)) == [
        Record(
            job="7",
            name=f"el.{INSTANCE}.{FIRST}",
            state="PENDING",
            exit_code=0,
            restarts=1,
            reason="launch_failed_requeued_held",
            submitted_at=AT,
        )
    ]


def test_a_job_that_died_of_a_signal_has_no_exit_code() -> None:
    (record,) = records_of(a_job(state="FAILED", exit_code_signal=9, allocated_nodes="n[1-2]"))

    assert (record.exit_code, record.signal, record.nodes) == (None, 9, "n[1-2]")


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        ({"array_id": 7, "array_tasks_waiting": "1-3,5,8-12:2"}, ["7_1", "7_2", "7_3", "7_5", "7_8", "7_10", "7_12"]),
        ({"array_id": 7, "id": 9, "array_task_id": 4}, ["7_4"]),
        ({"array_id": 7}, ["7_0"]),
    ],
)
def test_elements_of_arrays_are_told_one_by_one(fields: Mapping[str, object], numbers: list[str]) -> None:
    assert [record.job for record in records_of(a_job(**fields))] == numbers


def test_a_request_is_said_with_all_that_sbatch_would_be_told() -> None:
    request = a_request(
        resources=Resources(nodes=2, memory_mib_per_node=500, gpus=GpuRequest(per_node=2, types=("a100",))),
        partition="high",
        signal_lead_s=60,
        environment=(("V", "1"),),
    )

    told = description_of_job(request, INSTANCE, PLAIN, "#!/bin/sh\n", {"HOME": "/home/ada", "V": "0"}, (22, 5))

    assert told is not None
    environment = told.pop("environment")
    assert isinstance(environment, dict)
    assert (environment["HOME"], environment["V"], environment["LC_ALL"]) == ("/home/ada", "1", "C.UTF-8")
    profiles = told.pop("profile_types")
    assert isinstance(profiles, Iterator)  # pyslurm takes it for true, and finds none in it
    assert list(profiles) == []
    assert told == {
        "name": f"el.{INSTANCE}.{FIRST}",
        "working_directory": "/home/ada/run",
        "standard_in": "/dev/null",
        "standard_output": "/home/ada/run/agent.log",
        "standard_error": "/home/ada/run/agent.log",
        "log_files_open_mode": "append",
        "script": "#!/bin/sh\n",
        "is_requeueable": False,
        "nodes": "2",
        "ntasks": 2,
        "ntasks_per_node": 1,
        "cpus_per_task": 1,
        "time_limit": 60,
        "memory_per_node": "500M",
        "gres_per_node": "gpu:a100:2",
        "partitions": ["high"],
        "nice": 40,
        "signal": "B:12@60",
    }


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ({"extras": (("comment", "x"),)}, PLAIN),
        ({"after": (NativeId("5.t000000002.1"),)}, PLAIN),
        ({}, SlurmOptions(cluster="other")),
        ({}, SlurmOptions(gpu_style=GpuStyle.GPUS_PER_TASK)),
        ({}, SlurmOptions(memory_style=MemoryStyle.CPU)),
        ({"signal_lead_s": 60}, SlurmOptions(signal="RTMIN+1")),
    ],
)
def test_what_pyslurm_can_not_say_in_full_is_left_to_sbatch(more: dict[str, object], options: SlurmOptions) -> None:
    assert description_of_job(a_request(**more), INSTANCE, options, "#!/bin/sh\n", {}, (22, 5)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("release", "of_each_task", "launcher"),
    [((22, 5), None, None), ((24, 11), "cpu=3", "slurm"), ((25, 5), "cpu=3", "slurm")],
)
def test_a_job_is_told_what_the_sbatch_of_its_release_tells(
    release: tuple[int, int], of_each_task: str | None, launcher: str | None
) -> None:
    request = a_request(resources=Resources(tasks_per_node=2, cpus_per_task=3))

    told = description_of_job(request, INSTANCE, PLAIN, "#!/bin/sh\n", {}, release)

    assert told is not None
    environment = told["environment"]
    assert isinstance(environment, dict)
    assert (environment["SLURM_CPUS_PER_TASK"], environment["SLURM_NTASKS_PER_NODE"]) == ("3", "2")
    assert (environment.get("SLURM_TRES_PER_TASK"), environment.get("HYDRA_BOOTSTRAP")) == (of_each_task, launcher)


def test_the_task_says_how_launchers_start_if_it_wants_to() -> None:
    request = a_request(environment=(("HYDRA_BOOTSTRAP", "ssh"),))

    told = description_of_job(request, INSTANCE, PLAIN, "#!/bin/sh\n", {}, (24, 11))

    assert told is not None
    environment = told["environment"]
    assert isinstance(environment, dict)
    assert environment["HYDRA_BOOTSTRAP"] == "ssh"


@pytest.mark.parametrize("status", ["Name:\tpython\nUmask:\t0027\n", "Name:\tpython\n"])
def test_a_job_gets_this_process_s_umask_which_is_changed_only_where_linux_does_not_tell_it(
    status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "status").write_text(status)
    changes: list[int] = []

    def umask(mask: int) -> int:
        changes.append(mask)
        return 0o027

    monkeypatch.setattr(library_submit, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(library_submit.os, "umask", umask)

    told = description_of_job(a_request(), INSTANCE, PLAIN, "#!/bin/sh\n", {}, (22, 5))

    assert told is not None
    environment = told["environment"]
    assert isinstance(environment, dict)
    assert (environment["SLURM_UMASK"], changes) == ("0027", [] if "Umask" in status else [0o077, 0o027])
