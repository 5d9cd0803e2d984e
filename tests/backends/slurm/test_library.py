"""pyslurm where there is none: a module that stands for it, asked as on a real cluster (see tests/real)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from elisa.backends.runner import Completed
from elisa.backends.slurm import library as library_module
from elisa.backends.slurm.identity import JobKey
from elisa.backends.slurm.library import SlurmLibrary, load_library
from elisa.backends.slurm.library_here import PyslurmHere
from elisa.model.errors import Unavailable
from elisa.model.native import ClusterView
from tests.backends.slurm.jobs import FIRST, INSTANCE, PLAIN, ScriptedRunner, a_request, backend_with, recording
from tests.backends.slurm.pyslurm_objects import a_job, a_node, a_partition


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
        "__version__": "22.5.3",
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
            library_module.ctypes.set_errno(self.errno)
            return -1
        self.message[0], self.message[1] = 90, self.changed_at + 1
        pointer = library_module.ctypes.POINTER(library_module.ctypes.c_long)
        message._obj.contents = library_module.ctypes.cast(self.message, pointer).contents
        return 0

    def slurm_free_job_info_msg(self, _message: Any) -> None:
        self.freed += 1


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
    module = ModuleType("pyslurm")
    module.__dict__["__version__"] = "22.5.3"
    monkeypatch.setitem(sys.modules, "pyslurm", module)
    monkeypatch.setattr(library_module, "_in_use", [])
    monkeypatch.setenv("SLURM_CONF", "/mine")

    first = load_library({"SLURM_CONF": "/etc/one"})

    assert first is not None
    assert load_library({"SLURM_CONF": "/etc/one"}) is first
    assert load_library({"SLURM_CONF": "/etc/two"}) is None
    assert library_module.os.environ["SLURM_CONF"] == "/mine"


def test_a_cluster_is_told_through_the_library_but_for_gpus_in_use() -> None:
    nodes = {"scontrol show node": recording("scontrol-node", "22.05.8")}

    def seen(runner: ScriptedRunner, pyslurm: Any) -> ClusterView:
        here = PyslurmHere()
        here.library = a_library(pyslurm)
        return replace(backend_with(runner), pyslurm=here).cluster()

    without = seen(ScriptedRunner({}), a_pyslurm())
    with_gpus = seen(ScriptedRunner(nodes), a_pyslurm(Nodes=Collection(a_node(configured_gres={"gpu": 4}))))

    assert [node.name for node in without.nodes] == ["n1"]
    assert len(with_gpus.nodes) == 4
    assert [partition.name for partition in with_gpus.partitions] == ["low"]
