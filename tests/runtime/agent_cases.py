"""A state folder with one attempt's instructions, and an agent to follow them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import elisa
from elisa.runtime.eventfile import Record, read_records

AS_FILE = (sys.executable, "-S", str(Path(elisa.__file__).parent / "runtime" / "__main__.py"))
KEY = bytes(range(32))
TASK = "t000000001"


@dataclass
class Case:
    """One task in a state folder. `options` go into every `job.json`."""

    home: Path
    options: dict[str, Any] = field(default_factory=dict)

    def job(self, number: int = 1, **options: Any) -> Path:
        """Write the instructions of attempt `number` and let it pass the fence; return their path."""
        attempt = f"{TASK}.{number}"
        folder = self.home / "spool" / attempt
        folder.mkdir(parents=True, exist_ok=True)
        task_dir = self.home / "runs" / "p000000001" / "train"
        task_dir.mkdir(parents=True, exist_ok=True)
        content = {
            "v": 1,
            "attempt": attempt,
            "task": TASK,
            "number": number,
            "home": str(self.home),
            "key": KEY.hex(),
            "argv": ["true"],
            "task_dir": str(task_dir),
            "checkpoint_dir": str(task_dir / "checkpoints"),
            "pipeline_dir": str(task_dir.parent),
            "stdout": str(task_dir / "stdout.log"),
            "stderr": str(task_dir / "stderr.log"),
            "grace_s": 5,
            "heartbeat_s": 30,
            "sample_s": 5,
            "self_fence_s": 30,
            **self.options,
            **options,
        }
        path = folder / "job.json"
        path.write_text(json.dumps(content))
        claims = self.home / "claims" / TASK
        claims.mkdir(parents=True, exist_ok=True)
        (claims / "fence").write_text(str(number))
        return path

    def start(self, job: Path, *, as_file: bool = False, **env: str) -> subprocess.Popen[bytes]:
        """Start an agent; `as_file`: as native jobs do."""
        agent = AS_FILE if as_file else (sys.executable, "-m", "elisa.runtime")
        return subprocess.Popen(
            [*agent, "run", "--job", str(job)],
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, job: Path, *, as_file: bool = False, **env: str) -> int:
        """Run an agent to its end and return its status."""
        with self.start(job, as_file=as_file, **env) as process:
            process.communicate(timeout=60)
            return process.returncode

    def events(self, number: int = 1) -> list[Record]:
        """Return what attempt `number` said, in order of time."""
        records = read_records(str(self.home / "spool" / f"{TASK}.{number}" / "events"), KEY)
        return sorted(records, key=lambda record: (record.incarnation, record.rank, record.seq))

    def kinds(self, number: int = 1) -> list[str]:
        return [record.kind for record in self.events(number)]

    def said(self, kind: str, number: int = 1) -> dict[str, Any]:
        """Return the data of the last event of this kind."""
        return [record.data for record in self.events(number) if record.kind == kind][-1]

    @property
    def task_dir(self) -> Path:
        return self.home / "runs" / "p000000001" / "train"

    @property
    def printed(self) -> str:
        return (self.task_dir / "stdout.log").read_text()


def names(folder: Path) -> list[str]:
    """Return the names of what is in `folder`, in order."""
    return sorted(path.name for path in folder.iterdir())


def python(code: str) -> list[str]:
    """Return the command that runs `code`."""
    return [sys.executable, "-c", code]
