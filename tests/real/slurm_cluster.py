"""A real Slurm cluster of one's own, on one machine, in one folder, for as long as a test needs it.

Four nodes of 8 cores and 4 GPUs; partitions `low` (preempted by requeue, 5 s of grace) and `high`. Needs Debian's
slurmctld, slurmd, slurm-client, slurm-wlm-basic-plugins and munge (accounting: slurmdbd and mariadb-server); no systemd and no
system-wide munge; several clusters run side by side.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.real.process_guard import Guard, is_alive, jobs_of, kill_trees
from tests.real.slurm_config import (
    GPUS_PER_NODE,
    NODES,
    ClusterPlan,
    render_cgroup,
    render_gres,
    render_slurm,
    render_slurmdbd,
)

__all__ = ["QUICK", "SlurmCluster", "has_memory_cgroup"]

SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
QUICK = "bf_interval=1,sched_interval=2,batch_sched_delay=0"
MEMORY_CGROUP = Path("/sys/fs/cgroup/memory")
PORT_BLOCKS = range(12000, 30000, 8)


class SlurmCluster:
    """A private Slurm cluster, up between `start` and `stop` (or `with`).

    `accounting` adds slurmdbd and MariaDB (3 s more). `scheduling` is SchedulerParameters: quick unless told otherwise,
    empty for Slurm's own defaults (a job waits 2 s for its start, a preemption up to 30 s). With `memory_limits` the
    kernel ends jobs that grow too large; it needs cgroups v1 (`has_memory_cgroup`), and one such cluster at a time.
    `extra` are further lines of slurm.conf, `topology` is all of topology.conf. `parent` is where the folder is made:
    short, because a socket's path is at most 107 bytes. A process that is killed takes its cluster with it.
    """

    def __init__(
        self,
        *,
        accounting: bool = False,
        memory_limits: bool = False,
        min_job_age_s: int = 300,
        message_timeout_s: int = 10,
        scheduling: str = QUICK,
        extra: Sequence[str] = (),
        topology: str = "",
        parent: Path | None = None,
    ) -> None:
        self._accounting = accounting
        self._memory_limits = memory_limits
        self._min_job_age_s = min_job_age_s
        self._message_timeout_s = message_timeout_s
        tree = ["TopologyPlugin=topology/tree"] if topology else []
        self._extra = (*([f"SchedulerParameters={scheduling}"] if scheduling else []), *tree, *extra)
        self._topology = topology
        self._parent = parent
        self._pids: dict[str, int] = {}

    # Life

    def start(self) -> None:
        """Bring the cluster up; return when every node is idle. Raises AssertionError with the logs if it won't."""
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir=self._parent))
        self.folder.chmod(0o755)  # other users' clients must reach munge's socket
        first_port, self._ports_lock = _reserve_ports()
        self._plan = ClusterPlan(
            folder=self.folder,
            name=f"c{first_port}",
            host=socket.gethostname().split(".")[0],
            user=pwd.getpwuid(os.geteuid()).pw_name,
            first_port=first_port,
            version=_slurm_version(),
            accounting=self._accounting,
            memory_limits=self._memory_limits,
            min_job_age_s=self._min_job_age_s,
            message_timeout_s=self._message_timeout_s,
            extra=self._extra,
        )
        self._guard = Guard(self.folder)
        try:
            self._write_files()
            self._start_daemons()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every daemon and every job, and remove the folder."""
        self._guard.close()
        self._ports_lock.close()
        if self._memory_limits:
            _remove_cgroups()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Use

    @property
    def name(self) -> str:
        """ClusterName."""
        return self._plan.name

    @property
    def version(self) -> tuple[int, int]:
        """Slurm's release, as (22, 5)."""
        return self._plan.version

    @property
    def controller_pid(self) -> int:
        """Process id of slurmctld."""
        return self._pids["slurmctld"]

    def env(self) -> dict[str, str]:
        """Return a whole environment in which Slurm's client programs talk to this cluster."""
        kept = {key: os.environ[key] for key in ("HOME", "USER", "LOGNAME", "TZ") if key in os.environ}
        return {**kept, "LANG": "C.UTF-8", "PATH": SBIN, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(
        self, argv: Sequence[str], *, check: bool = True, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a client program here; with `check`, failure is an AssertionError with its words."""
        done = subprocess.run(
            list(argv),
            env=self.env(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert not check or done.returncode == 0, f"{list(argv)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def sbatch(self, *options: str, wrap: str) -> int:
        """Submit a shell command; return its job id."""
        argv = ["sbatch", "--parsable", "--chdir", str(self.folder), "--wrap", wrap, *options]
        return int(self.run(argv).stdout.split(";")[0])

    def job_state(self, job: int | str) -> str:
        """Return a job's state in squeue's words, or an empty text if squeue knows it no more."""
        return self.run(["squeue", "-h", "-t", "all", "-j", str(job), "-o", "%T"], check=False).stdout.strip()

    def wait_for(self, job: int, *states: str, within_s: float = 30.0) -> str:
        """Wait until a job is in one of `states` and return which."""
        _wait_until(lambda: self.job_state(job) in states, within_s, f"job {job} in {states}", self._tell)
        return self.job_state(job)

    def clear(self) -> None:
        """Cancel every job, mend every fault and return when all nodes are idle again."""
        if not is_alive(self._pids["slurmctld"]):
            self.restart_controller()
        self.resume_controller()
        self._wait(self._controller_answers, "slurmctld answers")
        for node in NODES:
            self.resume_node(node)
            if not is_alive(self._pids[f"slurmd-{node}"]):
                self.start_node(node)
            self.node_up(node)
        self.run(["scancel", "--user", self._plan.user])
        self._wait(self._all_idle, "all nodes idle")

    # Faults

    def kill_controller(self) -> None:
        """Kill slurmctld as a crash would. What it did not save yet is forgotten: see `wait_for_saved_state`."""
        self._kill("slurmctld")

    def wait_for_saved_state(self) -> None:
        """Wait until slurmctld has written down all jobs accepted so far, which it does every few seconds."""
        saved, now = self.folder / "state" / "job_state", time.time()
        # it writes only when something changed
        nothing = self.sbatch("--hold", wrap="true")
        self._wait(lambda: saved.exists() and saved.stat().st_mtime > now, "job state saved")
        self.run(["scancel", str(nothing)])

    def restart_controller(self) -> None:
        """Start slurmctld again on the state it left; return when it answers."""
        self._kill("slurmctld")
        self._spawn("slurmctld", "slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        self._wait(self._controller_answers, "slurmctld answers")

    def end_soon(self, job: int) -> None:
        """Move the end of a running job's time to the next second, as an operator may; Slurm looks at it twice a minute."""
        self.run(["scontrol", "update", f"jobid={job}", "endtime=now+1"])

    def fail_to_make_ready(self, job: int) -> None:
        """Say that the nodes of a job could not be made ready for it, as a site's ResumeProgram may; only libslurm can."""
        (library,) = Path("/usr/lib").glob("*/slurm-wlm/libslurmfull.so")
        flag = 1 << 17  # JOB_RECONFIG_FAIL, slurm.h of 22.05 and 24.11
        say = f"slurm = ctypes.CDLL({str(library)!r}, mode=ctypes.RTLD_GLOBAL); slurm.slurm_init(None)"
        self.run([sys.executable, "-c", f"import ctypes; {say}; slurm.slurm_requeue({job}, {flag})"])

    def forget_everything(self) -> None:
        """Kill slurmctld and start it with no memory: jobs are lost and their numbers begin anew."""
        self._kill("slurmctld")
        for state in (self.folder / "state").iterdir():
            if state.is_file():
                state.unlink()
        self._spawn("slurmctld", "slurmctld", "-D", "-c", "-f", str(self.folder / "slurm.conf"))
        self._wait(self._controller_answers, "slurmctld answers")

    def pause_controller(self) -> None:
        """Stop slurmctld in its tracks: clients connect and wait."""
        os.kill(self._pids["slurmctld"], signal.SIGSTOP)

    def resume_controller(self) -> None:
        """Let a paused slurmctld go on with what was asked of it meanwhile."""
        os.kill(self._pids["slurmctld"], signal.SIGCONT)

    def pause_node(self, name: str) -> None:
        """Stop a node's slurmd in its tracks: what runs there goes on, and hears nothing from the controller."""
        os.kill(self._pids[f"slurmd-{name}"], signal.SIGSTOP)

    def resume_node(self, name: str) -> None:
        """Let a paused slurmd go on; one that has ended stays so."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pids[f"slurmd-{name}"], signal.SIGCONT)

    def node_down(self, name: str) -> None:
        """Declare a node failed; its jobs end in NODE_FAIL or are requeued."""
        self.run(["scontrol", "update", f"nodename={name}", "state=down", "reason=test"])

    def node_up(self, name: str) -> None:
        """Bring a node that was declared down back to idle."""
        resume = ["scontrol", "update", f"nodename={name}", "state=resume"]
        self._wait(lambda: self._is_up(name) or (self._succeeds(*resume) and self._is_up(name)), f"{name} up")

    def node_state(self, name: str) -> str:
        """Return a node's state in sinfo's words."""
        return self.run(["sinfo", "-h", "-N", "-n", name, "-p", "low", "-o", "%T"], check=False).stdout.strip()

    def kill_node(self, name: str) -> None:
        """Kill a node's slurmd as a crash would; the controller does not know yet."""
        self._kill(f"slurmd-{name}")

    def lose_node(self, name: str) -> None:
        """Kill a node as a loss of power would: its slurmd, and whatever of a job runs there."""
        daemons = jobs_of(f"SLURMD_NODENAME={name}", f"SLURM_CONF={self.folder / 'slurm.conf'}")
        self._kill(f"slurmd-{name}")
        kill_trees(daemons)

    def start_node(self, name: str, *, has_booted: bool = False) -> None:
        """Start a killed node's slurmd again; with `has_booted` it says that the node has just booted."""
        argv = ("slurmd", "-D", *(("-b",) if has_booted else ()), "-f", str(self.folder / "slurm.conf"), "-N", name)
        self._spawn(f"slurmd-{name}", *argv)

    # Accounting

    def sacctmgr(self, *words: str) -> None:
        """Change accounts, users, QOS and limits, without being asked."""
        self.run(["sacctmgr", "-i", *words])

    def kill_accounting(self) -> None:
        """Kill slurmdbd: sacct fails, the controller keeps records for later."""
        self._kill("slurmdbd")

    def start_accounting(self) -> None:
        """Start slurmdbd (again); return when it answers."""
        self._spawn("slurmdbd", "slurmdbd", "-D", env={"SLURM_CONF": str(self.folder / "slurm.conf")})
        self._wait(lambda: self._succeeds("sacctmgr", "-n", "list", "cluster"), "slurmdbd answers")

    # Within

    def _write_files(self) -> None:
        files = {
            "slurm.conf": render_slurm(self._plan),
            "gres.conf": render_gres(self._plan),
            "cgroup.conf": render_cgroup(self._plan),
            "slurmdbd.conf": render_slurmdbd(self._plan),
            **({"topology.conf": self._topology} if self._topology else {}),
        }
        for name, text in files.items():
            (self.folder / name).write_text(text)
        for index in range(GPUS_PER_NODE):
            # of a GPU that is a plain file Slurm tells a job nothing: no SLURM_JOB_GPUS, no CUDA_VISIBLE_DEVICES
            (self.folder / f"gpu{index}").symlink_to("/dev/null")
        (self.folder / "slurmdbd.conf").chmod(0o600)
        (self.folder / "munge.key").write_bytes(random.randbytes(1024))
        (self.folder / "munge.key").chmod(0o400)
        for name in ("state", *(f"{kind}-{node}" for node in NODES for kind in ("spool", "tmp"))):
            (self.folder / name).mkdir()

    def _start_daemons(self) -> None:
        self._start_munge()
        if self._plan.accounting:
            self._start_mariadb()
            self.start_accounting()
            self.sacctmgr("add", "cluster", self.name)
            self.sacctmgr("add", "account", "science", "Description=x", "Organization=x")
            self.sacctmgr("add", "user", self._plan.user, "account=science", "defaultaccount=science")
        self._spawn("slurmctld", "slurmctld", "-D", "-c", "-f", str(self.folder / "slurm.conf"))
        for node in NODES:
            self.start_node(node)
        self._wait(lambda: not self._all_alive() or self._all_idle(), "all nodes idle")
        assert self._all_alive(), f"a daemon ended\n{self._tell()}"

    def _start_munge(self) -> None:
        at = self.folder
        files = {
            "key-file": "munge.key",
            "pid-file": "munged.pid",
            "log-file": "munge-itself.log",
            "seed-file": "munge.seed",
        }
        options = [f"--{option}={at / name}" for option, name in files.items()]
        self._spawn("munged", "munged", "--foreground", "--force", f"--socket={self._plan.munge_socket}", *options)
        self._wait(self._plan.munge_socket.exists, "munge's socket")

    def _start_mariadb(self) -> None:
        data, sock, user = self.folder / "mariadb", self.folder / "mariadb.sock", self._plan.user
        place = ["--no-defaults", f"--datadir={data}", f"--user={user}"]
        self.run(["mariadb-install-db", *place, "--auth-root-authentication-method=normal", "--skip-test-db"])
        self._spawn(
            "mariadb",
            "mariadbd",
            *place,
            f"--socket={sock}",
            f"--port={self._plan.mariadb_port}",
            "--bind-address=127.0.0.1",
            f"--pid-file={self.folder}/mariadb.pid",
            "--skip-log-bin",
            "--innodb-flush-log-at-trx-commit=0",
        )
        client = ["mariadb", "--no-defaults", f"--socket={sock}", "-uroot", "-e"]
        setup = "create database slurm; create user slurm identified by 'slurm'; grant all on slurm.* to slurm"
        self._wait(lambda: self._succeeds(*client, "select 1"), "MariaDB answers")
        self.run([*client, setup])

    def _spawn(self, daemon: str, *argv: str, env: Mapping[str, str] | None = None) -> None:
        log = self.folder / f"{daemon}.log"
        self._pids[daemon] = self._guard.spawn(argv, {**self.env(), **(env or {})}, log)

    def _kill(self, daemon: str) -> None:
        pid = self._pids[daemon]
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
        self._wait(lambda: not is_alive(pid), f"{daemon} gone")

    def _controller_answers(self) -> bool:
        return " UP" in self.run(["scontrol", "ping"], check=False).stdout

    def _all_idle(self) -> bool:
        listed = self.run(["sinfo", "-h", "-N", "-p", "low", "-o", "%N %T"], check=False).stdout
        # planned: idle, but the backfill scheduler has plans for it, perhaps from before its jobs were cancelled
        idle = [line.split()[0] for line in listed.splitlines() if line.endswith((" idle", " planned"))]
        return sorted(idle) == sorted(NODES)

    def _is_up(self, name: str) -> bool:
        state = self.node_state(name)
        # a star: it has not answered yet
        return bool(state) and not state.startswith(("down", "drain", "unk")) and not state.endswith("*")

    def _all_alive(self) -> bool:
        return all(is_alive(pid) for pid in self._pids.values())

    def _succeeds(self, *argv: str) -> bool:
        return self.run(argv, check=False).returncode == 0

    def _wait(self, claim: Callable[[], bool], what: str) -> None:
        _wait_until(claim, 30.0, what, self._tell)

    def _tell(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)


def has_memory_cgroup() -> bool:
    """Tell whether jobs' memory can be limited here: cgroups v1, writable."""
    return os.access(MEMORY_CGROUP / "cgroup.procs", os.W_OK)


def _remove_cgroups() -> None:
    """Remove the cgroups that slurmd and its jobs were in; they are empty, and do not lie in the cluster's folder."""
    for node in NODES:
        for top in MEMORY_CGROUP.parent.glob(f"*/slurm_{node}"):
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()


def _wait_until(claim: Callable[[], bool], within_s: float, what: str, tell: Callable[[], str]) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}\n{tell()}"
        time.sleep(0.03)


def _reserve_ports() -> tuple[int, socket.socket]:
    """Return the first of eight free ports and the lock that keeps other clusters off them.

    The lock is an abstract socket: it can't be left behind. The ports lie under the range that the kernel hands out.
    """
    for first in random.sample(PORT_BLOCKS, len(PORT_BLOCKS)):
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0elisa-test-slurm-{first}")
        except OSError:
            lock.close()
            continue
        if all(_is_free(port) for port in range(first, first + 8)):
            return first, lock
        lock.close()
    raise AssertionError("no eight free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _slurm_version() -> tuple[int, int]:
    slurmctld = shutil.which("slurmctld", path=SBIN) or "slurmctld"
    words = subprocess.run([slurmctld, "-V"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)", words)
    assert found, words
    return int(found[1]), int(found[2])
