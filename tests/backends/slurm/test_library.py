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
from elisa.backends.slurm.libslurm import Inventory
from elisa.model.errors import Unavailable
from elisa.model.native import ClusterView, PartitionView
from tests.backends.slurm.jobs import FIRST, INSTANCE, PLAIN, ScriptedRunner, a_request, backend_with, recording
from tests.backends.slurm.pyslurm_objects import a_job


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


class Told:
    """What libslurm itself tells: whether jobs changed, call by call, nodes and partitions."""

    def __init__(self, *changes: str, inventory: Inventory | None = None) -> None:
        self._changes = list(changes)
        self._inventory = inventory
        self.asked = 0

    def have_jobs_changed(self) -> bool:
        return bool(self._changes.pop(0))

    def inventory(self) -> Inventory | None:
        self.asked += 1
        return self._inventory


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
        "JobSubmitDescription": Description,
    }
    return SimpleNamespace(**(fields | more))


def a_library(pyslurm: Any, told: Told | None = None) -> SlurmLibrary:
    library = SlurmLibrary(pyslurm)
    library._libslurm = told or Told()  # type: ignore[assignment]
    return library


def test_only_the_users_own_jobs_of_this_instance_are_told() -> None:
    assert list(a_library(a_pyslurm()).jobs(1000, INSTANCE)) == [JobKey("7", FIRST)]


def test_jobs_of_others_are_not_described() -> None:
    theirs = SimpleNamespace(user_id=0)  # whatever else is read of it is missing

    known = a_library(a_pyslurm(Jobs=Collection(a_job(), theirs)), Told("")).jobs(1000, INSTANCE)

    assert list(known) == [JobKey("7", FIRST)]


def test_each_user_is_told_their_own_jobs() -> None:
    library = a_library(a_pyslurm(), Told("", ""))

    assert [list(library.jobs(uid, INSTANCE)) for uid in (1000, 0, 1000)] == [
        [JobKey("7", FIRST)],
        [JobKey("8", FIRST)],
        [JobKey("7", FIRST)],
    ]


def test_jobs_are_fetched_again_only_if_something_changed() -> None:
    pyslurm = a_pyslurm()
    library = a_library(pyslurm, Told("", "yes"))

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


def seen(runner: ScriptedRunner, told: Told) -> ClusterView:
    here = PyslurmHere()
    here.library = a_library(a_pyslurm(), told)
    return replace(backend_with(runner), pyslurm=here).cluster()


def test_nodes_and_partitions_are_asked_for_once_with_the_gpus_in_use() -> None:
    runner = ScriptedRunner({})
    nodes = "NodeName=n1 CPUTot=8 Gres=gpu:a100:4 GresUsed=gpu:a100:3(IDX:0-2) State=MIXED\n"
    partitions = (
        "PartitionName=low Default=YES MaxNodes=4 MaxTime=1-00:00:00 State=UP PreemptMode=REQUEUE PriorityTier=2\n"
    )
    told = Told(inventory=Inventory(nodes=nodes, partitions=partitions))

    cluster = seen(runner, told)

    assert [(node.name, node.gpus, node.free_gpus) for node in cluster.nodes] == [
        ("n1", (("a100", 4),), (("a100", 1),))
    ]
    assert cluster.partitions == (
        PartitionView(name="low", is_default=True, max_walltime_s=86400, max_nodes=4, priority=2, preemptible=True),
    )
    assert (told.asked, runner.asked) == (1, [])


def test_what_libslurm_would_print_in_a_way_of_the_users_is_told_by_scontrol() -> None:
    runner = ScriptedRunner(
        {
            "scontrol show node": recording("scontrol-node", "22.05.8"),
            "scontrol show partition": recording("scontrol-partition", "22.05.8"),
        }
    )

    cluster = seen(runner, Told(inventory=None))

    assert (len(cluster.nodes), len(cluster.partitions)) == (4, 2)
