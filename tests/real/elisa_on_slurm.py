"""The whole of elisa above a real Slurm: a state folder, pipelines in it, ticks when a test says so."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from elisa.engine.outcome import TickReport
from elisa.engine.submit import submit
from elisa.engine.tick import tick
from elisa.engine.workspace import init_workspace, open_workspace
from elisa.model import layout
from elisa.model.ids import PipelineId
from elisa.model.task import Attempt
from elisa.pipelines.load import load
from elisa.store.reader import Reader
from tests.real.slurm_cluster import SlurmCluster

__all__ = ["ElisaOnSlurm", "a_state_folder"]

SITE = """
backends:
  slurm: {kind: slurm, window: 200, options: {path: %s, submit_timeout_s: 20}}
recovery: {grace: 4s, absences: 3}
jobs: {heartbeat: 2s, sample: 1s, grace: 3s, self_fence: 5s}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElisaOnSlurm:
    """A state folder whose only backend is the cluster. SLURM_CONF must point there (`a_state_folder` sees to it)."""

    home: Path
    folder: Path
    cluster: SlurmCluster

    def before_sbatch(self, command: str) -> None:
        """Have every sbatch preceded by a shell command; an empty one leaves it as it is."""
        program = self.folder / "bin" / "sbatch"
        program.unlink()
        if command:
            program.write_text(f'#!/bin/sh\n{command}\nexec /usr/bin/sbatch "$@"\n')
            program.chmod(0o755)
        else:
            program.symlink_to("/usr/bin/sbatch")

    def submit(self, text: str, files: Mapping[str, str] | None = None) -> PipelineId:
        """Put a pipeline into the queue, with `files` beside it."""
        for name, content in (files or {}).items():
            (self.folder / name).write_text(content)
        file = self.folder / "pipeline.yaml"
        file.write_text(textwrap.dedent(text))
        with open_workspace(self.home) as ws:
            return submit(ws, load(file)).pipeline_id

    def tick(self) -> TickReport:
        with open_workspace(self.home) as ws:
            return tick(ws)

    def tick_until(self, claim: Callable[[], bool], *, within_s: float = 120.0, every_s: float = 0.5) -> None:
        """Tick until a claim is true."""
        deadline = time.monotonic() + within_s
        while not claim():
            assert time.monotonic() < deadline, self.states()
            time.sleep(every_s)
            self.tick()

    def tick_to_the_end(self, within_s: float = 120.0) -> None:
        """Tick until every task is final."""
        with Reader.open(self.home) as reader:
            everything = len(reader.task_rows())
        final = {"succeeded", "failed", "cancelled", "skipped"}
        self.tick_until(
            lambda: len(states := self.states()) == everything and set(states.values()) <= final, within_s=within_s
        )

    def states(self) -> dict[str, str]:
        """Return the state of every task by its name."""
        with Reader.open(self.home) as reader:
            return {row.name: str(row.state) for row in reader.task_rows()}

    def attempts(self, name: str) -> tuple[Attempt, ...]:
        with Reader.open(self.home) as reader:
            (task,) = [row.id for row in reader.task_rows() if row.name == name]
            return reader.attempts_of(task)

    def task_dir(self, pipeline: PipelineId, name: str) -> Path:
        return Path(layout.task_dir(self.home, pipeline, name))

    def runs(self) -> list[int]:
        """Return the numbers that tasks wrote into `ran`, in the order in which they did."""
        file = self.folder / "ran"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def cli(self, *words: str) -> subprocess.Popen[bytes]:
        """Start the command line in a process of its own."""
        environment = {**os.environ, "ELISA_HOME": str(self.home)}
        return subprocess.Popen(
            [sys.executable, "-m", "elisa.cli", *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def a_state_folder(cluster: SlurmCluster, folder: Path) -> ElisaOnSlurm:
    """Return a new state folder in `folder`."""
    home = folder / "home"
    init_workspace(home)
    programs = folder / "bin"
    programs.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    (home / "site.yaml").write_text(SITE % programs)
    return ElisaOnSlurm(home=home, folder=folder, cluster=cluster)
