"""Starting a program on all nodes of a job: what each launcher must be told, worked out from what the manager tells.

`python -m elisa.runtime launch torchrun|mpi|horovod|ray PROGRAM...` puts it to use.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import zlib
from typing import Callable, Mapping, NamedTuple, Sequence

__all__ = [
    "LAUNCHERS",
    "Layout",
    "expand_hosts",
    "horovod",
    "layout_of",
    "mpi",
    "node_rank",
    "ray",
    "rendezvous",
    "run_launch",
    "torchrun",
]

_FIRST_PORT = 20_000
_PORTS = 20_000  # below the ports that Linux hands out by itself


class Layout(NamedTuple):
    """Where a job runs. `spread` is the command that starts one process on each node.

    `address` is by what name the others reach the first node.
    """

    hosts: tuple[str, ...]
    tasks_per_node: int
    gpus_per_node: int
    cpus_per_task: int
    id: str
    port: int
    spread: tuple[str, ...]
    address: str

    @property
    def processes_per_node(self) -> int:
        """One for each gpu, where there are any."""
        return max(self.gpus_per_node, self.tasks_per_node, 1)


def expand_hosts(text: str) -> tuple[str, ...]:
    """Return the names in Slurm's short form of a list: `n[01-03,7],m` are n01, n02, n03, n7 and m."""
    names: list[str] = []
    for item in re.findall(r"[^,\[]+(?:\[[^\]]*\])?[^,\[]*", text):
        match = re.fullmatch(r"([^\[]*)\[([^\]]*)\](.*)", item)
        names.extend(_expand(*match.groups()) if match else [item])
    return tuple(names)


def _expand(before: str, ranges: str, after: str) -> list[str]:
    names: list[str] = []
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        numbers = range(int(first), int(last or first) + 1)
        names.extend(f"{before}{number:0{len(first)}d}{after}" for number in numbers)
    return names


def layout_of(
    env: Mapping[str, str], read: Callable[[str], str] | None = None, is_known: Callable[[str], bool] | None = None
) -> Layout:
    """Return the layout of the job that `env` describes; outside of any, of this host alone.

    `is_known` tells whether a name is one of the network's. To be asked first on the first node: the others are told.
    """
    hosts, spread = _hosts(env, read or _read)
    return Layout(
        hosts=hosts,
        tasks_per_node=_number(env, "ELISA_TASKS_PER_NODE", 1),
        gpus_per_node=_number(env, "ELISA_GPUS_PER_NODE", 0),
        cpus_per_task=_number(env, "ELISA_CPUS_PER_TASK", 1),
        id=env.get("ELISA_ATTEMPT", "elisa"),
        port=_number(env, "MASTER_PORT", _FIRST_PORT + zlib.crc32(env.get("ELISA_ATTEMPT", "").encode()) % _PORTS),
        spread=spread,
        address=env.get("MASTER_ADDR") or _address(hosts, is_known or _is_known),
    )


def _address(hosts: Sequence[str], is_known: Callable[[str], bool]) -> str:
    """Return the first node's name; what it calls itself where its manager's name for it is none of the network's."""
    return hosts[0] if len(hosts) == 1 or is_known(hosts[0]) else socket.gethostname()


def _is_known(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def _hosts(env: Mapping[str, str], read: Callable[[str], str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    nodes = env.get("SLURM_JOB_NODELIST")
    if nodes:
        hosts = expand_hosts(nodes)
        count = str(len(hosts))
        return hosts, ("srun", f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--kill-on-bad-exit=1")
    if env.get("PBS_NODEFILE"):
        hosts = tuple(dict.fromkeys(read(env["PBS_NODEFILE"]).split()))
        return hosts, ("mpirun", "-np", str(len(hosts)), "--hostfile", env["PBS_NODEFILE"], "--map-by", "ppr:1:node")
    return (socket.gethostname(),), ()


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    return int(env[name]) if env.get(name, "").isdigit() else default


def rendezvous(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which the processes of a distributed job find each other."""
    layout = layout_of(env)
    return {
        "MASTER_ADDR": layout.address,
        "MASTER_PORT": str(layout.port),
        "ELISA_HOSTS": ",".join(layout.hosts),
        "ELISA_NNODES": str(len(layout.hosts)),
    }


def torchrun(layout: Layout, program: Sequence[str]) -> list[str]:
    """Return the command for PyTorch: one agent a node, which starts a process for each gpu."""
    nodes = str(len(layout.hosts))
    where = ["--standalone"]
    if layout.spread:
        where = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-id={layout.id}"]
        where.append(f"--rdzv-endpoint={layout.address}:{layout.port}")
    # A process that fails ends the job: elisa starts it anew, from its checkpoint, on nodes that are well.
    argv = [sys.executable, "-m", "torch.distributed.run", *where, "--max-restarts=0"]
    return [*layout.spread, *argv, f"--nproc-per-node={layout.processes_per_node}", *program]


def mpi(layout: Layout, program: Sequence[str]) -> list[str]:
    """Return the command for MPI: under Slurm its own launcher, which knows the library of the site."""
    count = len(layout.hosts) * layout.tasks_per_node
    if layout.spread[:1] == ("srun",):
        where = [f"--nodes={len(layout.hosts)}", f"--ntasks={count}", f"--ntasks-per-node={layout.tasks_per_node}"]
        # By itself srun lets the others wait for a rank that has died until the walltime is over.
        return ["srun", *where, "--kill-on-bad-exit=1", *program]
    slots = ",".join(f"{host}:{layout.tasks_per_node}" for host in layout.hosts)
    return ["mpirun", "-np", str(count), "--host", slots, *program]


def horovod(layout: Layout, program: Sequence[str]) -> list[str]:
    """Return the command for Horovod: on each node its ranks, without the ssh that `horovodrun` needs to start them."""
    return [*layout.spread, sys.executable, "-m", "elisa.runtime", "horovod-node", *program]


def ray(layout: Layout, program: Sequence[str]) -> list[str]:
    """Return the command for Ray: the head and the program on the first node, workers on the others."""
    return [*layout.spread, sys.executable, "-m", "elisa.runtime", "ray-node", *program]


LAUNCHERS: dict[str, Callable[[Layout, Sequence[str]], list[str]]] = {
    "horovod": horovod,
    "mpi": mpi,
    "ray": ray,
    "torchrun": torchrun,
}


def run_launch(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Become the launcher that `argv` (its name, then the program) asks for; return only if that is a mistake."""
    if len(argv) < 2 or argv[0] not in LAUNCHERS:
        sys.stderr.write(f"usage: python -m elisa.runtime launch {'|'.join(sorted(LAUNCHERS))} PROGRAM [ARGUMENT...]\n")
        return 64
    command = LAUNCHERS[argv[0]](layout_of(env), argv[1:])
    try:
        os.execvpe(command[0], command, {**rendezvous(env), **env})  # noqa: S606  (a list of words)
    except OSError as error:
        sys.stderr.write(f"elisa: {command[0]} cannot be started: {error.strerror}\n")
    return 127


def node_rank(env: Mapping[str, str], layout: Layout) -> int:
    """Return which of the job's nodes this is, the first being 0."""
    for name in ("SLURM_NODEID", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"):
        if env.get(name, "").isdigit():
            return int(env[name])
    return 0 if len(layout.hosts) == 1 else layout.hosts.index(socket.gethostname())
