from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.node_cases import Nodes, wait_until

# Stands in for Ray: the head listens on its port, a worker does nothing; both until they are told to end.
RAY = f"""#!{sys.executable}
import os, signal, socket, sys
with open(os.environ["RAY_LOG"], "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
if "FAIL" in os.environ:
    sys.exit(3)
if "--head" in sys.argv:
    port = next(int(word.split("=")[1]) for word in sys.argv if word.startswith("--port="))
    server = socket.create_server(("127.0.0.1", port))
signal.pause()
"""


class Cluster(Nodes):
    """Two nodes of a job, on each of which Ray is to run."""

    def __init__(self, folder: Path) -> None:
        (folder / "bin").mkdir()
        (folder / "bin" / "ray").write_text(RAY)
        (folder / "bin" / "ray").chmod(0o755)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.folder = folder
        self.address = f"127.0.0.1:{port}"
        env = {
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
            "RAY_LOG": str(folder / "ray.log"),
            "ELISA_CPUS_PER_TASK": "4",
        }
        super().__init__("ray-node", {**env, "SLURM_JOB_NODELIST": "a,b", "MASTER_PORT": str(port)})

    @property
    def log(self) -> list[str]:
        file = self.folder / "ray.log"
        return sorted(file.read_text().splitlines()) if file.exists() else []


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.end()


@pytest.mark.slow
def test_the_program_finds_the_head_and_workers_end_soon_after_it_whatever_its_status(cluster: Cluster) -> None:
    worker = cluster.start(1, "never")
    head = cluster.start(
        0, "sh", "-c", "echo $RAY_ADDRESS; while ! grep -q address $RAY_LOG; do sleep 0.1; done; exit 5"
    )

    said, _ = head.communicate(timeout=30)
    assert (head.returncode, said.strip()) == (5, cluster.address)
    assert worker.wait(15) == 0
    assert cluster.log == [
        f"start --address={cluster.address} --num-cpus=8 --num-gpus=0 --block",
        f"start --head --port={cluster.address.split(':')[1]} --num-cpus=8 --num-gpus=0 --block",
    ]


@pytest.mark.slow
def test_a_worker_that_ends_before_the_head_fails(cluster: Cluster) -> None:
    cluster.start(0, "sleep", "60")
    wait_until(lambda: bool(cluster.log))

    assert cluster.start(1, "never", FAIL="1").wait(20) == 3


@pytest.mark.slow
def test_without_a_head_no_program_runs(cluster: Cluster) -> None:
    assert cluster.start(0, "touch", str(cluster.folder / "ran"), FAIL="1").wait(20) == 3
    assert not (cluster.folder / "ran").exists()


@pytest.mark.slow
def test_a_node_without_ray_says_so(cluster: Cluster) -> None:
    (cluster.folder / "bin" / "ray").unlink()

    assert cluster.start(0, "true").wait(20) == 127
