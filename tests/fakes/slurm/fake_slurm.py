"""A pretended Slurm cluster for tests: its programs lie in a folder, run jobs for real, and go wrong on demand."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.fakes.slurm.programs import PROGRAMS, cluster

__all__ = ["FakeSlurm"]

HERE = Path(__file__).parent


class FakeSlurm:
    """One cluster in `home`; `bin` holds its programs. No daemon: each job has a process of its own."""

    def __init__(self, home: Path, *, accounting: bool = True) -> None:
        self.home = home
        self.bin = home / "bin"
        self.bin.mkdir(parents=True)
        for name in PROGRAMS:
            program = self.bin / name
            words = f"import sys; sys.path.insert(0, {str(HERE)!r}); import programs; programs.main()"
            program.write_text(f"#!{sys.executable} -I\n{words}\n")
            program.chmod(0o755)
        state = {"next": 1, "jobs": {}, "faults": [], "late": [], "accounting": accounting, "paused": False}
        (home / "state.json").write_text(json.dumps(state))
        for name in ("node", "partition", "licenses"):
            (home / f"{name}.txt").write_text((HERE / f"scontrol-{name}-22.05.txt").read_text())

    def fault(self, program: str, kind: str, *, times: int = 1, **facts: str | float) -> None:
        """Let the next `times` calls of a program go wrong.

        All: `hang`, `fail` (words, status), `garbage` (words), `cut` (the answer ends in its midst, status 0). sbatch:
        `lose_answer` (accepts and says it timed out), `late` (the same, and accepts at `let_late_in`), `lose_number`
        (accepts and prints nothing), `twice`. squeue: `partial` (half of the jobs, status 0).
        """
        with cluster(self.home) as state:
            state["faults"].append({"program": program, "kind": kind, "times": times, **facts})

    def let_late_in(self) -> None:
        """Accept now what was answered with a time-out before."""
        self._start()

    def set(self, number: str, **facts: str | int | bool) -> None:
        """Change what Slurm says of a job: state, reason, status (a wait status), restarts, nodes."""
        with cluster(self.home) as state:
            state["jobs"][number].update(facts)

    def end(self, number: str, state: str) -> None:
        """Make Slurm end a running job for a reason of its own, such as NODE_FAIL; REQUEUE starts it again."""
        self.set(number, verdict=state)

    def purge(self, number: str) -> None:
        """Make squeue forget a job, as after MinJobAge."""
        self.set(number, listed=False)

    def lose(self, number: str) -> None:
        """Make the whole cluster forget a job: the controller lost its state."""
        with cluster(self.home) as state:
            del state["jobs"][number]

    def pause(self) -> None:
        """Start no more jobs."""
        with cluster(self.home) as state:
            state["paused"] = True

    def resume(self) -> None:
        """Start what waits."""
        with cluster(self.home) as state:
            state["paused"] = False
        self._start()

    def _start(self) -> None:
        # in a process of its own, whose children nobody here has to wait for
        subprocess.run([sys.executable, str(HERE / "programs.py"), "_start", str(self.home)], check=True)

    def jobs(self) -> dict[str, str]:
        """Return every accepted job's name by number."""
        with cluster(self.home) as state:
            return {number: job["name"] for number, job in state["jobs"].items()}

    def stop(self) -> None:
        """Kill what still runs."""
        with cluster(self.home) as state:
            pids = [job["pid"] for job in state["jobs"].values() if job["state"] == "RUNNING" and "pid" in job]
            for job in state["jobs"].values():
                if job["state"] == "PENDING":
                    job["state"] = "CANCELLED"
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
