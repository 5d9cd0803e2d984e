from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from elisa.runtime.horovodnode import interface_towards
from tests.runtime.node_cases import Nodes, wait_until

# Stands in for the part of Horovod that knows which rank is where, and for the place where ranks meet.
HOROVOD = {
    "runner/common/util/hosts.py": """
from types import SimpleNamespace

def parse_hosts(text):
    return [(host, int(slots)) for host, slots in (one.split(":") for one in text.split(","))]

def get_host_assignments(hosts, size):
    places = [(host, local) for host, slots in hosts for local in range(slots)]
    assert len(places) == size
    return [SimpleNamespace(hostname=host, rank=rank, local_rank=local) for rank, (host, local) in enumerate(places)]
""",
    "runner/gloo_run.py": """
def create_slot_env_vars(slot):
    return {"HOROVOD_RANK": str(slot.rank), "HOROVOD_LOCAL_RANK": str(slot.local_rank)}
""",
    "runner/http/http_server.py": """
from http.server import BaseHTTPRequestHandler as RendezvousHandler, HTTPServer

class RendezvousHTTPServer(HTTPServer):
    def __init__(self, address, handler, verbose):
        super().__init__(address, handler)

    def init(self, plan):
        assert len(plan) == 4
""",
}
SAY = 'echo "$HOROVOD_RANK $HOROVOD_LOCAL_RANK $HOROVOD_CONTROLLER $HOROVOD_GLOO_RENDEZVOUS_PORT $HOROVOD_GLOO_IFACE"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in HOROVOD.items():
        file = tmp_path / "horovod" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.fixture
def port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


@pytest.fixture
def nodes(folder: Path, port: str) -> Iterator[Nodes]:
    env = {"PYTHONPATH": str(folder), "SLURM_JOB_NODELIST": "a.invalid,b.invalid", "MASTER_PORT": port}
    nodes = Nodes("horovod-node", env)
    yield nodes
    nodes.end()


@pytest.mark.slow
def test_every_rank_is_told_its_place_and_where_all_meet(nodes: Nodes, folder: Path, port: str) -> None:
    first = nodes.start(0, "sh", "-c", f"{SAY}; while ! test -e {folder}/done; do sleep 0.05; done")
    second = nodes.start(1, "sh", "-c", f"{SAY}; touch {folder}/done", HOROVOD_GLOO_IFACE="ib0")

    said = [sorted(process.communicate(timeout=30)[0].splitlines()) for process in (first, second)]

    assert (first.returncode, second.returncode) == (0, 0)
    assert said == [
        [f"0 0 gloo {port} lo", f"1 1 gloo {port} lo"],
        [f"2 0 gloo {port} ib0", f"3 1 gloo {port} ib0"],  # the author's word is the last
    ]


@pytest.mark.slow
def test_a_rank_that_dies_ends_those_of_its_node(nodes: Nodes) -> None:
    node = nodes.start(0, "sh", "-c", "if test $HOROVOD_RANK = 1; then kill -9 $$; fi; exec sleep 60")

    assert node.wait(20) == 137


@pytest.mark.slow
def test_ranks_that_were_asked_to_leave_may_save_first(nodes: Nodes, folder: Path) -> None:
    """The first to leave does not take the other with it, and a signal that the ranks hear, too, ends nobody else."""
    script = (
        f"trap 'sleep $HOROVOD_RANK; touch {folder}/saved$HOROVOD_RANK; exit 85' TERM;"
        f" touch {folder}/ready$HOROVOD_RANK; while :; do sleep 0.05; done"
    )
    node = nodes.start(0, "sh", "-c", script)
    wait_until(lambda: all((folder / f"ready{rank}").exists() for rank in (0, 1)))

    os.killpg(node.pid, signal.SIGTERM)

    assert node.wait(20) == 85
    assert (folder / "saved1").exists()


@pytest.mark.slow
def test_what_cannot_be_started_is_named(nodes: Nodes, folder: Path, port: str) -> None:
    with socket.create_server(("127.0.0.1", int(port))):
        taken = nodes.start(0, "sh", "-c", "true")
        assert (taken.wait(20), taken.communicate()[1]) == (
            127,
            "elisa: the meeting place cannot be started: Address already in use\n",
        )
    (folder / "horovod" / "runner" / "gloo_run.py").unlink()
    without = nodes.start(0, "sh", "-c", "true")
    assert without.wait(20) == 127
    assert f"elisa: {sys.executable} has no Horovod: No module named 'horovod" in without.communicate()[1]


def test_the_interface_towards_a_host_is_found() -> None:
    assert interface_towards("127.0.0.1") == "lo"
    assert interface_towards("nowhere.invalid") == ""
