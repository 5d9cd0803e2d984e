"""A pretended PBS for tests: its programs lie in a folder, run jobs for real, and go wrong on demand."""

from __future__ import annotations

import contextlib
import contextvars
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tests.fakes.pbs.programs import PROGRAMS, call
from tests.fakes.pbs.running import WATCH, begin_stranded, run_job, start_what_fits
from tests.fakes.pbs.submission import let_late_in
from tests.fakes.pbs.world import State, server

__all__ = ["FakePbs"]

ROOT = Path(__file__).parents[3]
QUEUES = {
    "workq": {},
    "short": {"resources_max.walltime": "00:10:00"},
    "closed": {"enabled": "False"},
    "stopped": {"started": "False"},
    "full": {"max_queued": "[u:PBS_GENERIC=1]"},
    "private": {"acl_user_enable": "True", "acl_users": "somebody"},
}


class FakePbs:
    """One server in `home`; `bin` holds its programs. `express`: its qstat knows -E."""

    def __init__(self, home: Path, *, history: bool = True, express: bool = True, dialect: str = "openpbs") -> None:
        self.home = home
        self._watchers: list[threading.Thread] = []
        self.bin = home / "bin"
        self.bin.mkdir(parents=True)
        for name in PROGRAMS:
            program = self.bin / name
            words = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.fakes.pbs.programs import main; main()"
            program.write_text(f"#!{sys.executable} -IS\n{words}\n")
            program.chmod(0o755)
        state = {"next": 1, "jobs": {}, "faults": [], "late": [], "queues": QUEUES, "paused": False, "down": False}
        switches = {"history": history, "express": express, "dialect": dialect}
        (home / "state.json").write_text(json.dumps({**state, **switches}))

    def fault(self, program: str, kind: str, *, times: int = 1, **facts: str | float) -> None:
        """Let the next `times` calls of a program go wrong.

        All: `hang`, `fail` (words, status), `garbage` (words), `cut` (the answer ends in its midst, status 0). qsub:
        `lose_answer` (accepts and hangs), `late` (hangs, and accepts at `let_late_in`), `die` (accepts and fails),
        `lose_number` (accepts and prints nothing). qstat: `partial` (half of the jobs). qdel: `mom_down`.
        """
        with server(self.home) as state:
            state["faults"].append({"program": program, "kind": kind, "times": times, **facts})

    def has_fault(self, program: str) -> bool:
        """Tell whether the next call of a program goes wrong."""
        with server(self.home) as state:
            return any(fault["program"] == program and fault["times"] > 0 for fault in state["faults"])

    def let_late_in(self) -> None:
        """Accept now what hung before."""
        self._here(let_late_in, self.home)

    def down(self) -> None:
        """Stop the server; its jobs run on."""
        self._switch(down=True)

    def up(self) -> None:
        """Start the server again."""
        self._switch(down=False)

    def pause(self) -> None:
        """Start no more jobs."""
        self._switch(paused=True)

    def resume(self) -> None:
        """Start what waits."""
        self._switch(paused=False)
        self._here(start_what_fits, self.home)

    def strand(self, times: int = 1) -> None:
        """Show so many of the next jobs that start as R for ever: their node never gets them."""
        self._switch(strands=times)

    def begin_late(self, number: str) -> None:
        """Let a stranded job begin after all, whoever deleted it."""
        self._here(begin_stranded, self.home, number)

    def forget_history(self) -> None:
        """Keep no finished jobs from now on."""
        self._switch(history=False)

    def set(self, number: str, **facts: str | int | None) -> None:
        """Change what PBS says of a job: state, substate, exit_status, comment, holds, name, stime."""
        with server(self.home) as state:
            state["jobs"][number].update(facts)

    def end(self, number: str, status: int) -> None:
        """Make PBS end a running job with an exit status of its own, such as -20."""
        self.set(number, verdict=status)

    def lose(self, number: str) -> None:
        """Make the server forget a job."""
        with server(self.home) as state:
            del state["jobs"][number]

    def jobs(self) -> State:
        """Return all jobs that the server knows, by number."""
        with server(self.home) as state:
            return dict(state["jobs"])

    def next_number(self, number: int) -> None:
        """Number the next job so: servers count from the beginning again when their database is lost."""
        self._switch(next=number)

    def become(self, facts: State) -> None:
        """Be another server: the switches of this one, and the jobs and whatever else `facts` say."""
        with server(self.home) as state:
            state.update(faults=[], **facts)

    def run(self, program: str, argv: list[str], text: str = "") -> tuple[int, str, str]:
        """Call a program within this process; return its status and what it wrote."""
        out, err, before = io.StringIO(), io.StringIO(), sys.stdin
        sys.stdin = io.StringIO(text)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                self._here(call, self.home, program, argv)
        except SystemExit as end:
            return int(end.code or 0), out.getvalue(), err.getvalue()
        finally:
            sys.stdin = before
        return 0, out.getvalue(), err.getvalue()

    def clear(self) -> None:
        """Kill what still runs."""
        for job in self.jobs().values():
            if "pid" in job:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job["pid"], signal.SIGKILL)

    def close(self) -> None:
        """End it all, and wait for the jobs that are watched from here."""
        self.pause()
        self.clear()
        while any(watcher.is_alive() for watcher in self._watchers):
            self.clear()
            for watcher in self._watchers:
                watcher.join(0.02)

    def _here(self, do: Callable[..., None], *facts: object) -> None:
        """Do what a program does; the jobs that it starts are watched by threads of this process."""
        context = contextvars.copy_context()
        context.run(WATCH.set, self._watch)
        context.run(do, *facts)

    def _watch(self, home: Path, number: str) -> None:
        watcher = threading.Thread(target=contextvars.copy_context().run, args=(run_job, home, number))
        self._watchers.append(watcher)
        watcher.start()

    def _switch(self, **facts: bool | int) -> None:
        with server(self.home) as state:
            state.update(facts)
