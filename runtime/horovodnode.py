"""One node's part in a Horovod job: its ranks, and on the first node the place where all ranks find each other.

`horovodrun` reaches the other nodes by ssh, which many sites refuse to jobs. Here the manager's own launcher starts this on
each node, and Horovod's ranks meet by Gloo as they would under `horovodrun --gloo`.
"""

from __future__ import annotations

import contextlib
import fcntl
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Any, Iterator, Mapping, Sequence

from elisa.runtime.firstnode import wait_for_first
from elisa.runtime.launch import Layout, layout_of, node_rank
from elisa.runtime.supervise import SAVED_AND_LEFT

__all__ = ["interface_towards", "run_horovod_node"]

_LOOK_S = 0.1
_LEAVE_S = 30.0  # for the others to leave, too, once one has saved and left
_END_S = 10.0
_SIOCGIFADDR = 0x8915  # of Linux: the address of an interface


def run_horovod_node(program: Sequence[str], env: Mapping[str, str]) -> int:
    """Run this node's ranks to their end; return the status of the first that failed, which ends the others."""
    layout = layout_of(env)
    number = node_rank(env, layout)
    try:
        plan = _plan(layout)
        with _meeting_place(layout, plan) if number == 0 else contextlib.nullcontext():
            if not wait_for_first(layout):
                sys.stderr.write(f"elisa: the first node does not answer at {layout.address}:{layout.port}\n")
                return 1
            common = {**env, **_for_all(layout, number, env)}
            return _run_ranks(program, [{**common, **own} for own in _ranks_of(plan, layout.hosts[number])])
    except ImportError as error:
        sys.stderr.write(f"elisa: {sys.executable} has no Horovod: {error}\n")
    except OSError as error:
        sys.stderr.write(f"elisa: {error.filename or 'the meeting place'} cannot be started: {error.strerror}\n")
    return 127


def _plan(layout: Layout) -> Any:  # noqa: ANN401  (Horovod's own: which rank is where)
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts

    slots = ",".join(f"{host}:{layout.processes_per_node}" for host in layout.hosts)
    return get_host_assignments(parse_hosts(slots), len(layout.hosts) * layout.processes_per_node)


def _ranks_of(plan: Any, host: str) -> list[Mapping[str, str]]:  # noqa: ANN401  (Horovod's own)
    from horovod.runner.gloo_run import create_slot_env_vars

    return [create_slot_env_vars(slot) for slot in plan if slot.hostname == host]


def _for_all(layout: Layout, number: int, env: Mapping[str, str]) -> dict[str, str]:
    """Return what every rank of this node is told; what the author of the task said about it holds."""
    told = {
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": socket.gethostbyname(layout.address),
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(layout.port),
        "HOROVOD_GLOO_IFACE": _interface(layout, number),
    }
    return {name: value for name, value in told.items() if value and name not in env}


def _interface(layout: Layout, number: int) -> str:
    """Return the network interface by which this node reaches another one of the job."""
    others = [layout.address] if number else [*layout.hosts[1:2], layout.address]
    return next(filter(None, map(interface_towards, others)), "")


def interface_towards(host: str) -> str:
    """Return the name of the interface by which this host reaches another; empty if nobody knows."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # of UDP: nothing is sent
        own = "127.0.0.1" if probe.getsockname()[0].startswith("127.") else probe.getsockname()[0]
        return next((name for _, name in socket.if_nameindex() if _address_of(name, probe) == own), "")
    return ""


def _address_of(interface: str, probe: socket.socket) -> str:
    with contextlib.suppress(OSError):
        answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        return socket.inet_ntoa(answer[20:24])
    return ""


@contextlib.contextmanager
def _meeting_place(layout: Layout, plan: Any) -> Iterator[None]:  # noqa: ANN401  (Horovod's own)
    """Offer, for as long as the block runs, the store by which the ranks of Gloo find each other."""
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

    server = RendezvousHTTPServer(("", layout.port), RendezvousHandler, 0)
    server.daemon_threads = True
    server.init(plan)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _run_ranks(program: Sequence[str], environments: Sequence[Mapping[str, str]]) -> int:
    # Who asks the job to stop tells the ranks as well: this process has only to wait for them.
    signal.signal(signal.SIGTERM, lambda *_: None)
    ranks: list[subprocess.Popen[bytes]] = []
    try:
        ranks.extend(subprocess.Popen(list(program), env=env) for env in environments)
        status = _first_failure(ranks)
        if status == SAVED_AND_LEFT:
            _wait(ranks, _LEAVE_S)
    finally:
        _end(ranks)
    return 128 - status if status < 0 else status


def _first_failure(ranks: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait until one has failed, or all have ended well; return its status, or 0."""
    while True:
        statuses = [rank.poll() for rank in ranks]
        failed = next(filter(None, statuses), 0)
        if failed or None not in statuses:
            return failed
        time.sleep(_LOOK_S)


def _wait(ranks: Sequence[subprocess.Popen[bytes]], longest_s: float) -> None:
    deadline = time.monotonic() + longest_s
    while time.monotonic() < deadline and any(rank.poll() is None for rank in ranks):
        time.sleep(_LOOK_S)


def _end(ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    for rank in ranks:
        rank.terminate()
    _wait(ranks, _END_S)
    for rank in ranks:
        rank.kill()
        rank.wait()
