"""The whole of elisa above a PBS: a state folder, pipelines in it, ticks when a test says so."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from elisa.engine.submit import submit
from elisa.engine.tick import tick
from elisa.engine.workspace import init_workspace, open_workspace
from elisa.model import layout
from elisa.model.ids import PipelineId
from elisa.model.states import EndReason
from elisa.model.task import Attempt
from elisa.pipelines.load import load
from elisa.store.reader import Reader

__all__ = ["COUNTER", "COUNTING", "COUNTING_TO_10", "ElisaOnPbs", "a_state_folder"]

SITE = """
backends:
  pbs: {kind: pbs, window: 100, account: '%s', options: {%s}}
recovery: {grace: 2s, absences: 2}
jobs: {heartbeat: 1s, sample: 1s, grace: 3s, self_fence: 2s}
"""
FINAL = {"succeeded", "failed", "cancelled", "skipped"}

COUNTER = """\
set -eu
step=0
for marker in "$ELISA_CHECKPOINT_DIR"/restart.*.dat.done; do
  [ -e "$marker" ] || continue
  number=${marker##*/restart.}
  number=${number%.dat.done}
  [ "$number" -gt "$step" ] && step=$number
done
echo "$step" >>"$ELISA_TASK_DIR/began"
while [ "$step" -lt 20 ]; do
  sleep 0.05
  step=$((step + 1))
  echo "$step" >"$ELISA_CHECKPOINT_DIR/restart.$step.dat"
  : >"$ELISA_CHECKPOINT_DIR/restart.$step.dat.done"
  echo "$step" >>"$ELISA_TASK_DIR/steps"
  while [ "$step" = "${1:-}" ] && [ ! -e "$ELISA_TASK_DIR/go" ]; do sleep 0.05; done
done
"""
"""Counts to 20, saves each number, and goes on from the newest one it finds.

At the number that it is given it waits for a file `go`.
"""

COUNTING = """
name: counting
project: demo
tasks:
  before: {command: [sh, -c, 'echo ran >> "$ELISA_TASK_DIR/runs"'], retry: {limit: 0, backoff: {initial: 1s, maximum: 2s}}}
  count:
    command: [sh, counter.sh]
    needs: [before]
    checkpoint: {pattern: "restart.*.dat", complete_when: "{}.done", keep: 50}
    retry: {limit: 0, backoff: {initial: 1s, maximum: 2s}}
  after:
    command: [sh, -c, 'echo ran >> "$ELISA_TASK_DIR/runs"']
    needs: [count]
    retry: {limit: 0, backoff: {initial: 1s, maximum: 2s}}
"""
COUNTING_TO_10 = COUNTING.replace("counter.sh]", "counter.sh, '10']")
"""The same, but the counter stays at 10 until it is let go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElisaOnPbs:
    """A state folder whose only backend is a PBS; `pause_s` lies between two ticks."""

    home: Path
    folder: Path
    pause_s: float = 0.5

    def submit(self, text: str, files: Mapping[str, str] = MappingProxyType({})) -> PipelineId:
        """Put a pipeline into the queue, with `files` beside it."""
        for name, content in files.items():
            (self.folder / name).write_text(content)
        file = self.folder / "pipeline.yaml"
        file.write_text(textwrap.dedent(text))
        with open_workspace(self.home) as ws:
            return submit(ws, load(file)).pipeline_id

    def tick(self) -> None:
        with open_workspace(self.home) as ws:
            tick(ws)

    def tick_until(self, holds: Callable[[], bool], *, within_s: float = 60.0) -> None:
        """Tick again and again until something holds."""
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, self.states()
            self.tick()
            time.sleep(self.pause_s)

    def tick_to_the_end(self, *, within_s: float = 60.0) -> None:
        """Tick until every task is final."""
        self.tick_until(lambda: set(self.states().values()) <= FINAL, within_s=within_s)

    def states(self) -> dict[str, str]:
        """Return the state of every task by its name."""
        with Reader.open(self.home) as reader:
            return {row.name: str(row.state) for row in reader.task_rows()}

    def attempts(self, name: str) -> tuple[Attempt, ...]:
        with Reader.open(self.home) as reader:
            (task,) = [row.id for row in reader.task_rows() if row.name == name]
            return reader.attempts_of(task)

    def handed_over(self, name: str) -> tuple[Attempt, ...]:
        """Return the attempts at a task but those that were not submitted, as what they were to follow had just ended."""
        return tuple(one for one in self.attempts(name) if one.end is None or one.end.reason is not EndReason.REJECTED)

    def lines(self, pipeline: PipelineId, task: str, file: str) -> list[str]:
        """Return the lines that a task has written; none if there is no such file yet."""
        path = Path(layout.task_dir(self.home, pipeline, task)) / file
        return path.read_text().split() if path.exists() else []


def a_state_folder(folder: Path, *, account: str = "", pause_s: float = 0.5, **options: object) -> ElisaOnPbs:
    """Return a new state folder in `folder`, with these options of the PBS backend."""
    home = folder / "home"
    init_workspace(home)
    (home / "site.yaml").write_text(SITE % (account, ", ".join(f"{name}: {value}" for name, value in options.items())))
    (folder / "counter.sh").write_text(COUNTER)
    return ElisaOnPbs(home=home, folder=folder, pause_s=pause_s)
