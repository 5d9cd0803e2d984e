"""pyslurm where there is none: found out about, asked and translated as on a real cluster (see tests/real)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from elisa.backends.runner import Completed, SubprocessRunner
from elisa.backends.slurm import library as library_module
from elisa.backends.slurm.identity import JobKey
from elisa.backends.slurm.library import SlurmLibrary, load_library
from elisa.backends.slurm.library_here import PyslurmHere
from elisa.backends.slurm.library_probe import Probe, how_to_get_it, probe
from elisa.backends.slurm.library_records import node_of, partition_of, records_of
from elisa.backends.slurm.library_submit import description_of_job
from elisa.backends.slurm.options import GpuStyle, MemoryStyle, SlurmOptions
from elisa.backends.slurm.states import Record
from elisa.model.errors import Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import ClusterView, NodeState, NodeView, PartitionView
from elisa.model.resources import GpuRequest, Resources
from tests.backends.slurm.jobs import FIRST, INSTANCE, PLAIN, ScriptedRunner, a_request, backend_with, recording

WORKS = "def version(): return '22.5.3'\nJobs = Nodes = Partitions = None\n"
AT = datetime(2026, 11, 28, 12, tzinfo=UTC)


def a_job(**more: object) -> Any:
    fields: dict[str, object] = {
        "id": 7,
        "name": f"el.{INSTANCE}.{FIRST}",
        "user_id": 1000,
        "state": "RUNNING",
        "state_reason": "None",
        "exit_code": 0,
        "exit_code_signal": 0,
        "requeue_count": 0,
        "submit_time": int(AT.timestamp()),
        "start_time": None,
        "end_time": None,
        "allocated_nodes": None,
        "heterogeneous_id": None,
        "heterogeneous_offset": None,
        "array_id": None,
        "array_task_id": None,
        "array_tasks_waiting": None,
    }
    return SimpleNamespace(**(fields | more))


def a_node(**more: object) -> Any:
    fields: dict[str, object] = {
        "name": "n1",
        "state": "IDLE",
        "effective_cpus": 8,
        "total_cpus": 8,
        "allocated_cpus": 3,
        "real_memory": 16000,
        "allocated_memory": 1000,
        "configured_gres": {},
        "active_features": ["ib"],
        "partitions": ["low"],
    }
    return SimpleNamespace(**(fields | more))


def a_partition(**more: object) -> Any:
    fields: dict[str, object] = {
        "name": "low",
        "is_default": True,
        "state": "UP",
        "max_time": "UNLIMITED",
        "max_nodes": "UNLIMITED",
        "priority_tier": 1,
        "preempt_mode": "REQUEUE",
    }
    return SimpleNamespace(**(fields | more))


# Records


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


def test_a_node_is_told_as_by_scontrol() -> None:
    assert node_of(a_node(state="IDLE+DRAIN", configured_gres={"gpu:a100": 4, "gpu": 1, "shard": 8})) == NodeView(
        name="n1",
        cpus=8,
        memory_mib=16000,
        free_cpus=5,
        free_memory_mib=15000,
        gpus=(("a100", 4), ("", 1), ("shard", 8)),
        free_gpus=(("a100", 4), ("", 1), ("shard", 8)),
        features=("ib",),
        partitions=("low",),
        state=NodeState.DRAINED,
    )


def test_limits_of_a_partition_are_told_in_seconds() -> None:
    told = partition_of(a_partition(max_time=1440, max_nodes=4, state="DOWN", preempt_mode=None))

    assert told == PartitionView(
        name="low", is_default=True, is_up=False, max_walltime_s=86400, max_nodes=4, priority=1
    )


# Requests


def test_a_request_is_said_with_all_that_sbatch_would_be_told() -> None:
    request = a_request(
        resources=Resources(nodes=2, memory_mib_per_node=500, gpus=GpuRequest(per_node=2, types=("a100",))),
        partition="high",
        signal_lead_s=60,
        environment=(("V", "1"),),
    )

    told = description_of_job(request, INSTANCE, PLAIN, "#!/bin/sh\n", {"HOME": "/home/ada", "V": "0"})

    assert told is not None
    environment = told.pop("environment")
    assert isinstance(environment, dict)
    assert (environment["HOME"], environment["V"], environment["LC_ALL"]) == ("/home/ada", "1", "C.UTF-8")
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
        "signal": "B:USR2@60",
    }


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ({"extras": (("comment", "x"),)}, PLAIN),
        ({"after": (NativeId("5.t000000002.1"),)}, PLAIN),
        ({}, SlurmOptions(cluster="other")),
        ({}, SlurmOptions(gpu_style=GpuStyle.GPUS_PER_TASK)),
        ({}, SlurmOptions(memory_style=MemoryStyle.CPU)),
    ],
)
def test_what_pyslurm_can_not_say_in_full_is_left_to_sbatch(more: dict[str, object], options: SlurmOptions) -> None:
    assert description_of_job(a_request(**more), INSTANCE, options, "#!/bin/sh\n", {}) is None  # type: ignore[arg-type]


# The library


class Collection:
    """What a pyslurm collection loads, and how often it was."""

    def __init__(self, *items: object) -> None:
        self.items = items
        self.loads = 0

    def load(self) -> Mapping[int, object]:
        self.loads += 1
        return dict(enumerate(self.items))


class RPCError(Exception):
    """As pyslurm's."""


