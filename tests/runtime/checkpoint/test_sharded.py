from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from elisa import checkpoint

dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
torch.manual_seed(0)
whole = {"w": torch.randn(24, 3), "b": torch.randn(12)}
state = {name: distribute_tensor(torch.zeros_like(tensor), mesh, [Shard(0)]) for name, tensor in whole.items()}
with checkpoint.run(sys.argv[1], interval_s=0) as ckpt:
    if sys.argv[2] == "save":
        state = {name: distribute_tensor(tensor, mesh, [Shard(0)]) for name, tensor in whole.items()}
        for step in ckpt.steps(3):
            dist.barrier()  # as ranks that exchange gradients wait for each other
            ckpt.save(step, lambda: {"model": checkpoint.Sharded(state), "rank": dist.get_rank()})
    else:
        restored = ckpt.load()
        restored["model"].load_into(state)
        assert all(torch.equal(state[name].full_tensor(), tensor) for name, tensor in whole.items())
        print("equal", ckpt.step, restored["rank"])
dist.destroy_process_group()
"""


def run(folder: Path, what: str, size: int) -> list[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, str(folder), what],
            env={
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "GLOO_SOCKET_IFNAME": "lo",
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    said = [rank.communicate(timeout=240) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * size, said
    return [out.strip() for out, _ in said]


@pytest.mark.slow
def test_a_state_spread_over_ranks_is_loaded_by_another_number_of_them(
    tmp_path: Path, require_real: Callable[..., None]
) -> None:
    require_real("torch")
    run(tmp_path, "save", 2)

    assert run(tmp_path, "load", 2) == ["equal 2 0", "equal 2 1"]
    assert run(tmp_path, "load", 3) == ["equal 2 0", "equal 2 1", "equal 2 0"]


def test_what_was_not_restored_cannot_be_loaded(require_real: Callable[..., None]) -> None:
    require_real("torch")
    from elisa import checkpoint

    with pytest.raises(ValueError, match="nothing to load"):
        checkpoint.Sharded({}).load_into({})


def test_other_things_of_this_module_are_not_saved(require_real: Callable[..., None]) -> None:
    require_real("torch")
    from elisa.runtime.checkpoint.adapters import sharded
    from elisa.runtime.checkpoint.codec import Encoder

    assert sharded.encode(object(), Encoder(), "state") is None
