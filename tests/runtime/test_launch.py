from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from elisa.runtime import launch
from elisa.runtime.__main__ import main
from elisa.runtime.launch import LAUNCHERS, Layout, expand_hosts, layout_of, rendezvous, run_launch, run_ray_node
from tests.runtime.agent_cases import Case

SLURM = {
    "SLURM_JOB_NODELIST": "gpu[01-02]",
    "ELISA_TASKS_PER_NODE": "2",
    "ELISA_CPUS_PER_TASK": "8",
    "ELISA_GPUS_PER_NODE": "4",
    "ELISA_ATTEMPT": "t000000001.1",
}
HERE = socket.gethostname()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ("n1",)),
        ("n[1-3]", ("n1", "n2", "n3")),
        ("n[01-03,7],m", ("n01", "n02", "n03", "n7", "m")),
        ("a,b[9-10]-ib,c", ("a", "b9-ib", "b10-ib", "c")),
        ("", ()),
    ],
)
def test_lists_of_hosts_are_expanded(text: str, names: tuple[str, ...]) -> None:
    assert expand_hosts(text) == names


def test_slurm_tells_the_layout() -> None:
    layout = layout_of(SLURM)

    assert layout.hosts == ("gpu01", "gpu02")
    assert layout.spread == ("srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1")
    assert 20_000 <= layout.port < 40_000
    assert layout.processes_per_node == 4


def test_pbs_tells_the_layout(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("a\na\nb\nb\n")

    layout = layout_of({"PBS_NODEFILE": str(tmp_path / "nodes")})

    assert (layout.hosts, layout.spread[:3]) == (("a", "b"), ("mpirun", "-np", "2"))


def test_outside_of_a_job_there_is_this_host() -> None:
    assert layout_of({}).hosts == (HERE,)
    assert rendezvous({})["MASTER_ADDR"] == HERE


def test_what_every_launcher_is_told() -> None:
    layout = layout_of(SLURM)
    said = {name: " ".join(make(layout, ["train.py", "--lr", "1"])) for name, make in LAUNCHERS.items()}

    spread = "srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --kill-on-bad-exit=1"
    rendezvous_at = f"--rdzv-backend=c10d --rdzv-id=t000000001.1 --rdzv-endpoint=gpu01:{layout.port}"
    assert said == {
        "torchrun": f"{spread} {sys.executable} -m torch.distributed.run --nnodes=2 {rendezvous_at} --max-restarts=0"
        " --nproc-per-node=4 train.py --lr 1",
        "mpi": "srun --nodes=2 --ntasks=4 --ntasks-per-node=2 train.py --lr 1",
        "horovod": "horovodrun -np 8 -H gpu01:4,gpu02:4 train.py --lr 1",
        "ray": f"{spread} {sys.executable} -m elisa.runtime ray-node train.py --lr 1",
    }


def test_on_one_host_nothing_is_spread() -> None:
    layout = Layout((HERE,), 2, 0, 1, "x", 20_000, ())

    assert LAUNCHERS["torchrun"](layout, ["a.py"])[1:] == [
        "-m", "torch.distributed.run", "--standalone", "--max-restarts=0", "--nproc-per-node=2", "a.py",
    ]  # fmt: skip
    assert LAUNCHERS["mpi"](layout, ["a"]) == ["mpirun", "-np", "2", "--host", f"{HERE}:2", "a"]


def test_processes_find_each_other(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.run(case.job(argv=["env"], nodes=2, env={"MASTER_PORT": "7"}), SLURM_JOB_NODELIST="n[1-2]")

    env = dict(line.split("=", 1) for line in case.printed.splitlines())
    assert (env["MASTER_ADDR"], env["ELISA_HOSTS"], env["ELISA_NNODES"]) == ("n1", "n1,n2", "2")
    assert env["MASTER_PORT"] == "7"  # the author's word is the last


class TestRay:
    def record(self, env: dict[str, str], *statuses: int) -> tuple[int, list[list[str]]]:
        left, ran = list(statuses), []

        def call(argv: list[str], **_: Any) -> int:
            ran.append(argv)
            return left.pop(0)

        return run_ray_node(["train.py"], env, call), ran

    def test_on_the_first_node_the_head_and_then_the_program_run(self) -> None:
        status, ran = self.record({**SLURM, "SLURM_NODEID": "0"}, 0, 5, 0)

        assert status == 5
        assert [argv[:3] for argv in ran] == [["ray", "start", "--head"], ["train.py"], ["ray", "stop"]]
        assert ran[0][-2:] == ["--num-cpus=16", "--num-gpus=4"]

    def test_without_a_head_no_program_runs(self) -> None:
        status, ran = self.record({**SLURM, "SLURM_NODEID": "0"}, 1, 0)

        assert (status, [argv[:2] for argv in ran]) == (1, [["ray", "start"], ["ray", "stop"]])

    def test_a_worker_waits_for_the_head(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]

        def call(_argv: list[str]) -> int:
            now[0] += 1 if now[0] < 5 else 100
            return 1

        assert launch._join_ray(call, ["ray"], lambda: now[0]) == 0
        monkeypatch.setattr(launch, "_RAY_WAIT_S", 3.0)
        now[0] = 0.0
        assert launch._join_ray(call, ["ray"], lambda: now[0]) == 1

    def test_other_nodes_are_workers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(launch, "_RAY_WAIT_S", -1.0)
        status, ran = self.record({**SLURM, "SLURM_NODEID": "1"}, 3)

        assert (status, ran[0][2], ran[0][-1]) == (3, f"--address=gpu01:{layout_of(SLURM).port}", "--block")

    def test_a_node_knows_itself_by_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "nodes").write_text(f"a\n{HERE}\n")
        env = {"PBS_NODEFILE": str(tmp_path / "nodes")}

        assert launch._node_rank(env, layout_of(env)) == 1
        assert launch._node_rank({}, layout_of({})) == 0


class TestCommand:
    def test_the_launcher_takes_the_place_of_the_command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ran: list[Any] = []
        monkeypatch.setattr(os, "execvpe", lambda *args: ran.append(args))
        monkeypatch.setenv("ELISA_ATTEMPT", "t000000001.1")

        assert main(["launch", "mpi", "a.out", "x"]) == 127
        assert ran[0][1] == ["mpirun", "-np", "1", "--host", f"{HERE}:1", "a.out", "x"]
        assert ran[0][2]["MASTER_ADDR"] == HERE

    @pytest.mark.parametrize("argv", [[], ["mpi"], ["teleport", "a.out"]])
    def test_what_is_no_launcher_is_a_mistake(self, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["launch", *argv]) == 64
        assert "horovod|mpi|ray|torchrun" in capsys.readouterr().err

    def test_a_launcher_that_is_not_there_is_named(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("PATH", "/nowhere")

        assert run_launch(["mpi", "a.out"], dict(os.environ)) == 127
        assert capsys.readouterr().err == "elisa: mpirun cannot be started: No such file or directory\n"

    def test_torchrun_really_runs(self, tmp_path: Path) -> None:
        pytest.importorskip("torch", reason="torch is not here; get it with: make frameworks")
        case = Case(tmp_path)
        (tmp_path / "p.py").write_text("import os; print(os.environ['RANK'], os.environ['WORLD_SIZE'], flush=True)")
        argv = [sys.executable, "-m", "elisa.runtime", "launch", "torchrun", str(tmp_path / "p.py")]
        env = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}

        assert case.run(case.job(argv=argv, tasks_per_node=2, env=env)) == 0
        assert sorted(case.printed.split("\n")) == ["", "0 2", "1 2"]