class Changes:
    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)

    def any(self) -> bool:
        return bool(self._answers.pop(0))


class Description:
    def __init__(self, **wanted: object) -> None:
        self.wanted = wanted

    def submit(self) -> int:
        if self.wanted.get("account") == "nobody":
            raise RPCError("Invalid account or account/partition combination specified")
        return 42


def a_pyslurm(**more: object) -> Any:
    fields: dict[str, object] = {
        "RPCError": RPCError,
        "Jobs": Collection(a_job(), a_job(id=8, user_id=0), a_job(id=9, name="theirs")),
        "Nodes": Collection(a_node(), a_node(name="n2", state="FUTURE")),
        "Partitions": Collection(a_partition()),
        "JobSubmitDescription": Description,
    }
    return SimpleNamespace(**(fields | more))


def a_library(pyslurm: Any, changes: Changes | None = None) -> SlurmLibrary:
    library = SlurmLibrary(pyslurm)
    library._changes = changes or Changes()  # type: ignore[assignment]
    return library


def test_only_the_users_own_jobs_of_this_instance_are_told() -> None:
    assert list(a_library(a_pyslurm()).jobs(1000, INSTANCE)) == [JobKey("7", FIRST)]


def test_jobs_are_fetched_again_only_if_something_changed() -> None:
    pyslurm = a_pyslurm()
    library = a_library(pyslurm, Changes("", "yes"))

    for _ in range(3):
        library.jobs(1000, INSTANCE)

    assert pyslurm.Jobs.loads == 2


def test_a_submission_makes_the_known_jobs_old() -> None:
    pyslurm = a_pyslurm()
    library = a_library(pyslurm)

    library.jobs(1000, INSTANCE)
    answer = library.submit(a_request(), INSTANCE, PLAIN, "#!/bin/sh\n", {})
    library.jobs(1000, INSTANCE)

    assert (answer, pyslurm.Jobs.loads) == (Completed(exit_code=0, stdout="42\n"), 2)


def test_a_refusal_reads_as_that_of_sbatch() -> None:
    answer = a_library(a_pyslurm()).submit(a_request(account="nobody"), INSTANCE, PLAIN, "#!/bin/sh\n", {})

    assert answer is not None
    assert (answer.ok, "Batch job submission failed: Invalid account" in answer.stderr) == (False, True)


def test_inside_a_job_of_slurm_sbatch_submits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")

    assert a_library(a_pyslurm()).submit(a_request(), INSTANCE, PLAIN, "#!/bin/sh\n", {}) is None


def test_a_controller_that_does_not_answer_is_unavailable() -> None:
    def fail() -> None:
        raise RPCError("Unable to contact slurm controller (connect failure)")

    library = a_library(a_pyslurm(Jobs=SimpleNamespace(load=fail)))

    with pytest.raises(Unavailable, match="Slurm did not answer"):
        library.jobs(1000, INSTANCE)


class Libslurm:
    """`slurm_load_jobs` of a controller whose jobs changed at some second."""

    def __init__(self) -> None:
        self.changed_at = 100
        self.errno = 1900
        self.freed = 0
        self.message = (library_module.ctypes.c_long * 2)()

    def slurm_load_jobs(self, since: Any, message: Any, _flags: Any) -> int:
        if self.errno != 1900 or since.value > self.changed_at:
            return -1
        self.message[0], self.message[1] = 90, self.changed_at + 1
        pointer = library_module.ctypes.POINTER(library_module.ctypes.c_long)
        message._obj.contents = library_module.ctypes.cast(self.message, pointer).contents
        return 0

    def slurm_free_job_info_msg(self, _message: Any) -> None:
        self.freed += 1

    def slurm_get_errno(self) -> int:
        return self.errno


