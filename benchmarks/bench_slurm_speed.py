"""Submissions, a graph of short tasks, and the agent's cost on a real Slurm, beside what others take on the same cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar
from unittest.mock import patch

from benchmarks.figure import Figure
from benchmarks.slurm_cost import Cost, cost_of, wait_for
from benchmarks.slurm_others import Peers, children_cpu_s
from benchmarks.slurm_peers import all_nodes_taken, peers_folder
from elisa.backends.runner import SubprocessRunner
from elisa.backends.slurm.library_here import PyslurmHere
from elisa.engine.plan import preview
from elisa.engine.request import agent_argv
from elisa.engine.tick import tick
from elisa.engine.workspace import open_workspace
from elisa.model import layout
from elisa.store.reader import Reader
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

__all__ = ["FIGURES", "measure"]

FIGURES = (
    "slurm_accept_100_s",
    "slurm_accept_100_calls",
    "slurm_accept_100_cpu_s",
    "slurm_accept_100_peak_mib",
    "slurm_accept_1000_s",
    "slurm_accept_1000_calls",
    "slurm_accept_1000_cpu_s",
    "slurm_accept_1000_peak_mib",
    "slurm_done_1000_s",
    "slurm_done_1000_in_time",
    "slurm_done_1000_calls",
    "slurm_done_1000_cpu_s",
    "slurm_done_1000_peak_mib",
    "slurm_accept_array_1000_s",
    "slurm_tick_array_1000_s",
    "slurm_dag_10x10_s",
    "slurm_dag_10x10_calls",
    "slurm_dag_10x10_cpu_s",
    "slurm_dag_10x10_peak_mib",
    "slurm_agent_cpu_s",
)
T = TypeVar("T")

_RUNS = 3
_PAIRS = 7
_CHAINS = _STEPS = 10
# Snakemake would take most of an hour for 1,000.
_PATIENCE_S = 300.0


def measure() -> Iterator[Figure]:
    """Yield each figure with its peers; what a tick takes is counted from its start, its process left out.

    It is not the first tick of a day: that backs the database up, and learns what is remembered until the next. A figure of
    libslurm comes where a pyslurm that matches can be imported, all others are those of Slurm's programs.
    """
    with (
        SlurmCluster(message_timeout_s=30) as cluster,
        patch.dict(os.environ, cluster.env()),
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        peers = Peers(peers_folder(), Path(folder), cluster)
        yield from _accepted(cluster, peers)
        yield from _independent(cluster, peers)
        yield from _done(cluster, peers)
        yield from _arrays(cluster, peers)
        yield from _in_job(cluster, peers)
        yield from _graph(cluster, peers)


def _figure(cluster: SlurmCluster, name: str, run: Callable[[], float], *, goal: str = "", runs: int = _RUNS) -> Figure:
    values = []
    for _ in range(runs):
        values.append(run())
        cluster.clear()
    return Figure(figure=name, value=median(values), unit="s", goal=goal, runs=runs)


def _measured(cluster: SlurmCluster, run: Callable[[], T]) -> T:
    measured = run()
    cluster.clear()
    return measured


def _peer(name: str, peer: str, *costs: Cost) -> Iterator[Figure]:
    """Yield what a peer took, in seconds, questions, processor time and memory."""
    yield Figure(figure=f"{name}_s/{peer}", value=median(cost.seconds for cost in costs), unit="s", runs=len(costs))
    yield from _others(name, f"/{peer}", costs)


def _others(name: str, peer: str, costs: Sequence[Cost]) -> Iterator[Figure]:
    runs = len(costs)
    yield Figure(figure=f"{name}_calls{peer}", value=median(cost.calls for cost in costs), unit="RPCs", runs=runs)
    yield Figure(figure=f"{name}_cpu_s{peer}", value=median(cost.cpu_s for cost in costs), unit="s", runs=runs)
    yield Figure(figure=f"{name}_peak_mib{peer}", value=median(cost.peak_mib for cost in costs), unit="MiB", runs=runs)


def _accepted(cluster: SlurmCluster, peers: Peers) -> Iterator[Figure]:
    """All are measured in turn, so that whatever else the machine does slows them alike.

    All nodes are taken: elsewhere a job does not begin on the cores of whoever submits the next one.
    """
    name = "slurm_accept_100"
    ways = {f"{name}_s": False} | ({f"{name}_s/libslurm": True} if _has_pyslurm(cluster) else {})
    own: dict[str, list[_Ticked]] = {way: [] for way in ways}
    loop = []
    for _ in range(_PAIRS):
        with all_nodes_taken(cluster):
            loop.append(peers.loop_accept(100))
        for way, pyslurm in ways.items():
            with all_nodes_taken(cluster):
                own[way].append(_ticked(cluster, _distinct(100), pyslurm=pyslurm))
    goal = f"<={median(cost.seconds for cost in loop):.3g}"
    for way, ticks in own.items():
        yield Figure(figure=way, value=median(one.accepted_s for one in ticks), unit="s", goal=goal, runs=_PAIRS)
    whole = median(one.whole_s for one in own[f"{name}_s"])
    yield Figure(figure=f"{name}_s/whole_tick", value=whole, unit="s", runs=_PAIRS)
    yield from _peer(name, "sbatch", *loop)
    yield from _nodes_free(cluster, peers, name)
    with all_nodes_taken(cluster):
        yield from _process(cluster, name, _distinct(100))
    for peer, run in (("submitit", peers.submitit_accept), ("snakemake", peers.snakemake_accept)):
        with all_nodes_taken(cluster):
            yield from _peer(name, peer, run(100))


def _has_pyslurm(cluster: SlurmCluster) -> bool:
    """Tell whether this process can use libslurm here: not where it used it for another cluster before."""
    environment = cluster.env()
    return PyslurmHere(runner=SubprocessRunner(environment=environment), environment=environment).library is not None


def _nodes_free(cluster: SlurmCluster, peers: Peers, name: str) -> Iterator[Figure]:
    own, loop = [], []
    for _ in range(_RUNS):
        loop.append(_measured(cluster, lambda: peers.loop_accept(100)))
        own.append(_ticked(cluster, _distinct(100)).accepted_s)
        cluster.clear()
    yield Figure(figure=f"{name}_s/nodes_free", value=median(own), unit="s", runs=_RUNS)
    yield from _peer(name, "sbatch_nodes_free", *loop)


def _independent(cluster: SlurmCluster, peers: Peers) -> Iterator[Figure]:
    """Yield what 1,000 tasks cost that are independent, each with a command of its own, as whole processes."""
    name = "slurm_accept_1000"
    with all_nodes_taken(cluster):
        yield from _process(cluster, name, _alike(1000))
    accepts: dict[str, Callable[[], Cost]] = {
        "sbatch": lambda: peers.loop_accept(1000),
        "sbatch_array": peers.sbatch_array_1000,
        "submitit": lambda: peers.submitit_accept(1000),
        "submitit_array": peers.submitit_array_1000,
        "snakemake": lambda: peers.snakemake_accept(1000),
    }
    for peer, run in accepts.items():
        with all_nodes_taken(cluster):
            yield from _peer(name, peer, run())


def _done(cluster: SlurmCluster, peers: Peers) -> Iterator[Figure]:
    """Yield what the same tasks take until all are done, with everything as it is by default: short ones share jobs."""
    name = "slurm_done_1000"
    pipeline = _alike(1000, rules="defaults: {resources: {walltime: 1m}}")
    yield _figure(cluster, f"{name}_s", lambda: _done_s(cluster, pipeline, ticks=False), runs=1)
    yield from _process(cluster, name, pipeline)
    yield from _peer(name, "sbatch", _measured(cluster, lambda: peers.loop_done(1000)))
    yield from _peer(name, "sbatch_array", _measured(cluster, lambda: peers.sbatch_array_done(1000)))
    yield from _in_time(cluster, name, "submitit_array", lambda: peers.submitit_array_done_1000(within_s=_PATIENCE_S))
    yield from _in_time(cluster, name, "snakemake", lambda: peers.snakemake_done(1000, within_s=_PATIENCE_S))


def _in_time(cluster: SlurmCluster, name: str, peer: str, run: Callable[[], tuple[Cost, int]]) -> Iterator[Figure]:
    """Yield how many of its tasks a peer has done when it ends or is ended, and what it took."""
    cost, done = run()
    cluster.clear()
    yield Figure(figure=f"{name}_in_time/{peer}", value=done, unit=f"tasks in {cost.seconds:.0f} s")
    yield from _peer(name, peer, cost) if done == 1000 else _others(name, f"/{peer}", [cost])


def _process(cluster: SlurmCluster, name: str, pipeline: str) -> Iterator[Figure]:
    """Yield what `elisa tick` costs as a process of its own, which submits this pipeline."""
    elisa = _ready(cluster, pipeline)
    env = {**os.environ, "ELISA_HOME": str(elisa.home)}
    cost = cost_of(cluster, [sys.executable, "-m", "elisa.cli", "tick"], folder=elisa.folder, env=env)
    cluster.clear()
    yield Figure(figure=f"{name}_s/process", value=cost.seconds, unit="s")
    yield from _others(name, "", [cost])


def _arrays(cluster: SlurmCluster, peers: Peers) -> Iterator[Figure]:
    name = "slurm_accept_array_1000_s"
    ticks = [_measured(cluster, lambda: _ticked(cluster, _matrix(1000))) for _ in range(_RUNS)]
    yield Figure(figure=name, value=median(one.calls_s for one in ticks), unit="s", goal="<=0.5", runs=_RUNS)
    whole = median(one.whole_s for one in ticks)
    yield Figure(figure="slurm_tick_array_1000_s", value=whole, unit="s", goal="<=2", runs=_RUNS)
    yield _figure(cluster, f"{name}/sbatch", lambda: peers.sbatch_array_1000().seconds)
    yield _figure(cluster, f"{name}/submitit", lambda: peers.submitit_array_1000().seconds)


def _graph(cluster: SlurmCluster, peers: Peers) -> Iterator[Figure]:
    name = "slurm_dag_10x10"
    yield _figure(cluster, f"{name}_s", lambda: _graph_s(cluster, fuse=True), goal="<=2")
    yield _figure(cluster, f"{name}_s/unfused", lambda: _graph_s(cluster, fuse=False), runs=1)
    yield from _process(cluster, name, _graph_of(fuse=True))
    yield from _peer(name, "sbatch", _measured(cluster, peers.loop_dag))
    yield from _peer(name, "submitit", _measured(cluster, peers.submitit_dag))
    yield from _peer(name, "snakemake", _measured(cluster, peers.snakemake_dag))


def _in_job(cluster: SlurmCluster, peers: Peers) -> Iterator[Figure]:
    name = "slurm_agent_cpu_s"
    yield _figure(cluster, name, lambda: _agent_cpu_s(cluster, _graph_of(fuse=True)), goal="<=0.1")
    yield _figure(cluster, f"{name}/unfused", lambda: _agent_cpu_s(cluster, _distinct(20)))
    yield _figure(cluster, f"{name}/sbatch", peers.sbatch_cpu_s)
    yield _figure(cluster, f"{name}/submitit", peers.submitit_cpu_s)
    yield _figure(cluster, f"{name}/snakemake", peers.snakemake_cpu_s, runs=1)


def _distinct(count: int) -> str:
    """Return tasks of which no two ask for the same thing."""
    task = "{{command: ['true'], fuse: false, resources: {{memory: {memory}MiB, walltime: 1m}}}}"
    lines = (f"  t{number}: {task.format(memory=10 + number)}" for number in range(count))
    return "\n".join(("name: many", "project: demo", "tasks:", *lines))


def _alike(count: int, rules: str = "defaults: {fuse: false}") -> str:
    """Return tasks with a command each that ask for the same thing."""
    lines = (f"  t{number}: {{command: [test, '{number}']}}" for number in range(count))
    return "\n".join(("name: alike", "project: demo", rules, "tasks:", *lines))


def _matrix(count: int) -> str:
    numbers = ", ".join(map(str, range(count)))
    return f"name: matrix\nproject: demo\ntasks:\n  t: {{command: ['true'], fuse: false, matrix: {{n: [{numbers}]}}}}\n"


def _graph_of(*, fuse: bool) -> str:
    lines = []
    for chain in range(_CHAINS):
        for step in range(_STEPS):
            needs = f", needs: [c{chain}s{step - 1}]" if step else ""
            lines.append(f"  c{chain}s{step}: {{command: ['true']{needs}}}")
    rules = f"defaults: {{fuse: {str(fuse).lower()}, retry: 0, resources: {{walltime: 1m}}}}"
    return "\n".join(("name: graph", "project: demo", rules, "tasks:", *lines))


def _ready(cluster: SlurmCluster, pipeline: str, *, pyslurm: bool = False) -> ElisaOnSlurm:
    """Return a state folder with a pipeline in it, in which elisa has ticked and looked at the cluster today.

    It is removed with the cluster, not before: for minutes after thousands of files were removed, ext4 takes many times as long
    to make new ones.
    With `pyslurm` all is submitted through libslurm, or refused.
    """
    elisa = a_state_folder(cluster, Path(tempfile.mkdtemp(dir=cluster.folder)))
    site = elisa.home / "site.yaml"
    rules = site.read_text(encoding="utf-8").replace("window: 200", "window: 2000")
    if pyslurm:
        elisa.before_sbatch("exit 1")
    else:
        rules = rules.replace("options: {", "options: {pyslurm: no, ")
    site.write_text(rules, encoding="utf-8")
    elisa.tick()
    elisa.submit(pipeline)
    with open_workspace(elisa.home) as ws:
        preview(ws)
    return elisa


class _Ticked(NamedTuple):
    """What a tick took until its last job was accepted and that written down, as a whole, and for its calls alone, in s."""

    accepted_s: float
    whole_s: float
    calls_s: float


def _ticked(cluster: SlurmCluster, pipeline: str, *, pyslurm: bool = False) -> _Ticked:
    """Return what a tick takes that has all tasks of a pipeline accepted."""
    elisa = _ready(cluster, pipeline, pyslurm=pyslurm)
    began = asked = accepted = time.monotonic()
    calls_s = 0.0

    def watch(point: str) -> None:
        nonlocal asked, accepted, calls_s
        if point == "act.submit.begin":
            asked = time.monotonic()
        elif point == "act.submit.answered":
            calls_s += time.monotonic() - asked
        elif point == "act.recorded":
            accepted = time.monotonic()

    with open_workspace(elisa.home) as ws:
        report = tick(replace(ws, crash=watch))
    ended = time.monotonic()
    if report.withdrawn or report.rejected or report.unsettled or not report.submitted:
        raise RuntimeError(f"not all was accepted: {report}")
    return _Ticked(accepted - began, ended - began, calls_s)


def _graph_s(cluster: SlurmCluster, *, fuse: bool) -> float:
    return _done_s(cluster, _graph_of(fuse=fuse), ticks=not fuse)


def _done_s(cluster: SlurmCluster, pipeline: str, *, ticks: bool) -> float:
    """Return the seconds from the first tick, or with further `ticks`, until the mark of every task says that it is done."""
    elisa = _ready(cluster, pipeline)
    began = time.monotonic()
    elisa.tick()
    with Reader.open(elisa.home) as reader:
        tasks = [row.id for row in reader.task_rows()]
    marks = [layout.done_mark(elisa.home, task) for task in tasks]

    def is_done() -> bool:
        if all(mark.exists() for mark in marks):
            return True
        if ticks:
            elisa.tick()
        return False

    wait_for(is_done)
    return time.monotonic() - began


def _agent_cpu_s(cluster: SlurmCluster, pipeline: str) -> float:
    """Return the processor time of agents a task: their jobs are run here, one after another, where it can be counted."""
    elisa = _ready(cluster, pipeline)
    elisa.before_sbatch("echo $$; exit 0")  # accepted, as far as elisa knows
    elisa.tick()
    with Reader.open(elisa.home) as reader:
        live = reader.live_attempts()
    before = children_cpu_s()
    for attempt in live:
        if attempt.leader in {None, attempt.id}:
            _follow(elisa, attempt.id, is_shared=attempt.leader is not None)
    done = sum(layout.done_mark(elisa.home, attempt.task).exists() for attempt in live)
    return (children_cpu_s() - before) / done


def _follow(elisa: ElisaOnSlurm, attempt: str, *, is_shared: bool) -> None:
    spool = elisa.home / "spool" / attempt
    verb, file = ("bundle", "bundle.json") if is_shared else ("run", "job.json")
    subprocess.run(agent_argv(verb, spool / file), check=True)
