from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elisa.runtime import launch
from elisa.runtime.__main__ import main
from elisa.runtime.launch import LAUNCHERS, Layout, expand_hosts, layout_of, rendezvous, run_launch
from tests.runtime.agent_cases import Case

SLURM = {
    "SLURM_JOB_NODELIST": "gpu[01-02]",
    "ELISA_TASKS_PER_NODE": "2",
    "ELISA_CPUS_PER_TASK": "8",
    "ELISA_GPUS_PER_NODE": "4",
    "ELISA_ATTEMPT": "t000000001.1",
}
HERE = socket.gethostname()


# Every step adds its number to each of 15 elements, spread over the ranks: 15 * 28 in the end.
DIES_AT = 4
RANKS = f"""
import os, signal
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from elisa import checkpoint

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
mesh = init_device_mesh("cpu", (size,))
state = {{"w": distribute_tensor(torch.zeros(15), mesh, [Shard(0)])}}
with checkpoint.run(interval_s=0) as ckpt:
    saved, began = ckpt.load(), ckpt.step
    if saved:
        saved["model"].load_into(state)
    for step in ckpt.steps(8):
        if step == {DIES_AT} and rank == 1 and os.environ["ELISA_ATTEMPT"].endswith(".1"):
            os.kill(os.getpid(), signal.SIGKILL)
        dist.barrier()
        state["w"] += step
        ckpt.save(step, lambda: {{"model": checkpoint.Sharded(state)}})
    print(f"{{rank}} of {{size}}: {{began}} {{int(state['w'].full_tensor().sum())}}", flush=True)
dist.destroy_process_group()
"""


def known(_host: str) -> bool:
    return True


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
    layout = layout_of(SLURM, is_known=known)
    said = {name: " ".join(make(layout, ["train.py", "--lr", "1"])) for name, make in LAUNCHERS.items()}

    spread = "srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --kill-on-bad-exit=1"
    rendezvous_at = f"--rdzv-backend=c10d --rdzv-id=t000000001.1 --rdzv-endpoint=gpu01:{layout.port}"
    assert said == {
        "torchrun": f"{spread} {sys.executable} -m torch.distributed.run --nnodes=2 {rendezvous_at} --max-restarts=0"
        " --nproc-per-node=4 train.py --lr 1",
        "mpi": "srun --nodes=2 --ntasks=4 --ntasks-per-node=2 --kill-on-bad-exit=1 train.py --lr 1",
        "horovod": f"{spread} {sys.executable} -m elisa.runtime horovod-node train.py --lr 1",
        "ray": f"{spread} {sys.executable} -m elisa.runtime ray-node train.py --lr 1",
    }


def test_on_one_host_nothing_is_spread() -> None:
    layout = Layout((HERE,), 2, 0, 1, "x", 20_000, (), HERE)

    assert LAUNCHERS["torchrun"](layout, ["a.py"])[1:] == [
        "-m", "torch.distributed.run", "--standalone", "--max-restarts=0", "--nproc-per-node=2", "a.py",
    ]  # fmt: skip
    assert LAUNCHERS["mpi"](layout, ["a"]) == ["mpirun", "-np", "2", "--host", f"{HERE}:2", "a"]


def test_the_first_node_is_reached_by_the_name_it_calls_itself_where_the_manager_s_is_none_of_the_network() -> None:
    assert layout_of(SLURM, is_known=known).address == "gpu01"
    assert layout_of(SLURM, is_known=lambda _: False).address == HERE
    assert layout_of({**SLURM, "SLURM_JOB_NODELIST": "x.invalid,y.invalid"}).address == HERE
    assert layout_of({**SLURM, "SLURM_JOB_NODELIST": "localhost,y.invalid"}).address == "localhost"


def test_what_the_first_node_or_the_author_said_of_address_and_port_holds_on_all() -> None:
    env = {**SLURM, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "7"}

    assert (layout_of(env).address, layout_of(env).port) == ("10.0.0.1", 7)
    assert rendezvous(env)["MASTER_PORT"] == "7"


def test_processes_find_each_other(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.run(case.job(argv=["env"], nodes=2, env={"MASTER_PORT": "7"}), SLURM_JOB_NODELIST="n[1-2]")

    env = dict(line.split("=", 1) for line in case.printed.splitlines())
    assert (env["MASTER_ADDR"], env["ELISA_HOSTS"], env["ELISA_NNODES"]) == (HERE, "n1,n2", "2")
    assert env["MASTER_PORT"] == "7"  # the author's word is the last


def test_a_node_knows_itself_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text(f"a\n{HERE}\n")
    env = {"PBS_NODEFILE": str(tmp_path / "nodes")}

    assert launch.node_rank(env, layout_of(env)) == 1
    assert launch.node_rank({}, layout_of({})) == 0
    assert launch.node_rank({"SLURM_NODEID": "3"}, layout_of({})) == 3


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

    @pytest.mark.slow
    def test_ranks_of_torchrun_end_with_the_one_that_dies_and_another_number_of_them_goes_on(
        self, tmp_path: Path, require_real: Callable[..., None]
    ) -> None:
        require_real("torch")
        case = Case(tmp_path, {"env": {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "GLOO_SOCKET_IFNAME": "lo"}})
        (tmp_path / "ranks.py").write_text(RANKS)
        argv = [sys.executable, "-W", "ignore", "-m", "elisa.runtime", "launch", "torchrun", str(tmp_path / "ranks.py")]
        checkpoint = {"interval_s": 0, "keep": 2}

        assert case.run(case.job(argv=argv, tasks_per_node=2, checkpoint=checkpoint)) == 1
        assert case.printed == ""
        newest = max(record.data["step"] for record in case.events() if record.kind == "checkpoint")
        assert newest < DIES_AT
        assert case.run(case.job(2, argv=argv, tasks_per_node=3, checkpoint=checkpoint)) == 0
        assert sorted(case.printed.split("\n")) == [
            "",
            f"0 of 3: {newest} 420",
            f"1 of 3: {newest} 420",
            f"2 of 3: {newest} 420",
        ]