def test_changed_since_is_asked_by_the_controllers_own_clock() -> None:
    changes, libslurm = library_module._Changes(), Libslurm()
    changes._libslurm = libslurm  # type: ignore[assignment]

    answers = [changes.any(), changes.any()]
    libslurm.changed_at = 200
    answers.append(changes.any())
    libslurm.errno = 1800
    answers.append(changes.any())

    assert (answers, libslurm.freed) == ([True, False, True, True], 2)


def test_one_process_uses_libslurm_for_one_cluster_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyslurm", ModuleType("pyslurm"))
    monkeypatch.setattr(library_module, "_in_use", [])
    monkeypatch.setenv("SLURM_CONF", "/mine")

    first = load_library({"SLURM_CONF": "/etc/one"})

    assert first is not None
    assert load_library({"SLURM_CONF": "/etc/one"}) is first
    assert load_library({"SLURM_CONF": "/etc/two"}) is None
    assert library_module.os.environ["SLURM_CONF"] == "/mine"


def test_a_cluster_is_told_through_the_library_but_for_gpus_in_use() -> None:
    licences = {"scontrol show licenses": recording("scontrol-licenses", "22.05.8")}
    nodes = {"scontrol show node": recording("scontrol-node", "22.05.8")}

    def seen(runner: ScriptedRunner, pyslurm: Any) -> ClusterView:
        here = PyslurmHere()
        here.library = a_library(pyslurm)
        return replace(backend_with(runner), pyslurm=here).cluster()

    without = seen(ScriptedRunner(licences), a_pyslurm())
    with_gpus = seen(ScriptedRunner(licences | nodes), a_pyslurm(Nodes=Collection(a_node(configured_gres={"gpu": 4}))))

    assert [node.name for node in without.nodes] == ["n1"]
    assert len(with_gpus.nodes) == 4
    assert [partition.name for partition in with_gpus.partitions] == ["low"]


# The probe


@pytest.fixture
def conf(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "slurm.conf"
    file.write_text("")
    return {"SLURM_CONF": str(file)}


def install(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "pyslurm.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))


def test_without_pyslurm_nobody_is_asked(conf: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elisa.backends.slurm.library_probe.find_spec", lambda _name: None)

    assert probe(ScriptedRunner({}), conf, None) == Probe(problem="it is not installed")


def test_without_a_slurm_conf_it_is_not_even_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "lib", WORKS, monkeypatch)

    found = probe(ScriptedRunner({}), {"SLURM_CONF": str(tmp_path / "none")}, None)

    assert found == Probe(problem=f"{tmp_path}/none can't be read")


@pytest.mark.slow
def test_what_was_found_is_remembered_until_pyslurm_changes(
    tmp_path: Path, conf: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "lib", WORKS, monkeypatch)
    memory = tmp_path / "memory.json"

    first = probe(SubprocessRunner(), conf, memory)
    again = probe(ScriptedRunner({}), conf, memory)
    (tmp_path / "lib" / "pyslurm.py").write_text("raise SystemExit('Slurm version mismatch')\n")
    after = probe(SubprocessRunner(), conf, memory)

    assert (first.version, again) == ("22.5.3", first)
    assert (after.is_usable, after.problem) == (False, "Slurm version mismatch")
    assert json.loads(memory.read_text())["problem"] == "Slurm version mismatch"


@pytest.mark.slow
def test_an_import_that_ends_its_process_ends_only_the_probe(
    tmp_path: Path, conf: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "lib", "import os\nos._exit(1)\n", monkeypatch)

    found = probe(SubprocessRunner(), conf, tmp_path / "no" / "folder" / "memory.json")

    assert found.problem == "the process ended with status 1"


@pytest.mark.parametrize(
    ("slurm", "words"),
    [
        ("25.11.2", "pip install 'pyslurm==25.11.*'"),
        ("22.05.8", "its tag v22.5.*"),
        ("24.11.5-1", "its tag v24.11.*"),
        ("", "the major and minor number of your Slurm"),
    ],
)
def test_the_matching_release_is_named(slurm: str, words: str) -> None:
    assert words in how_to_get_it(slurm)


def test_a_backend_says_which_way_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elisa.backends.slurm.library_here.load_library", lambda _environment: a_library(a_pyslurm()))
    switched_off, here = PyslurmHere(), PyslurmHere()
    here.found = Probe(version="22.5.3")

    assert switched_off.advice("22.05.8").what == (
        "the programs of Slurm are used, not pyslurm: site.yaml says `pyslurm: no`"
    )
    assert here.advice("22.05.8").what == "libslurm is used through pyslurm 22.5.3"
