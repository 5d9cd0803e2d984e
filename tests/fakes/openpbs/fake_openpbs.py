"""A second pretended PBS, held word for word to the recordings of a real OpenPBS.

The one beside it follows what the backend reads; this one was written from the recordings alone, by another hand, so that a
mistake in the reading is not made twice. Its programs lie in a folder, run jobs for real, and go wrong on demand.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fakes.openpbs import programs
from tests.fakes.openpbs import qsub as submission
from tests.fakes.openpbs import server as pbs

__all__ = ["FakeOpenPbs"]


class FakeOpenPbs:
    """One server with one node in `home`; `bin` holds its programs. No daemon: each job has a process of its own."""

    def __init__(self, home: Path, *, dialect: str = "openpbs", history: bool = True, user: str = "pbsuser") -> None:
        self.home = home
        self.dialect = dialect
        self.bin = home / "bin"
        self.bin.mkdir(parents=True)
        for name in programs.PROGRAMS:
            words = f"{pbs.REACH_US}; from tests.fakes.openpbs import programs; programs.main()"
            (self.bin / name).write_text(f"#!{sys.executable} -I\n{words}\n")
            (self.bin / name).chmod(0o755)
        state = pbs.fresh(dialect=dialect, history=history, user=user)
        (home / "state.json").write_text(json.dumps(state))

    def fault(self, program: str, kind: str, *, times: int = 1, **facts: str | int) -> None:
        """Let the next `times` calls of a program go wrong.

        All: `hang`, `fail` (words, status), `garbage` (words). qsub: `lose_answer` (accepts and ends without a word),
        `lose_number` (the same with status 0), `die` (accepts and is killed), `late` (accepts at `let_late_in`). qstat:
        `partial` (half of the text, status 0), `cut` (the last job ends in its midst). qselect: `partial`.
        """
        with pbs.server(self.home) as state:
            state["faults"].append({"program": program, "kind": kind, "times": times, **facts})

    def let_late_in(self) -> None:
        """Accept now what was answered with an error before."""
        self._elsewhere("programs.let_late_in")

    def _elsewhere(self, function: str) -> None:
        """Act in a process of its own, whose children nobody here has to wait for."""
        words = f"{pbs.REACH_US}; from pathlib import Path; from tests.fakes.openpbs import programs, server; "
        call = f"{function}(Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-I", "-c", words + call, str(self.home)], check=True)

    def down(self, *, is_down: bool = True) -> None:
        """Stop the server, or start it again; jobs run on."""
        self._set("is_down", is_down)

    def pause(self, *, is_paused: bool = True) -> None:
        """Start no more jobs."""
        self._set("is_paused", is_paused)
        self._elsewhere("server.start_what_fits")

    def _set(self, name: str, value: object) -> None:
        with pbs.server(self.home) as state:
            state[name] = value

    def node(self, word: str) -> None:
        """Set the node's state; `down` takes its jobs along: those that may are queued again."""
        with pbs.server(self.home) as state:
            state["node"] = word
            running = [job for job in state["jobs"].values() if job["state"] == "R"] if word == "down" else []
            for job in running:
                job["session"] = job.get("pid", 1)
                self._kill(job)
                pbs.lose_node(job)
        self._elsewhere("server.start_what_fits")

    def _kill(self, job: pbs.Job) -> None:
        job["wish"] = "KILL"  # for one that has not begun yet
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.killpg(job.pop("pid"), signal.SIGKILL)

    def add(self, number: str, name: str = "job", **facts: Any) -> None:
        """Put a job there without running it: a queued one, unless `facts` say otherwise."""
        wanted = submission.read(["-N", name], user="pbsuser", o_path="", is_torque=self.dialect == "torque")
        with pbs.server(self.home) as state:
            state["next"] = int(number)
            pbs.new_job(state, wanted, {})
            state["jobs"][number].update(facts)

    def put(self, number: str, attributes: Mapping[str, Any]) -> None:
        """Change what is known of a job."""
        with pbs.server(self.home) as state:
            state["jobs"][number].update(attributes)

    def forget(self, number: str) -> None:
        """Lose every memory of a job."""
        with pbs.server(self.home) as state:
            del state["jobs"][number]

    def renumber(self, number: int) -> None:
        """Begin to count anew, as after the loss of the database."""
        self._set("next", number)

    def names(self) -> dict[str, str]:
        """Return every accepted job's name by number."""
        with pbs.server(self.home) as state:
            return {number: job["name"] for number, job in state["jobs"].items()}

    def job(self, number: str) -> dict[str, Any]:
        """Return all that is known of a job."""
        with pbs.server(self.home) as state:
            return dict(state["jobs"][number])

    def stop(self) -> None:
        """Kill what still runs."""
        with pbs.server(self.home) as state:
            state["is_paused"] = True
            for job in state["jobs"].values():
                if job["state"] == "R" and "pid" in job:
                    self._kill(job)
