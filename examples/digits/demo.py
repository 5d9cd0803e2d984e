"""The whole of elisa in one run: train on real data, lose a process in the middle, finish from its checkpoint.

python -m examples.digits.demo [STATE FOLDER [options of `elisa submit`...]]
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from elisa.cli.progress import Progress, showing_progress
from elisa.engine.loop import until
from elisa.engine.outcome import TickReport
from elisa.engine.workspace import Workspace, open_workspace
from elisa.model import layout
from elisa.model.ids import PipelineId
from elisa.model.task import Attempt
from elisa.store.reader import Reader

HERE = Path(__file__).resolve().parent
# Far enough to have something to lose, early enough to have something left to do.
KILL_AFTER_STEP = 8
# Three trainings side by side, however few cores this machine has.
SITE = "backends:\n  local: {kind: local, options: {cpus: 4}}\n"


def main() -> int:
    """Run the demonstration; return 0 if the training was killed, resumed from its checkpoint, and all went well."""
    home = Path(sys.argv[1] if len(sys.argv) > 1 else ".demo").absolute()
    _begin_afresh(home)
    _elisa(home, "init")
    layout.site_file(home).write_text(SITE, encoding="utf-8")
    submitted = json.loads(_elisa(home, "submit", str(HERE / "pipeline.yaml"), *sys.argv[2:], "--json", shown=False))
    pipeline = PipelineId(submitted["pipeline"])
    _say(f"submitted examples/digits/pipeline.yaml as {pipeline}; following it until it has ended")
    killed = _follow(home, pipeline)
    _show(home, pipeline, killed)
    return _verdict(home, pipeline, killed)


def _begin_afresh(home: Path) -> None:
    if layout.database(home).exists():
        shutil.rmtree(home)


def _elisa(home: Path, *words: str, shown: bool = True) -> str:
    """Run one command as a user would."""
    if shown:
        _say(f"$ elisa {' '.join(words)}")
    command = [sys.executable, "-m", "elisa.cli", *words, "--home", str(home)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    if shown:
        sys.stdout.write(text)
    return text


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _follow(home: Path, pipeline: PipelineId) -> Attempt | None:
    """Tick until the pipeline has ended; kill one training on the way. Return the attempt that was killed."""
    killed: list[Attempt] = []
    with open_workspace(home) as workspace, showing_progress(home, [pipeline]) as progress:
        until(workspace, _has_ended(pipeline), on_tick=lambda _: _watch(workspace, progress, killed))
    return killed[0] if killed else None


def _has_ended(pipeline: PipelineId) -> Callable[[Reader, TickReport], bool]:
    return lambda reader, _: all(one.id != pipeline for one in reader.pipelines(unfinished_only=True))


def _watch(workspace: Workspace, progress: Progress, killed: list[Attempt]) -> None:
    progress.update()
    if killed:
        return
    with Reader.open(workspace.home) as reader:
        victim = _training_with_checkpoint(reader)
    if victim is not None and _kill(workspace.home, victim):
        killed.append(victim)
        step = victim.last_checkpoint.step if victim.last_checkpoint else 0
        progress.say(
            f">>> kill -9: one training process ({victim.id}) is gone; its newest checkpoint is of step {step}"
        )


def _training_with_checkpoint(reader: Reader) -> Attempt | None:
    for attempt in reader.live_attempts():
        saved = attempt.last_checkpoint
        if saved is not None and saved.step >= KILL_AFTER_STEP and reader.task(attempt.task).spec.group == "train":
            return attempt
    return None


def _kill(home: Path, attempt: Attempt) -> bool:
    """Kill the program, not the agent that watches over it: the way a node's memory guard or a person would."""
    agent = json.loads(layout.claim(home, attempt.id).read_text(encoding="utf-8"))["pid"]
    programs = psutil.Process(agent).children()
    for program in programs:
        os.kill(program.pid, signal.SIGKILL)
    return bool(programs)


def _show(home: Path, pipeline: PipelineId, killed: Attempt | None) -> None:
    if killed is not None:
        _elisa(home, "explain", killed.task)
    _elisa(home, "status", pipeline, "--all")
    _elisa(home, "report", pipeline)
    written = layout.task_dir(home, pipeline, "report") / "report.md"
    if written.exists():
        _say(f"the report task wrote {written}:")
        print(written.read_text(encoding="utf-8"))


def _verdict(home: Path, pipeline: PipelineId, killed: Attempt | None) -> int:
    with Reader.open(home) as reader:
        [summary] = [one for one in reader.pipelines() if one.id == pipeline]
        attempts = reader.attempts_of(killed.task) if killed else ()
    resumed = attempts[-1].resume_from if attempts else None
    if set(summary.counts) - {"succeeded", "skipped"} or resumed is None:
        _say("this did not go as it should: see the status above")
        return 1
    _say(f"all is finished; {attempts[0].task} was killed and went on from step {resumed.step}, not from the start")
    return 0


if __name__ == "__main__":
    sys.exit(main())
