"""Render the configuration of a private Slurm cluster: text in, text out, nothing touched.

Seen to work with 22.05 (Debian 12) and 24.11 (Debian 13). Options: https://slurm.schedmd.com/slurm.conf.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["NODES", "ClusterPlan", "render_cgroup", "render_gres", "render_slurm", "render_slurmdbd"]

NODES = ("n1", "n2", "n3", "n4")
GPU_TYPE = "a100"
GPUS_PER_NODE = 4
NODE = f"CPUs=8 RealMemory=16000 Gres=gpu:{GPU_TYPE}:{GPUS_PER_NODE},mps:{100 * GPUS_PER_NODE} Feature=ib"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """What a private cluster is to be; every path and port in it is its own.

    `first_port` and the seven after it are free: controller, slurmdbd, MariaDB, spare, then one a node.
    """

    folder: Path
    name: str
    host: str
    user: str
    first_port: int
    version: tuple[int, int]
    accounting: bool = False
    memory_limits: bool = False
    min_job_age_s: int = 300
    message_timeout_s: int = 10
    extra: tuple[str, ...] = ()

    @property
    def controller_port(self) -> int:
        """Port of slurmctld."""
        return self.first_port

    @property
    def dbd_port(self) -> int:
        """Port of slurmdbd."""
        return self.first_port + 1

    @property
    def mariadb_port(self) -> int:
        """Port of MariaDB."""
        return self.first_port + 2

    @property
    def node_ports(self) -> str:
        """Ports of the nodes, as a host list expression."""
        return f"[{self.first_port + 4}-{self.first_port + 3 + len(NODES)}]"

    @property
    def munge_socket(self) -> Path:
        """The socket of this cluster's own munge daemon."""
        return self.folder / "munge.sock"


def render_slurm(plan: ClusterPlan) -> str:
    """Return slurm.conf: four nodes, and a low partition whose jobs the high one requeues."""
    at = plan.folder
    lines = [
        f"ClusterName={plan.name}",
        f"SlurmctldHost={plan.host}(127.0.0.1)",
        f"SlurmctldPort={plan.controller_port}",
        f"SlurmUser={plan.user}",
        f"SlurmdUser={plan.user}",
        f"AuthInfo=socket={plan.munge_socket}",
        f"StateSaveLocation={at}/state",
        f"SlurmdSpoolDir={at}/spool-%n",
        # the plugin for PMIx makes a folder here for each node of a step
        f"TmpFS={at}/tmp-%n",
        f"SlurmctldPidFile={at}/slurmctld.pid",
        f"SlurmdPidFile={at}/slurmd-%n.pid",
        # the machine has fewer cores than its nodes claim
        "SlurmdParameters=config_overrides",
        f"ProctrackType=proctrack/{'cgroup' if plan.memory_limits else 'linuxproc'}",
        f"TaskPlugin=task/{'cgroup' if plan.memory_limits else 'none'}",
        "MpiDefault=none",
        "ReturnToService=1",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "SchedulerType=sched/backfill",
        # by default 24.11 takes multifactor, which without weights makes all jobs equal, whatever their nice
        "PriorityType=priority/basic",
        "GresTypes=gpu,mps",
        "Licenses=matlab:2",
        "DefMemPerCPU=100",
        "KillWait=5",
        f"MinJobAge={plan.min_job_age_s}",
        f"MessageTimeout={plan.message_timeout_s}",
        *_memory(plan),
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        *_accounting(plan),
        f"NodeName=n[1-{len(NODES)}] NodeHostname={plan.host} NodeAddr=127.0.0.1 Port={plan.node_ports} {NODE}",
        "PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=5",
        "PartitionName=high Nodes=ALL MaxTime=1-00:00:00 PriorityTier=10 PreemptMode=OFF",
        *plan.extra,
    ]
    return "\n".join(lines) + "\n"


def _memory(plan: ClusterPlan) -> list[str]:
    if plan.memory_limits:
        return ["JobAcctGatherType=jobacct_gather/cgroup"]
    # looks once a second and kills what has grown over its memory: Slurm then calls it FAILED by signal 9
    return [
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=1",
        "JobAcctGatherParams=OverMemoryKill",
    ]


def _accounting(plan: ClusterPlan) -> list[str]:
    if not plan.accounting:
        return []
    return [
        # GPUs in the TRES columns; needs slurmdbd
        "AccountingStorageTRES=gres/gpu",
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={plan.dbd_port}",
        # without it the controller asks the system's munge: "Protocol authentication error"
        f"AccountingStoragePass={plan.munge_socket}",
    ]


def render_gres(plan: ClusterPlan) -> str:
    """Return gres.conf: the GPUs are links to a device, so that Slurm tells each job which it has. MPS shares them."""
    last = GPUS_PER_NODE - 1
    nodes = f"NodeName=n[1-{len(NODES)}]"
    gpus = f"{nodes} Name=gpu Type={GPU_TYPE} File={plan.folder}/gpu[0-{last}]\n"
    return f"{gpus}{nodes} Name=mps Count={100 * GPUS_PER_NODE}\n"


def render_cgroup(plan: ClusterPlan) -> str:
    """Return cgroup.conf: memory limits by the kernel, or no cgroups, which slurmd from 23.11 on must be told."""
    if plan.memory_limits:
        return "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\n"
    return "CgroupPlugin=disabled\n" if plan.version >= (23, 11) else "\n"


def render_slurmdbd(plan: ClusterPlan) -> str:
    """Return slurmdbd.conf (mode 0600 or slurmdbd refuses it)."""
    lines = [
        "DbdHost=localhost",
        "DbdAddr=127.0.0.1",
        f"DbdPort={plan.dbd_port}",
        f"SlurmUser={plan.user}",
        f"AuthInfo=socket={plan.munge_socket}",
        f"PidFile={plan.folder}/slurmdbd.pid",
        "StorageType=accounting_storage/mysql",
        "StorageHost=127.0.0.1",
        f"StoragePort={plan.mariadb_port}",
        "StorageUser=slurm",
        "StoragePass=slurm",
        "StorageLoc=slurm",
    ]
    return "\n".join(lines) + "\n"
