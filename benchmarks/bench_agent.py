"""What the agent costs inside a job: processor time to start, memory, and processor time while it waits."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.figure import Figure, median_of, process_cpu_ms
from elisa.engine.request import agent_argv

__all__ = ["FIGURES", "measure"]

FIGURES = ("agent_start_cpu_ms", "agent_task_cpu_ms", "agent_rss_mib", "agent_idle_cpu_pct")
_RUNS = 9
_SETTLE_S = 1.0
_IDLE_S = 20.0
_MIB = 2**20


def measure() -> Iterator[Figure]:
    """Yield the figures, bare Python's beside them."""
    yield _figure("agent_start_cpu_ms", median_of(_start_cpu_ms, _RUNS), "ms", "<=60")
    yield _figure("agent_start_cpu_ms/python", median_of(_bare_cpu_ms, _RUNS), "ms")
    yield _figure("agent_task_cpu_ms", median_of(_whole_run_cpu_ms, _RUNS), "ms", "<=100")
    with tempfile.TemporaryDirectory() as folder:
        rss_mib, idle_pct = _while_waiting(Path(folder))
    yield Figure(figure="agent_rss_mib", value=rss_mib, unit="MiB", goal="<=30")
    yield Figure(figure="agent_idle_cpu_pct", value=idle_pct, unit="%", goal="<=0.5")


def _figure(name: str, value: float, unit: str, goal: str = "") -> Figure:
    return Figure(figure=name, value=value, unit=unit, goal=goal, runs=_RUNS)


def _bare_cpu_ms() -> float:
    return process_cpu_ms([sys.executable, "-c", "pass"])


def _start_cpu_ms() -> float:
    """Return what the agent had used when its program began: the program looks, in nanoseconds a thread."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        look = 'cat /proc/$PPID/task/*/schedstat >"$ELISA_TASK_DIR/used"'
        subprocess.run(_agent(home, ["sh", "-c", look]), check=True, capture_output=True)
        lines = (home / "runs" / "p000000001" / "task" / "used").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[0]) for line in lines) / 1e6


def _whole_run_cpu_ms() -> float:
    """Claim, start `true`, watch it end, write everything down: all that a short task pays."""
    with tempfile.TemporaryDirectory() as folder:
        return process_cpu_ms(_agent(Path(folder), ["true"]))


def _agent(home: Path, program: list[str]) -> list[str]:
    attempt, task = "t000000001.1", "t000000001"
    task_dir = home / "runs" / "p000000001" / "task"
    (home / "spool" / attempt / "events").mkdir(parents=True)
    (home / "claims" / task).mkdir(parents=True)
    (home / "claims" / task / "fence").write_text("1", encoding="utf-8")
    task_dir.mkdir(parents=True)
    job = home / "spool" / attempt / "job.json"
    content = {
        "v": 1, "attempt": attempt, "task": task, "number": 1, "home": str(home), "key": bytes(range(32)).hex(),
        "argv": program, "task_dir": str(task_dir), "checkpoint_dir": str(task_dir / "checkpoints"),
        "pipeline_dir": str(task_dir.parent), "stdout": str(task_dir / "out"), "stderr": str(task_dir / "err"),
        "grace_s": 5, "heartbeat_s": 30, "sample_s": 5, "self_fence_s": 600,
    }  # fmt: skip
    job.write_text(json.dumps(content), encoding="utf-8")
    return list(agent_argv("run", job))


def _while_waiting(home: Path) -> tuple[float, float]:
    """Return the resident size in MiB and the processor time in per cent, of an agent whose program sleeps."""
    with subprocess.Popen(_agent(home, ["sleep", "600"])) as process:
        agent = psutil.Process(process.pid)
        time.sleep(_SETTLE_S)
        before = agent.cpu_times()
        time.sleep(_IDLE_S)
        after = agent.cpu_times()
        rss_mib = agent.memory_info().rss / _MIB
        process.terminate()
    return rss_mib, 100 * (after.user + after.system - before.user - before.system) / _IDLE_S
