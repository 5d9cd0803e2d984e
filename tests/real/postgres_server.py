"""A private PostgreSQL server for tests: no port, one socket in a folder of its own, gone with the test session."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.real_parts import find_program

__all__ = ["PostgresServer"]

# Nothing of a test's database has to survive the machine.
_SETTINGS = (
    "-c listen_addresses='' -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=30"
)


class PostgresServer:
    """Start on entering, stop on leaving; each `database()` is new and empty."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="elisa-pg-"))
        self._data = self._folder / "data"
        self._count = 0
        # The server refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(self._folder, self._user)

    def __enter__(self) -> Self:
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-E", "UTF8", "--no-sync", "-U", self._user)
        options = f"{_SETTINGS} -k {self._folder}"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(self._folder / "log"), "-o", options, "start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")
        shutil.rmtree(self._folder)

    def database(self) -> str:
        """Return the address of a new database."""
        self._count += 1
        name = f"elisa{self._count}"
        self._run("createdb", "-h", str(self._folder), "-U", self._user, name)
        return f"postgresql://{self._user}@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        path = find_program(program)
        assert path is not None
        user = self._user if os.geteuid() == 0 else None
        done = subprocess.run(
            [path, *arguments],
            user=user,
            cwd=self._folder,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
