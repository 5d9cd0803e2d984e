"""Torque's dialect on the programs that Slurm has for who comes from Torque, over a real Slurm.

They show that a command line in that dialect is read as it is meant, and how such programs describe nodes. They can't show
the rest: they tell no exit status and no start time, have no qselect, print jobs in a form of their own, take a script from
a file only, and leave the jobs without PBS's variables.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from elisa.backends.pbs.deletion import delete_argv
from elisa.backends.pbs.dialect import dialect_argv, parse_dialect
from elisa.backends.pbs.identity import Names
from elisa.backends.pbs.inventory import nodes_argv, parse_cluster_nodes
from elisa.backends.pbs.options import Dialect, PbsOptions
from elisa.backends.pbs.ordering import hold_argv, release_argv
from elisa.backends.pbs.submission import parse_submit, render_script, submit_argv
from elisa.backends.runner import Completed
from elisa.model.errors import Unavailable
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import JobRequest
from elisa.model.resources import GpuRequest, Resources
from tests.real.slurm_cluster import SlurmCluster
from tests.real_parts import require_real

pytestmark = [pytest.mark.real, pytest.mark.slow]

UNPACKED = Path(__file__).parents[2] / ".stand-ins" / "slurm-torque"
ATTEMPT = AttemptId("t000000001.1")
NAMES = Names(instance="ab12", limit=230)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIns:
    """Slurm's qsub, qstat and so on, in a folder with the programs of Slurm that they call."""

    slurm: SlurmCluster
    folder: Path

    def run(self, argv: Sequence[str], text: str = "") -> Completed:
        """Run one of them."""
        modules = [*UNPACKED.glob("usr/lib/*/perl5/5.*"), UNPACKED / "usr/share/perl5"]
        environment = {**self.slurm.env(), "PERL5LIB": os.pathsep.join(map(str, modules))}
        done = subprocess.run(
            [str(self.folder / argv[0]), *argv[1:]],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            input=text,
            timeout=60,
            check=False,
        )
        return Completed(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def submit(self, script: str, **more: object) -> NativeId:
        """Submit a shell script as the backend would to Torque, but from a file."""
        fields: dict[str, object] = {"resources": Resources(walltime_s=120), "partition": "high", **more}
        request = JobRequest(
            attempt=ATTEMPT,
            argv=("/bin/sh", "-c", script),
            workdir=str(self.folder),
            stdout=str(self.folder / "log"),
            stderr=str(self.folder / "log"),
            **fields,  # type: ignore[arg-type]  # a builder passes on what it is given
        )
        argv = submit_argv("qsub", request, NAMES, PbsOptions(umask="0027"), Dialect.TORQUE)
        return parse_submit(self.run((*argv, "/dev/stdin"), render_script(request)), ATTEMPT)

    def what_slurm_has(self, native_id: NativeId) -> Mapping[str, str]:
        text = self.slurm.run(["scontrol", "show", "job", "-o", native_id.partition(".")[0]]).stdout
        return dict(re.findall(r"(\S+?)=(\S*)", text))


@pytest.fixture
def stand_ins(slurm: SlurmCluster, tmp_path: Path) -> StandIns:
    program = UNPACKED / "usr" / "bin" / "qsub"
    require_real("slurm-torque", how=".ci/run, which unpacks them beside the PATH", found=program.exists())
    for path in program.parent.iterdir():
        (tmp_path / path.name).symlink_to(path)
    for name in ("sbatch", "scontrol", "scancel", "srun", "salloc"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    return StandIns(slurm=slurm, folder=tmp_path)


def test_command_line_is_read_as_it_is_meant(stand_ins: StandIns) -> None:
    resources = Resources(
        nodes=2, tasks_per_node=2, memory_mib_per_node=128, gpus=GpuRequest(per_node=1), walltime_s=180
    )
    before = stand_ins.submit("sleep 60", resources=Resources(walltime_s=120))
    job = stand_ins.what_slurm_has(stand_ins.submit("exit 0", resources=resources, after=(before,)))

    asked = ("JobName", "Partition", "NumNodes", "TimeLimit", "Requeue", "StdOut", "JobState")
    assert [job[name] for name in asked] == [
        "el.ab12.t000000001.1",
        "high",
        "2-2",
        "00:03:00",
        "0",
        "/dev/null",
        "PENDING",
    ]
    assert (job["NumTasks"], job["TresPerNode"]) == ("4", "gres:gpu:1")
    assert job["Dependency"].startswith(f"afterok:{before.partition('.')[0]}")


def test_script_runs_and_its_exit_status_arrives(stand_ins: StandIns) -> None:
    native_id = stand_ins.submit("umask; exit 3")
    stand_ins.slurm.wait_for(int(native_id.partition(".")[0]), "FAILED")

    assert stand_ins.what_slurm_has(native_id)["ExitCode"] == "3:0"
    assert (stand_ins.folder / "log").read_text() == "0027\n"


def test_job_is_held_released_and_deleted(stand_ins: StandIns) -> None:
    before = stand_ins.submit("sleep 60")
    native_id = stand_ins.submit("exit 0", after=(before,))
    number, holding = native_id.partition(".")[0], before.partition(".")[0]

    assert stand_ins.run(hold_argv("qhold", [number])).ok
    held = stand_ins.what_slurm_has(native_id)["Reason"]
    assert stand_ins.run(release_argv("qrls", [number])).ok
    assert stand_ins.run(delete_argv("qdel", [number, holding])).ok
    assert "Held" in held
    assert [stand_ins.slurm.wait_for(int(one), "CANCELLED") for one in (number, holding)] == ["CANCELLED"] * 2


def test_nodes_are_read(stand_ins: StandIns) -> None:
    nodes = parse_cluster_nodes(stand_ins.run(nodes_argv("pbsnodes")).stdout, (), PbsOptions())

    assert [(node.name, node.cpus, node.free_cpus, node.gpus) for node in nodes] == [
        (f"n{number}", 8, 8, (("", 4),)) for number in range(1, 5)
    ]
    assert {node.features for node in nodes} == {("ib",)}


def test_they_are_known_for_what_they_are(stand_ins: StandIns) -> None:
    with pytest.raises(Unavailable, match="Slurm's stand-ins"):
        parse_dialect(stand_ins.run(dialect_argv("qstat")))
