"""A tick that has nothing to do, as cron runs it every minute, loads nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("sqlmodel", "sqlalchemy", "rich", "typer", "asyncio", "numpy.ma")


def test_an_idle_tick_loads_no_orm_no_tables_for_a_terminal_and_no_second_parser(home: Path) -> None:
    code = (
        "import sys; from elisa.cli.main import run; status = run(sys.argv[1:])\n"
        f"print(status, sorted({set(HEAVY)} & sys.modules.keys()))"
    )

    told = subprocess.run(
        [sys.executable, "-c", code, "tick", "--home", str(home)], capture_output=True, text=True, check=True
    )

    assert told.stdout.splitlines()[-1] == "0 []"
